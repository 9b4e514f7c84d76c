/* What rope and attention share: the shape of a KV cache and where its sequences stand. */
#ifndef CLQI_OPS_KV_CACHE_H
#define CLQI_OPS_KV_CACHE_H

#include "ops/op.h"

enum { CLQI_KEY_BLOCK = 16, CLQI_MAX_HEAD_DIM = 256 };

/* Both caches: [sequences, kv_heads, capacity, head_dim] with dense heads, of one dtype, f32 or
 * f16; capacity a multiple of 16; head_dim, which is q's, a multiple of 16 up to 256. */
clq_status clqi_check_cache(const char *op, const clq_kv_cache *cache, int64_t head_dim);
/* `position` is absent or i32 [sequences], `starts` absent or i32 [sequences + 1]; without starts
 * the rows are a multiple of the sequences. */
clq_status clqi_check_sequences(const char *op, int64_t sequences, int64_t rows,
                                const clq_tensor *position, const clq_tensor *starts);

/* "-DCLQ_CACHE=n" needs the number of the caches' type; absent caches count as f32. */
int clqi_cache_type(const clq_kv_cache *cache);

static inline int64_t clqi_cache_sequences(const clq_kv_cache *c) { return c->k.shape[0]; }
static inline int64_t clqi_cache_heads(const clq_kv_cache *c) { return c->k.shape[1]; }
static inline int64_t clqi_cache_capacity(const clq_kv_cache *c) { return c->k.shape[2]; }

#endif
