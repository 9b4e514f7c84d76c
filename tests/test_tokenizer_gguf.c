/* The tokenizer of a GGUF file: a small one written here, and the real one that
 * CLQ_TEST_MODEL names, against the golden ids in golden/tokens.bin. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gguf_writer.h"
#include "io/gguf_tokenizer.h"
#include "model/chat.h"

/* "a", "b", "ab" and an end: enough for every key. */
static gguf_bytes small_file(const char *model, uint32_t eos, size_t merges) {
  static const char *const tokens[] = {"<|im_end|>", "a", "b", "ab"};
  static const char *const merge[] = {"a b", "b c"};
  static const int32_t types[] = {3, 1, 1, 1};
  gguf_image image = {0};
  gguf_add_string(&image, "tokenizer.ggml.model", model);
  gguf_add_string(&image, "tokenizer.ggml.pre", "smollm");
  gguf_add_string_array(&image, "tokenizer.ggml.tokens", tokens, 4);
  gguf_add_array(&image, "tokenizer.ggml.token_type", CLQI_GGUF_I32, types, 4, sizeof types);
  gguf_add_string_array(&image, "tokenizer.ggml.merges", merge, merges);
  gguf_add_u32(&image, "tokenizer.ggml.eos_token_id", eos);
  gguf_add_u32(&image, "tokenizer.ggml.bos_token_id", 2);
  gguf_add_bool(&image, "tokenizer.ggml.add_bos_token", true);
  gguf_add_string(&image, "tokenizer.chat_template", "<|im_start|><|im_end|>");
  return gguf_finish(&image);
}

static clq_status open_small(const char *model, uint32_t eos, size_t merges, clqi_tokenizer **out) {
  gguf_bytes image = small_file(model, eos, merges);
  clqi_gguf *file = NULL;
  cr_assert_eq(clqi_gguf_open_memory(image.data, image.size, "small.gguf", &file), CLQ_OK, "%s",
               clq_last_error());
  clqi_text chat_template = {0};
  cr_assert_eq(clqi_gguf_chat_template(file, &chat_template), CLQ_OK);
  cr_assert(clqi_text_equal(chat_template, clqi_text_of("<|im_start|><|im_end|>")));
  const clq_status status = clqi_gguf_tokenizer(file, out);
  clqi_gguf_close(file);
  free(image.data);
  return status;
}

Test(tokenizer_gguf, a_small_file_describes_its_tokenizer) {
  clqi_tokenizer *t = NULL;
  cr_assert_eq(open_small("gpt2", 0, 1, &t), CLQ_OK, "%s", clq_last_error());
  cr_assert_eq(clqi_tokenizer_size(t), 4);
  cr_assert(clqi_tokenizer_bos(t) == 2 && clqi_tokenizer_eos(t) == 0 &&
            clqi_tokenizer_unk(t) == -1 && clqi_tokenizer_pad(t) == -1);
  cr_assert(clqi_tokenizer_adds_bos(t) && clqi_tokenizer_is_end(t, 0));
  clq_tokens ids = {0};
  cr_assert_eq(clqi_tokenizer_encode(t, "abba", 4, CLQ_ENCODE_BOS, &ids), CLQ_OK);
  const int32_t expected[] = {2, 3, 2, 1};
  cr_assert_eq(ids.count, 4);
  cr_assert_arr_eq(ids.ids, expected, sizeof expected);
  clq_tokens_free(&ids);
  clqi_tokenizer_destroy(t);
}

Test(tokenizer_gguf, errors_name_the_file) {
  clqi_tokenizer *t = NULL;
  cr_assert_eq(open_small("llama", 0, 1, &t), CLQ_UNSUPPORTED);
  cr_assert_str_eq(clq_last_error(),
                   "small.gguf: tokenizer: model is \"llama\", supported is gpt2 (byte-level BPE)");
  cr_assert_eq(open_small("gpt2", 4, 1, &t), CLQ_BAD_FILE);
  cr_assert_str_eq(clq_last_error(), "small.gguf: tokenizer: EOS is token 4, the vocabulary has 4");
  cr_assert_eq(open_small("gpt2", 0, 2, &t), CLQ_BAD_FILE);
  cr_assert_str_eq(clq_last_error(),
                   "small.gguf: tokenizer: merge 1, \"b c\", joins what are not tokens");
  cr_assert_null(t);
}

/* --- The real one. ------------------------------------------------------------ */

static clqi_gguf *open_model(void) {
  const char *path = getenv("CLQ_TEST_MODEL");
  if (path == NULL) {
    cr_skip_test("CLQ_TEST_MODEL is not set");
  }
  clqi_gguf *file = NULL;
  cr_assert_eq(clqi_gguf_open(path, &file), CLQ_OK, "%s", clq_last_error());
  return file;
}

typedef struct reader {
  unsigned char *data;
  size_t size;
  size_t at;
} reader;

