/* A KV cache as clq_kv_cache describes it, dense, in host memory: where its elements lie, and what
 * a token becomes in it. */
#ifndef CLQI_REF_KV_CACHE_H
#define CLQI_REF_KV_CACHE_H

#include <stdbool.h>

#include <clquant/ops.h>

/* Keys or values. */
typedef struct clqi_ref_kv {
  void *data;
  clq_dtype dtype; /* CLQ_F32, CLQ_F16, CLQ_I8; CLQ_U8: two codes a byte */
  bool given;      /* of keys: scale is [heads, head_dim], and read */
  float *scale;    /* of codes [sequences, heads, capacity] */
  int32_t *zero;   /* of 4-bit codes */
} clqi_ref_kv;

typedef struct clqi_ref_cache {
  clqi_ref_kv k;
  clqi_ref_kv v;
  int64_t sequences, heads, capacity, head_dim;
} clqi_ref_cache;

/* Where a token of a head stands. */
typedef struct clqi_ref_token {
  int64_t sequence, head, position;
} clqi_ref_token;

/* Bytes of k or v without planes. */
size_t clqi_ref_kv_bytes(const clqi_ref_cache *c, clq_dtype dtype);

/* Writes one token's head_dim numbers, quantized as the cache is. */
void clqi_ref_cache_put_k(const clqi_ref_cache *c, clqi_ref_token t, const float *x);
void clqi_ref_cache_put_v(const clqi_ref_cache *c, clqi_ref_token t, const float *x);

/* The number that stands there, of codes with its zero point taken off and before it is scaled, and
 * its scale, which is 1 for floats. Their product is exact in double. */
float clqi_ref_cache_k(const clqi_ref_cache *c, clqi_ref_token t, int64_t d, float *scale);
float clqi_ref_cache_v(const clqi_ref_cache *c, clqi_ref_token t, int64_t d, float *scale);

#endif
