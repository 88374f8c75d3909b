//! Texts that tend to break programs.

use proptest::prelude::*;

/// Strings with many characters that databases treat differently, mixed with arbitrary ones.
pub fn tricky() -> impl Strategy<Value = String> {
    let pieces = proptest::sample::select(vec![
        "Kyoto",
        " ",
        "京都",
        "e\u{301}",
        "\0",
        "\u{7f}",
        "\u{200b}",
        "\u{202e}",
        "👩\u{200d}🚀",
        "می\u{200c}خواهم",
        "\u{fe0f}",
        "\u{e000}",
        "\u{e0041}",
        "\u{fffd}",
        "ẞ",
        "İ",
        "%",
        "'",
        "\\",
        "\u{1f1ef}\u{1f1f5}",
        "\u{10fffd}",
    ]);
    proptest::collection::vec(
        prop_oneof![4 => pieces.prop_map(String::from), 1 => any::<String>()],
        1..12,
    )
    .prop_map(|pieces| pieces.concat())
}
