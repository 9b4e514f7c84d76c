#include "gguf_example.h"

#include <criterion/criterion.h>
#include <string.h>

gguf_bytes gguf_example(uint32_t version) {
  static const char *const tokens[] = {"<s>", "", "he", "\xc4\xa0world"};
  gguf_image image = {.version = version};
  gguf_add_string(&image, "general.architecture", "llama");
  gguf_add_u32(&image, "llama.block_count", 30);
  gguf_add_f32(&image, "llama.rope.freq_base", 100000.0f);
  gguf_add_bool(&image, "tokenizer.ggml.add_bos_token", false);
  gguf_add_bool(&image, "tokenizer.ggml.add_eos_token", true);
  gguf_add_string_array(&image, "tokenizer.ggml.tokens", tokens, 4);
  gguf_add_array(&image, "tokenizer.ggml.token_type", CLQI_GGUF_I32,
                 (const int32_t[]){3, -1, INT32_MAX, INT32_MIN}, 4, 16);
  gguf_add_array(&image, "tokenizer.ggml.scores", CLQI_GGUF_F32, (const float[]){0.5f, -1.0f}, 2,
                 8);
  gguf_add_array(&image, "empty", CLQI_GGUF_STRING, NULL, 0, 0);
  gguf_add_array(&image, "flags", CLQI_GGUF_BOOL, (const unsigned char[]){1, 0, 1}, 3, 3);
  unsigned char data[40];
  for (size_t i = 0; i < sizeof data; ++i) {
    data[i] = (unsigned char)i;
  }
  gguf_add_tensor(&image, "token_embd.weight", CLQI_GGML_Q4_1, 2, (const uint64_t[]){32, 2}, data,
                  40);
  gguf_add_tensor(&image, "output_norm.weight", CLQI_GGML_F32, 1, (const uint64_t[]){3}, data, 12);
  gguf_add_tensor(&image, "empty.weight", CLQI_GGML_F16, 3, (const uint64_t[]){8, 0, 5}, NULL, 0);
  gguf_add_tensor(&image, "last.weight", CLQI_GGML_Q8_0, 4, (const uint64_t[]){32, 1, 1, 1}, data,
                  34);
  return gguf_finish(&image);
}

clqi_gguf *gguf_open_example(const gguf_bytes *bytes) {
  clqi_gguf *file = NULL;
  const clq_status status = clqi_gguf_open_memory(bytes->data, bytes->size, "valid.gguf", &file);
  cr_assert_eq(status, CLQ_OK, "%s", clq_last_error());
  return file;
}

bool gguf_string_is(clqi_gguf_string string, const char *expected) {
  return string.length == strlen(expected) &&
         (string.length == 0 || memcmp(string.data, expected, string.length) == 0);
}
