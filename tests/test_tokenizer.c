/* Text to ids and back: byte-level BPE on small vocabularies, against brute
 * force and against pieces that the `tokenizers` package gave. The real
 * vocabulary's golden file is in test_tokenizer_golden.c. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "io/bpe.h"
#include "io/pretokenizer.h"
#include "io/tokenizer.h"
#include "io/utf8.h"
#include "tiny_tokenizer.h"

static uint32_t random_state = 12345;
static uint32_t random_below(uint32_t bound) {
  random_state = random_state * 1664525u + 1013904223u;
  return (random_state >> 8) % bound;
}

static clqi_tokenizer *tokenizer_of(const tiny_vocabulary *tiny) {
  clqi_tokenizer *tokenizer = NULL;
  cr_assert_eq(clqi_tokenizer_create(&tiny->desc, &tokenizer), CLQ_OK, "%s", clq_last_error());
  return tokenizer;
}

static clq_tokens encode(const clqi_tokenizer *tokenizer, clqi_text text, unsigned flags) {
  clq_tokens ids = {0};
  cr_assert_eq(clqi_tokenizer_encode(tokenizer, text.data, text.length, flags, &ids), CLQ_OK, "%s",
               clq_last_error());
  return ids;
}

static clqi_bytes decode(const clqi_tokenizer *tokenizer, const clq_tokens *ids) {
  clqi_bytes bytes = {0};
  cr_assert_eq(clqi_tokenizer_decode(tokenizer, ids->ids, ids->count, false, &bytes), CLQ_OK);
  return bytes;
}

static void expect_ids(clq_tokens ids, const int32_t *expected, size_t count, const char *what) {
  cr_assert_eq((size_t)ids.count, count, "%s: %lld ids, expected %zu", what, (long long)ids.count,
               count);
  for (size_t i = 0; i < count; ++i) {
    cr_assert_eq(ids.ids[i], expected[i], "%s: id %zu is %d, expected %d", what, i, (int)ids.ids[i],
                 (int)expected[i]);
  }
  clq_tokens_free(&ids);
}
#define EXPECT_IDS(ids, ...)                      \
  expect_ids(ids, (const int32_t[]){__VA_ARGS__}, \
             sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t), #__VA_ARGS__)
#define BYTE(c) (TINY_BYTES + (uint8_t)(c))

/* --- Pieces. ------------------------------------------------------------------ */

/* '|' stands between pieces; it is not part of the text. From the `tokenizers`
 * package 0.23.3: Sequence[Digits(individual_digits), ByteLevel], ByteLevel, and
 * Split with LLaMA 3's expression. */
