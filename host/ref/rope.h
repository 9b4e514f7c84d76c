/* Rotary position embedding and KV append, as clq_rope defines them; bit for bit. */
#ifndef CLQI_REF_ROPE_H
#define CLQI_REF_ROPE_H

#include <clquant/ops.h>

/* Everything dense; k and v may be NULL, together with the caches. */
typedef struct clqi_ref_rope {
  const float *q; /* [rows, heads, head_dim] */
  float *out;     /* may be q */
  const float *k; /* [rows, kv_heads, head_dim] */
  const float *v;
  void *k_cache;         /* [kv_heads, capacity / 16, head_dim, 16], of cache_dtype */
  void *v_cache;         /* [kv_heads, capacity, head_dim] */
  const float *table;    /* [positions, dims / 2, 2] */
  clq_dtype cache_dtype; /* CLQ_F32 or CLQ_F16 */
  clq_rope_layout layout;
  int64_t rows, heads, kv_heads, head_dim, dims, positions, capacity;
  int64_t position;
} clqi_ref_rope;

/* Rows whose position does not fit are left alone; returns their number. */
int64_t clqi_ref_rope_run(const clqi_ref_rope *r);

#endif
