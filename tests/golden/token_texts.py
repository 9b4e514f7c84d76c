"""The texts of the tokenizer's golden file: deterministic, all generated or written here.

`texts(pieces)` yields byte strings, some of them not UTF-8. `pieces` are the vocabulary's
own pieces as bytes, so that every piece is met at least once. No function depends on the
Python version: pseudo-random numbers are SplitMix64, and "assigned" means assigned in
Unicode 3.2 (unicodedata.ucd_3_2_0) or listed below, nothing newer than Unicode 13, because
newer characters have another class in every regex library.
"""
import unicodedata

WORDS = """a about above after again all along also always am an and animal another answer any
are around as ask at away back be because been before began being below between big book both
boy built but by call came can carry change children city close cold come could country cut day
did different do does don't down draw each early earth eat end enough even ever every example
eye face family far father feet few find first follow food for form found four from gave get
girl give go good got great group grow had half hand hard has have he head hear help her here
high him his home horse hour house how hundred I idea if important in is it its it's just keep
kind knew know land large last later learn left let letter life light like line list little
live long look made make man many may me mean men might mile miss more morning mother mountain
move much music must my name near need never new next night no not now number of off often oil
old on once one only open or order other our out over own page paper part pattern people person
picture piece place plan plant play point problem product question quick rain ran read real red
remember rest right river road rock room round rule run said same saw say school science sea
second see seem sentence set several she ship short should show side since six slow small so
some song soon sound space spell stand star start state stay step stop story strong study such
sun sure table take talk teach tell ten than that the their them then there these they thing
think this those though thought thousand three through time to together told too took top town
travel tree true try turn two under unit until up upon us usual very voice wait walk want war
warm was watch water way we week well went were what wheel when where which while white who
whole why will wind with without wonder wood word work world would write year yes you young
your quantization tokenizer antidisestablishmentarianism OpenCL GPU HTTP README iPhone eBay""".split()

PHRASES = [
    "Guten Morgen, wie geht's dir?", "Über die Brücke läuft ein großer Bär.",
    "L'été dernier, nous étions à la plage.", "¿Dónde está la biblioteca?", "O coração não vê a razão.",
    "Il gatto è sul tavolo, perché?", "Zażółć gęślą jaźń", "Příliš žluťoučký kůň", "Árvíztűrő tükörfúrógép",
    "Çok güzel bir gün, değil mi?", "Hyvää huomenta, mitä kuuluu?", "Rødgrød med fløde på en ø.",
    "Þetta er íslenskur texti.", "Tiếng Việt có nhiều dấu thanh.", "Să mâncăm niște brânză.",
    "Καλημέρα, τι κάνεις;", "Доброе утро, как дела?", "Щастя вам, друзі!", "Сүт ақ, көмір қара.",
    "Բարև ձեզ, աշխարհ։", "გამარჯობა მსოფლიო", "שלום עולם, מה שלומך?", "مرحبا بالعالم، كيف حالك؟",
    "سلام دنیا، می‌خواهم", "سب انسان آزاد ہیں۔", "नमस्ते दुनिया, आप कैसे हैं?", "আমার সোনার বাংলা",
    "ਸਤ ਸ੍ਰੀ ਅਕਾਲ", "નમસ્તે દુનિયા", "வணக்கம் உலகம்", "నమస్కారం ప్రపంచం", "ನಮಸ್ಕಾರ ಜಗತ್ತು",
    "നമസ്കാരം ലോകമേ", "ආයුබෝවන් ලෝකය", "สวัสดีชาวโลก", "ສະບາຍດີຊາວໂລກ", "མཁའ་འགྲོ་མ།", "မင်္ဂလာပါ ကမ္ဘာလောက",
    "សួស្តី​ពិភពលោក", "ሰላም ዓለም፣ እንዴት ነህ?", "ᐊᐃᓐᖓᐃ ᓄᓇᕐᔪᐊᖅ", "ᏣᎳᎩ ᎦᏬᏂᎯᏍᏗ", "Сайн байна уу, дэлхий",
    "ᠮᠣᠩᠭᠣᠯ ᠪᠢᠴᠢᠭ", "こんにちは世界。カタカナとひらがな", "今日は2024年３月１日です", "你好，世界！今天天气很好。",
    "繁體中文字與標點「引號」", "안녕하세요 세계! 잘 지내요?", "ꦲꦤꦕꦫꦏ", "ߒߞߏ", "𐌲𐌿𐍄𐌹𐍃𐌺", "𞤀𞤣𞤤𞤢𞤥",
    "Ḟọọ ḃàř ẽ́", "ﬁne ﬂuﬀ Ⅷ ㎏ ℡ №5", "x² + y³ ≤ √∑∫ ∀∃∈∉ ⟨ψ|φ⟩", "−40 °C = −40 °F ± ½", "“quotes” ‘single’ «chevrons» — …",
    "\u202bright to left\u202c \u2066isolate\u2069", "soft\u00adhyphen zero\u200bwidth\u2060joiner\ufeffbom",
]

