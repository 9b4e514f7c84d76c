"""Writes the evaluation text of `clq perplexity`: tests/golden/perplexity.txt.

Public-domain text of several kinds: chapters of the King James Bible, the Declaration of
Independence, quotations from Twain's and Shakespeare's works, entries of Webster's word list
of 1934, and tables and code made here.

Requirements: apt install bible-kjv miscfiles fortunes
Usage: python make_perplexity_text.py [OUT]
"""
import gzip
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
CHAPTERS = ["Gen1:1-31", "Gen2:1-25", "Ruth1:1-22", "Psa23:1-6", "Psa90:1-17", "Eccl1:1-18", "Matt5:1-48"]
WORDS_STEP = 1237
CODE = '''/* Sums the squares of the first n numbers. */
static long sum_of_squares(int n)
{
    long sum = 0;
    for (int i = 1; i <= n; ++i)
        sum += (long)i * i;
    return sum;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s N\\n", argv[0]);
        return 2;
    }
    printf("%ld\\n", sum_of_squares(atoi(argv[1])));
    return 0;
}

def fibonacci(n):
    """Return the first n Fibonacci numbers as a list."""
    numbers = [0, 1]
    while len(numbers) < n:
        numbers.append(numbers[-1] + numbers[-2])
    return numbers[:n]


if __name__ == "__main__":
    for index, number in enumerate(fibonacci(20)):
        print(f"{index:3d} {number:6d}")
'''


def bible():
    for chapter in CHAPTERS:
        lines = subprocess.run(["bible", "-f", chapter], check=True, capture_output=True,
                               text=True).stdout.splitlines()
        yield "\n".join(re.sub(r"^\w+?(\d+:\d+) ", r"\1 ", line) for line in lines)


def declaration():
    with gzip.open("/usr/share/state/us-declaration.gz", "rt", encoding="ascii") as file:
        return file.read().strip()


def quotations():
    with open("/usr/share/games/fortunes/literature", encoding="utf-8") as file:
        fortunes = file.read().split("\n%\n")
    named_work = re.compile(r'--\s*(Mark Twain|W\w*\.? Shakespeare), "')
    return "\n\n".join(text.expandtabs() for text in fortunes
                       if text.isascii() and named_work.search(text))


def word_list():
    with open("/usr/share/dict/web2", encoding="ascii") as file:
        words = file.read().split()
    return "\n".join(words[WORDS_STEP::WORDS_STEP])


def tables():
    lines = ["| n | n squared | n cubed | 1/n |", "|---|---|---|---|"]
    lines += [f"| {n} | {n * n} | {n ** 3} | {1 / n:.4f} |" for n in range(1, 31)]
    return "\n".join(lines)


def main():
    out = sys.argv[1] if len(sys.argv) > 1 else os.path.join(HERE, "perplexity.txt")
    text = "\n\n".join([*bible(), declaration(), quotations(), word_list(), tables(), CODE])
    with open(out, "w", encoding="ascii", newline="\n") as file:
        file.write(text)
    print(f"{len(text)} bytes in {out}")


if __name__ == "__main__":
    main()
