#include "ref/math.h"

#include <float.h>
#include <math.h>
#include <string.h>

static int32_t bits_of(float x) {
  int32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

static float float_of(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

static float flush(float x) { return fabsf(x) < FLT_MIN ? copysignf(0.0f, x) : x; }

float clqi_ref_div(float a, float b) {
  float q = flush(a) / flush(b);
  return fabsf(q) <= FLT_MIN ? copysignf(0.0f, q) : q;
}

float clqi_ref_sqrt(float x) { return sqrtf(flush(x)); }

/* A double holds x exactly and 1/sqrt to 2^-52; that decides the rounding to
 * float for every x (checked over all significands by tests/test_devlib.c). */
float clqi_ref_rsqrt(float x) { return (float)(1.0 / sqrt((double)flush(x))); }

float clqi_ref_exp(float x) {
  if (isnan(x)) {
    return x;
  }
  if (x > 0x1.62e42ep+6f) {
    return INFINITY;
  }
  if (x < -0x1.5d589ep+6f) {
    return 0.0f;
  }
  float t = fmaf(x, 0x1.715476p+0f, 0x1.8p+23f);
  float n = t - 0x1.8p+23f;
  float r = fmaf(n, -0x1.62e400p-1f, x);
  r = fmaf(n, -0x1.7f7d1cp-20f, r);
  float p = fmaf(0x1.6a4b36p-10f, r, 0x1.12398ep-7f);
  p = fmaf(p, r, 0x1.5558b2p-5f);
  p = fmaf(p, r, 0x1.555492p-3f);
  p = fmaf(p, r, 0x1.fffffcp-2f);
  p = fmaf(p, r, 1.0f);
  p = fmaf(p, r, 1.0f);
  return float_of((uint32_t)bits_of(p) + ((uint32_t)bits_of(t) << 23));
}

float clqi_ref_sigmoid(float x) { return clqi_ref_div(1.0f, 1.0f + clqi_ref_exp(-x)); }

float clqi_ref_tanh(float x) {
  float a = fabsf(x);
  if (a >= 0.55f) {
    float c = a > 10.0f ? 10.0f : a;
    return copysignf(1.0f - 2.0f / (1.0f + clqi_ref_exp(c + c)), x);
  }
  float s = x * x;
  float p = fmaf(-0x1.97781ap-8f, s, 0x1.58a54cp-6f);
  p = fmaf(p, s, -0x1.b91882p-5f);
  p = fmaf(p, s, 0x1.110cd8p-3f);
  p = fmaf(p, s, -0x1.55554ap-2f);
  return fmaf(p * s, x, x);
}

float clqi_ref_erf(float x) {
  float a = fabsf(x);
  if (a >= 0.925f) {
    float c = a > 4.0f ? 4.0f : a;
    float q = fmaf(-0x1.78d116p-17f, c, 0x1.52795cp-12f);
    q = fmaf(q, c, -0x1.dd6ba8p-9f);
    q = fmaf(q, c, 0x1.855122p-6f);
    q = fmaf(q, c, -0x1.b32568p-4f);
    q = fmaf(q, c, -0x1.45328ep-1f);
    q = fmaf(q, c, -0x1.0778dcp-3f);
    return copysignf(1.0f - clqi_ref_exp(fmaf(q, c, -c)), x);
  }
  float s = x * x;
  float p = fmaf(0x1.4f675ep-14f, s, -0x1.a60a2ep-11f);
  p = fmaf(p, s, 0x1.544a1ap-8f);
  p = fmaf(p, s, -0x1.b8011ap-6f);
  p = fmaf(p, s, 0x1.ce2d64p-4f);
  p = fmaf(p, s, -0x1.812740p-2f);
  p = fmaf(p, s, 0x1.06eba8p-3f);
  return fmaf(p, x, x);
}

float clqi_ref_f32_from_f16(uint16_t h) {
  uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
  uint32_t exponent = (h >> 10) & 31u;
  uint32_t fraction = h & 0x3ffu;
  if (exponent == 31u) {
    return float_of(sign | 0x7f800000u | fraction << 13);
  }
  if (exponent == 0u) {
    float magnitude = (float)fraction * 0x1p-24f;
    return copysignf(magnitude, sign ? -1.0f : 1.0f);
  }
  return float_of(sign | (exponent + 112u) << 23 | fraction << 13);
}

/* Nearest even: the scaled sum rounds subnormal halves; elsewhere the integer
 * carry does. */
uint16_t clqi_ref_f16_from_f32(float x) {
  uint32_t bits = (uint32_t)bits_of(x);
  uint32_t sign = (bits >> 16) & 0x8000u;
  uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) {
    return (uint16_t)(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu));
  }
  if (magnitude >= 0x477ff000u) {
    return (uint16_t)(sign | 0x7c00u);
  }
  if (magnitude < 0x38800000u) {
    float sum = float_of(magnitude) + 0.5f;
    return (uint16_t)(sign | ((uint32_t)bits_of(sum) - 0x3f000000u));
  }
  uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
  return (uint16_t)(sign | ((rounded >> 13) - (112u << 10)));
}

float clqi_ref_f32_from_bf16(uint16_t h) { return float_of((uint32_t)h << 16); }

uint16_t clqi_ref_bf16_from_f32(float x) {
  uint32_t bits = (uint32_t)bits_of(x);
  if (isnan(x)) {
    return (uint16_t)((bits >> 16) | 0x40u);
  }
  return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

int32_t clqi_ref_absmax(int32_t bits, float x) {
  int32_t magnitude = bits_of(x) & 0x7fffffff;
  return magnitude > bits ? magnitude : bits;
}

float clqi_ref_quant_scale(int32_t absmax_bits) {
  if (absmax_bits < bits_of(0x1p-119f)) {
    return 0.0f;
  }
  return clqi_ref_div(float_of((uint32_t)absmax_bits), 127.0f);
}

float clqi_ref_quant_mult(int32_t absmax_bits) {
  if (absmax_bits < bits_of(0x1p-119f)) {
    return 0.0f;
  }
  return clqi_ref_div(127.0f, float_of((uint32_t)absmax_bits));
}

static int8_t round_sat(float x, float lo, float hi) {
  if (isnan(x)) {
    return 0;
  }
  x = x > hi ? hi : x;
  x = x < lo ? lo : x;
  return (int8_t)rintf(x);
}

int8_t clqi_ref_quant_code(float x, float mult) {
  float v = isinf(x) && mult == 0.0f ? x : x * mult;
  return round_sat(v, -127.0f, 127.0f);
}

int8_t clqi_ref_saturate(float x) { return round_sat(x, -128.0f, 127.0f); }

float clqi_ref_fold_add(const float *lanes, int count) {
  if (count == 1) {
    return lanes[0];
  }
  int left = 1;
  while (left * 2 < count) {
    left *= 2;
  }
  return clqi_ref_fold_add(lanes, left) + clqi_ref_fold_add(lanes + left, count - left);
}
