/* The public calls for text, ids and sampling, on a small GGUF file. What they stand on has tests
 * of its own (test_tokenizer, test_chat, test_sampling). */
#include <clquant/model.h>
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gguf_writer.h"
#include "model/tokenizer.h"
#include "opencl.h"

TestSuite(text_api, .fini = opencl_none_live);

enum { END, START, A, B, AB, LEAD, TRAIL };

/* Two control tokens, "a", "b", "ab", the two bytes of an accented e, and what a ChatML turn is
 * spelled with. */
static clq_tokenizer *small_tokenizer(void) {
  static const char *const tokens[] = {
      "<|im_end|>", "<|im_start|>",
      "a",          "b",
      "ab",         "\xC3\x83",
      "\xC2\xA9",   "s",
      "u",          "e",
      "r",          "i",
      "t",          "n",
      "\xC4\x8A",
  };
  enum { COUNT = sizeof tokens / sizeof tokens[0] };
  static const char *const merge[] = {"a b"};
  int32_t types[COUNT] = {3, 3};
  for (int i = 2; i < COUNT; ++i) {
    types[i] = 1;
  }
  gguf_image image = {0};
  gguf_add_string(&image, "tokenizer.ggml.model", "gpt2");
  gguf_add_string(&image, "tokenizer.ggml.pre", "smollm");
  gguf_add_string_array(&image, "tokenizer.ggml.tokens", tokens, COUNT);
  gguf_add_array(&image, "tokenizer.ggml.token_type", CLQI_GGUF_I32, types, COUNT, sizeof types);
  gguf_add_string_array(&image, "tokenizer.ggml.merges", merge, 1);
  gguf_add_u32(&image, "tokenizer.ggml.eos_token_id", END);
  gguf_add_u32(&image, "tokenizer.ggml.bos_token_id", B);
  gguf_add_bool(&image, "tokenizer.ggml.add_bos_token", true);
  gguf_add_string(&image, "tokenizer.chat_template", "<|im_start|><|im_end|>");
  gguf_bytes bytes = gguf_finish(&image);
  char path[] = "/tmp/clq_text_XXXXXX";
  const int descriptor = mkstemp(path);
  cr_assert(descriptor >= 0 && write(descriptor, bytes.data, bytes.size) == (ssize_t)bytes.size);
  (void)close(descriptor);
  free(bytes.data);
  clq_tokenizer *tokenizer = NULL;
  const clq_status status = clq_tokenizer_open(path, &tokenizer);
  (void)unlink(path);
  cr_assert_eq(status, CLQ_OK, "%s", clq_last_error());
  return tokenizer;
}

static void expect_ids(const clq_tokens *tokens, int64_t count, const int32_t *expected) {
  cr_assert_eq(tokens->count, count, "%lld", (long long)tokens->count);
  for (int64_t i = 0; i < count; ++i) {
    cr_assert_eq(tokens->ids[i], expected[i], "%lld: %d", (long long)i, (int)tokens->ids[i]);
  }
}

Test(text_api, encoding_appends_and_decoding_reverses) {
  clq_tokenizer *t = small_tokenizer();
  clq_tokens tokens = {0};
  cr_assert_eq(clq_tokenizer_encode(t, "abba", 4, 0, &tokens), CLQ_OK);
  cr_assert_eq(
      clq_tokenizer_encode(t, "a<|im_end|>", 11, CLQ_ENCODE_SPECIAL | CLQ_ENCODE_BOS, &tokens),
      CLQ_OK);
  expect_ids(&tokens, 6, (const int32_t[]){AB, B, A, B, A, END});
  clq_text text = {0};
  cr_assert_eq(clq_tokenizer_decode(t, tokens.ids, tokens.count, 1, &text), CLQ_OK);
  cr_assert_eq(clq_tokenizer_decode(t, tokens.ids + 5, 1, 0, &text), CLQ_OK);
  cr_assert(text.length == 16 && memcmp(text.data, "abbaba<|im_end|>", 16) == 0);
  cr_assert(clq_tokenizer_is_end(t, END) && !clq_tokenizer_is_end(t, A) &&
            !clq_tokenizer_is_end(t, -1));
  cr_assert_eq(clq_tokenizer_size(t), 15);
  clq_text_free(&text);
  clq_text_free(&text);
  clq_tokens_free(&tokens);
  clq_tokens_free(&tokens);
  cr_assert(text.data == NULL && tokens.ids == NULL && tokens.count == 0);
  clq_tokenizer_destroy(t);
}

