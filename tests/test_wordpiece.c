/* WordPiece against what the `tokenizers` package gives (golden/wordpiece.bin): three small
 * tokenizers, which lie in that file, and the one beside the model that CLQ_TEST_MODEL_ENCODER
 * names. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "io/bert_text.h"
#include "io/folder_tokenizer.h"
#include "io/utf8.h"

/* --- The golden file. --------------------------------------------------------- */

typedef struct reader {
  unsigned char *data;
  size_t size;
  size_t at;
} reader;

static const unsigned char *take(reader *r, size_t bytes) {
  cr_assert_leq(bytes, r->size - r->at, "wordpiece.bin ends early");
  r->at += bytes;
  return r->data + r->at - bytes;
}

static uint32_t take_u32(reader *r) {
  const unsigned char *b = take(r, 4);
  return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static clqi_text take_text(reader *r) {
  const size_t length = take_u32(r);
  return (clqi_text){(const char *)take(r, length), length};
}

enum { MOST_TEXTS = 2000 };

typedef struct golden {
  reader r;
  uint32_t text_count;
  uint32_t tokenizer_count;
  clqi_text texts[MOST_TEXTS];
} golden;

/* At the first tokenizer. */
static golden *open_golden(void) {
  golden *g = calloc(1, sizeof *g);
  FILE *file = fopen(CLQ_TEST_DIR "/golden/wordpiece.bin", "rb");
  cr_assert(g != NULL && file != NULL);
  cr_assert_eq(fseek(file, 0, SEEK_END), 0);
  const long size = ftell(file);
  cr_assert_gt(size, 0);
  rewind(file);
  g->r.size = (size_t)size;
  g->r.data = malloc(g->r.size);
  cr_assert_not_null(g->r.data);
  cr_assert_eq(fread(g->r.data, 1, g->r.size, file), g->r.size);
  (void)fclose(file);
  cr_assert_eq(memcmp(take(&g->r, 4), "CLQP", 4), 0);
  cr_assert_eq(take_u32(&g->r), 1, "version of wordpiece.bin");
  g->text_count = take_u32(&g->r);
  g->tokenizer_count = take_u32(&g->r);
  cr_assert(g->text_count >= 200 && g->text_count <= MOST_TEXTS && g->tokenizer_count == 4);
  for (uint32_t i = 0; i < g->text_count; ++i) {
    g->texts[i] = take_text(&g->r);
  }
  return g;
}

static void close_golden(golden *g) {
  free(g->r.data);
  free(g);
}

static clqi_tokenizer *parse(clqi_text json) {
  clqi_tokenizer *t = NULL;
  char *copy = malloc(json.length);
  cr_assert_not_null(copy);
  memcpy(copy, json.data, json.length);
  cr_assert_eq(clqi_tokenizer_json_parse("golden.json", copy, json.length, &t), CLQ_OK, "%s",
               clq_last_error());
  free(copy); /* nothing of it is needed afterwards */
  return t;
}

/* The folder of the encoder, or NULL. */
static const char *encoder_folder(void) {
  static char folder[4096];
  const char *path = getenv("CLQ_TEST_MODEL_ENCODER");
  const char *slash = path == NULL ? NULL : strrchr(path, '/');
  if (slash == NULL) {
    return NULL;
  }
  (void)snprintf(folder, sizeof folder, "%.*s", (int)(slash - path), path);
  return folder;
}

static bool has_file(const char *folder, const char *name) {
  char path[4200];
  (void)snprintf(path, sizeof path, "%s/%s", folder, name);
  return access(path, R_OK) == 0;
}

/* *t is NULL for the encoder's, if that is not there. */
static void next_tokenizer(golden *g, clqi_tokenizer **t, char name[17]) {
  memcpy(name, take(&g->r, 16), 16);
  name[16] = '\0';
  const clqi_text json = take_text(&g->r);
  const char *folder = encoder_folder();
  *t = NULL;
  if (json.length > 0) {
    *t = parse(json);
  } else if (folder != NULL && has_file(folder, "tokenizer.json")) {
    cr_assert_eq(clqi_folder_tokenizer(folder, t), CLQ_OK, "%s", clq_last_error());
  }
}

/* --- Ids. --------------------------------------------------------------------- */

static void expect_ids(reader *r, const clq_tokens *ids, clqi_text text, const char *what) {
  const uint32_t count = take_u32(r);
  const unsigned char *expected = take(r, 2 * (size_t)count);
  if (ids == NULL) {
    return;
  }
  for (size_t k = 0; k < count && k < (size_t)ids->count; ++k) {
    const int32_t id = expected[2 * k] | expected[2 * k + 1] << 8;
    cr_assert_eq(ids->ids[k], id, "%s, \"%.*s\": id %zu is %d, expected %d", what, (int)text.length,
                 text.data, k, (int)ids->ids[k], (int)id);
  }
  cr_assert_eq(ids->count, count, "%s, \"%.*s\": %lld ids, expected %u", what, (int)text.length,
               text.data, (long long)ids->count, (unsigned)count);
}

static void expect_decoded(reader *r, const clqi_tokenizer *t, const clq_tokens *ids, bool skip) {
  const clqi_text expected = take_text(r);
  clqi_bytes text = {0};
  cr_assert_eq(clqi_tokenizer_decode(t, ids->ids, ids->count, skip, &text), CLQ_OK);
  cr_assert(clqi_text_equal((clqi_text){text.data, text.length}, expected),
            "\"%.*s\", expected \"%.*s\"", (int)text.length, text.data, (int)expected.length,
            expected.data);
  clqi_bytes_free(&text);
}

/* Both ways to see special tokens, and back. t NULL: only moves on. */
static void check_text(reader *r, const clqi_tokenizer *t, clqi_text text, const char *name) {
  clq_tokens ids = {0};
  for (unsigned special = 0; special < 2; ++special) {
    ids.count = 0;
    if (t != NULL) {
      cr_assert_eq(clqi_tokenizer_encode(t, text.data, text.length,
                                         special != 0 ? CLQ_ENCODE_SPECIAL : 0, &ids),
                   CLQ_OK, "%s", clq_last_error());
    }
    expect_ids(r, t == NULL ? NULL : &ids, text, name);
  }
  for (int skip = 0; skip < 2; ++skip) {
    if (t != NULL) {
      expect_decoded(r, t, &ids, skip != 0);
    } else {
      (void)take_text(r);
    }
  }
  clq_tokens_free(&ids);
}

static void check_pairs(golden *g, const clqi_tokenizer *t, const char *name) {
  reader *r = &g->r;
  clq_tokens ids = {0};
  clq_tokens types = {0};
  for (uint32_t left = take_u32(r); left > 0; --left) {
    const clqi_text first = g->texts[take_u32(r)];
    const uint32_t second = take_u32(r);
    const uint32_t most = take_u32(r);
    const clqi_text *pair = second == UINT32_MAX ? NULL : &g->texts[second];
    ids.count = types.count = 0;
    if (t != NULL) {
      cr_assert_eq(
          clqi_tokenizer_encode_pair(t, first, pair, most, CLQ_ENCODE_SPECIAL, &ids, &types),
          CLQ_OK, "%s", clq_last_error());
    }
    const size_t start = r->at;
    expect_ids(r, t == NULL ? NULL : &ids, first, name);
    const size_t count = (r->at - start - 4) / 2;
    const unsigned char *expected = take(r, count);
    for (size_t k = 0; t != NULL && k < count; ++k) {
      cr_assert_eq(types.ids[k], expected[k], "%s: type %zu", name, k);
    }
    cr_assert(t == NULL || types.count == ids.count);
  }
  clq_tokens_free(&ids);
  clq_tokens_free(&types);
}

Test(wordpiece, golden_ids_types_and_texts) {
  golden *g = open_golden();
  int checked = 0;
  for (uint32_t k = 0; k < g->tokenizer_count; ++k) {
    char name[17];
    clqi_tokenizer *t = NULL;
    next_tokenizer(g, &t, name);
    for (uint32_t i = 0; i < g->text_count; ++i) {
      check_text(&g->r, t, g->texts[i], name);
    }
    check_pairs(g, t, name);
    checked += t != NULL;
    clqi_tokenizer_destroy(t);
  }
  close_golden(g);
  cr_assert_geq(checked, 3);
}

Test(wordpiece, the_encoders_own_tokenizer_is_there) {
  const char *folder = encoder_folder();
  if (folder == NULL || !has_file(folder, "tokenizer.json")) {
    cr_skip_test("no tokenizer.json beside CLQ_TEST_MODEL_ENCODER");
  }
  clqi_tokenizer *t = NULL;
  clq_tokens ids = {0};
  clq_tokens types = {0};
  const clqi_text text = clqi_text_of("Hello, world!");
  const int32_t expected[] = {101, 7592, 1010, 2088, 999, 102};
  cr_assert_eq(clqi_folder_tokenizer(folder, &t), CLQ_OK, "%s", clq_last_error());
  cr_assert(clqi_tokenizer_size(t) == 30522 && clqi_tokenizer_pad(t) == 0 &&
            clqi_tokenizer_unk(t) == 100 && clqi_tokenizer_bos(t) == -1);
  cr_assert_eq(clqi_tokenizer_encode_pair(t, text, NULL, 512, 0, &ids, &types), CLQ_OK);
  cr_assert_eq(ids.count, 6);
  cr_assert_arr_eq(ids.ids, expected, sizeof expected);
  clq_tokens_free(&ids);
  clq_tokens_free(&types);
  clqi_tokenizer_destroy(t);
}

/* --- Every character. --------------------------------------------------------- */

static uint32_t crc_table[256];

static void crc_begin(void) {
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t c = i;
    for (int bit = 0; bit < 8; ++bit) {
      c = (c & 1) != 0 ? 0xEDB88320u ^ c >> 1 : c >> 1;
    }
    crc_table[i] = c;
  }
}