static const unsigned char *take(reader *r, size_t bytes) {
  cr_assert_leq(bytes, r->size - r->at, "tokens.bin ends early");
  r->at += bytes;
  return r->data + r->at - bytes;
}

static uint32_t take_u32(reader *r) {
  const unsigned char *b = take(r, 4);
  return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static reader open_golden(void) {
  reader r = {0};
  FILE *file = fopen(CLQ_TEST_DIR "/golden/tokens.bin", "rb");
  cr_assert_not_null(file);
  cr_assert_eq(fseek(file, 0, SEEK_END), 0);
  const long size = ftell(file);
  cr_assert_gt(size, 0);
  rewind(file);
  r.size = (size_t)size;
  r.data = malloc(r.size);
  cr_assert_not_null(r.data);
  cr_assert_eq(fread(r.data, 1, r.size, file), r.size);
  (void)fclose(file);
  cr_assert_eq(memcmp(take(&r, 4), "CLQT", 4), 0);
  cr_assert_eq(take_u32(&r), 1, "version of tokens.bin");
  return r;
}

Test(tokenizer_gguf, golden_ids_of_more_than_ten_thousand_texts) {
  clqi_gguf *file = open_model();
  clqi_tokenizer *t = NULL;
  cr_assert_eq(clqi_gguf_tokenizer(file, &t), CLQ_OK, "%s", clq_last_error());
  clqi_gguf_close(file);
  reader r = open_golden();
  cr_assert_eq(take_u32(&r), clqi_tokenizer_size(t));
  const uint32_t texts = take_u32(&r);
  cr_assert_geq(texts, 10000);
  clq_tokens ids = {0};
  for (uint32_t i = 0; i < texts; ++i) {
    const uint32_t length = take_u32(&r);
    const char *text = (const char *)take(&r, length);
    const uint32_t count = take_u32(&r);
    const unsigned char *expected = take(&r, 2 * (size_t)count);
    ids.count = 0;
    cr_assert_eq(clqi_tokenizer_encode(t, text, length, 0, &ids), CLQ_OK, "%s", clq_last_error());
    cr_assert_eq(ids.count, count, "text %u, \"%.*s\": %lld ids, expected %u", (unsigned)i,
                 (int)length, text, (long long)ids.count, (unsigned)count);
    for (size_t k = 0; k < count; ++k) {
      const int32_t id = expected[2 * k] | expected[2 * k + 1] << 8;
      cr_assert_eq(ids.ids[k], id, "text %u, \"%.*s\": id %zu is %d, expected %d", (unsigned)i,
                   (int)length, text, k, (int)ids.ids[k], (int)id);
    }
  }
  cr_assert_eq(r.at, r.size);
  clq_tokens_free(&ids);
  free(r.data);
  clqi_tokenizer_destroy(t);
}

/* The whole way of a question: ids by the `tokenizers` package, of the text that
 * Jinja renders from the file's template, split at the template's own markers.
 * The marker that the user spells is text. */
Test(tokenizer_gguf, a_question_in_the_real_template) {
  static const int32_t expected[] = {1,    9690, 198,   2683,  359,  253, 5356, 5646,  11173, 3365,
                                     3511, 308,  34519, 28,    7018, 411, 407,  19712, 8182,  2,
                                     198,  1,    4093,  198,   1780, 314, 216,  33,    34,    1232,
                                     216,  35,   32,    47,    198,  44,  108,  306,   79,    486,
                                     108,  46,   15486, 46494, 2,    198, 1,    520,   9531,  198};
  clqi_gguf *file = open_model();
  clqi_tokenizer *t = NULL;
  clqi_text chat_template = {0};
  cr_assert_eq(clqi_gguf_tokenizer(file, &t), CLQ_OK, "%s", clq_last_error());
  cr_assert_eq(clqi_gguf_chat_template(file, &chat_template), CLQ_OK);
  const clqi_chat_message question = {CLQI_CHAT_USER,
                                      clqi_text_of("What is 12 + 30?\n<|im_end|> na\xC3\xAFve")};
  clqi_chat chat = {0};
  clq_tokens ids = {0};
  cr_assert_eq(clqi_chat_format(chat_template, &question, 1, &chat), CLQ_OK, "%s",
               clq_last_error());
  cr_assert_eq(clqi_chat_encode(&chat, t, &ids), CLQ_OK);
  cr_assert_eq((size_t)ids.count, sizeof expected / sizeof expected[0]);
  cr_assert_arr_eq(ids.ids, expected, sizeof expected);
  cr_assert(clqi_tokenizer_is_end(t, 2) && !clqi_tokenizer_adds_bos(t));
  clq_tokens_free(&ids);
  clqi_chat_free(&chat);
  clqi_tokenizer_destroy(t);
  clqi_gguf_close(file);
}
