/* Vocabularies that must be refused, and memory that runs out. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "counting.h"
#include "io/tokenizer.h"
#include "tiny_tokenizer.h"

#define BYTE(c) (TINY_BYTES + (uint8_t)(c))

/* --- Bad vocabularies. -------------------------------------------------------- */

static void expect_refusal(tiny_vocabulary *tiny, clq_status status, const char *sentence) {
  clqi_tokenizer *tokenizer = (clqi_tokenizer *)tiny;
  cr_assert_eq(clqi_tokenizer_create(&tiny->desc, &tokenizer), status, "%s: %s", sentence,
               clq_last_error());
  cr_assert_null(tokenizer);
  cr_assert_not_null(strstr(clq_last_error(), sentence), "\"%s\" lacks \"%s\"", clq_last_error(),
                     sentence);
  tiny_destroy(tiny);
}

Test(tokenizer_hostile, a_bad_vocabulary_is_refused_with_its_own_sentence) {
  tiny_vocabulary *v = tiny_create("qwen2");
  expect_refusal(v, CLQ_UNSUPPORTED,
                 "pre-tokenizer is \"qwen2\", supported are smollm, gpt-2, llama-bpe");
  v = tiny_create("");
  expect_refusal(v, CLQ_UNSUPPORTED, "pre-tokenizer is \"\"");
  v = tiny_create("\x1b[31m evil");
  expect_refusal(v, CLQ_UNSUPPORTED, "pre-tokenizer is \"?[31m evil\"");
  v = tiny_create(NULL);
  v->desc.model = clqi_text_of("llama");
  expect_refusal(v, CLQ_UNSUPPORTED, "model is \"llama\", supported is gpt2 (byte-level BPE)");
  v = tiny_create(NULL);
  v->desc.add_space_prefix = true;
  expect_refusal(v, CLQ_UNSUPPORTED, "add_space_prefix");
  v = tiny_create(NULL);
  v->desc.token_count = 0;
  expect_refusal(v, CLQ_BAD_FILE, "0 tokens, expected 1 to");
  v = tiny_create(NULL);
  v->desc.token_count = SIZE_MAX;
  expect_refusal(v, CLQ_BAD_FILE, "tokens, expected 1 to");
  v = tiny_create(NULL);
  v->desc.merge_count = SIZE_MAX;
  expect_refusal(v, CLQ_BAD_FILE, "merges, at most");
  v = tiny_create(NULL);
  v->desc.type_count = 7;
  expect_refusal(v, CLQ_BAD_FILE, "7 token types, expected 260");
  v = tiny_create(NULL);
  v->desc.tokens = NULL;
  expect_refusal(v, CLQ_INVALID_ARGUMENT, "tokens are NULL");
  v = tiny_create(NULL);
  v->desc.merges = NULL;
  v->desc.merge_count = 1;
  expect_refusal(v, CLQ_INVALID_ARGUMENT, "merges are NULL");
  v = tiny_create(NULL);
  v->desc.eos = 260;
  expect_refusal(v, CLQ_BAD_FILE, "EOS is token 260, the vocabulary has 260");
  v = tiny_create(NULL);
  v->desc.pad = -2;
  expect_refusal(v, CLQ_BAD_FILE, "padding token is token -2");
  v = tiny_create(NULL);
  v->desc.bos = INT64_MAX;
  expect_refusal(v, CLQ_BAD_FILE, "BOS is token 9223372036854775807");
  v = tiny_create(NULL);
  v->desc.bos = -1;
  v->desc.add_bos = true;
  expect_refusal(v, CLQ_BAD_FILE, "add_bos without a BOS token");
  v = tiny_create(NULL);
  v->types[9] = 6;
  expect_refusal(v, CLQ_BAD_FILE, "token 9 has type 6, expected 1 to 5");
  v = tiny_create(NULL);
  v->tokens[9].length = 0;
  expect_refusal(v, CLQ_BAD_FILE, "token 9 is empty");
  v = tiny_create(NULL);
  v->tokens[9] = (clqi_text){NULL, 3};
  expect_refusal(v, CLQ_INVALID_ARGUMENT, "token 9 is NULL");
  v = tiny_create(NULL);
  v->tokens[9].length = SIZE_MAX;
  expect_refusal(v, CLQ_BAD_FILE, "longer than 4 GiB");
  v = tiny_create(NULL);
  v->tokens[9] = clqi_text_of("a b");
  expect_refusal(v, CLQ_BAD_FILE, "token 9, \"a b\", is not byte-level text");
  v = tiny_create(NULL);
  v->tokens[9] = clqi_text_of("\xC5\x84"); /* U+0144, one past the alphabet */
  expect_refusal(v, CLQ_BAD_FILE, "token 9, \"??\", is not byte-level text");
  v = tiny_create(NULL);
  v->tokens[9] = clqi_text_of("a\xC4");
  expect_refusal(v, CLQ_BAD_FILE, "is not byte-level text");
  v = tiny_create(NULL);
  v->tokens[TINY_USER] = clqi_text_of("\x80");
  expect_refusal(v, CLQ_BAD_FILE, "token 3, \"?\", is not valid UTF-8");
  v = tiny_create(NULL);
  v->tokens[9] = clqi_text_of("a");
  expect_refusal(v, CLQ_BAD_FILE, "tokens 9 and 101 are both \"a\"");

  static const struct {
    const char *merge;
    const char *sentence;
  } merges[] = {
      {"ab", "merge 1, \"ab\", has no space"},     {"a ", "joins what are not tokens"},
      {" a", "joins what are not tokens"},         {"", "has no space"},
      {"a \xC5\x84", "joins what are not tokens"}, {"b b", "makes what is not a token"},
      {"a a", "merge 1, \"a a\", occurs twice"},   {"<|im_start|> +", "involves a control token"},
  };
  for (size_t i = 0; i < sizeof merges / sizeof merges[0]; ++i) {
    v = tiny_create(NULL);
    (void)tiny_merge(v, BYTE('a'), BYTE('a'));
    v->merges[v->desc.merge_count++] = clqi_text_of(merges[i].merge);
    expect_refusal(v, CLQ_BAD_FILE, merges[i].sentence);
  }
}

