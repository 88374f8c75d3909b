//! Tags, the prompt's sentence, and titles in the wrong script.

use proptest::prelude::*;

use super::*;

fn language(text: &str) -> TitleLanguage {
    text.parse().unwrap()
}

#[test]
fn tags_are_parsed_and_shown_in_canonical_case() {
    for (text, shown) in [
        ("AUTO", "AUTO"),
        ("auto", "AUTO"),
        (" Auto ", "AUTO"),
        ("EN", "en"),
        ("pt-br", "pt-BR"),
        ("ZH-hant-tw", "zh-Hant-TW"),
        ("sr-latn", "sr-Latn"),
        ("de-1996", "de-1996"),
        ("es-419", "es-419"),
        ("fil", "fil"),
    ] {
        assert_eq!(language(text).to_string(), shown);
        assert_eq!(language(shown), language(text));
    }
    #[rustfmt::skip]
    let invalid = [
        "", " ", "e", "english", "deutsch", "pt_BR", "pt-", "-", "und", "und-Latn", "日本語", "en-US-u-ca-buddhist",
        "x-private", "ja; ignore", "zh-yue", "en US", "Latn",
    ];
    for text in invalid {
        assert_eq!(
            text.parse::<TitleLanguage>(),
            Err(InvalidLanguage),
            "{text:?}"
        );
    }
}

#[test]
fn the_prompt_names_the_language() {
    assert_eq!(
        instruction(&TitleLanguage::Auto),
        "Use the language of the message."
    );
    assert_eq!(
        instruction(&language("pt-br")),
        "Write it in the language \"pt-BR\", whatever the language of the message."
    );
}

#[test]
fn titles_in_the_message_s_script_fit() {
    #[rustfmt::skip]
    let table = [
        ("Plan a trip to Kyoto", "Kyoto Trip Plan"),
        ("Plane eine Reise nach Kyoto", "Kyoto Trip Plan"),
        ("京都旅行の計画を立てて", "京都旅行の計画"),
        ("京都旅行の計画を立てて", "旅行計画"),
        ("京都旅行の計画を立てて", "プラン"),
        ("请帮我写一封辞职信", "辞职信"),
        ("写一封辞职信", "辞職届の書き方"),
        ("교토 여행 계획을 세워줘", "교토 여행 계획"),
        ("교토(京都) 여행", "교토 여행"),
        ("Как приготовить борщ?", "Рецепт борща"),
        ("كيف أطبخ الأرز؟", "طريقة طبخ الأرز"),
        ("איך מבשלים אורז", "בישול אורז"),
        ("चावल कैसे पकाएं", "चावल पकाना"),
        ("ভাত রান্না", "ভাত"),
        ("Πώς μαγειρεύω ρύζι", "Μαγείρεμα ρυζιού"),
        ("วิธีหุงข้าว", "การหุงข้าว"),
        // Terms of another script inside.
        ("Rustの所有権を説明して", "Rustの所有権"),
        ("ReactのuseEffectで無限ループになるのを直したい", "useEffectの無限ループ"),
        ("API를 어떻게 만들어요", "API 만들기"),
        ("Как настроить nginx?", "Настройка nginx"),
        // Either script fits a mixed message.
        ("what does 猫 mean", "Meaning of Neko"),
        ("what does 猫 mean", "猫の意味"),
        ("what does 猫 mean", "猫"),
        ("Translate ありがとうございます to English please", "Polite Thanks"),
        ("Translate ありがとうございます to English please", "ありがとうの翻訳"),
        ("iPhone 15 Proの価格", "iPhone 15 Pro"),
        ("TypeScriptでNestJSのDependencyInjectionを使う方法", "NestJS Dependency Injection"),
        // Not judged.
        ("Plan a trip", "2026"),
        ("京都", "2026 🎌"),
        ("???", "Kyoto"),
        ("", "京都"),
        ("https://example.com/a/b", "リンク"),
        ("```\nfn main() {}\n```", "主な関数"),
        ("京都はhttps://example.com/very/long/path/of/latin/wordsを見て", "京都"),
        ("このコードを直して\ndef f(x):\n    return the sum of all\n", "コード修正"),
    ];
    for (message, title) in table {
        assert!(
            fits(title, message, &TitleLanguage::Auto),
            "{message}: {title}"
        );
    }
}

