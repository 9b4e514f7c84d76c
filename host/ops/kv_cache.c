#include "ops/kv_cache.h"

#include <stdio.h>

/* The kernels know these types by number. */
_Static_assert(CLQ_F32 == 1 && CLQ_F16 == 2 && CLQ_I8 == 4 && CLQ_U8 == 5,
               "CLQ_K and CLQ_V of rope.cl and attention.cl");

enum { DIMS = 4, CODE_ALIGNMENT = 4 };

/* Elements of a head's numbers: two to a byte where codes have 4 bits. */
static int64_t head_elements(const clq_tensor *t, int64_t head_dim) {
  return t->dtype == CLQ_U8 ? head_dim / 2 : head_dim;
}

static clq_status check_shape(const char *op, const char *arg, const clq_tensor *t,
                              int64_t head_dim) {
  const int64_t elements = head_elements(t, head_dim);
  CLQI_TRY(clqi_check_tensor(
      op, arg, t, DIMS, CLQI_DT(CLQ_F32) | CLQI_DT(CLQ_F16) | CLQI_DT(CLQ_I8) | CLQI_DT(CLQ_U8)));
  CLQI_TRY(
      clqi_check_extent(op, arg, t, 3, elements,
                        t->dtype == CLQ_U8 ? "half of head_dim: two codes a byte" : "head_dim"));
  CLQI_REQUIRE(t->shape[2] % CLQI_KEY_BLOCK == 0,
               "%s: dimension 2 of %s is %lld, expected a multiple of %d", op, arg,
               (long long)t->shape[2], (int)CLQI_KEY_BLOCK);
  CLQI_REQUIRE(clqi_stride(t, DIMS, 2) == elements,
               "%s: stride 2 of %s is %lld, expected %lld: a head of a cache is dense", op, arg,
               (long long)clqi_stride(t, DIMS, 2), (long long)elements);
  for (int d = 0; d < 2; ++d) {
    CLQI_REQUIRE(t->shape[d] <= INT32_MAX, "%s: dimension %d of %s is %lld, expected at most %d",
                 op, d, arg, (long long)t->shape[d], INT32_MAX);
  }
  return CLQ_OK;
}

/* Codes are read and written in words. */
static clq_status check_alignment(const char *op, const char *arg, const clq_tensor *t) {
  const uint64_t where[] = {t->offset, (uint64_t)clqi_stride(t, DIMS, 0),
                            (uint64_t)clqi_stride(t, DIMS, 1)};
  static const char *const what[] = {"offset", "stride 0", "stride 1"};
  for (size_t i = 0; i < CLQI_COUNT(where); ++i) {
    CLQI_REQUIRE(where[i] % CODE_ALIGNMENT == 0,
                 "%s: %s of %s, a cache of codes, is %llu bytes, expected a multiple of %d", op,
                 what[i], arg, (unsigned long long)where[i], (int)CODE_ALIGNMENT);
  }
  return CLQ_OK;
}

/* The scales of keys by channel are [kv_heads, head_dim], which is no plane of a tensor as others
 * are. */
static clq_status check_given(const clq_context *context, const char *op, const char *arg,
                              const clq_tensor *t) {
  const clq_tensor plane = {.mem = t->quant.scale,
                            .dtype = CLQ_F32,
                            .shape = {t->shape[1], t->shape[3]},
                            .offset = t->quant.scale_offset};
  char name[32];
  (void)snprintf(name, sizeof name, "%s.quant.scale", arg);
  return clqi_check_buffers(context, op, name, CLQI_IN, false, &plane);
}

static clq_status check_codes(const clq_context *context, const char *op, const char *arg,
                              const clq_tensor *t, unsigned granularities) {
  if (!clqi_is_codes(t)) {
    return CLQ_OK;
  }
  const bool wants_zero = t->dtype == CLQ_U8;
  CLQI_TRY(check_alignment(op, arg, t));
  CLQI_REQUIRE(t->value == 0, "%s: %s, a cache of codes, is an edge of a graph, expected a buffer",
               op, arg);
  CLQI_TRY(clqi_check_quant(op, arg, t, granularities, 0));
  CLQI_REQUIRE((t->quant.zero != NULL) == wants_zero,
               wants_zero ? "%s: the zero plane of %s is missing: 4-bit codes are asymmetric"
                          : "%s: %s is symmetric; its zero plane must be absent",
               op, arg);
  CLQI_REQUIRE(t->quant.sum == NULL, "%s: %s has no sums; quant.sum must be absent", op, arg);
  return t->quant.per == CLQ_PER_CHANNEL ? check_given(context, op, arg, t) : CLQ_OK;
}

