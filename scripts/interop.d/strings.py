"""Strings to disagree about: words, numbers, blanks, scripts, broken and joined characters, in every mixture."""

import random

PIECES = [
    "the", "The", "THE", "hello", "World", "don't", "it's", "I'LL", "we'Ve", "naïve", "Straße", "İstanbul", "ﬁne",
    "0", "12", "123", "1234", "3.14", "1e-5", "١٢٣", "½", "²", "Ⅷ",
    " ", "  ", "   ", "\t", "\n", "\n\n", "\r\n", " \n ", "\u00a0", "\u3000", "\u2028", "\u200b", "\ufeff",
    ".", ",", "...", "?!", "--", "—", "(", "))", "{", "}", "[]", "//", "\\", "#include", "$x", "@", "&&", "<", ">", "</s", "|",
    "日本語", "中文字符", "한국어", "แมว", "हिन्दी", "русский", "ελληνικά", "עברית", "العربية",
    "😀", "👩‍👩‍👧", "🇺🇳", "e\u0301", "a\u0308\u0323", "\u0301", "𝔘𝔫𝔦", "\U0010ffff", "\x00", "\x07", "\x1b[0m", "\x7f",
    "def f(x):\n    return x", "SELECT *", "https://example.org/?q=1&r=2", "foo_bar", "camelCase", "▁", "▁▁", "Ġ", "Ċ",
]  # fmt: skip


def fuzz(count, seed, avoid=()):
    """`count` strings, the empty one first; none contains what is to be avoided."""
    rng = random.Random(seed)
    strings = ["", *PIECES]
    while len(strings) < count:
        kind = rng.random()
        if kind < 0.7:
            text = "".join(rng.choice(PIECES) for _ in range(rng.randint(1, 12)))
        elif kind < 0.85:
            text = "".join(chr(rng.choice((rng.randint(0, 0x7F), rng.randint(0, 0x7FF), rng.randint(0, 0xD7FF)))) for _ in range(16))
        else:
            text = " ".join(rng.choice(PIECES) for _ in range(rng.randint(1, 20)))
        strings.append(text)
    return [text for text in strings if not any(word in text for word in avoid)]