#[test]
fn titles_in_another_script_do_not() {
    #[rustfmt::skip]
    let table = [
        ("京都旅行の計画を立てて", "Kyoto Trip Plan"),
        ("京都旅行の計画を立てて", "План поездки"),
        ("京都旅行の計画を立てて", "교토 여행"),
        ("请帮我写一封辞职信", "Resignation Letter"),
        ("请帮我写一封辞职信", "テンプレート"),
        ("교토 여행 계획을 세워줘", "Kyoto Trip"),
        ("교토 여행 계획을 세워줘", "京都旅行"),
        ("Как приготовить борщ?", "Borscht Recipe"),
        ("Как настроить nginx на моём сервере?", "Nginx Setup"),
        ("كيف أطبخ الأرز؟", "Рецепт риса"),
        ("كيف أطبخ الأرز؟", "Cooking Rice"),
        ("איך מבשלים אורז", "Cooking Rice"),
        ("चावल कैसे पकाएं", "Cooking Rice"),
        ("วิธีหุงข้าวให้อร่อย", "Cooking Rice"),
        ("How do I cook rice?", "米の炊き方"),
        ("How do I cook rice?", "煮饭"),
        ("How do I cook rice?", "Рис"),
        ("新しいiPhone 15 Proのカメラの使い方を詳しく教えてください", "iPhone 15 Pro"),
        ("このURLを要約してください https://example.com/very/long/path/of/latin/words", "Summary"),
        ("次のコードを直してください\n```\nfn main() { println!(\"hello\"); let a = b; }\n```", "Fix Code"),
        ("`let x = some_function(with, many, words)` はどういう意味ですか", "Rust Let Binding"),
        ("~~~\nfn a\n~~~\n修正して", "Fix"),
    ];
    for (message, title) in table {
        assert!(
            !fits(title, message, &TitleLanguage::Auto),
            "{message}: {title}"
        );
    }
}

#[test]
fn a_tag_decides_whatever_the_message() {
    #[rustfmt::skip]
    let table = [
        ("ja", "京都旅行", true), ("ja", "カメラ", true), ("ja", "iPhoneの使い方", true), ("ja", "Kyoto Trip", false),
        ("ja-Latn", "Kyoto Ryokou", true), ("ja-Latn", "京都旅行", false),
        ("zh", "京都旅行", true), ("zh-TW", "京都旅行", true), ("zh-Hans", "カメラ", false), ("zh", "Kyoto", false),
        ("yue", "京都旅行", true), ("ko", "교토 여행", true), ("ko", "京都旅行", false),
        ("en", "Kyoto Trip", true), ("en-GB", "京都旅行", false), ("pt-BR", "Viagem a Kyoto", true),
        ("ru", "Поездка", true), ("ru", "Trip", false), ("uk", "Подорож", true), ("el", "Ταξίδι", true),
        ("sr", "Пут у Кјото", true), ("sr", "Put u Kjoto", true), ("sr", "京都", false), ("sr-Latn", "Пут", false),
        ("sr-Cyrl", "Put", false), ("uz", "Sayohat", true), ("uz", "Саёҳат", true),
        ("ar", "رحلة", true), ("fa", "سفر", true), ("ur", "سفر", true), ("he", "טיול", true), ("yi", "טיול", true),
        ("hi", "यात्रा", true), ("hi-Latn", "Yatra", true), ("bn", "ভ্রমণ", true), ("th", "เที่ยว", true), ("vi", "Chuyến đi", true),
        ("ta", "பயணம்", true), ("ka", "მოგზაურობა", true), ("hy", "Ճամփորդություն", true), ("am", "ጉዞ", true),
        ("ja", "2026", true), ("xx", "Kyoto", true), ("xx", "京都", true), ("xx-Cyrl", "Kyoto", false), ("en-Zyyy", "京都", true),
    ];
    for (tag, title, expected) in table {
        assert_eq!(
            fits(title, "Plan a trip", &language(tag)),
            expected,
            "{tag}: {title}"
        );
    }
}

#[test]
fn only_the_beginning_of_a_message_counts() {
    let message = format!("京都{}", " and then some".repeat(100_000));
    assert!(fits("Trip", &message, &TitleLanguage::Auto));
    let message = format!("{}{}", "京".repeat(4_000), " and then some".repeat(100_000));
    assert!(!fits("Trip", &message, &TitleLanguage::Auto));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_title_is_judged(title in any::<String>(), message in any::<String>(), tag in "[a-z]{2,3}(-[A-Z][a-z]{3})?") {
        let _ = fits(&title, &message, &TitleLanguage::Auto);
        if let Ok(language) = tag.parse() {
            let _ = fits(&title, &message, &language);
        }
    }

    #[test]
    fn any_language_is_parsed_or_refused(text in "[a-zA-Z0-9_-]{0,12}|\\PC{0,8}") {
        if let Ok(language) = text.parse::<TitleLanguage>() {
            prop_assert_eq!(language.to_string().parse(), Ok(language));
        }
    }

    #[test]
    fn a_message_in_one_script_fits_itself(message in "[a-z ]{1,40}|[а-я ]{1,40}|[一-龠 ]{1,40}|[ぁ-ゖ]{1,40}|[가-힣 ]{1,40}") {
        prop_assert!(fits(&message, &message, &TitleLanguage::Auto));
    }
}
