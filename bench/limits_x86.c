/* The limits' loops in AVX-512 and AVX2. Accumulators are as many as hide the
 * latency of the instruction on two ports; operands that a loop does not change
 * pass through an empty asm, or the compiler would move the products out. */
#include "limits_loops.h"

#if defined(__x86_64__)
#include <immintrin.h>

enum { PASS = 1024 };

#define PLAIN          no_sanitize("address", "undefined") /* or the loops measure the sanitizer */
#define WIDE           __attribute__((target("avx512f,avx512bw"), PLAIN))
#define VNNI           __attribute__((target("avx512f,avx512bw,avx512vnni"), PLAIN))
#define NARROW         __attribute__((target("avx2,fma"), PLAIN))
#define OPAQUE(x)      __asm__ volatile("" : "+v"(x))
#define OPAQUE_AVX2(x) __asm__ volatile("" : "+x"(x))
/* Or the accumulators would live in memory. */
#if defined(__clang__)
#define UNROLLED _Pragma("clang loop unroll(full)")
#else
#define UNROLLED _Pragma("GCC unroll 32")
#endif

/* The compiler's own sum of lanes is signed, and overflows. */
WIDE static unsigned sum_512(__m512i x) {
  unsigned lanes[16];
  unsigned sum = 0;
  _mm512_storeu_si512(lanes, x);
  for (int i = 0; i < 16; ++i) {
    sum += lanes[i];
  }
  return sum;
}

NARROW static unsigned sum_256(__m256i x) {
  unsigned lanes[8];
  unsigned sum = 0;
  _mm256_storeu_si256((__m256i *)(void *)lanes, x);
  for (int i = 0; i < 8; ++i) {
    sum += lanes[i];
  }
  return sum;
}

/* --- memory --- */

WIDE static unsigned read_512(void *to, const void *from, size_t bytes) {
  (void)to;
  const char *p = from;
  __m512i a[8];
  UNROLLED
  for (int i = 0; i < 8; ++i) {
    a[i] = _mm512_setzero_si512();
  }
  for (size_t at = 0; at < bytes; at += BENCH_LOOP_STEP) {
    UNROLLED
    for (int i = 0; i < 8; ++i) {
      a[i] = _mm512_add_epi32(a[i], _mm512_load_si512(p + at + 64 * (size_t)i));
    }
  }
  UNROLLED
  for (int i = 1; i < 8; ++i) {
    a[0] = _mm512_add_epi32(a[0], a[i]);
  }
  return sum_512(a[0]);
}

WIDE static unsigned copy_512(void *to, const void *from, size_t bytes) {
  for (size_t at = 0; at < bytes; at += BENCH_LOOP_STEP) {
    UNROLLED
    for (size_t i = 0; i < BENCH_LOOP_STEP; i += 64) {
      _mm512_store_si512((char *)to + at + i, _mm512_load_si512((const char *)from + at + i));
    }
  }
  return 0;
}

WIDE static unsigned copy_nontemporal_512(void *to, const void *from, size_t bytes) {
  for (size_t at = 0; at < bytes; at += BENCH_LOOP_STEP) {
    UNROLLED
    for (size_t i = 0; i < BENCH_LOOP_STEP; i += 64) {
      const __m512i x = _mm512_load_si512((const char *)from + at + i);
      _mm512_stream_si512((__m512i *)(void *)((char *)to + at + i), x);
    }
  }
  _mm_sfence();
  return 0;
}

NARROW static __m256i load_256(const char *p) {
  return _mm256_load_si256((const __m256i *)(const void *)p);
}

NARROW static unsigned read_256(void *to, const void *from, size_t bytes) {
  (void)to;
  const char *p = from;
  __m256i a[8];
  UNROLLED
  for (int i = 0; i < 8; ++i) {
    a[i] = _mm256_setzero_si256();
  }
  for (size_t at = 0; at < bytes; at += 256) {
    UNROLLED
    for (int i = 0; i < 8; ++i) {
      a[i] = _mm256_add_epi32(a[i], load_256(p + at + 32 * (size_t)i));
    }
  }
  UNROLLED
  for (int i = 1; i < 8; ++i) {
    a[0] = _mm256_add_epi32(a[0], a[i]);
  }
  return sum_256(a[0]);
}

NARROW static unsigned copy_256(void *to, const void *from, size_t bytes) {
  for (size_t at = 0; at < bytes; at += 256) {
    UNROLLED
    for (size_t i = 0; i < 256; i += 32) {
      _mm256_store_si256((__m256i *)(void *)((char *)to + at + i),
                         load_256((const char *)from + at + i));
    }
  }
  return 0;
}