static const struct split_case {
  const char *pre;
  const char *pieces;
} split_cases[] = {
    {"smollm", "Hello| world"},
    {"smollm", "it|'s| they|'|RE| we|'ll|''|d"},
    {"smollm", " | two|  | spaces|  "},
    {"smollm", "a| |1| |1|2|  |1|2|3| |1|2|3|4"},
    {"smollm", "\x0A\x0A|\x09|x|\x0D\x0A| y| \x0D\x0A"},
    {"smollm", "price|:| $|3|.|5|0|!!!|\x0A|\x0A|-| next"},
    {"smollm",
     "na\xC3\xAFve| caf\xC3\xA9| \xC3\xBC"
     "ber"},
    {"smollm",
     "\xE6\x97\xA5\xE6\x9C\xAC\xE8\xAA\x9E\xE3\x81\xAE\xE3\x83\x86\xE3\x82\xAD\xE3\x82\xB9\xE3\x83"
     "\x88|\xE3\x80\x81|\xE3\x81\xA8\xE5\x8F\xA5\xE8\xAA\xAD\xE7\x82\xB9|\xE3\x80\x82"},
    {"smollm", "a|\xC2\xA0|b|\xE3\x80\x80|c|\xE1\xA0\x8E|d|\xE2\x80\x8B|e"},
    {"smollm", "x|\xC2\xB2| |\xC2\xBD| |\xE2\x85\xA7| |\xD9\xA3|\xD9\xA4"},
    {"smollm", "'|\xC5\xBF| don|\xE2\x80\x99|t"},
    {"smollm", "\xF0\x9F\x98\x80\xF0\x9F\x91\x8D\xF0\x9F\x8F\xBD| ok"},
    {"smollm", "a|\xCC\x81| \xCC\x81"},
    {"smollm", "    |1"},
    {"smollm", " | ."},
    {"smollm", "\xE2\x80\xA8\xC2\x85 \x0B\x0C"},
    {"gpt-2", "Hello| world"},
    {"gpt-2", "it|'s| they|'|RE| we|'ll|''|d"},
    {"gpt-2", " | two|  | spaces|  "},
    {"gpt-2", "a| 1| 12| | 123| 1234"},
    {"gpt-2", "\x0A\x0A|\x09|x|\x0D\x0A| y| \x0D\x0A"},
    {"gpt-2", "price|:| $|3|.|50|!!!|\x0A|\x0A|-| next"},
    {"gpt-2",
     "na\xC3\xAFve| caf\xC3\xA9| \xC3\xBC"
     "ber"},
    {"gpt-2",
     "\xE6\x97\xA5\xE6\x9C\xAC\xE8\xAA\x9E\xE3\x81\xAE\xE3\x83\x86\xE3\x82\xAD\xE3\x82\xB9\xE3\x83"
     "\x88|\xE3\x80\x81|\xE3\x81\xA8\xE5\x8F\xA5\xE8\xAA\xAD\xE7\x82\xB9|\xE3\x80\x82"},
    {"gpt-2", "a|\xC2\xA0|b|\xE3\x80\x80|c|\xE1\xA0\x8E|d|\xE2\x80\x8B|e"},
    {"gpt-2", "x|\xC2\xB2| \xC2\xBD| \xE2\x85\xA7| \xD9\xA3\xD9\xA4"},
    {"gpt-2", "'|\xC5\xBF| don|\xE2\x80\x99|t"},
    {"gpt-2", "\xF0\x9F\x98\x80\xF0\x9F\x91\x8D\xF0\x9F\x8F\xBD| ok"},
    {"gpt-2", "a|\xCC\x81| \xCC\x81"},
    {"gpt-2", "   | 1"},
    {"gpt-2", " | ."},
    {"gpt-2", "\xE2\x80\xA8\xC2\x85 \x0B\x0C"},
    {"llama-bpe", "Hello| world"},
    {"llama-bpe", "it|'s| they|'RE| we|'ll|''|d"},
    {"llama-bpe", " | two|  | spaces|  "},
    {"llama-bpe", "a| |1| |12| | |123| |123|4"},
    {"llama-bpe", "\x0A\x0A|\x09x|\x0D\x0A| y| \x0D\x0A"},
    {"llama-bpe", "price|:| $|3|.|50|!!!\x0A\x0A|-| next"},
    {"llama-bpe",
     "na\xC3\xAFve| caf\xC3\xA9| \xC3\xBC"
     "ber"},
    {"llama-bpe",
     "\xE6\x97\xA5\xE6\x9C\xAC\xE8\xAA\x9E\xE3\x81\xAE\xE3\x83\x86\xE3\x82\xAD\xE3\x82\xB9\xE3\x83"
     "\x88|\xE3\x80\x81\xE3\x81\xA8\xE5\x8F\xA5\xE8\xAA\xAD\xE7\x82\xB9|\xE3\x80\x82"},
    {"llama-bpe",
     "a|\xC2\xA0"
     "b|\xE3\x80\x80"
     "c|\xE1\xA0\x8E"
     "d|\xE2\x80\x8B"
     "e"},
    {"llama-bpe", "x|\xC2\xB2| |\xC2\xBD| |\xE2\x85\xA7| |\xD9\xA3\xD9\xA4"},
    {"llama-bpe", "'\xC5\xBF| don|\xE2\x80\x99t"},
    {"llama-bpe", "\xF0\x9F\x98\x80\xF0\x9F\x91\x8D\xF0\x9F\x8F\xBD| ok"},
    {"llama-bpe", "a|\xCC\x81| \xCC\x81"},
    {"llama-bpe", "   | |1"},
    {"llama-bpe", " | ."},
    {"llama-bpe", "\xE2\x80\xA8\xC2\x85 \x0B\x0C"},
};

