/* What tokenizer.c, tokenizer_create.c and tokenizer_decode.c share. */
#ifndef CLQI_IO_TOKENIZER_PRIVATE_H
#define CLQI_IO_TOKENIZER_PRIVATE_H

#include "io/bpe.h"
#include "io/pretokenizer.h"
#include "io/text_index.h"
#include "io/tokenizer.h"

struct clqi_tokenizer {
  int32_t count;
  uint32_t *offsets;     /* count + 1, into bytes */
  char *bytes;           /* every token's decoded bytes */
  uint8_t *types;        /* clqi_token_type, or-ed with CLQI_TOKEN_ENDS and the like */
  int32_t byte_ids[256]; /* the token of a single byte, or -1 */

  clqi_text_index specials; /* control and user-defined tokens */

  struct clqi_wordpiece *wordpiece; /* NULL: byte-level BPE, whose parts follow */

  clqi_bpe_rules rules;
  clqi_pretokenizer *pre;
  int32_t *whole; /* hash table of normal tokens by their bytes, -1 free; NULL if
                     pieces are never taken whole */
  size_t whole_mask;
  uint64_t seed; /* of all hash tables */

  int32_t bos, eos, eot, unk, pad;
  bool add_bos;
};

enum { CLQI_TOKEN_TYPE_MASK = 0x0F, CLQI_TOKEN_ENDS = 0x80 };

static inline clqi_text clqi_token_bytes(const clqi_tokenizer *t, int32_t id) {
  const uint32_t begin = t->offsets[id];
  return (clqi_text){t->bytes + begin, t->offsets[id + 1] - begin};
}

static inline clqi_token_type clqi_token_type_of(const clqi_tokenizer *t, int32_t id) {
  return (clqi_token_type)(t->types[id] & CLQI_TOKEN_TYPE_MASK);
}

/* The normal token with exactly these bytes, or -1; only if t->whole. */
int32_t clqi_tokenizer_find_whole(const clqi_tokenizer *t, clqi_text bytes);

#endif
