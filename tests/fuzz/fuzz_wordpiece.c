/* libFuzzer entry of the tokenizers in folders: an input is tokenizer.json or, unless it starts
 * like JSON, vocab.txt with tokenizer_config.json behind the first NUL. Any bytes may be refused,
 * none may crash; a tokenizer gives ids of its own for the input itself, and takes them back. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "io/folder_tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(const clqi_tokenizer *t, const char *text, size_t length) {
  clq_tokens ids = {0};
  clq_tokens types = {0};
  clqi_bytes bytes = {0};
  const clqi_text all = {text, length};
  for (unsigned flags = 0; flags < 2; ++flags) {
    if (clqi_tokenizer_encode(t, text, length, flags, &ids) != CLQ_OK ||
        clqi_tokenizer_decode(t, ids.ids, ids.count, flags != 0, &bytes) != CLQ_OK) {
      abort();
    }
  }
  ids.count = 0;
  (void)!clqi_tokenizer_encode_pair(t, all, &all, 17, CLQ_ENCODE_SPECIAL, &ids, &types);
  if (ids.count != types.count || ids.count > 17) {
    abort();
  }
  for (int64_t i = 0; i < ids.count; ++i) {
    clqi_text piece = {0};
    if (clqi_tokenizer_piece(t, ids.ids[i], &piece) != CLQ_OK) {
      abort();
    }
  }
  clqi_bytes_free(&bytes);
  clq_tokens_free(&ids);
  clq_tokens_free(&types);
}

static clq_status open_lines(char *text, size_t size, clqi_tokenizer **t) {
  const char *nul = memchr(text, '\0', size);
  const size_t lines = nul == NULL ? size : (size_t)(nul - text);
  return clqi_vocab_parse("vocab.txt", text, lines, "tokenizer_config.json",
                          nul == NULL ? NULL : text + lines + 1, nul == NULL ? 0 : size - lines - 1,
                          t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  clqi_tokenizer *t = NULL;
  char *text = malloc(size + 1); /* the parsers change it */
  if (text == NULL) {
    abort();
  }
  memcpy(text, data, size);
  const clq_status status = size != 0 && data[0] == '{'
                                ? clqi_tokenizer_json_parse("tokenizer.json", text, size, &t)
                                : open_lines(text, size, &t);
  if (status == CLQ_OK) {
    use(t, (const char *)data, size);
  }
  clqi_tokenizer_destroy(t);
  free(text);
  return 0;
}
