/* A small encoder of BERT's kind in a folder, made by the test, and its forward pass in double
 * precision, written down once more. */
#ifndef CLQ_TESTS_TINY_BERT_H
#define CLQ_TESTS_TINY_BERT_H

#include <stdbool.h>
#include <stdint.h>

enum {
  TINY_WIDTH = 64, /* heads of 32, as all-MiniLM-L6-v2 has them: the same programs */
  TINY_HEADS = 2,
  TINY_LAYERS = 2,
  TINY_HIDDEN = 96,
  TINY_POSITIONS = 40,
  TINY_WORDS = 12 /* [PAD] [UNK] [CLS] [SEP] a b c ##a ##b ##c ! . */
};

/* What the files say; all zero: F32, GELU, the mean, no limit but the positions. */
typedef struct tiny_bert {
  const char *dtype;      /* "F32", "F16", "BF16" */
  const char *activation; /* as config.json has it */
  const char *config;     /* further keys of config.json, each with a comma before it */
  const char *pooling;    /* 1_Pooling/config.json; NULL: none */
  const char *sentence;   /* sentence_bert_config.json; NULL: none */
  const char *modules;    /* modules.json; NULL: none */
  bool prefixed;          /* "bert." before the names, a head, and norms of gamma and beta */
  const char *without;    /* the tensor that is left out */
  const char *with;       /* one more: [2] of F32 */
  const char *spoiled;    /* the tensor with a NaN; halves: Inf */
  const char *narrowed;   /* the tensor whose last dimension is one less */
  const char *retyped;    /* the tensor that is I32 */
} tiny_bert;

/* Into an existing folder; files of an earlier one go. */
void tiny_bert_write(const char *folder, const tiny_bert *model);
/* Removes the files and the folder in it. */
void tiny_bert_remove(const char *folder);

/* The vector of these ids, of length 1: [TINY_WIDTH]. */
void tiny_bert_vector(const tiny_bert *model, const int32_t *ids, int count, double *vector);

#endif