CODE = [
    "static int {a}_{b}(const {A} *{a}, size_t n)\n{{\n\tfor (size_t i = 0; i < n; ++i)\n\t\t{a}[i] += 0x{h};\n\treturn -1;\n}}\n",
    "def {a}_{b}({a}, *, {b}=None):\n    \"\"\"Return the {a}.\"\"\"\n    if {b} is not None and {a} != {n}:\n        return {{'{a}': [{n}, {m}.5e-{d}]}}\n",
    "{{\"{a}\": {n}, \"{b}\": [true, null, \"\\u00e9\\n\"], \"{A}\": {{}}}}",
    "<div class=\"{a}-{b}\" id='{A}'>\n  <a href=\"https://example.org/{a}?q={b}&n={n}#top\">{a}</a>\n</div><!-- {b} -->",
    "#!/bin/sh\nset -eu; for f in *.{a}; do\n  [ -f \"$f\" ] && mv -- \"$f\" \"${{f%.{a}}}.{b}\" || exit {d}\ndone >/dev/null 2>&1\n",
    "SELECT {a}, COUNT(*) AS {b} FROM {A} WHERE {a} >= {n} GROUP BY 1;--",
    "__kernel void {a}(__global const float4 *restrict x)\n{{\n    x[get_global_id(0)] = fma(x[0], {n}.0f, -{m}e{d}f); /* {b} */\n}}\n",
    "fn {a}<T: Into<u{n}>>({b}: &mut [T]) -> Result<(), Box<dyn Error>> {{\n    {b}.iter().map(|x| x.{a}()?).collect::<Vec<_>>()\n}}\n",
    "let {a}{A} = async ({b}) => {{ await {b}?.{a}() ?? `${{{b}}}:{n}`; }};\r\n",
    "\\begin{{{a}}}[{n}pt]\n  \\frac{{{b}}}{{{m}}} & $\\alpha_{{{d}}}^2$ \\\\\n\\end{{{a}}}\n",
    "| {a} | {b} |\n|---|---:|\n| `{n}` | **{m}** |\n\n- [ ] {a}\n- [x] _{b}_\n\n```c\n{A}();\n```\n",
    "diff --git a/{a}.c b/{a}.c\nindex {h}..{h} 100644\n@@ -{n},{d} +{m},{d} @@ {b}\n-\t{a};\n+\t{b};\n",
    "{a}:\n  - {b}: {n}\n    {A}: \"{m}\"   # {a}\n\n\n", "CC = gcc\n%.o: %.c {a}.h\n\t$(CC) -O{d} -c $< -o $@\n",
    "{A}::{a}->{b}[{n}] <<= ~{m} ^ 0b1011 % !{a} && {b} || -- ++ ... => ::= <=> ===",
]

SPACES = [" ", "  ", "   ", "    ", "\t", "\n", "\r\n", "\r", "\n\n", "\n\n\n", " \n", "\n ", "\t\t", " \t ",
          "\u00a0", "\u0085", "\u1680", "\u180e", "\u2000", "\u2003", "\u2009", "\u200a", "\u200b", "\u2028",
          "\u2029", "\u202f", "\u205f", "\u3000", "\v", "\f", "\ufeff", "\x1c", "\x1f", "        ", "\n    ",
          "\u00a0\u00a0", " \u00a0", "\u3000 ", "                                "]

CONTRACTIONS = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'T", "'RE", "'Ve", "'M", "'LL", "'D",
                "\u2019s", "\u2019ll", "'", "''", "'x", "'st", "'dd", "'ree", " 's", " 'll", "'\u017f", "'1", "' t"]

