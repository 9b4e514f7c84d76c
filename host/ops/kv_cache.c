#include "ops/kv_cache.h"

/* The kernels know these types by number. */
_Static_assert(CLQ_F32 == 1 && CLQ_F16 == 2, "CLQ_CACHE of rope.cl and attention.cl");

enum { DIMS = 4 };

static clq_status check_head(const char *op, const char *arg, const clq_tensor *t,
                             int64_t head_dim) {
  CLQI_TRY(clqi_check_tensor(op, arg, t, DIMS, CLQI_DT(CLQ_F32) | CLQI_DT(CLQ_F16)));
  CLQI_TRY(clqi_check_extent(op, arg, t, 3, head_dim, "head_dim of q"));
  CLQI_REQUIRE(t->shape[2] % CLQI_KEY_BLOCK == 0,
               "%s: dimension 2 of %s is %lld, expected a multiple of %d", op, arg,
               (long long)t->shape[2], (int)CLQI_KEY_BLOCK);
  CLQI_REQUIRE(clqi_stride(t, DIMS, 2) == head_dim,
               "%s: stride 2 of %s is %lld, expected %lld: a head of a cache is dense", op, arg,
               (long long)clqi_stride(t, DIMS, 2), (long long)head_dim);
  for (int d = 0; d < 2; ++d) {
    CLQI_REQUIRE(t->shape[d] <= INT32_MAX, "%s: dimension %d of %s is %lld, expected at most %d",
                 op, d, arg, (long long)t->shape[d], INT32_MAX);
  }
  return CLQ_OK;
}

clq_status clqi_check_cache(const char *op, const clq_kv_cache *cache, int64_t head_dim) {
  const clq_tensor *k = &cache->k;
  const clq_tensor *v = &cache->v;
  if (head_dim < CLQI_KEY_BLOCK || head_dim > CLQI_MAX_HEAD_DIM || head_dim % 16 != 0) {
    return clqi_fail(CLQ_UNSUPPORTED,
                     "%s: head_dim is %lld, offered with a cache: multiples of 16 up to %d", op,
                     (long long)head_dim, (int)CLQI_MAX_HEAD_DIM);
  }
  CLQI_TRY(check_head(op, "cache.k", k, head_dim));
  CLQI_TRY(check_head(op, "cache.v", v, head_dim));
  CLQI_TRY(clqi_check_extent(op, "cache.v", v, 0, k->shape[0], "sequences of cache.k"));
  CLQI_TRY(clqi_check_extent(op, "cache.v", v, 1, k->shape[1], "heads of cache.k"));
  CLQI_TRY(clqi_check_extent(op, "cache.v", v, 2, k->shape[2], "capacity of cache.k"));
  CLQI_REQUIRE(v->dtype == k->dtype, "%s: dtype of cache.v is %s, expected %s (that of cache.k)",
               op, clq_dtype_name(v->dtype), clq_dtype_name(k->dtype));
  return CLQ_OK;
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

int clqi_cache_type(const clq_kv_cache *cache) {
  return clqi_present(&cache->k) ? (int)cache->k.dtype : (int)CLQ_F32;
}
