#include "tiny_tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STORAGE_BYTES = 1 << 22 };

static clqi_text store(tiny_vocabulary *tiny, const char *data, size_t length) {
  if (tiny->stored + length > STORAGE_BYTES) {
    abort();
  }
  char *copy = tiny->storage + tiny->stored;
  memcpy(copy, data, length);
  tiny->stored += length;
  return (clqi_text){copy, length};
}

static void add_token(tiny_vocabulary *tiny, clqi_text text, int32_t type) {
  tiny->tokens[tiny->desc.token_count] = text;
  tiny->types[tiny->desc.token_count] = type;
  ++tiny->desc.token_count;
  tiny->desc.type_count = tiny->desc.token_count;
}

/* A byte's character, by the published list: printable ranges stand for
 * themselves, the others follow from U+0100. */
static clqi_text byte_text(tiny_vocabulary *tiny, int byte, int *next) {
  const int printable = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte != 0xAD);
  const int point = printable ? byte : (*next)++;
  if (point < 0x80) {
    const char one = (char)point;
    return store(tiny, &one, 1);
  }
  const char two[2] = {(char)(0xC0 | (point >> 6)), (char)(0x80 | (point & 0x3F))};
  return store(tiny, two, 2);
}

tiny_vocabulary *tiny_create(const char *pre) {
  tiny_vocabulary *tiny = calloc(1, sizeof *tiny);
  if (tiny == NULL || (tiny->storage = malloc(STORAGE_BYTES)) == NULL) {
    abort();
  }
  tiny->desc = (clqi_tokenizer_desc){.model = clqi_text_of("gpt2"),
                                     .pre = clqi_text_of(pre == NULL ? "smollm" : pre),
                                     .tokens = tiny->tokens,
                                     .types = tiny->types,
                                     .merges = tiny->merges,
                                     .bos = TINY_START,
                                     .eos = TINY_END,
                                     .eot = -1,
                                     .unk = -1,
                                     .pad = -1};
  add_token(tiny, clqi_text_of("<|im_end|>"), CLQI_TOKEN_CONTROL);
  add_token(tiny, clqi_text_of("<|im_start|>"), CLQI_TOKEN_CONTROL);
  add_token(tiny, clqi_text_of("<|im_start|>+"), CLQI_TOKEN_CONTROL);
  add_token(tiny, clqi_text_of("<user>"), CLQI_TOKEN_USER_DEFINED);
  int next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    add_token(tiny, byte_text(tiny, byte, &next), CLQI_TOKEN_NORMAL);
  }
  return tiny;
}

void tiny_destroy(tiny_vocabulary *tiny) {
  free(tiny->storage);
  free(tiny);
}

int32_t tiny_merge(tiny_vocabulary *tiny, int32_t left, int32_t right) {
  const clqi_text a = tiny->tokens[left];
  const clqi_text b = tiny->tokens[right];
  char joined[4096];
  const int length =
      snprintf(joined, sizeof joined, "%.*s %.*s", (int)a.length, a.data, (int)b.length, b.data);
  if (length < 0 || (size_t)length >= sizeof joined || tiny->desc.merge_count >= TINY_MAX_MERGES) {
    abort();
  }
  tiny->merges[tiny->desc.merge_count++] = store(tiny, joined, (size_t)length);
  memmove(joined + a.length, joined + a.length + 1, b.length);
  const clqi_text result = {joined, a.length + b.length};
  for (size_t id = 0; id < tiny->desc.token_count; ++id) {
    if (clqi_text_equal(tiny->tokens[id], result)) {
      return (int32_t)id;
    }
  }
  add_token(tiny, store(tiny, result.data, result.length), CLQI_TOKEN_NORMAL);
  return (int32_t)tiny->desc.token_count - 1;
}
