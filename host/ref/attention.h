/* Attention over the KV cache of one sequence in double, as clq_attention defines it. */
#ifndef CLQI_REF_ATTENTION_H
#define CLQI_REF_ATTENTION_H

#include "ref/kv_cache.h"

typedef struct clqi_ref_attention {
  const float *q;              /* [rows, heads, head_dim] */
  const void *k_cache;         /* [kv_heads, capacity / 16, head_dim, 16], of cache_dtype */
  const void *v_cache;         /* [kv_heads, capacity, head_dim] */
  double *out;                 /* [rows, heads, head_dim] */
  double *scratch;             /* [capacity] */
  clq_dtype cache_dtype;       /* CLQ_F32 or CLQ_F16 */
  const clqi_ref_cache *cache; /* not NULL: any, in place of k_cache and v_cache */
  int64_t sequence;            /* of cache */
  int64_t rows, heads, kv_heads, head_dim, capacity;
  int64_t position;   /* of the first row */
  bool bidirectional; /* rows see `keys` keys, else up to their own */
  int64_t keys;
  int64_t window; /* 0: none */
  double scale;   /* 0: 1 / sqrt(head_dim) */
} clqi_ref_attention;

/* Rows whose keys are not in the cache give zeros; returns their number. */
int64_t clqi_ref_attention_run(const clqi_ref_attention *r);

#endif
