/* What rope and attention share: the shape of a KV cache and the position. */
#ifndef CLQI_OPS_KV_CACHE_H
#define CLQI_OPS_KV_CACHE_H

#include "ops/op.h"

enum { CLQI_KEY_BLOCK = 16, CLQI_MAX_HEAD_DIM = 256 };

/* Both caches: f32 or f16, [kv_heads, capacity, head_dim] with dense heads, capacity a multiple
 * of 16; head_dim a multiple of 16 up to 256. */
clq_status clqi_check_caches(const char *op, const clq_tensor *k_cache, const clq_tensor *v_cache,
                             int64_t head_dim);
/* `position` is i32 [1]. */
clq_status clqi_check_position(const char *op, const clq_tensor *position);

/* "-DCLQ_CACHE=n" needs the number of the caches' type; absent caches count as f32. */
int clqi_cache_type(const clq_tensor *cache);

#endif