Test(tokenizer, text_is_split_as_the_reference_splits_it) {
  for (size_t i = 0; i < sizeof split_cases / sizeof split_cases[0]; ++i) {
    const char *pieces = split_cases[i].pieces;
    char text[256];
    size_t ends[64];
    size_t length = 0;
    size_t count = 0;
    for (const char *c = pieces; *c != '\0'; ++c) {
      if (*c == '|') {
        ends[count++] = length;
      } else {
        text[length++] = *c;
      }
    }
    ends[count++] = length;
    clqi_pretokenizer *pre = NULL;
    clqi_pretokenizer_scan *scan = NULL;
    cr_assert_eq(clqi_pretokenizer_create(clqi_text_of(split_cases[i].pre), &pre), CLQ_OK, "%s",
                 clq_last_error());
    cr_assert_eq(clqi_pretokenizer_scan_create(pre, &scan), CLQ_OK);
    size_t at = 0;
    for (size_t piece = 0; piece < count; ++piece) {
      cr_assert_eq(clqi_pretokenizer_next(scan, text, length, at, &at), CLQ_OK);
      cr_assert_eq(at, ends[piece], "case %zu (%s, %s): piece %zu ends at %zu, expected %zu", i,
                   split_cases[i].pre, pieces, piece, at, ends[piece]);
    }
    clqi_pretokenizer_scan_destroy(scan);
    clqi_pretokenizer_destroy(pre);
  }
}

/* --- Merging. ----------------------------------------------------------------- */

/* The definition: find the lowest rank, of equal ones the leftmost, replace, repeat. */
static size_t merge_slowly(int32_t *ids, size_t count, int32_t (*rules)[3], size_t rules_n) {
  for (;;) {
    size_t best = SIZE_MAX;
    size_t at = 0;
    for (size_t i = 0; i + 1 < count; ++i) {
      for (size_t rank = 0; rank < rules_n && rank < best; ++rank) {
        if (rules[rank][0] == ids[i] && rules[rank][1] == ids[i + 1]) {
          best = rank;
          at = i;
        }
      }
    }
    if (best == SIZE_MAX) {
      return count;
    }
    ids[at] = rules[best][2];
    memmove(ids + at + 1, ids + at + 2, (count - at - 2) * sizeof *ids);
    --count;
  }
}

/* Random rules, in an order that no training would give: a merge may make a
 * pair of lower rank than its own. */
Test(tokenizer, merges_equal_brute_force_at_every_length) {
  for (int round = 0; round < 60; ++round) {
    enum { RULES = 40, LENGTH = 130 };
    int32_t rules[RULES][3];
    size_t rules_n = 0;
    clqi_bpe_rules table;
    cr_assert_eq(clqi_bpe_rules_create(RULES, 0, &table), CLQ_OK);
    const uint32_t alphabet = 1 + random_below(4);
    for (int i = 0; i < RULES; ++i) {
      const uint32_t known = alphabet + (uint32_t)rules_n;
      const int32_t rule[3] = {(int32_t)random_below(known), (int32_t)random_below(known),
                               (int32_t)(alphabet + random_below((uint32_t)RULES))};
      if (clqi_bpe_rules_add(&table, rule[0], rule[1], (uint32_t)rules_n, rule[2])) {
        memcpy(rules[rules_n++], rule, sizeof rule);
      }
    }
    clqi_bpe_scratch scratch = {0};
    for (size_t length = 0; length <= LENGTH; ++length) {
      int32_t expected[LENGTH];
      int32_t ids[LENGTH];
      for (size_t i = 0; i < length; ++i) {
        expected[i] = ids[i] = (int32_t)random_below(alphabet);
      }
      const size_t expected_n = merge_slowly(expected, length, rules, rules_n);
      size_t merged = 0;
      cr_assert_eq(clqi_bpe_merge(&table, &scratch, ids, length, &merged), CLQ_OK);
      cr_assert_eq(merged, expected_n, "round %d, length %zu", round, length);
      cr_assert_arr_eq(ids, expected, merged * sizeof *ids);
    }
    clqi_bpe_scratch_free(&scratch);
    clqi_bpe_rules_destroy(&table);
  }
}