static uint32_t crc_add(uint32_t crc, const char *data, size_t length) {
  for (size_t i = 0; i < length; ++i) {
    crc = crc_table[(crc ^ (unsigned char)data[i]) & 255] ^ crc >> 8;
  }
  return crc;
}

static size_t spell(uint32_t c, char out[4]) {
  const unsigned more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
  static const unsigned char marks[] = {0, 0xC0, 0xE0, 0xF0};
  for (unsigned i = 0; i <= more; ++i) {
    out[i] = (char)(unsigned char)((i == 0 ? marks[more] : 0x80) |
                                   (c >> 6 * (more - i) & (i == 0 ? 0xFF : 0x3F)));
  }
  return more + 1;
}

static uint32_t crc_normalized(uint32_t crc, const clqi_bert_rules *rules, uint32_t point,
                               clqi_bytes *text) {
  char spelled[4];
  text->length = 0;
  cr_assert_eq(clqi_bert_normalize(rules, spelled, spell(point, spelled), text), CLQ_OK);
  return crc_add(crc_add(crc, text->data, text->length), "", 1);
}

static uint32_t crc_words(uint32_t crc, uint32_t point) {
  char text[6] = "a";
  const size_t length = 1 + spell(point, text + 1);
  text[length] = 'b';
  size_t end = 0;
  for (size_t at = 0; clqi_bert_next_word(text, length + 1, &at, &end); at = end) {
    crc = crc_add(crc_add(crc, text + at, end - at), "", 1);
  }
  return crc;
}