static uint32_t random_state = 99;
static uint32_t random_below(uint32_t bound) {
  random_state = random_state * 1664525u + 1013904223u;
  return (random_state >> 8) % bound;
}

/* A text with one byte changed, cut off or taken from elsewhere. */
static clqi_text mutated(tiny_vocabulary *v, clqi_text text) {
  static char pool[64][32];
  static uint32_t used;
  char *copy = pool[used++ % 64];
  size_t length = text.length < 30 ? text.length : 30;
  memcpy(copy, text.data, length);
  switch (random_below(3)) {
    case 0: length = random_below((uint32_t)length + 1); break;
    case 1: copy[random_below((uint32_t)length + 1)] = (char)random_below(256); break;
    default: return v->tokens[random_below((uint32_t)v->desc.token_count)];
  }
  return (clqi_text){copy, length};
}

/* Whatever stands in the vocabulary: a refusal with a sentence, or a tokenizer
 * that encodes and decodes within its own range. */
Test(tokenizer_hostile, mutations_are_refused_or_work) {
  static const char *const pres[] = {"smollm", "gpt-2", "llama-bpe"};
  int refused = 0;
  int worked = 0;
  for (int round = 0; round < 3000; ++round) {
    tiny_vocabulary *v = tiny_create(pres[round % 3]);
    int32_t last = BYTE('a');
    for (int i = 0; i < 8; ++i) {
      last = tiny_merge(v, last, BYTE('a' + i % 3));
    }
    for (uint32_t changes = random_below(3); changes > 0; --changes) {
      const uint32_t token = random_below((uint32_t)v->desc.token_count);
      switch (random_below(4)) {
        case 0: v->tokens[token] = mutated(v, v->tokens[token]); break;
        case 1: v->types[token] = (int32_t)random_below(8) - 1; break;
        case 2: v->merges[token % 8] = mutated(v, v->merges[token % 8]); break;
        default: v->desc.eos = (int64_t)random_below(400) - 50; break;
      }
    }
    clqi_tokenizer *t = NULL;
    const clq_status status = clqi_tokenizer_create(&v->desc, &t);
    if (status != CLQ_OK) {
      cr_assert(status == CLQ_BAD_FILE && t == NULL && *clq_last_error() != '\0', "round %d: %s",
                round, clq_last_error());
      ++refused;
    } else {
      clq_tokens ids = {0};
      clqi_bytes bytes = {0};
      cr_assert_eq(clqi_tokenizer_encode(t, "aabcaabcabc<|im_end|><user>\xFF 1", 31, 1, &ids),
                   CLQ_OK);
      cr_assert_eq(clqi_tokenizer_decode(t, ids.ids, ids.count, false, &bytes), CLQ_OK);
      clqi_bytes_free(&bytes);
      clq_tokens_free(&ids);
      ++worked;
    }
    clqi_tokenizer_destroy(t);
    tiny_destroy(v);
  }
  cr_assert(refused > 300 && worked > 300, "%d refused, %d worked", refused, worked);
}

/* --- Memory. ------------------------------------------------------------------ */

/* Creates, encodes (with repair, a long piece, special tokens) and decodes. */
static clq_status use_everything(const clqi_tokenizer_desc *desc) {
  static const char text[] =
      "Hi <|im_end|>there\xFF aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
  clqi_tokenizer *t = NULL;
  clq_tokens ids = {0};
  clqi_bytes bytes = {0};
  clq_text_stream decoder = {0};
  clq_status status = clqi_tokenizer_create(desc, &t);
  if (status == CLQ_OK) {
    status = clqi_tokenizer_encode(t, text, sizeof text, CLQ_ENCODE_SPECIAL, &ids);
    cr_assert(status == CLQ_OK || ids.count == 0);
  }
  for (int64_t i = 0; i < ids.count && status == CLQ_OK; ++i) {
    status = clqi_text_stream_push(&decoder, t, ids.ids[i], false, &bytes);
  }
  if (status == CLQ_OK) {
    status = clqi_tokenizer_decode(t, ids.ids, ids.count, true, &bytes);
  }
  clqi_bytes_free(&bytes);
  clq_tokens_free(&ids);
  clqi_tokenizer_destroy(t);
  return status;
}

Test(tokenizer_hostile, every_lack_of_memory_is_an_error_and_leaks_nothing) {
  const char *const pres[2] = {"smollm", "llama-bpe"};
  for (int p = 0; p < 2; ++p) {
    tiny_vocabulary *tiny = tiny_create(pres[p]);
    (void)tiny_merge(tiny, BYTE('a'), BYTE('a'));
    clq_status status = CLQ_OUT_OF_HOST_MEMORY;
    size_t allowed = 0;
    for (; status != CLQ_OK; ++allowed) {
      counting_start(allowed + 1, 1);
      status = use_everything(&tiny->desc);
      counting_stop();
      cr_assert(status == CLQ_OK || status == CLQ_OUT_OF_HOST_MEMORY, "allocation %zu: %s", allowed,
                clq_last_error());
      cr_assert_eq(counting_live(), 0, "allocation %zu fails: %zu blocks are left", allowed,
                   counting_live());
      cr_assert_lt(allowed, 2000);
    }
    cr_assert_gt(allowed, 20);
    tiny_destroy(tiny);
  }
}