Test(tokenizer, merges_stay_inside_a_piece_and_go_by_rank) {
  tiny_vocabulary *tiny = tiny_create(NULL);
  const int32_t bc = tiny_merge(tiny, BYTE('b'), BYTE('c'));
  const int32_t ab = tiny_merge(tiny, BYTE('a'), BYTE('b'));
  const int32_t abc = tiny_merge(tiny, BYTE('a'), bc);
  (void)tiny_merge(tiny, BYTE('1'), BYTE('2'));
  clqi_tokenizer *t = tokenizer_of(tiny);
  EXPECT_IDS(encode(t, clqi_text_of("abc"), 0), abc);
  EXPECT_IDS(encode(t, clqi_text_of("ab bc"), 0), ab, BYTE(' '), bc);
  EXPECT_IDS(encode(t, clqi_text_of("12"), 0), BYTE('1'), BYTE('2')); /* a piece each */
  clqi_tokenizer_destroy(t);
  tiny_destroy(tiny);
}

/* LLaMA 3 takes a piece that is a token although no merge leads to it. */
Test(tokenizer, whole_pieces_where_the_model_takes_them) {
  const char *const pre[2] = {"llama-bpe", "gpt-2"};
  for (int i = 0; i < 2; ++i) {
    tiny_vocabulary *tiny = tiny_create(pre[i]);
    const int32_t xyz = tiny_merge(tiny, tiny_merge(tiny, BYTE('x'), BYTE('y')), BYTE('z'));
    tiny->desc.merge_count = 0;
    clqi_tokenizer *t = tokenizer_of(tiny);
    if (i == 0) {
      EXPECT_IDS(encode(t, clqi_text_of("xyz"), 0), xyz);
    } else {
      EXPECT_IDS(encode(t, clqi_text_of("xyz"), 0), BYTE('x'), BYTE('y'), BYTE('z'));
    }
    clqi_tokenizer_destroy(t);
    tiny_destroy(tiny);
  }
}

/* --- Bytes. ------------------------------------------------------------------- */

static size_t random_text(char *out, size_t points) {
  static const uint32_t bounds[6][2] = {{0, 0x80},       {0x20, 0x60},     {0x80, 0x780},
                                        {0x800, 0xCF00}, {0xE000, 0x1F00}, {0x10000, 0x100000}};
  size_t length = 0;
  for (size_t i = 0; i < points; ++i) {
    const uint32_t kind = random_below(6);
    const uint32_t point = bounds[kind][0] + random_below(bounds[kind][1]);
    if (point < 0x80) {
      out[length++] = (char)point;
    } else if (point < 0x800) {
      out[length++] = (char)(0xC0 | (point >> 6));
      out[length++] = (char)(0x80 | (point & 0x3F));
    } else if (point < 0x10000) {
      out[length++] = (char)(0xE0 | (point >> 12));
      out[length++] = (char)(0x80 | ((point >> 6) & 0x3F));
      out[length++] = (char)(0x80 | (point & 0x3F));
    } else {
      out[length++] = (char)(0xF0 | (point >> 18));
      out[length++] = (char)(0x80 | ((point >> 12) & 0x3F));
      out[length++] = (char)(0x80 | ((point >> 6) & 0x3F));
      out[length++] = (char)(0x80 | (point & 0x3F));
    }
  }
  return length;
}

static void expect_round_trip(const clqi_tokenizer *t, clqi_text text) {
  clq_tokens ids = encode(t, text, 0);
  clqi_bytes back = decode(t, &ids);
  cr_assert_eq(back.length, text.length, "%zu bytes came back of %zu", back.length, text.length);
  cr_assert(text.length == 0 || memcmp(back.data, text.data, text.length) == 0);
  clqi_bytes_free(&back);
  clq_tokens_free(&ids);
}