clq_status clqi_check_cache(const clq_context *context, const char *op, const clq_kv_cache *cache,
                            int64_t head_dim) {
  const clq_tensor *k = &cache->k;
  const clq_tensor *v = &cache->v;
  if (head_dim < CLQI_KEY_BLOCK || head_dim > CLQI_MAX_HEAD_DIM || head_dim % 16 != 0) {
    return clqi_fail(CLQ_UNSUPPORTED,
                     "%s: head_dim is %lld, offered with a cache: multiples of 16 up to %d", op,
                     (long long)head_dim, (int)CLQI_MAX_HEAD_DIM);
  }
  CLQI_TRY(check_shape(op, "cache.k", k, head_dim));
  CLQI_TRY(check_shape(op, "cache.v", v, head_dim));
  CLQI_TRY(clqi_check_extent(op, "cache.v", v, 0, k->shape[0], "sequences of cache.k"));
  CLQI_TRY(clqi_check_extent(op, "cache.v", v, 1, k->shape[1], "heads of cache.k"));
  CLQI_TRY(clqi_check_extent(op, "cache.v", v, 2, k->shape[2], "capacity of cache.k"));
  const unsigned per_token = CLQI_GR(CLQ_PER_TOKEN);
  CLQI_TRY(check_codes(context, op, "cache.k", k,
                       per_token | (k->dtype == CLQ_I8 ? CLQI_GR(CLQ_PER_CHANNEL) : 0)));
  return check_codes(context, op, "cache.v", v, per_token);
}

clq_status clqi_check_sequences(const char *op, int64_t sequences, int64_t rows,
                                const clq_tensor *position, const clq_tensor *starts) {
  if (clqi_present(position)) {
    CLQI_TRY(clqi_check_tensor(op, "position", position, 1, CLQI_DT(CLQ_I32)));
    CLQI_TRY(clqi_check_extent(op, "position", position, 0, sequences, "one a sequence"));
  }
  if (clqi_present(starts)) {
    CLQI_TRY(clqi_check_tensor(op, "starts", starts, 1, CLQI_DT(CLQ_I32)));
    return clqi_check_extent(op, "starts", starts, 0, sequences + 1,
                             "the first row of each sequence, and the end");
  }
  CLQI_REQUIRE(rows == 0 || (sequences > 0 && rows % sequences == 0),
               "%s: %lld rows of %lld sequences, expected a multiple, or starts", op,
               (long long)rows, (long long)sequences);
  return CLQ_OK;
}

clqi_cache_options clqi_cache_options_of(const clq_kv_cache *cache) {
  clqi_cache_options o;
  const bool there = clqi_present(&cache->k);
  (void)snprintf(o.text, sizeof o.text, "-DCLQ_K=%d -DCLQ_V=%d%s",
                 (int)(there ? cache->k.dtype : CLQ_F32), (int)(there ? cache->v.dtype : CLQ_F32),
                 there && cache->k.quant.per == CLQ_PER_CHANNEL ? " -DCLQ_K_GIVEN=1" : "");
  return o;
}

double clqi_cache_token_bytes(const clq_kv_cache *cache) {
  const clq_tensor *both[] = {&cache->k, &cache->v};
  double bytes = 0.0;
  for (size_t i = 0; i < CLQI_COUNT(both); ++i) {
    const clq_tensor *t = both[i];
    bytes += (double)t->shape[3] * (double)clq_dtype_bytes(t->dtype);
    bytes += t->quant.per == CLQ_PER_TOKEN ? (t->quant.zero != NULL ? 8.0 : 4.0) : 0.0;
  }
  return bytes;
}