Test(wordpiece, every_code_point_is_treated_as_the_package_treats_it) {
  enum { BLOCK = 4096, BLOCKS = 0x110000 / BLOCK, SETS = 5 };
  static const clqi_bert_rules sets[SETS] = {{true, true, true, true},
                                             {true, true, false, false},
                                             {false, false, true, false},
                                             {false, false, false, true},
                                             {false, false, true, true}};
  golden *g = open_golden();
  const size_t bytes = 4 * (size_t)(SETS + 1) * BLOCKS;
  g->r.at = g->r.size - bytes - 4;
  cr_assert_eq(take_u32(&g->r), bytes / 4);
  clqi_bytes text = {0};
  crc_begin();
  for (int set = 0; set <= SETS; ++set) {
    for (uint32_t block = 0; block < BLOCKS; ++block) {
      uint32_t crc = UINT32_MAX;
      for (uint32_t c = block * BLOCK; c < (block + 1) * BLOCK; ++c) {
        if (c < 0xD800 || c >= 0xE000) {
          crc = set < SETS ? crc_normalized(crc, &sets[set], c, &text) : crc_words(crc, c);
        }
      }
      cr_assert_eq(~crc, take_u32(&g->r), "rules %d, block %x", set, (unsigned)(block * BLOCK));
    }
  }
  clqi_bytes_free(&text);
  close_golden(g);
}