Test(tokenizer, valid_text_comes_back_whole) {
  static const char *const pres[] = {"smollm", "gpt-2", "llama-bpe"};
  for (size_t p = 0; p < sizeof pres / sizeof pres[0]; ++p) {
    tiny_vocabulary *tiny = tiny_create(pres[p]);
    for (int i = 0; i < 256; ++i) {
      (void)tiny_merge(tiny, BYTE(i), BYTE(7 * i + 3));
    }
    clqi_tokenizer *t = tokenizer_of(tiny);
    expect_round_trip(t, (clqi_text){NULL, 0});
    expect_round_trip(t, (clqi_text){"\0a\0", 3});
    for (int round = 0; round < 2000; ++round) {
      char text[400];
      expect_round_trip(t, (clqi_text){text, random_text(text, random_below(100))});
    }
    clqi_tokenizer_destroy(t);
    tiny_destroy(tiny);
  }
}

Test(tokenizer, each_bad_byte_becomes_one_replacement) {
#define R "\xEF\xBF\xBD"
  static const struct {
    clqi_text in;
    const char *out;
  } cases[] = {
      {{"a\x80z", 3}, "a" R "z"},
      {{"\xFF\xFE", 2}, R R},
      {{"\xC0\x80", 2}, R R},                              /* overlong */
      {{"\xE0\x9F\xBF", 3}, R R R},                        /* overlong */
      {{"\xED\xA0\x80", 3}, R R R},                        /* surrogate */
      {{"\xF4\x90\x80\x80", 4}, R R R R},                  /* above U+10FFFF */
      {{"\xF0\x9F\x98", 3}, R R R},                        /* cut at the end */
      {{"\xE2\x82x\xE2\x82\xAC", 6}, R R "x\xE2\x82\xAC"}, /* cut in the middle */
      {{"\xE2\xE2\x82\xAC", 4}, R "\xE2\x82\xAC"},
      {{"abcdefgh\xF5ijklmnop", 17}, "abcdefgh" R "ijklmnop"},
  };
  tiny_vocabulary *tiny = tiny_create(NULL);
  clqi_tokenizer *t = tokenizer_of(tiny);
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
    clq_tokens ids = encode(t, cases[i].in, 0);
    clq_tokens expected = encode(t, clqi_text_of(cases[i].out), 0);
    clqi_bytes back = decode(t, &ids);
    cr_assert(clqi_text_equal((clqi_text){back.data, back.length}, clqi_text_of(cases[i].out)),
              "case %zu", i);
    expect_ids(ids, expected.ids, (size_t)expected.count, cases[i].out);
    clq_tokens_free(&expected);
    clqi_bytes_free(&back);
  }
  clqi_tokenizer_destroy(t);
  tiny_destroy(tiny);
#undef R
}

Test(tokenizer, a_byte_without_a_token_is_dropped_before_merging) {
  tiny_vocabulary *tiny = tiny_create(NULL);
  const int32_t equals = tiny_merge(tiny, BYTE('='), BYTE('='));
  tiny->tokens[BYTE(4)] = clqi_text_of("aaaaaaaa");
  clqi_tokenizer *t = tokenizer_of(tiny);
  clq_tokens ids = encode(t, (clqi_text){"=\x04=", 3}, 0);
  EXPECT_IDS(ids, equals);
  clqi_tokenizer_destroy(t);
  tiny_destroy(tiny);
}

/* --- Special tokens. ---------------------------------------------------------- */

