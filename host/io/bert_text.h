/* Text as BERT's tokenizers see it: what is dropped, set apart, stripped of accents and lowered
 * before words are looked up, and where words end.
 *
 * The rules are those of the `tokenizers` package, BertNormalizer and BertPreTokenizer. Its parts
 * know Unicode at several ages (a mark of Unicode 10 is no mark to it, a letter of Unicode 15 has
 * its small one), and a model was trained with what it gave, so the tables are read off the
 * package: neither PCRE2's nor the C library's, whose age the machine decides, would do. */
#ifndef CLQI_IO_BERT_TEXT_H
#define CLQI_IO_BERT_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/text.h"

typedef struct clqi_bert_rules {
  bool clean_text;    /* drop control characters and U+FFFD, make blanks of white space */
  bool chinese_chars; /* blanks around CJK ideographs */
  bool strip_accents; /* canonical decomposition, without nonspacing marks */
  bool lowercase;     /* by character: a capital sigma becomes the same one everywhere */
} clqi_bert_rules;

/* Appends the text, well-formed UTF-8, as the rules leave it: at most three times as many bytes. */
CLQ_NODISCARD clq_status clqi_bert_normalize(const clqi_bert_rules *rules, const char *text,
                                             size_t length, clqi_bytes *out);

/* The next word of well-formed UTF-8 at or after *at: a run of characters without white space, or
 * one punctuation character. *at is then where it begins, *end behind it. False at the end. */
bool clqi_bert_next_word(const char *text, size_t length, size_t *at, size_t *end);

/* Unicode's White_Space at the start, or at the end, of well-formed UTF-8: its length in bytes. */
size_t clqi_bert_leading_space(const char *text, size_t length);
size_t clqi_bert_trailing_space(const char *text, size_t length);

#endif