/* --- vocab.txt. --------------------------------------------------------------- */

static clqi_tokenizer *parse_vocab(const char *vocab, const char *config) {
  clqi_tokenizer *t = NULL;
  char *copy = config == NULL ? NULL : strdup(config);
  cr_assert_eq(clqi_vocab_parse("v.txt", vocab, strlen(vocab), "c.json", copy,
                                copy == NULL ? 0 : strlen(copy), &t),
               CLQ_OK, "%s", clq_last_error());
  free(copy);
  return t;
}

static void expect_pair_ids(const clqi_tokenizer *t, const char *text, int64_t most,
                            const int32_t *expected, int64_t count) {
  clq_tokens ids = {0};
  cr_assert_eq(
      clqi_tokenizer_encode_pair(t, clqi_text_of(text), NULL, most, CLQ_ENCODE_SPECIAL, &ids, NULL),
      CLQ_OK, "%s", clq_last_error());
  cr_assert_eq(ids.count, count, "%s: %lld", text, (long long)ids.count);
  for (int64_t i = 0; i < count; ++i) {
    cr_assert_eq(ids.ids[i], expected[i], "%s: id %lld is %d", text, (long long)i, (int)ids.ids[i]);
  }
  clq_tokens_free(&ids);
}
#define EXPECT_PAIR_IDS(t, text, most, ...)                      \
  expect_pair_ids(t, text, most, (const int32_t[]){__VA_ARGS__}, \
                  sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t))

Test(wordpiece, a_vocabulary_of_lines_is_berts) {
  static const char vocab[] =
      "[PAD]\r\n[UNK]\n[CLS]\n[SEP]\nab\n##c\n\xC3\xA9\ne\nAb\n\xE4\xB8\xAD";
  clqi_tokenizer *t = parse_vocab(vocab, NULL);
  cr_assert(clqi_tokenizer_size(t) == 10 && clqi_tokenizer_pad(t) == 0);
  EXPECT_PAIR_IDS(t, "ABc \xC3\x89 [SEP]\xE4\xB8\xAD\xE4\xB8\xAD x", 99, 2, 4, 5, 7, 3, 9, 9, 1, 3);
  EXPECT_PAIR_IDS(t, "abc abc", 5, 2, 4, 5, 4, 3);
  EXPECT_PAIR_IDS(t, "abc abc", 2, 2, 3);
  EXPECT_PAIR_IDS(t, "", 2, 2, 3);
  clqi_tokenizer_destroy(t);
  t = parse_vocab(vocab,
                  "{\"do_lower_case\":false,\"tokenize_chinese_chars\":false,"
                  "\"strip_accents\":null,\"model_max_length\":1e30,\"x\":[{}]}");
  EXPECT_PAIR_IDS(t, "Abc \xC3\xA9 \xE4\xB8\xAD\xE4\xB8\xAD", 99, 2, 8, 5, 6, 1, 3);
  clqi_tokenizer_destroy(t);
  t = parse_vocab(vocab,
                  "{\"do_lower_case\":false,\"strip_accents\":true,\"cls_token\":"
                  "{\"content\":\"ab\",\"special\":true},\"mask_token\":null,"
                  "\"sep_token\":\"[PAD]\"}");
  EXPECT_PAIR_IDS(t, "\xC3\xA9 ab[PAD]", 99, 4, 7, 4, 0, 0);
  clqi_tokenizer_destroy(t);
}