EMOJI = ["😀", "🎉", "🚀", "❤", "❤️", "👍", "👍🏽", "👋🏿", "👩‍👩‍👧‍👦", "👨‍💻", "🧑🏻‍🤝‍🧑🏿", "🏳️‍🌈", "🏴‍☠️", "🇩🇪", "🇺🇸🇯🇵", "1️⃣",
         "#️⃣", "*⃣", "🏴󠁧󠁢󠁳󠁣󠁴󠁿", "☺︎", "☺️", "🤷‍♀️", "🧬", "♟", "🀄", "🂡", "⌚", "▶️", "©", "®️", "™", "🅰", "🈂", "㊗",
         "🦠", "🥲", "\u200d", "\ufe0f", "🏽", "🇦", "⁉️", "〰️", "➰", "😶‍🌫️"]

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<repo_name>", "<file_sep>", "<jupyter_start>",
           "<empty_output>", "<|im_start|>user\nHi<|im_end|>\n", "<|IM_END|>", "<|im_end|", "<s>", "</s>", "[INST]"]

NEWER = [(0x0860, 0x086A), (0x08A0, 0x08B4), (0x0D7A, 0x0D7F), (0x1CD0, 0x1CFA), (0x1DC0, 0x1DF5),
         (0x1AB0, 0x1ABE), (0x2C60, 0x2C7F), (0x2D30, 0x2D67), (0xA640, 0xA69D), (0xA720, 0xA7B7),
         (0xA8E0, 0xA8FD), (0xA960, 0xA97C), (0xAB30, 0xAB5F), (0x10000, 0x1000B), (0x10080, 0x100FA),
         (0x10140, 0x1018C), (0x10380, 0x1039D), (0x10400, 0x1049D), (0x10530, 0x10563),
         (0x10900, 0x1091B), (0x10A00, 0x10A03), (0x11000, 0x1104D), (0x11066, 0x1106F),
         (0x12000, 0x12020), (0x12400, 0x12420), (0x13000, 0x13020), (0x16A40, 0x16A5E),
         (0x1D165, 0x1D169), (0x1D360, 0x1D371), (0x1D400, 0x1D454), (0x1D7CE, 0x1D7FF),
         (0x1E900, 0x1E94A), (0x1E950, 0x1E959), (0x1F100, 0x1F10A), (0x1F130, 0x1F149),
         (0x1F300, 0x1F5FF), (0x1F600, 0x1F64F), (0x1F680, 0x1F6D2), (0x1F900, 0x1F93A),
         (0x20000, 0x20010), (0x2F800, 0x2F810), (0xE0020, 0xE007F), (0xE0100, 0xE0110),
         (0xF0000, 0xF0004), (0xFFFFD, 0xFFFFF), (0x100000, 0x100004), (0x10FFFD, 0x10FFFF),
         (0xFDD0, 0xFDEF), (0xFFFC, 0xFFFF)]


class Random:
    """SplitMix64."""

    def __init__(self, seed):
        self.state = seed

    def below(self, n):
        self.state = (self.state + 0x9E3779B97F4A7C15) % 2**64
        z = self.state
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        return (z ^ (z >> 31)) % n

    def pick(self, items):
        return items[self.below(len(items))]

    def shuffled(self, items):
        items = list(items)
        for i in range(len(items) - 1, 0, -1):
            j = self.below(i + 1)
            items[i], items[j] = items[j], items[i]
        return items


def sweep_points():
    """Assigned characters in order; of the large uniform blocks only a sample."""
    sparse = [(0x3400, 0x4DBF, 61), (0x4E00, 0x9FFF, 17), (0xA000, 0xA48C, 5), (0xAC00, 0xD7A3, 23),
              (0xE000, 0xF8FF, 211), (0xF900, 0xFAFF, 7), (0xFB50, 0xFDFF, 3)]
    for point in range(0x20, 0xFFFE):
        step = next((s for low, high, s in sparse if low <= point <= high), 1)
        if 0xD800 <= point <= 0xDFFF or point % step:
            continue
        if unicodedata.ucd_3_2_0.category(chr(point)) != "Cn":
            yield point
    for low, high in NEWER:
        yield from range(low, high + 1)