Test(tokenizer, special_tokens_are_text_unless_asked_for) {
  tiny_vocabulary *tiny = tiny_create(NULL);
  tiny->desc.add_bos = true;
  clqi_tokenizer *t = tokenizer_of(tiny);
  const clqi_text text = clqi_text_of("a<|im_end|>b<user><|im_start|><|im_start|>+<|im_start|");
  clq_tokens plain = encode(t, text, 0);
  cr_assert_eq((size_t)plain.count, text.length);
  for (int64_t i = 0; i < plain.count; ++i) {
    cr_assert_eq(plain.ids[i], BYTE(text.data[i]));
  }
  clq_tokens_free(&plain);
  EXPECT_IDS(encode(t, text, CLQ_ENCODE_SPECIAL), BYTE('a'), TINY_END, BYTE('b'), TINY_USER,
             TINY_START, TINY_LONGER, BYTE('<'), BYTE('|'), BYTE('i'), BYTE('m'), BYTE('_'),
             BYTE('s'), BYTE('t'), BYTE('a'), BYTE('r'), BYTE('t'), BYTE('|'));
  EXPECT_IDS(encode(t, clqi_text_of("<|im_end|>"), CLQ_ENCODE_SPECIAL | CLQ_ENCODE_BOS), TINY_START,
             TINY_END);
  EXPECT_IDS(encode(t, clqi_text_of(""), CLQ_ENCODE_BOS), TINY_START);

  /* Parts: only the first and last may hold special tokens, and none may reach
   * over a border. */
  const clqi_text_part parts[3] = {{10, true}, {10, false}, {10, true}};
  clq_tokens ids = {0};
  cr_assert_eq(
      clqi_tokenizer_encode_parts(t, "<|im_end|><|im_end|><|im_end|>", 30, parts, 3, 0, &ids),
      CLQ_OK);
  cr_assert_eq(ids.count, 12);
  cr_assert(ids.ids[0] == TINY_END && ids.ids[11] == TINY_END && ids.ids[1] == BYTE('<'));
  ids.count = 0;
  const clqi_text_part cut[2] = {{4, true}, {6, true}};
  cr_assert_eq(clqi_tokenizer_encode_parts(t, "<|im_end|>", 10, cut, 2, 0, &ids), CLQ_OK);
  cr_assert_eq(ids.count, 10);
  cr_assert_eq(clqi_tokenizer_encode_parts(t, "<|im_end|>", 9, cut, 2, 0, &ids),
               CLQ_INVALID_ARGUMENT);
  clq_tokens_free(&ids);

  cr_assert_eq(clqi_tokenizer_special(t, clqi_text_of("<|im_start|>+")), TINY_LONGER);
  cr_assert_eq(clqi_tokenizer_special(t, clqi_text_of("<|im_start|>")), TINY_START);
  cr_assert_eq(clqi_tokenizer_special(t, clqi_text_of("<|im_start|>?")), -1);
  cr_assert_eq(clqi_tokenizer_special(t, clqi_text_of("a")), -1);
  cr_assert(clqi_tokenizer_is_control(t, TINY_END) && !clqi_tokenizer_is_control(t, TINY_USER));
  cr_assert(clqi_tokenizer_is_end(t, TINY_END) && !clqi_tokenizer_is_end(t, TINY_START));
  cr_assert_not(clqi_tokenizer_is_end(t, -1) || clqi_tokenizer_is_control(t, 1 << 20));
  clqi_tokenizer_destroy(t);
  tiny_destroy(tiny);
}

/* --- Decoding. ---------------------------------------------------------------- */

/* Random tokens make every kind of broken sequence; the stream must give the
 * repaired whole, never a part of a character, and nothing late. */