NARROW static unsigned copy_nontemporal_256(void *to, const void *from, size_t bytes) {
  for (size_t at = 0; at < bytes; at += 256) {
    UNROLLED
    for (size_t i = 0; i < 256; i += 32) {
      _mm256_stream_si256((__m256i *)(void *)((char *)to + at + i),
                          load_256((const char *)from + at + i));
    }
  }
  _mm_sfence();
  return 0;
}

/* --- arithmetic --- */

enum { WIDE_SUMS = 24, NARROW_SUMS = 12 };

WIDE static float fp32_512(long passes) {
  __m512 a[WIDE_SUMS];
  __m512 x = _mm512_set1_ps(0.5f);
  __m512 y = _mm512_set1_ps(0.25f);
  UNROLLED
  for (int i = 0; i < WIDE_SUMS; ++i) {
    a[i] = _mm512_set1_ps((float)i);
  }
  for (long n = passes * PASS; n > 0; --n) {
    OPAQUE(x);
    UNROLLED
    for (int i = 0; i < WIDE_SUMS; ++i) {
      a[i] = _mm512_fmadd_ps(a[i], x, y);
    }
  }
  UNROLLED
  for (int i = 1; i < WIDE_SUMS; ++i) {
    a[0] = _mm512_add_ps(a[0], a[i]);
  }
  return _mm512_reduce_add_ps(a[0]);
}

NARROW static float fp32_256(long passes) {
  __m256 a[NARROW_SUMS];
  __m256 x = _mm256_set1_ps(0.5f);
  __m256 y = _mm256_set1_ps(0.25f);
  UNROLLED
  for (int i = 0; i < NARROW_SUMS; ++i) {
    a[i] = _mm256_set1_ps((float)i);
  }
  for (long n = passes * PASS; n > 0; --n) {
    OPAQUE_AVX2(x);
    UNROLLED
    for (int i = 0; i < NARROW_SUMS; ++i) {
      a[i] = _mm256_fmadd_ps(a[i], x, y);
    }
  }
  UNROLLED
  for (int i = 1; i < NARROW_SUMS; ++i) {
    a[0] = _mm256_add_ps(a[0], a[i]);
  }
  return _mm256_cvtss_f32(a[0]);
}

VNNI static float int8_vnni(long passes) {
  __m512i a[WIDE_SUMS];
  __m512i x = _mm512_set1_epi8(3);
  __m512i y = _mm512_set1_epi8(-5);
  UNROLLED
  for (int i = 0; i < WIDE_SUMS; ++i) {
    a[i] = _mm512_set1_epi32(i);
  }
  for (long n = passes * PASS; n > 0; --n) {
    OPAQUE(x);
    UNROLLED
    for (int i = 0; i < WIDE_SUMS; ++i) {
      /* Through the intrinsic, some compilers keep moving the accumulators about. */
      __asm__ volatile("vpdpbusd %2, %1, %0" : "+v"(a[i]) : "v"(x), "v"(y));
    }
  }
  UNROLLED
  for (int i = 1; i < WIDE_SUMS; ++i) {
    a[0] = _mm512_add_epi32(a[0], a[i]);
  }
  return (float)sum_512(a[0]);
}

enum { PLAIN_SUMS = 8 };

/* Codes of 8 bits: a pair of products already fills int16. */
NARROW static float int8_plain_256(long passes) {
  __m256i a[PLAIN_SUMS];
  __m256i y = _mm256_set1_epi8(-5);
  const __m256i ones = _mm256_set1_epi16(1);
  UNROLLED
  for (int i = 0; i < PLAIN_SUMS; ++i) {
    a[i] = _mm256_set1_epi32(i);
  }
  for (long n = passes * PASS; n > 0; --n) {
    UNROLLED
    for (int i = 0; i < PLAIN_SUMS; ++i) {
      __m256i x = _mm256_set1_epi8(3);
      OPAQUE_AVX2(x);
      a[i] = _mm256_add_epi32(a[i], _mm256_madd_epi16(_mm256_maddubs_epi16(x, y), ones));
    }
    OPAQUE_AVX2(y);
  }
  UNROLLED
  for (int i = 1; i < PLAIN_SUMS; ++i) {
    a[0] = _mm256_add_epi32(a[0], a[i]);
  }
  return (float)sum_256(a[0]);
}