def unicode_sweep(random):
    points = list(sweep_points())
    start = 0
    while start < len(points):
        size = 3 + random.below(9)
        characters = [chr(p) for p in points[start:start + size]]
        start += size
        style = random.below(6)
        if style == 0:
            yield " ".join(characters)
        elif style == 1:
            yield "a" + "a".join(characters) + "a"
        elif style == 2:
            yield " " + "".join(characters) + " 7"
        elif style == 3:
            yield "".join(random.pick(["", " ", "  ", "x", "1", "!"]) + c for c in characters)
        else:
            yield "".join(characters)


def capitalized(random, word):
    return random.pick([word, word, word, word.capitalize(), word.upper()])


def english(random):
    for _ in range(500):
        text = ""
        for _ in range(2 + random.below(9)):
            text += capitalized(random, random.pick(WORDS)) + random.pick(CONTRACTIONS + [""] * 60)
            text += random.pick([" "] * 12 + [", ", ". ", "; ", " - ", "-", "! ", "?! ", "... ", " (", ") ", "/", " \"", "\" ", ":\n", "_", "."])
        yield text


def contractions(random):
    for contraction in CONTRACTIONS:
        for _ in range(4):
            yield random.pick(WORDS) + contraction + random.pick(["", " ", "s", "1", "'", " it", "\n"])


def phrases(random):
    for phrase in PHRASES:
        yield phrase
        yield " " + phrase.upper() + "\n"
        yield unicodedata.normalize("NFD", phrase)
        yield phrase.replace(" ", random.pick(SPACES)) + random.pick(PHRASES)
        position = random.below(len(phrase))
        yield phrase[position:] + str(random.below(1000)) + phrase[:position]


def code(random):
    for _ in range(18):
        for template in CODE:
            first, second = random.pick(WORDS).lower(), random.pick(WORDS).lower()
            values = {"a": first, "b": second, "A": first.capitalize() + second.upper()[:random.below(4)],
                      "n": random.below(1000), "m": random.below(100000), "d": random.below(10),
                      "h": format(random.below(2**32), "x")}
            yield template.format(**values)


