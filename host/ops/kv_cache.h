/* What rope and attention share: the shape of a KV cache and where its sequences stand. */
#ifndef CLQI_OPS_KV_CACHE_H
#define CLQI_OPS_KV_CACHE_H

#include "ops/op.h"

enum { CLQI_KEY_BLOCK = 16, CLQI_MAX_HEAD_DIM = 256 };

/* Everything that clq_kv_cache says, with `head_dim` numbers a head, buffers of given scales
 * included. */
clq_status clqi_check_cache(const clq_context *context, const char *op, const clq_kv_cache *cache,
                            int64_t head_dim);
/* `position` is absent or i32 [sequences], `starts` absent or i32 [sequences + 1]; without starts
 * the rows are a multiple of the sequences. */
clq_status clqi_check_sequences(const char *op, int64_t sequences, int64_t rows,
                                const clq_tensor *position, const clq_tensor *starts);

/* Build options "-DCLQ_K= -DCLQ_V=", the numbers of the caches' types, those of f32 where they are
 * absent; and CLQ_K_GIVEN=1 where keys have a scale a channel. */
typedef struct clqi_cache_options {
  char text[48];
} clqi_cache_options;
clqi_cache_options clqi_cache_options_of(const clq_kv_cache *cache);

/* Bytes of a token's keys and values in one head, planes included. */
double clqi_cache_token_bytes(const clq_kv_cache *cache);

static inline int64_t clqi_cache_sequences(const clq_kv_cache *c) { return c->k.shape[0]; }
static inline int64_t clqi_cache_heads(const clq_kv_cache *c) { return c->k.shape[1]; }
static inline int64_t clqi_cache_capacity(const clq_kv_cache *c) { return c->k.shape[2]; }

#endif