/* Weights of 4 bits: 15 * 127 * 2 per pair, so four of them fit int16; two are taken. */
NARROW static float int8_pairs_256(long passes) {
  __m256i a[PLAIN_SUMS];
  __m256i y = _mm256_set1_epi8(-5);
  __m256i z = _mm256_set1_epi8(7);
  const __m256i ones = _mm256_set1_epi16(1);
  UNROLLED
  for (int i = 0; i < PLAIN_SUMS; ++i) {
    a[i] = _mm256_set1_epi32(i);
  }
  for (long n = passes * PASS; n > 0; --n) {
    UNROLLED
    for (int i = 0; i < PLAIN_SUMS; ++i) {
      __m256i x = _mm256_set1_epi8(3);
      OPAQUE_AVX2(x);
      const __m256i pair = _mm256_add_epi16(_mm256_maddubs_epi16(x, y), _mm256_maddubs_epi16(x, z));
      a[i] = _mm256_add_epi32(a[i], _mm256_madd_epi16(pair, ones));
    }
    OPAQUE_AVX2(y);
    OPAQUE_AVX2(z);
  }
  UNROLLED
  for (int i = 1; i < PLAIN_SUMS; ++i) {
    a[0] = _mm256_add_epi32(a[0], a[i]);
  }
  return (float)sum_256(a[0]);
}

/* --- choice --- */

static const bench_body wide[BENCH_LOOP_COUNT] = {
    [BENCH_LOOP_READ] = {.memory = read_512},
    [BENCH_LOOP_COPY] = {.memory = copy_512},
    [BENCH_LOOP_COPY_NONTEMPORAL] = {.memory = copy_nontemporal_512},
    [BENCH_LOOP_FP32] = {.arithmetic = fp32_512, .ops = 2.0 * 16 * WIDE_SUMS * PASS},
};
static const bench_body narrow[BENCH_LOOP_COUNT] = {
    [BENCH_LOOP_READ] = {.memory = read_256},
    [BENCH_LOOP_COPY] = {.memory = copy_256},
    [BENCH_LOOP_COPY_NONTEMPORAL] = {.memory = copy_nontemporal_256},
    [BENCH_LOOP_FP32] = {.arithmetic = fp32_256, .ops = 2.0 * 8 * NARROW_SUMS * PASS},
    [BENCH_LOOP_INT8] = {.arithmetic = int8_plain_256, .ops = 2.0 * 32 * PLAIN_SUMS * PASS},
    [BENCH_LOOP_INT8_PLAIN] = {.arithmetic = int8_plain_256, .ops = 2.0 * 32 * PLAIN_SUMS * PASS},
    [BENCH_LOOP_INT8_PAIRS] = {.arithmetic = int8_pairs_256, .ops = 2.0 * 64 * PLAIN_SUMS * PASS},
};
static const bench_body vnni = {.arithmetic = int8_vnni, .ops = 2.0 * 64 * WIDE_SUMS * PASS};

bench_body bench_x86_body(bench_loop loop) {
  if (loop == BENCH_LOOP_INT8 && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vnni")) {
    return vnni;
  }
  const bench_body *body = &wide[loop];
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      (body->memory != NULL || body->arithmetic != NULL)) {
    return *body;
  }
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? narrow[loop]
                                                                         : (bench_body){0};
}

const char *bench_cpu_feature(int i) {
  static const char *found[8];
  int count = 0;
#define CLQ_BENCH_SEE(feature)           \
  if (__builtin_cpu_supports(feature)) { \
    found[count++] = feature;            \
  }
  CLQ_BENCH_SEE("avx2")
  CLQ_BENCH_SEE("fma")
  CLQ_BENCH_SEE("avx512f")
  CLQ_BENCH_SEE("avx512bw")
  CLQ_BENCH_SEE("avx512vl")
  CLQ_BENCH_SEE("avx512vnni")
#undef CLQ_BENCH_SEE
  return i < count ? found[i] : NULL;
}

#else

bench_body bench_x86_body(bench_loop loop) {
  (void)loop;
  return (bench_body){0};
}

const char *bench_cpu_feature(int i) {
#if defined(__ARM_FEATURE_DOTPROD)
  static const char *const found[] = {"neon", "dotprod", NULL};
#elif defined(__ARM_NEON)
  static const char *const found[] = {"neon", NULL};
#else
  static const char *const found[] = {NULL};
#endif
  return found[i];
}

#endif