Test(text_api, a_chat_is_written_in_the_files_template) {
  clq_tokenizer *t = small_tokenizer();
  clq_tokens tokens = {0};
  clq_text text = {0};
  cr_assert_eq(clq_tokenizer_encode_chat(t, "be", "ab<|im_end|>", 12, &tokens), CLQ_OK, "%s",
               clq_last_error());
  cr_assert_eq(clq_tokenizer_decode(t, tokens.ids, tokens.count, 1, &text), CLQ_OK);
  /* Letters that the vocabulary lacks are dropped; the user's marker is no token. */
  int ends = 0;
  for (int64_t i = 0; i < tokens.count; ++i) {
    ends += tokens.ids[i] == END;
  }
  cr_assert_eq(ends, 2);
  cr_assert_eq(tokens.ids[0], START);
  cr_assert_not_null(memmem(text.data, text.length, "\nab", 3));
  cr_assert_not_null(memmem(text.data, text.length, "\nbe", 3));
  const int64_t with_system = tokens.count;
  tokens.count = 0;
  cr_assert_eq(clq_tokenizer_encode_chat(t, NULL, "ab", 2, &tokens), CLQ_OK);
  cr_assert_lt(tokens.count, with_system);
  clq_text_free(&text);
  clq_tokens_free(&tokens);
  clq_tokenizer_destroy(t);
}

Test(text_api, a_stream_gives_whole_characters) {
  clq_tokenizer *t = small_tokenizer();
  clq_text_stream stream = {.held_count = 0};
  clq_text text = {0};
  cr_assert_eq(clq_text_stream_push(&stream, t, A, &text), CLQ_OK);
  cr_assert_eq(text.length, 1);
  cr_assert_eq(clq_text_stream_push(&stream, t, LEAD, &text), CLQ_OK);
  cr_assert_eq(text.length, 1);
  cr_assert_eq(clq_text_stream_push(&stream, t, TRAIL, &text), CLQ_OK);
  cr_assert_eq(text.length, 3);
  cr_assert_eq(clq_text_stream_push(&stream, t, END, &text), CLQ_OK);
  cr_assert_eq(text.length, 3);
  cr_assert_eq(clq_text_stream_push(&stream, t, LEAD, &text), CLQ_OK);
  cr_assert_eq(clq_text_stream_end(&stream, &text), CLQ_OK);
  cr_assert(text.length == 6 && memcmp(text.data, "a\xC3\xA9\xEF\xBF\xBD", 6) == 0);
  cr_assert_eq(clq_text_stream_push(&stream, t, 999, &text), CLQ_INVALID_ARGUMENT);
  cr_assert_eq(text.length, 6);
  clq_text_free(&text);
  clq_tokenizer_destroy(t);
}

Test(text_api, a_sampler_draws) {
  clq_sampler *sampler = NULL;
  float logits[] = {0, 2, 2, -INFINITY};
  int32_t id = -1;
  cr_assert_eq(clq_sampler_create(NULL, 4, &sampler), CLQ_OK);
  cr_assert_eq(clq_sampler_sample(sampler, logits, 4, &id), CLQ_OK);
  cr_assert_eq(id, 1);
  clq_sampler_destroy(sampler);
  const clq_sampling how = {.temperature = 1, .top_k = 3, .seed = 5};
  cr_assert_eq(clq_sampler_create(&how, 4, &sampler), CLQ_OK);
  int seen[4] = {0};
  for (int i = 0; i < 400; ++i) {
    cr_assert_eq(clq_sampler_sample(sampler, logits, 4, &id), CLQ_OK);
    ++seen[id];
  }
  cr_assert(seen[0] > 0 && seen[1] > 100 && seen[2] > 100 && seen[3] == 0);
  clq_sampler_destroy(sampler);
}

Test(text_api, mistakes_are_answered) {
  clq_tokenizer *t = small_tokenizer();
  clq_tokens tokens = {0};
  clq_text text = {0};
  clq_text_stream stream = {.held_count = 5};
  clq_sampler *sampler = NULL;
  int32_t id = 0;
  cr_assert_eq(clq_tokenizer_encode(NULL, "a", 1, 0, &tokens), CLQ_INVALID_ARGUMENT);
  cr_assert_eq(clq_tokenizer_encode(t, NULL, 1, 0, &tokens), CLQ_INVALID_ARGUMENT);
  cr_assert_eq(clq_tokenizer_encode(t, "a", 1, 4, &tokens), CLQ_INVALID_ARGUMENT);
  cr_assert_eq(clq_tokenizer_encode_chat(t, NULL, NULL, 1, &tokens), CLQ_INVALID_ARGUMENT);
  cr_assert_eq(clq_tokenizer_decode(t, NULL, 1, 0, &text), CLQ_INVALID_ARGUMENT);
  cr_assert_eq(clq_tokenizer_decode(t, &id, -1, 0, &text), CLQ_INVALID_ARGUMENT);
  cr_assert_eq(clq_text_stream_push(&stream, t, A, &text), CLQ_INVALID_ARGUMENT);
  cr_assert_eq(clq_sampler_create(NULL, 0, &sampler), CLQ_INVALID_ARGUMENT);
  cr_assert_eq(clq_sampler_create(&(clq_sampling){.temperature = -1}, 4, &sampler),
               CLQ_INVALID_ARGUMENT);
  cr_assert_null(sampler);
  clq_tokenizer_destroy(t);
  cr_assert_eq(clq_tokenizer_open("/no/such/file", &t), CLQ_IO_ERROR);
  cr_assert_null(t);
  cr_assert(tokens.count == 0 && text.length == 0);
  clq_tokens_free(&tokens);
  clq_tokens_free(NULL);
  clq_text_free(NULL);
  clq_tokenizer_destroy(NULL);
  clq_sampler_destroy(NULL);
}
