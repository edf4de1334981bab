"""Texts for tokenizers, made from words that stand here: many scripts, emoji, code, control characters. A text is a
function of its number, so that runs can be repeated and continued."""
import random

SCRIPTS = {
    "latin": "the of and to in is that it was for on are with they be at one have this from or had by hot word but "
             "what some we can out other were all there when up use your how said an each she which do their time if "
             "will way about many then them write would like so these her long make thing see him two has look more "
             "day could go come did number sound no most people my over know water than call first who may down side "
             "been now find Berlin London HTTP JSON McDonald's don't we'll I'm you've they're it's O'Neill café",
    "european": "naïve façade Ångström Straße fußball über größe çok güzel İstanbul ılık żółć źdźbło příliš žluťoučký "
                "kůň árvíztűrő tükörfúrógép señor mañana ¿qué? ¡olé! coração ação œuvre où être Þórður ðaga",
    "vietnamese": "Tiếng Việt có nhiều dấu thể hiện bạn sẽ tham gia một nhóm các giám đốc điều hành",
    "greek": "Ελληνικά γλώσσα ἀρχὴ ἥμισυ παντός ΣΊΣΥΦΟΣ φιλοσοφία ὁ ἄνθρωπος",
    "cyrillic": "Быстрая коричневая лиса перепрыгивает через ленивую собаку Україна їжак ґанок ћирилица ёлка",
    "hebrew": "שלום עולם בְּרֵאשִׁית בָּרָא אֱלֹהִים",
    "arabic": "مرحبا بالعالم السَّلامُ عَلَيْكُم ١٢٣٤٥ فارسی می‌خواهم اردو ۱۲۳",
    "devanagari": "नमस्ते दुनिया हिन्दी क्षत्रिय ज्ञान श्री १२३ संस्कृतम् ड़ क़",
    "bengali": "বাংলা ভাষা ক্ষমা কোটি ড় ঢ়",
    "tamil": "தமிழ் மொழி வணக்கம் கொள்ளை",
    "thai": "สวัสดีชาวโลก ภาษาไทยน้ำ ๑๒๓",
    "han": "你好世界 我们今天去看电影 漢字仮名交じり文 人工智能 機械学習 三〇年 〇 ㊗ ㈱ 令和",
    "kana": "こんにちは 世界 カタカナ ひらがな ｶﾀｶﾅ がぎぐげご パピプペポ ー 々",
    "hangul": "안녕하세요 세계 한국어 훈민정음 각 값 ㄱㄴㄷ",
    "other": "ქართული ენა հայերեն አማርኛ ខ្មែរ မြန်မာ ᠮᠣᠩᠭᠣᠯ ᐃᓄᒃᑎᑐᑦ ᏣᎳᎩ ⴰⵎⴰⵣⵉⵖ བོད་སྐད ລາວ සිංහල తెలుగు ಕನ್ನಡ മലയാളം",
    "symbols": "½ ¼ ² ³ ™ © ® € £ ¥ → ⇒ ∑ ∫ √ ∞ ≠ ≤ ℃ ℵ Ⅳ ⅷ ① Ⓐ 🄰 ﬁ ﬂ ﬀ ſ K Å … — – ‘ ’ “ ” « » • † ‡ № ﷺ ㎏ ㍿",
    "emoji": "😀 😂🤣 ❤️ 👍🏽 👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪🇫🇷 🧑🏿‍🚀 ☕️ ⌚ 🀄 🪄 1️⃣ #️⃣ 👁️‍🗨️ 🫠",
    "planes": "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝒜𝓁𝑒𝓍 𠜎𠜱𠝹 𐍈𐌰 𓀀𓂀 𝟘𝟙𝟚 𐐷𐐨 🂡",
}
CODE = ['def f(x):\n\treturn x ** 2  # square', 'for (int i = 0; i < n; ++i) {\n    a[i] += b[i] * 3.14e-10f;\n}',
        '<div class="x">&nbsp;</div>', '{"key": [1, 2.5, null, true], "s": "\\u00e9\\n"}', 'SELECT * FROM t WHERE a != 1;',
        'https://example.org/a?b=c&d=%20#e', 'x=0xDEADBEEF; y=1_000_000', 'printf("%s\\n", s);', 'a<<=2;b>>=3;c**=4;d//=5',
        '\\begin{equation} \\frac{1}{2} \\end{equation}', '#include <stdio.h>\r\n#define X 1\r\n', '$HOME/.bashrc && ls -la | wc']
SPACES = [" ", "  ", "   ", "\n", "\n\n", "\n\n\n", "\t", "\t\t", "\r\n", "\r", " \n", "\n ", "\u00a0", "\u3000", "\u2009",
          "\u200b", "\u2028", "\u2029", "\u0085", "\x0b", "\x0c", "\ufeff", "\u180e", "\u202f"]