Test(wordpiece, the_encoders_two_files_agree) {
  const char *folder = encoder_folder();
  if (folder == NULL || !has_file(folder, "tokenizer.json") || !has_file(folder, "vocab.txt")) {
    cr_skip_test("no tokenizer files beside CLQ_TEST_MODEL_ENCODER");
  }
  char copy[] = "/tmp/clq_wordpiece_XXXXXX";
  char command[9000];
  clqi_tokenizer *json = NULL;
  clqi_tokenizer *lines = NULL;
  cr_assert_not_null(mkdtemp(copy));
  (void)snprintf(command, sizeof command, "cp '%s/vocab.txt' '%s/tokenizer_config.json' %s", folder,
                 folder, copy);
  cr_assert_eq(system(command), 0); /* NOLINT(cert-env33-c) */
  cr_assert_eq(clqi_folder_tokenizer(folder, &json), CLQ_OK, "%s", clq_last_error());
  cr_assert_eq(clqi_folder_tokenizer(copy, &lines), CLQ_OK, "%s", clq_last_error());
  (void)snprintf(command, sizeof command, "rm -r %s", copy);
  cr_assert_eq(system(command), 0); /* NOLINT(cert-env33-c) */
  golden *g = open_golden();
  clq_tokens a = {0};
  clq_tokens b = {0};
  for (uint32_t i = 0; i < g->text_count; ++i) {
    const clqi_text *pair = i % 2 == 0 ? NULL : &g->texts[i / 2];
    a.count = b.count = 0;
    cr_assert_eq(clqi_tokenizer_encode_pair(json, g->texts[i], pair, 64, 1, &a, NULL), CLQ_OK);
    cr_assert_eq(clqi_tokenizer_encode_pair(lines, g->texts[i], pair, 64, 1, &b, NULL), CLQ_OK);
    cr_assert(a.count == b.count && memcmp(a.ids, b.ids, (size_t)a.count * sizeof *a.ids) == 0);
  }
  clq_tokens_free(&a);
  clq_tokens_free(&b);
  close_golden(g);
  clqi_tokenizer_destroy(json);
  clqi_tokenizer_destroy(lines);
}

/* --- The public calls. -------------------------------------------------------- */