def whitespace(random):
    for space in SPACES:
        yield space
        yield "a" + space + "b"
        yield space + "a1" + space
        yield "." + space + "?" + space + "\u00e9"
        yield "1" + space + "2"
    for _ in range(700):
        text = ""
        for _ in range(1 + random.below(4)):
            text += random.pick(WORDS + ["", "", "12", "!", "...", "\u4e16", "\u00bd", "'s"])
            for _ in range(1 + random.below(3)):
                text += random.pick(SPACES)
        yield text + random.pick(["", "end", "9", "#"])
    for length in (15, 16, 17, 31, 33, 64, 127, 200):
        yield " " * length + "x"
        yield "x" + "\n" * length
        yield "\t" * length
        yield " \n" * (length // 2)


def digits(random):
    zeros = [0x30, 0x660, 0x6F0, 0x966, 0x9E6, 0xE50, 0x1040, 0x17E0, 0xFF10, 0x1D7CE]
    others = "\u00b2\u00b3\u00b9\u00bc\u00bd\u00be\u2070\u2075\u2080\u2153\u2163\u216b\u2460\u2473\u3007\u3021\u3220\u3280\u4e00\u4e8c\U00010107\U00012400\u0bf0\u0f33\u1369\u16ee\u2cfd"
    for _ in range(450):
        text = ""
        for _ in range(1 + random.below(5)):
            zero = random.pick([0x30] * 8 + zeros)
            text += "".join(chr(zero + random.below(10)) for _ in range(1 + random.below(6)))
            text += random.pick([" ", ".", ",", "-", "/", ":", "e+", "x", "px", "th ", "%", " $", "\u20ac", "", "  ", "0x",
                                 random.pick(others), random.pick(others), random.pick(WORDS)])
        yield text
    for character in others:
        yield "a" + character + "b " + character + " 1" + character
    for number in range(0, 130):
        yield str(number * number * 37)


def emoji(random):
    for item in EMOJI:
        yield item
        yield "a" + item + "1"
    for _ in range(400):
        yield "".join(random.pick(["", "", " ", random.pick(WORDS), "!", "  "]) + random.pick(EMOJI)
                      for _ in range(1 + random.below(5)))


def controls(random):
    for point in list(range(0x20)) + list(range(0x7F, 0xA1)):
        character = chr(point)
        yield character
        yield "th" + character + "e " + character + " in" + character + character + "g"
        # SmolLM's vocabulary lacks 21 single bytes: they vanish before the merges, "==" forms.
        yield "=" + character + "= ." + character + ".." + character + "/" + character + "/"
    for _ in range(150):
        yield "".join(random.pick(WORDS)[:3] + chr(random.below(0x20)) for _ in range(4))


def marks(random):
    combining = [chr(p) for p in list(range(0x300, 0x370)) + [0x483, 0x5B4, 0x64E, 0x93C, 0xE31, 0x20D7, 0x3099, 0xFE20]]
    for _ in range(250):
        yield "".join(random.pick("aeiouxAEnc \u0438\u05d0\u304b") + "".join(
            random.pick(combining) for _ in range(random.below(4))) for _ in range(2 + random.below(5)))
    for _ in range(60):
        yield "".join(chr(random.pick([0x1100 + random.below(19), 0x1161 + random.below(21), 0x11A8 + random.below(27)]))
                      for _ in range(6))


def repeats(random):
    for unit in ["a", "A", "the", " the", "0", "-", "=", "_", ".", "*", "#", "ab", "\u00e9", "\u4e2d", "\U0001f600", "'", "'s",
                 " a", "a ", "\\", "/", "<|", "\u0301", "\ufffd", "\x04", "\x04a", "!?", "lol", "ha"]:
        for count in (2, 3, 5, 8, 17, 40, 90 + random.below(40)):
            yield unit * count


def special(random):
    for item in SPECIAL:
        yield item
        yield "x" + item + random.pick(WORDS) + item
        yield " " + item + "\n" + random.pick(SPECIAL)


def invalid(random):
    """Byte strings that are not UTF-8."""
    broken = [b"\xc2", b"\xe2\x82", b"\xe2", b"\xf0\x9f\x98", b"\xf0\x9f", b"\xf0", b"\xc0\x80", b"\xc1\xbf",
              b"\xe0\x80\x80", b"\xe0\x9f\xbf", b"\xf0\x80\x80\x80", b"\xf0\x8f\xbf\xbf", b"\xed\xa0\x80",
              b"\xed\xbf\xbf", b"\xed\xa0\xbd\xed\xb8\x80", b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80",
              b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80", b"\xfe\xff", b"\xff\xfe", b"\x80", b"\xbf\xbf",
              b"\xe2\x28\xa1", b"\xe2\x82\x28", b"\xf0\x28\x8c\xbc", b"\xf0\x90\x28\xbc", b"\xc3\x28", b"\xf0\x9f\x98\x80\x80"]
    for byte in range(0x80, 0x100):
        yield b"a" + bytes([byte]) + b"b"
        yield bytes([byte])
    for item in broken:
        yield item
        yield b"it" + item + b"'s " + item
        yield item + "é中".encode() + item
        yield b"  " + item + b" 1" + item + b"2"
    for _ in range(300):
        yield b"".join(random.pick(broken + [bytes([random.below(256)])] * 20 +
                                   [random.pick(WORDS).encode(), b" ", "ü".encode(), "語".encode(), "🙂".encode()])
                       for _ in range(2 + random.below(8)))
    for phrase in PHRASES:
        data = phrase.encode()
        yield data[1 + random.below(len(data) - 1):]
        yield data[:1 + random.below(len(data) - 1)]


def vocabulary(random, pieces):
    """Every piece at least once, several to a text; some next to a blank or a digit."""
    order = random.shuffled(pieces)
    while order:
        size = 3 + random.below(14)
        yield b"".join(piece + random.pick([b""] * 9 + [b" ", b"1", b"'s", b"."]) for piece in order[:size])
        order = order[size:]


def texts(pieces):
    random = Random(20240607)
    yield b""
    for generate in (english, contractions, phrases, code, whitespace, digits, emoji, controls, marks, repeats,
                     special, unicode_sweep):
        for text in generate(random):
            yield text.encode("utf-8")
    yield from invalid(random)
    yield from vocabulary(random, pieces)