Test(tokenizer, a_stream_of_tokens_is_the_repaired_whole) {
  tiny_vocabulary *tiny = tiny_create(NULL);
  const int32_t euro_start = tiny_merge(tiny, BYTE(0xE2), BYTE(0x82));
  const int32_t smile = tiny_merge(tiny, BYTE(0x9F), BYTE(0x98));
  const int32_t likely[] = {euro_start, smile,      BYTE(0xF0), BYTE(0xAC), BYTE(0x80), BYTE('a'),
                            BYTE(0xE2), BYTE(0xC3), TINY_END,   BYTE(0xED), BYTE(0xF4)};
  clqi_tokenizer *t = tokenizer_of(tiny);
  for (int round = 0; round < 20000; ++round) {
    clq_tokens ids = {0};
    const uint32_t count = random_below(12);
    for (uint32_t i = 0; i < count; ++i) {
      cr_assert_eq(clqi_tokens_append(&ids, likely[random_below(11)]), CLQ_OK);
    }
    const bool skip = round % 2 == 0;
    clqi_bytes raw = {0};
    clqi_bytes expected = {0};
    cr_assert_eq(clqi_tokenizer_decode(t, ids.ids, ids.count, skip, &raw), CLQ_OK);
    cr_assert_eq(clqi_utf8_repair(raw.data, raw.length, &expected), CLQ_OK);
    clq_text_stream decoder = {0};
    clqi_bytes streamed = {0};
    for (int64_t i = 0; i < ids.count; ++i) {
      cr_assert_eq(clqi_text_stream_push(&decoder, t, ids.ids[i], skip, &streamed), CLQ_OK);
      cr_assert_eq(clqi_utf8_valid_length(streamed.data, streamed.length), streamed.length);
      cr_assert(decoder.held_count == 0 || clqi_utf8_is_partial(decoder.held, decoder.held_count));
    }
    cr_assert_eq(clqi_text_stream_end(&decoder, &streamed), CLQ_OK);
    cr_assert(clqi_text_equal((clqi_text){streamed.data, streamed.length},
                              (clqi_text){expected.data, expected.length}),
              "round %d", round);
    clqi_bytes_free(&streamed);
    clqi_bytes_free(&expected);
    clqi_bytes_free(&raw);
    clq_tokens_free(&ids);
  }
  clqi_bytes none = {0};
  clq_text_stream decoder = {0};
  cr_assert_eq(clqi_tokenizer_decode(t, (int32_t[]){BYTE('a'), 1 << 20}, 2, false, &none),
               CLQ_INVALID_ARGUMENT);
  cr_assert_eq(none.length, 0);
  cr_assert_eq(clqi_text_stream_push(&decoder, t, -1, false, &none), CLQ_INVALID_ARGUMENT);
  clqi_bytes_free(&none);
  clqi_tokenizer_destroy(t);
  tiny_destroy(tiny);
}

/* --- Length. ------------------------------------------------------------------ */

/* One piece of a megabyte, for every kind of run: quadratic work would take
 * hours, and a limit of PCRE2 would show as an error. */
Test(tokenizer, a_run_of_a_megabyte_is_no_trouble) {
  enum { LENGTH = 1 << 20 };
  static const char *const pres[] = {"smollm", "gpt-2", "llama-bpe"};
  static const char *const units[] = {"a",        " ",    "\n", "'", "<", "1", "\xE3\x80\x80",
                                      "\xC3\xA9", "\xFF", " \n"};
  char *text = malloc(LENGTH + 8);
  cr_assert_not_null(text);
  const clock_t start = clock();
  for (size_t p = 0; p < sizeof pres / sizeof pres[0]; ++p) {
    tiny_vocabulary *tiny = tiny_create(pres[p]);
    int32_t run_a = BYTE('a');
    int32_t run_space = BYTE(' ');
    for (int i = 0; i < 5; ++i) {
      run_a = tiny_merge(tiny, run_a, run_a);
      run_space = tiny_merge(tiny, run_space, run_space);
    }
    clqi_tokenizer *t = tokenizer_of(tiny);
    for (size_t u = 0; u < sizeof units / sizeof units[0]; ++u) {
      const size_t unit = strlen(units[u]);
      size_t length = 0;
      while (length < LENGTH) {
        memcpy(text + length, units[u], unit);
        length += unit;
      }
      text[length++] = 'x';
      clq_tokens ids = encode(t, (clqi_text){text, length}, CLQ_ENCODE_SPECIAL);
      clqi_bytes back = decode(t, &ids);
      cr_assert_eq(back.length, units[u][0] == '\xFF' ? 3 * (length - 1) + 1 : length);
      if (u == 0) {
        cr_assert_eq(ids.count, LENGTH / 32 + 1);
      }
      clqi_bytes_free(&back);
      clq_tokens_free(&ids);
    }
    clqi_tokenizer_destroy(t);
    tiny_destroy(tiny);
  }
  free(text);
  cr_assert_lt((double)(clock() - start) / CLOCKS_PER_SEC, 120);
}