Test(wordpiece, a_folder_is_opened_and_what_does_not_go_is_refused) {
  char folder[] = "/tmp/clq_wordpiece_XXXXXX";
  char path[64];
  cr_assert_not_null(mkdtemp(folder));
  (void)snprintf(path, sizeof path, "%s/vocab.txt", folder);
  FILE *file = fopen(path, "w");
  cr_assert_not_null(file);
  (void)fputs("[UNK]\n[CLS]\n[SEP]\na\n##b\n", file);
  (void)fclose(file);
  clq_tokenizer *t = NULL;
  cr_assert_eq(clq_tokenizer_open(folder, &t), CLQ_OK, "%s", clq_last_error());
  (void)unlink(path);
  (void)rmdir(folder);
  clq_tokens ids = {0};
  clq_tokens types = {0};
  cr_assert_eq(clq_tokenizer_encode(t, "ab [SEP]", 8, CLQ_ENCODE_SPECIAL | CLQ_ENCODE_BOS, &ids),
               CLQ_OK);
  cr_assert(ids.count == 3 && ids.ids[0] == 3 && ids.ids[1] == 4 && ids.ids[2] == 2);
  clq_text text = {0};
  cr_assert_eq(clq_tokenizer_decode(t, ids.ids, ids.count, 1, &text), CLQ_OK);
  cr_assert(text.length == 2 && memcmp(text.data, "ab", 2) == 0);
  cr_assert_eq(clq_tokenizer_encode_pair(t, "a", 1, "b a", 3, 9, 0, &ids, &types), CLQ_OK);
  const int32_t pair_ids[] = {1, 3, 2, 0, 3, 2};
  const int32_t pair_types[] = {0, 0, 0, 1, 1, 1};
  cr_assert(ids.count == 9 && types.count == 6);
  cr_assert_arr_eq(ids.ids + 3, pair_ids, sizeof pair_ids);
  cr_assert_arr_eq(types.ids, pair_types, sizeof pair_types);
  cr_assert_eq(clq_tokenizer_encode_pair(t, "a", 1, NULL, 0, 1, 0, &ids, &types),
               CLQ_INVALID_ARGUMENT);
  cr_assert_str_eq(clq_last_error(), "tokenizer: most is 1 ids, the template alone has 2");
  cr_assert_eq(clq_tokenizer_encode_pair(t, "a", 1, NULL, 0, -1, 0, &ids, &types),
               CLQ_INVALID_ARGUMENT);
  cr_assert_eq(clq_tokenizer_encode_pair(t, "a", 1, NULL, 0, 9, CLQ_ENCODE_BOS, &ids, &types),
               CLQ_INVALID_ARGUMENT);
  cr_assert_eq(clq_tokenizer_encode_pair(t, "a", 1, NULL, 1, 9, 0, &ids, &types),
               CLQ_INVALID_ARGUMENT);
  cr_assert_eq(clq_tokenizer_encode_pair(t, "a", 1, NULL, 0, 9, 0, &ids, &ids),
               CLQ_INVALID_ARGUMENT);
  cr_assert(ids.count == 9 && types.count == 6, "a failure appends nothing");
  clq_text_stream stream = {0};
  cr_assert_eq(clq_text_stream_push(&stream, t, 3, &text), CLQ_UNSUPPORTED);
  cr_assert_eq(clq_tokenizer_encode_chat(t, NULL, "a", 1, &ids), CLQ_UNSUPPORTED);
  cr_assert_eq(clq_tokenizer_decode(t, &(const int32_t){5}, 1, 1, &text), CLQ_INVALID_ARGUMENT);
  cr_assert(!clq_tokenizer_is_end(t, 2) && clq_tokenizer_size(t) == 5 && text.length == 2);
  clq_text_free(&text);
  clq_tokens_free(&types);
  clq_tokens_free(&ids);
  clq_tokenizer_destroy(t);
}

/* --- Time. -------------------------------------------------------------------- */

static double seconds_for(const clqi_tokenizer *t, const char *unit, size_t bytes) {
  const size_t length = strlen(unit);
  char *text = malloc(bytes);
  clq_tokens ids = {0};
  struct timespec before = {0};
  struct timespec after = {0};
  for (size_t i = 0; i < bytes; ++i) {
    text[i] = unit[i % length];
  }
  (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &before);
  cr_assert_eq(clqi_tokenizer_encode(t, text, bytes, 0, &ids), CLQ_OK);
  (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &after);
  clq_tokens_free(&ids);
  free(text);
  return (double)(after.tv_sec - before.tv_sec) + 1e-9 * (double)(after.tv_nsec - before.tv_nsec);
}

/* One word, marks that would be sorted one by one, words that are all pieces: a megabyte of each
 * takes minutes where the time grows with the square. */
Test(wordpiece, time_is_linear_in_the_text) {
  static const char *const units[] = {
      "ab", "\xE3\x80\xAF\xF0\x9D\x85\xA5", "abbbbbbbbbbbbbbbb ", "\xEA\xB0\x81", "[", "\xFF"};
  clqi_tokenizer *t = parse_vocab("[UNK]\n[CLS]\n[SEP]\na\n##b\n##bbbbbbbbbbbbbbbbbbbbc\n", NULL);
  for (size_t i = 0; i < sizeof units / sizeof *units; ++i) {
    const double seconds = seconds_for(t, units[i], (size_t)1 << 20);
    cr_assert_lt(seconds, 5.0, "unit %zu: %.1f s", i, seconds);
  }
  clqi_tokenizer_destroy(t);
}
