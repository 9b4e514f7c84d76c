/* What wordpiece.c, wordpiece_create.c and wordpiece_decode.c share. */
#ifndef CLQI_IO_WORDPIECE_PRIVATE_H
#define CLQI_IO_WORDPIECE_PRIVATE_H

#include "io/tokenizer_private.h"
#include "io/wordpiece.h"

/* The tokens' texts and types are the tokenizer's; so are, as its specials, the added tokens that
 * are looked for in the text as it is. */
struct clqi_wordpiece {
  clqi_bert_rules rules;
  clqi_text_index starts; /* the model's tokens: what a word may begin with */
  clqi_text_index rests;  /* those with the prefix, without it: what may follow */
  size_t max_chars;
  clqi_text_index normalized; /* added tokens, as the rules leave them */
  clqi_bytes normalized_texts;
  clqi_bytes decoder_prefix;
  bool cleanup;
  clqi_template single;
  clqi_template pair;
};

/* Or-ed with a token's type. */
enum { CLQI_TOKEN_LSTRIP = 0x20, CLQI_TOKEN_RSTRIP = 0x40 };

#endif
