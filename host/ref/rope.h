/* Rotary position embedding and KV append, as clq_rope defines them; bit for bit. */
#ifndef CLQI_REF_ROPE_H
#define CLQI_REF_ROPE_H

#include "ref/kv_cache.h"

/* Everything dense. k and v may be NULL, together with the cache, which has kv_heads and head_dim
 * too; q and out; table, with dims 0; what is NULL of starts, position and gains, as in
 * clq_rope_args. */
typedef struct clqi_ref_rope {
  const float *q; /* [rows, heads, head_dim] */
  float *out;     /* may be q */
  const float *k; /* [rows, kv_heads, head_dim] */
  const float *v;
  clqi_ref_cache cache;
  const float *table; /* [positions, dims / 2, 2] */
  const float *q_gamma, *k_gamma;
  float eps;
  const int32_t *position; /* [sequences] */
  const int32_t *starts;   /* [sequences + 1]; good ones */
  clq_rope_layout layout;
  int64_t rows, sequences, heads, kv_heads, head_dim, dims, positions;
} clqi_ref_rope;

/* Rows whose position does not fit are left alone; returns their number. */
int64_t clqi_ref_rope_run(const clqi_ref_rope *r);

#endif
