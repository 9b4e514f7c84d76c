/* A small vocabulary for tests: four special tokens, all 256 bytes, and the
 * results of whatever merges the test asks for. */
#ifndef CLQ_TEST_TINY_TOKENIZER_H
#define CLQ_TEST_TINY_TOKENIZER_H

#include "io/tokenizer.h"

enum {
  TINY_END = 0,    /* <|im_end|>, control */
  TINY_START = 1,  /* <|im_start|>, control */
  TINY_LONGER = 2, /* <|im_start|>+, control */
  TINY_USER = 3,   /* <user>, user-defined */
  TINY_BYTES = 4,  /* TINY_BYTES + b is the byte b */
  TINY_MERGED = TINY_BYTES + 256,
  TINY_MAX_MERGES = 4096
};

typedef struct tiny_vocabulary {
  clqi_tokenizer_desc desc; /* points into the rest; a test may change it */
  clqi_text tokens[TINY_MERGED + TINY_MAX_MERGES];
  int32_t types[TINY_MERGED + TINY_MAX_MERGES];
  clqi_text merges[TINY_MAX_MERGES];
  char *storage;
  size_t stored;
} tiny_vocabulary;

/* pre: NULL for "smollm". Aborts on a lack of memory. */
tiny_vocabulary *tiny_create(const char *pre);
void tiny_destroy(tiny_vocabulary *tiny);

/* Adds the merge of two tokens and its result; returns the result's id, or the
 * one there is if such a token exists (the merge is added all the same). */
int32_t tiny_merge(tiny_vocabulary *tiny, int32_t left, int32_t right);

#endif
