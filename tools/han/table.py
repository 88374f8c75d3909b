"""Prints src/titles/language/han.txt: which Han characters only some writing standards have.

    python3 tools/han/table.py Unihan_Variants.txt > src/titles/language/han.txt

`Unihan_Variants.txt` is a part of Unihan.zip of the Unicode Character Database (UAX #38). Its kSimplifiedVariant and
kTraditionalVariant pair characters; the national character sets, which Python knows as codecs, say which of a pair a
country writes: GB 2312 mainland China, Big5 Taiwan, JIS X 0208 Japan (level 1: in everyday use).
"""

import sys

# Written in Hong Kong or Taiwan too, whatever the sets say.
COMMON = {"着", "猫"}


def is_in(codec, c):
    try:
        return len(c.encode(codec)) > 1
    except UnicodeEncodeError:
        return False


def is_everyday_japanese(c):
    """Level 1 of JIS X 0208 is its rows 16 to 47."""
    return is_in("euc_jp", c) and 0xB0 <= c.encode("euc_jp")[0] <= 0xCF and len(c.encode("euc_jp")) == 2


def is_japanese(c):
    return is_in("euc_jp", c) and len(c.encode("euc_jp")) == 2


def variants(path):
    pairs = {"kSimplifiedVariant": {}, "kTraditionalVariant": {}}
    for line in open(path, encoding="utf-8"):
        fields = line.rstrip("\n").split("\t")
        if line.startswith("U+") and fields[1] in pairs:
            c = chr(int(fields[0][2:], 16))
            pairs[fields[1]][c] = {chr(int(v.split("<")[0][2:], 16)) for v in fields[2].split()}
    return pairs["kSimplifiedVariant"], pairs["kTraditionalVariant"]


def main():
    simplified_of, traditional_of = variants(sys.argv[1])
    hans = {c for c, of in traditional_of.items() if c not in of and is_in("gb2312", c) and not is_in("big5", c)}
    hans -= COMMON
    hant = {c for c, of in simplified_of.items() if c not in of and is_in("big5", c) and not is_in("gb2312", c)}
    han = [chr(code) for code in range(0x4E00, 0xA000)]
    jpan = {c for c in han if is_japanese(c) and not is_in("gb2312", c) and not is_in("big5", c)}
    rows = [
        ("Hans", {c for c in hans if not is_japanese(c)}),
        ("Hans Jpan", {c for c in hans if is_japanese(c)}),
        ("Hant", {c for c in hant if not is_everyday_japanese(c)}),
        ("Hant Jpan", {c for c in hant if is_everyday_japanese(c)}),
        # 裏 and 説 are Hong Kong's forms as well.
        ("Jpan", jpan - hans - hant - simplified_of.keys()),
    ]
    for scripts, characters in rows:
        characters = sorted(characters)
        for at in range(0, len(characters), 100):
            print(f"{scripts}\t{''.join(characters[at:at + 100])}")


main()
