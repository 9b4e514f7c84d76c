#include "ops/kv_cache.h"

/* The kernels know these types by number. */
_Static_assert(CLQ_F32 == 1 && CLQ_F16 == 2, "CLQ_CACHE of rope.cl and attention.cl");

static clq_status check_cache(const char *op, const char *arg, const clq_tensor *cache,
                              int64_t head_dim) {
  CLQI_TRY(clqi_check_tensor(op, arg, cache, 3, CLQI_DT(CLQ_F32) | CLQI_DT(CLQ_F16)));
  CLQI_TRY(clqi_check_extent(op, arg, cache, 2, head_dim, "head_dim of q"));
  CLQI_REQUIRE(cache->shape[1] % CLQI_KEY_BLOCK == 0,
               "%s: dimension 1 of %s is %lld, expected a multiple of %d", op, arg,
               (long long)cache->shape[1], (int)CLQI_KEY_BLOCK);
  CLQI_REQUIRE(clqi_stride(cache, 3, 1) == head_dim,
               "%s: stride 1 of %s is %lld, expected %lld: a head of a cache is dense", op, arg,
               (long long)clqi_stride(cache, 3, 1), (long long)head_dim);
  CLQI_REQUIRE(cache->shape[0] <= INT32_MAX, "%s: dimension 0 of %s is %lld, expected at most %d",
               op, arg, (long long)cache->shape[0], INT32_MAX);
  return CLQ_OK;
}

clq_status clqi_check_caches(const char *op, const clq_tensor *k_cache, const clq_tensor *v_cache,
                             int64_t head_dim) {
  if (head_dim < CLQI_KEY_BLOCK || head_dim > CLQI_MAX_HEAD_DIM || head_dim % 16 != 0) {
    return clqi_fail(CLQ_UNSUPPORTED,
                     "%s: head_dim is %lld, offered with a cache: multiples of 16 up to %d", op,
                     (long long)head_dim, (int)CLQI_MAX_HEAD_DIM);
  }
  CLQI_TRY(check_cache(op, "k_cache", k_cache, head_dim));
  CLQI_TRY(check_cache(op, "v_cache", v_cache, head_dim));
  CLQI_TRY(clqi_check_extent(op, "v_cache", v_cache, 0, k_cache->shape[0], "heads of k_cache"));
  CLQI_TRY(clqi_check_extent(op, "v_cache", v_cache, 1, k_cache->shape[1], "capacity of k_cache"));
  CLQI_REQUIRE(v_cache->dtype == k_cache->dtype,
               "%s: dtype of v_cache is %s, expected %s (that of k_cache)", op,
               clq_dtype_name(v_cache->dtype), clq_dtype_name(k_cache->dtype));
  return CLQ_OK;
}

clq_status clqi_check_position(const char *op, const clq_tensor *position) {
  CLQI_TRY(clqi_check_tensor(op, "position", position, 1, CLQI_DT(CLQ_I32)));
  return clqi_check_extent(op, "position", position, 0, 1, "one number");
}

int clqi_cache_type(const clq_tensor *cache) {
  return clqi_present(cache) ? (int)cache->dtype : (int)CLQ_F32;
}
