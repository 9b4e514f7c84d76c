"""200 varied texts for an encoder of sentences: languages, lengths from nothing to more than the
model takes, punctuation, numbers, code, markup, nonsense. Passages come from perplexity.txt here."""
import os

HERE = os.path.dirname(os.path.abspath(__file__))

SENTENCES = """
A man is eating food.
A man is eating a piece of bread.
The girl is carrying a baby.
A man is riding a horse.
A woman is playing violin.
Two men pushed carts through the woods.
A monkey is playing drums.
A cheetah is running behind its prey.
Someone in a gorilla costume is playing a set of drums.
The quick brown fox jumps over the lazy dog.
How do I reset my password?
Where can I change my account settings?
What is the capital of France?
Paris is the capital of France.
The stock market fell sharply on Monday after the central bank raised interest rates.
Shares plunged when borrowing costs went up.
It's raining cats and dogs, isn't it?
I can't believe they won't let us in!
This movie was terrible; I want my two hours back.
This movie was not terrible at all.
I loved every minute of this film.
Mix the flour, sugar and butter, then bake at 180 degrees for 25 minutes.
Photosynthesis converts light energy into chemical energy stored in glucose.
The mitochondria is the powerhouse of the cell.
Water boils at 100 °C at sea level, but at about 93 °C in Denver.
E = mc^2 relates mass and energy.
The derivative of sin(x) is cos(x), and the integral of 1/x is ln|x| + C.
Let G be a finite group and H a subgroup; then |H| divides |G|.
We propose a new simple network architecture based solely on attention mechanisms.
Quantizing the activations of a transformer to eight bits costs accuracy in a few outlier channels.
Please find attached the invoice no. 2024-0815 over 1,299.00 EUR, due on 31/12/2024.
Call me at +1 (555) 010-9999 or write to jane.doe@example.com.
See https://example.org/docs?page=3&lang=en#install for details.
Version 2.0.1-rc3 fixes CVE-2021-44228 and two regressions from 1.9.
The patient presented with acute abdominal pain, nausea and a temperature of 38.7.
The defendant hereby waives any right to appeal, except as provided in section 4(b)(ii).
To be, or not to be, that is the question.
Ask not what your country can do for you.
She sells seashells by the seashore.
Buffalo buffalo Buffalo buffalo buffalo buffalo Buffalo buffalo.
The old man the boat.
Colorless green ideas sleep furiously.
Time flies like an arrow; fruit flies like a banana.
ALL CAPITALS ARE SHOUTING, OR SO THEY SAY.
all lower case no punctuation at all just words
MiXeD cAsE iS hArD tO rEaD
antidisestablishmentarianism
Pneumonoultramicroscopicsilicovolcanoconiosis is a lung disease.
state-of-the-art, long-term, well-known, e-mail, co-operate
"Quoted," he said, 'and nested "quotes" too'.
Wait... what?! No way!!! Really??
(parentheses) [brackets] {braces} <angles>
one two three four five six seven eight nine ten
1 2 3 4 5 6 7 8 9 10
3.14159265358979323846
0xDEADBEEF 0b101010 1e-12 -273.15
1,000,000 + 2,000,000 = 3,000,000
12:30 PM on 2026-11-22
Der schnelle braune Fuchs springt über den faulen Hund.
Die Straße ist naß, weil es gestern geregnet hat.
Ein Mann isst ein Stück Brot.
Un homme mange un morceau de pain.
Le cœur a ses raisons que la raison ne connaît point.
Où est la bibliothèque, s'il vous plaît ?
El zorro marrón salta sobre el perro perezoso.
¿Dónde está la estación de tren más cercana?
Mañana por la mañana comeremos piñas y jalapeños.
A raposa marrom rápida pula sobre o cão preguiçoso.
Amanhã não haverá aula por causa da greve.
Un uomo sta mangiando un pezzo di pane.
Perché non andiamo al mare domani?
De snelle bruine vos springt over de luie hond.
En man äter en bit bröd.
Rødgrød med fløde er en dansk dessert.
Mies syö palan leipää.
Pchnąć w tę łódź jeża lub ośm skrzyń fig.
Příliš žluťoučký kůň úpěl ďábelské ódy.
Egy férfi kenyeret eszik.
Bir adam bir parça ekmek yiyor.
Người đàn ông đang ăn một miếng bánh mì.
Seorang pria sedang makan roti.
Mtu anakula mkate.
Съешь же ещё этих мягких французских булок да выпей чаю.
Чоловік їсть шматок хліба.
Ένας άνδρας τρώει ένα κομμάτι ψωμί.
גבר אוכל פיסת לחם.
رجل يأكل قطعة من الخبز.
مردی در حال خوردن نان است.
एक आदमी रोटी का टुकड़ा खा रहा है।
একজন মানুষ রুটি খাচ্ছে।
ஒரு மனிதன் ரொட்டி சாப்பிடுகிறான்.
ผู้ชายกำลังกินขนมปัง
一个男人正在吃一块面包。
男の人がパンを食べています。
한 남자가 빵 한 조각을 먹고 있다.
კაცი პურს ჭამს.
Մարդը հաց է ուտում:
Hello 世界, привет мир, γειά σου κόσμε!
Crème brûlée, jalapeño, smörgåsbord and naïveté.
I ❤️ pizza 🍕 and beer 🍺!!!
👍👎🤷‍♀️
x = [i ** 2 for i in range(10) if i % 2 == 0]
def add(a, b): return a + b
for (int i = 0; i < n; ++i) { sum += a[i] * b[i]; }
SELECT name, COUNT(*) FROM users WHERE age >= 18 GROUP BY name ORDER BY 2 DESC;
#include <stdio.h> int main(void) { printf("hello, world\\n"); return 0; }
git commit -m "Fix off-by-one error" && git push origin main
<html><body><p class="a">Hello</p></body></html>
{"name": "Alice", "age": 30, "tags": ["a", "b"], "active": true}
\\frac{1}{\\sqrt{2\\pi}} e^{-x^2/2}
[CLS] this is not a special token [SEP] nor is [MASK]
/usr/local/bin/python3 -c 'import sys; print(sys.version)'
C:\\Windows\\System32\\drivers\\etc\\hosts
192.168.0.1 ::1 fe80::1%eth0
H2O, CO2, C6H12O6 and NaCl
ACGTACGTTAGC
asdfghjkl qwertyuiop zxcvbnm
zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz
aaaaaaaa bbbbbbbb cccccccc dddddddd
the the the the the the the the
a
I
?
.
$
%
é
中
42
no
yes
""".strip("\n").split("\n")

ODD = ["", " ", "\t\n", "a" * 101, "word " * 40, "very " * 200 + "long", "0 " * 300, "!?" * 150, "\u200b",
       "tab\tseparated\tvalues\nand a second line\n", "  leading and trailing blanks  ", "e\u0301 composed \u00e9",
       "\ufeffbyte order mark", "soft\u00adhyphen", "\u4e2d\u6587" * 70, "naïve " * 30]


def passages(count):
    """Of perplexity.txt, from one word to more than a model of 256 tokens takes."""
    with open(os.path.join(HERE, "perplexity.txt"), encoding="utf-8") as file:
        words = file.read().split()
    lengths = [1 + 300 * i * i // (count - 1) ** 2 for i in range(count)]
    starts = [(i * 613) % (len(words) - 400) for i in range(count)]
    return [" ".join(words[start : start + length]) for start, length in zip(starts, lengths)]


def texts():
    own = SENTENCES + ODD
    return own + passages(200 - len(own))
