#include "ref/kv_cache.h"

#include <math.h>

#include "ref/math.h"
#include "ref/ref.h"

enum { MOST_DIMS = 256 };

size_t clqi_ref_kv_bytes(const clqi_ref_cache *c, clq_dtype dtype) {
  const size_t numbers = (size_t)(c->sequences * c->heads * c->capacity * c->head_dim);
  return dtype == CLQ_U8 ? numbers / 2 : numbers * clq_dtype_bytes(dtype);
}

/* Of the token's head among all heads, and of the token among all. */
static int64_t head_of(const clqi_ref_cache *c, clqi_ref_token t) {
  return t.sequence * c->heads + t.head;
}
static int64_t token_of(const clqi_ref_cache *c, clqi_ref_token t) {
  return head_of(c, t) * c->capacity + t.position;
}

/* Element of a key's dimension d: 16 keys side by side, of codes 4 dimensions of each. For 4 bits
 * the byte, of which dimensions 0..3 of each 8 have the low half. */
static int64_t k_index(const clqi_ref_cache *c, clqi_ref_token t, int64_t d) {
  const int64_t dims = c->head_dim;
  const int64_t block = t.position / 16;
  const int64_t key = t.position % 16;
  const int64_t tokens = head_of(c, t) * c->capacity + block * 16;
  switch (c->k.dtype) {
    case CLQ_I8: return tokens * dims + d / 4 * 64 + key * 4 + d % 4;
    case CLQ_U8: return tokens * dims / 2 + d / 8 * 64 + key * 4 + d % 4;
    default: return tokens * dims + d * 16 + key;
  }
}

/* Element of a value's dimension d: of codes 4 keys side by side. For 4 bits the byte, of which the
 * first half of the dimensions has the low half. */
static int64_t v_index(const clqi_ref_cache *c, clqi_ref_token t, int64_t d) {
  const int64_t dims = c->head_dim;
  const int64_t tokens = head_of(c, t) * c->capacity + t.position / 4 * 4;
  switch (c->v.dtype) {
    case CLQ_I8: return tokens * dims + d * 4 + t.position % 4;
    case CLQ_U8: return tokens * dims / 2 + (d < dims / 2 ? d : d - dims / 2) * 4 + t.position % 4;
    default: return token_of(c, t) * dims + d;
  }
}

/* Places of one kind of tensor. */
typedef int64_t (*index_of)(const clqi_ref_cache *c, clqi_ref_token t, int64_t d);

static bool k_is_high(const clqi_ref_cache *c, int64_t d) {
  (void)c;
  return d % 8 >= 4;
}
static bool v_is_high(const clqi_ref_cache *c, int64_t d) { return d >= c->head_dim / 2; }

/* Codes 0..15 with 0 counted among the numbers. */
static void quantize4(const float *x, int64_t n, int32_t *codes, float *scale, int32_t *zero) {
  const float smallest = 0x1p-119f;
  float least = 0.0f;
  float most = 0.0f;
  bool is_nan = false;
  for (int64_t i = 0; i < n; ++i) {
    is_nan = is_nan || isnan(x[i]);
    least = x[i] < least ? x[i] : least;
    most = x[i] > most ? x[i] : most;
  }
  const float s = is_nan ? NAN : clqi_ref_div(most, 15.0f) - clqi_ref_div(least, 15.0f);
  const bool number = s >= smallest && s < INFINITY;
  const float mult = number ? clqi_ref_div(1.0f, s) : 0.0f;
  *scale = s < smallest ? 0.0f : s;
  *zero = number ? (int32_t)fminf(fmaxf(rintf(-least * mult), 0.0f), 15.0f) : 8;
  for (int64_t i = 0; i < n; ++i) {
    const bool infinite = isinf(x[i]) && !is_nan;
    const float v = infinite ? copysignf(16.0f, x[i]) : isnan(x[i]) ? 0.0f : x[i] * mult;
    const int32_t code = (int32_t)rintf(isnan(v) ? 0.0f : v) + *zero;
    codes[i] = code < 0 ? 0 : code > 15 ? 15 : code;
  }
}

static void put(const clqi_ref_cache *c, const clqi_ref_kv *to, index_of at, clqi_ref_token t,
                const float *x) {
  int32_t codes[MOST_DIMS] = {0};
  int8_t bytes[MOST_DIMS] = {0};
  if (to->dtype == CLQ_U8) {
    quantize4(x, c->head_dim, codes, &to->scale[token_of(c, t)], &to->zero[token_of(c, t)]);
  } else if (to->dtype == CLQ_I8 && !to->given) {
    (void)clqi_ref_quantize_group(x, c->head_dim, bytes, &to->scale[token_of(c, t)]);
  }
  for (int64_t d = 0; d < c->head_dim; ++d) {
    const int64_t i = at(c, t, d);
    if (to->dtype == CLQ_F32) {
      ((float *)to->data)[i] = x[d];
    } else if (to->dtype == CLQ_F16) {
      ((uint16_t *)to->data)[i] = clqi_ref_f16_from_f32(x[d]);
    } else if (to->dtype == CLQ_U8) {
      const bool high = to == &c->k ? k_is_high(c, d) : v_is_high(c, d);
      uint8_t *byte = &((uint8_t *)to->data)[i];
      *byte = (uint8_t)(high ? (*byte & 15) | codes[d] << 4 : (*byte & 0xf0) | codes[d]);
    } else if (to->given) {
      const float v = x[d] * clqi_ref_div(1.0f, to->scale[t.head * c->head_dim + d]);
      ((int8_t *)to->data)[i] = (int8_t)rintf(isnan(v) ? 0.0f : fminf(fmaxf(v, -127.0f), 127.0f));
    } else {
      ((int8_t *)to->data)[i] = bytes[d];
    }
  }
}

void clqi_ref_cache_put_k(const clqi_ref_cache *c, clqi_ref_token t, const float *x) {
  put(c, &c->k, k_index, t, x);
}

void clqi_ref_cache_put_v(const clqi_ref_cache *c, clqi_ref_token t, const float *x) {
  put(c, &c->v, v_index, t, x);
}

static float get(const clqi_ref_cache *c, const clqi_ref_kv *from, index_of at, clqi_ref_token t,
                 int64_t d, float *scale) {
  const int64_t i = at(c, t, d);
  *scale = 1.0f;
  switch (from->dtype) {
    case CLQ_F32: return ((const float *)from->data)[i];
    case CLQ_F16: return clqi_ref_f32_from_f16(((const uint16_t *)from->data)[i]);
    case CLQ_I8:
      *scale = from->given ? from->scale[t.head * c->head_dim + d] : from->scale[token_of(c, t)];
      return (float)((const int8_t *)from->data)[i];
    default: {
      const bool high = from == &c->k ? k_is_high(c, d) : v_is_high(c, d);
      const int byte = ((const uint8_t *)from->data)[i];
      *scale = from->scale[token_of(c, t)];
      return (float)((high ? byte >> 4 : byte & 15) - from->zero[token_of(c, t)]);
    }
  }
}

float clqi_ref_cache_k(const clqi_ref_cache *c, clqi_ref_token t, int64_t d, float *scale) {
  return get(c, &c->k, k_index, t, d, scale);
}

float clqi_ref_cache_v(const clqi_ref_cache *c, clqi_ref_token t, int64_t d, float *scale) {
  return get(c, &c->v, v_index, t, d, scale);
}
