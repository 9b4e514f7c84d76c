/* The limits' loops in AVX-512 and AVX2. Accumulators are as many as hide the
 * latency of the instruction on two ports; operands that a loop does not change
 * pass through an empty asm, or the compiler would move the products out. */
#include "limits_loops.h"

#if defined(__x86_64__)
#include <immintrin.h>

enum { PASS = 1024 };

#define PLAIN     no_sanitize("address", "undefined") /* or the loops measure the sanitizer */
#define WIDE      __attribute__((target("avx512f,avx512bw"), PLAIN))
#define VNNI      __attribute__((target("avx512f,avx512bw,avx512vnni"), PLAIN))
#define NARROW    __attribute__((target("avx2,fma"), PLAIN))
#define OPAQUE(x) __asm__ volatile("" : "+x"(x))
/* Or the accumulators would live in memory. */
#if defined(__clang__)
#define UNROLLED _Pragma("clang loop unroll(full)")
#else
#define UNROLLED _Pragma("GCC unroll 32")
#endif

enum { WIDE_SUMS = 24, NARROW_SUMS = 12 };

#define LOOP(name)         name##_512
#define TARGET             WIDE
#define WIDTH              64
#define SUMS               WIDE_SUMS
#define STREAM(to, vector) _mm512_stream_si512((void *)(to), (__m512i)(vector))
#define FMA(a, x, y)       _mm512_fmadd_ps(a, x, y)
#include "limits_x86_width.h"

#define LOOP(name)         name##_256
#define TARGET             NARROW
#define WIDTH              32
#define SUMS               NARROW_SUMS
#define STREAM(to, vector) _mm256_stream_si256((void *)(to), (__m256i)(vector))
#define FMA(a, x, y)       _mm256_fmadd_ps(a, x, y)
#include "limits_x86_width.h"

/* --- int8 --- */

VNNI static float int8_vnni(long passes) {
  words_512 a[WIDE_SUMS];
  words_512 x = (words_512){0} + 0x03030303U;
  const words_512 y = (words_512){0} + 0xfbfbfbfbU;
  UNROLLED
  for (int i = 0; i < WIDE_SUMS; ++i) {
    a[i] = (words_512){0} + (unsigned)i;
  }
  for (long n = passes * PASS; n > 0; --n) {
    OPAQUE(x);
    UNROLLED
    for (int i = 0; i < WIDE_SUMS; ++i) {
      /* Through the intrinsic, some compilers keep moving the accumulators about. */
      __asm__ volatile("vpdpbusd %2, %1, %0" : "+v"(a[i]) : "v"(x), "v"(y));
    }
  }
  unsigned sum = 0;
  UNROLLED
  for (int i = 0; i < WIDE_SUMS; ++i) {
    sum += a[i][0];
  }
  return (float)sum;
}

enum { PLAIN_SUMS = 8 };

/* Codes of 8 bits: a pair of products already fills int16. Weights of 4 bits: 15 * 127 * 2 per
 * pair, so four of them fit int16; two are taken. */
NARROW static inline __attribute__((always_inline)) float int8_256(long passes, bool pairs) {
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
      OPAQUE(x);
      __m256i products = _mm256_maddubs_epi16(x, y);
      if (pairs) {
        products = _mm256_add_epi16(products, _mm256_maddubs_epi16(x, z));
      }
      a[i] = _mm256_add_epi32(a[i], _mm256_madd_epi16(products, ones));
    }
    OPAQUE(y);
    if (pairs) {
      OPAQUE(z);
    }
  }
  unsigned sum = 0;
  UNROLLED
  for (int i = 0; i < PLAIN_SUMS; ++i) {
    sum += ((words_256)a[i])[0];
  }
  return (float)sum;
}

NARROW static float int8_plain_256(long passes) { return int8_256(passes, false); }
NARROW static float int8_pairs_256(long passes) { return int8_256(passes, true); }

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