CONTROLS = [chr(code) for code in [0, 1, 2, 7, 8, 0x1b, 0x1c, 0x1f, 0x7f, 0x80, 0x8f, 0x9f, 0xad, 0x200c, 0x200d, 0x200e,
                                   0x2060, 0xfff9, 0xfffd, 0xfffe, 0xffff, 0xe000, 0x10ffff]]
TOKENS = ["<|endoftext|>", "<s>", "</s>", "<mask>", "<unk>", "<|begin_of_text|>", "<|im_start|>", "<|im_end|>", "<tool_call>",
          "naïve", "Ångström", "Ångström", "<|user|>", "<|end|>", "<bos>", "<eos>", "<start_of_turn>", "<b>",
          "<0x0A>", "<0xE4>", "[UNK]", "▁", "▁▁", "▁▁▁▁", "<|return|>", "<｜begin▁of▁sentence｜>", "Ġ", "ĉ", "##a", "</w>"]
WORDS = {name: text.split() for name, text in SCRIPTS.items()}


def combining(rng):
    return "".join(rng.choice("aeioucnszAEO") + "".join(chr(rng.randrange(0x300, 0x345)) for _ in range(rng.randrange(1, 4)))
                   for _ in range(rng.randrange(1, 6)))


def number(rng):
    return rng.choice([str(rng.randrange(10 ** rng.randrange(1, 12))), f"{rng.random() * 1000:.{rng.randrange(1, 8)}f}",
                       f"{rng.randrange(1000):,}", f"{rng.randrange(13)}:{rng.randrange(60):02d}", "1e-5", "٣٤٥", "५६", "½"])


def word(rng):
    kind = rng.random()
    if kind < 0.55:
        return rng.choice(WORDS[rng.choice(list(WORDS))])
    if kind < 0.65:
        return number(rng)
    if kind < 0.72:
        return rng.choice(CODE)
    if kind < 0.78:
        return rng.choice(CONTROLS)
    if kind < 0.84:
        return combining(rng)
    if kind < 0.90:
        return rng.choice(TOKENS)
    if kind < 0.95:
        return rng.choice(["...", "?!", "--", "---", "'", "''", "'s", "'LL", "'Re", "(", ")", "[]", "{}", "###", "***", "~~", "`", "\\"])
    return "".join(rng.choice("abcdefghijklmnopqrstuvwxyzABCDEFGH") for _ in range(rng.randrange(1, 30)))


def any_character(rng):
    """Of the planes that the Unicode of all libraries at hand agrees about."""
    while True:
        code = rng.choice([rng.randrange(0x20, 0x250), rng.randrange(0x250, 0x3000), rng.randrange(0x3000, 0xd800),
                           rng.randrange(0x1f300, 0x1f650)])
        import unicodedata
        if unicodedata.category(chr(code)) not in ("Cn", "Co", "Cs"):
            return chr(code)


def text(index):
    rng = random.Random(index)
    kind = rng.random()
    if kind < 0.06:
        return "".join(any_character(rng) for _ in range(rng.randrange(1, 20)))
    if kind < 0.16:
        return " ".join(rng.choice(WORDS[rng.choice(list(WORDS))]) for _ in range(rng.randrange(1, 40)))
    if kind < 0.26:
        script = rng.choice(list(WORDS))
        return rng.choice(["", " "]) + " ".join(rng.choice(WORDS[script]) for _ in range(rng.randrange(1, 30))) + rng.choice(["", ".", " "])
    parts = []
    for _ in range(rng.randrange(1, 14)):
        parts.append(word(rng))
        parts.append(rng.choice(SPACES) * rng.randrange(1, 4) if rng.random() < 0.4 else rng.choice([" ", " ", ""]))
    return "".join(parts)


def corpus():
    """What the small tokenizers are trained on: words in order of nothing, the common ones often."""
    rng = random.Random(1)
    for _ in range(4000):
        script = rng.choice(["latin"] * 8 + list(WORDS))
        yield " ".join(rng.choice(WORDS[script]) for _ in range(rng.randrange(3, 20))) + rng.choice([".", "!", "?", ",", "\n"])
    for _ in range(200):
        yield rng.choice(CODE)


def hard_texts():
    yield ""
    yield " "
    yield "a"
    yield " Hello  world\n"
    yield from TOKENS
    yield "x<mask> y  <|end|>  z <|user|>  w"
    yield "naïve naïvete anaïve (naïve)"
    yield "The 1234567 is 3.14\r\n\r\n  end   "
    for index in range(1000, 1060):
        yield text(index)
