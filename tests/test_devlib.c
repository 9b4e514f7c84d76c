/* kernels_cl/lib on the device: half, dot and quantize, each back end that
 * builds here, against host/ref. */
#include <math.h>
#include <stdint.h>

#include "cl_util.h"
#include "ref/math.h"
#include "runtime/cpu.h"

TestSuite(devlib, .fini = cl_util_close);

/* half.h */

static void check_half(const char *options) {
  enum { COUNT = 1 << 16 };
  static uint16_t h[COUNT];
  static float x[3][COUNT];
  static uint16_t back[3][COUNT];
  for (int i = 0; i < COUNT; ++i) {
    h[i] = (uint16_t)i;
  }
  cl_program program = cl_util_build("selftest", options);
  cl_kernel kernel = cl_util_kernel(program, "selftest_half");
  cl_mem m[7];
  m[0] = cl_util_buffer(h, sizeof h);
  for (int i = 0; i < 3; ++i) {
    m[1 + i] = cl_util_buffer(NULL, sizeof x[0]);
    m[4 + i] = cl_util_buffer(NULL, sizeof back[0]);
  }
  cl_util_args(kernel, 7, m[0], m[1], m[2], m[3], m[4], m[5], m[6]);
  cl_util_run(kernel, COUNT / 16, 64);
  for (int i = 0; i < 3; ++i) {
    cl_util_read(m[1 + i], x[i], sizeof x[0]);
    cl_util_read(m[4 + i], back[i], sizeof back[0]);
  }
  int wrong = 0;
  for (int i = 0; i < COUNT; ++i) {
    const float expected = clqi_ref_f32_from_f16(h[i]);
    for (int k = 0; k < 3; ++k) {
      const bool right =
          isnan(expected) ? isnan(x[k][i]) && isnan(clqi_ref_f32_from_f16(back[k][i]))
                          : cl_util_bits(x[k][i]) == cl_util_bits(expected) && back[k][i] == h[i];
      wrong += !right;
    }
  }
  cr_expect(wrong == 0, "%s: %d of %d halves are wrong", options, wrong, 3 * COUNT);
  for (int i = 0; i < 7; ++i) {
    clReleaseMemObject(m[i]);
  }
  clReleaseKernel(kernel);
  clReleaseProgram(program);
}

Test(devlib, every_half) {
  check_half("-cl-std=CL1.2 -DCLQ_SELFTEST_HALF=1");
  cl_program asm_program =
      cl_util_is_cpu() && clqi_cpu_has_f16c()
          ? cl_util_try_build("selftest", "-cl-std=CL1.2 -DCLQ_SELFTEST_HALF=1 -DCLQ_HALF_X86=1")
          : NULL;
  if (asm_program == NULL) {
    cr_log_info("no x86 inline assembly on this device");
    return;
  }
  clReleaseProgram(asm_program);
  check_half("-cl-std=CL1.2 -DCLQ_SELFTEST_HALF=1 -DCLQ_HALF_X86=1");
  if (clqi_cpu_has_avx512()) {
    check_half("-cl-std=CL1.2 -DCLQ_SELFTEST_HALF=1 -DCLQ_HALF_X86=2");
  }
}

Test(devlib, floats_to_half_and_bf16) {
  enum { COUNT = 1 << 20 };
  static float x[COUNT];
  static float y[COUNT];
  static uint16_t h[COUNT];
  static uint16_t b[3][COUNT];
  for (uint32_t i = 0; i < COUNT; ++i) {
    /* all exponents and signs; the half-way cases of both formats among them */
    const uint32_t low[] = {0, 0x8000U, 0x1000U, 0x7fffU, 0x8001U, 0x0fffU, 0x1001U, 0xfffU};
    x[i] = cl_util_float(i << 12 | (i % 3 == 0 ? cl_util_random() & 0xfffU : low[i % 8] & 0xfffU));
  }
  cl_program program = cl_util_build("selftest", "-cl-std=CL1.2 -DCLQ_SELFTEST_HALF=1");
  cl_kernel kernel = cl_util_kernel(program, "selftest_narrow");
  cl_mem m[6] = {cl_util_buffer(x, sizeof x),       cl_util_buffer(NULL, sizeof h),
                 cl_util_buffer(NULL, sizeof b[0]), cl_util_buffer(NULL, sizeof b[0]),
                 cl_util_buffer(NULL, sizeof b[0]), cl_util_buffer(NULL, sizeof y)};
  cl_util_args(kernel, 6, m[0], m[1], m[2], m[3], m[4], m[5]);
  cl_util_run(kernel, COUNT / 16, 64);
  cl_util_read(m[1], h, sizeof h);
  cl_util_read(m[2], b[0], sizeof b[0]);
  cl_util_read(m[3], b[1], sizeof b[1]);
  cl_util_read(m[4], b[2], sizeof b[2]);
  cl_util_read(m[5], y, sizeof y);
  int wrong_f16 = 0;
  int wrong_bf16 = 0;
  for (int i = 0; i < COUNT; ++i) {
    wrong_f16 +=
        isnan(x[i]) ? !isnan(clqi_ref_f32_from_f16(h[i])) : h[i] != clqi_ref_f16_from_f32(x[i]);
    const uint16_t expected = clqi_ref_bf16_from_f32(x[i]);
    for (int k = 0; k < 3; ++k) {
      wrong_bf16 += b[k][i] != expected;
    }
    wrong_bf16 += cl_util_bits(y[i]) != (uint32_t)expected << 16;
  }
  cr_expect(wrong_f16 == 0, "f16: %d of %d are wrong", wrong_f16, COUNT);
  cr_expect(wrong_bf16 == 0, "bf16: %d of %d are wrong", wrong_bf16, 4 * COUNT);
  for (int i = 0; i < 6; ++i) {
    clReleaseMemObject(m[i]);
  }
  clReleaseKernel(kernel);
  clReleaseProgram(program);
}

/* dot.h */

enum { DOTS = 1 << 14 };

static int32_t dot(uint32_t a, uint32_t b, int32_t c, bool a_signed) {
  for (int k = 0; k < 4; ++k) {
    const uint8_t byte_a = (uint8_t)(a >> (8 * k));
    const int8_t byte_b = (int8_t)(b >> (8 * k));
    c += (a_signed ? (int8_t)byte_a : byte_a) * byte_b;
  }
  return c;
}

/* All pairs of extreme bytes first, then random words. */
static uint32_t dot_word(int i, bool second) {
  static const uint32_t extremes[] = {0x80808080U, 0x7f7f7f7fU, 0xffffffffU, 0x00000000U,
                                      0x80ff7f01U, 0x81818181U, 0x01010101U, 0xff00ff00U};
  if (i < 64) {
    return extremes[second ? i % 8 : i / 8];
  }
  return cl_util_random();
}

static void check_dot4(const char *options) {
  static uint32_t a[DOTS];
  static uint32_t b[DOTS];
  static int32_t c[2 * DOTS];
  static int32_t out[2 * DOTS];
  for (int i = 0; i < DOTS; ++i) {
    a[i] = dot_word(i, false);
    b[i] = dot_word(i, true);
    c[2 * i] = (int32_t)cl_util_random() >> 4;
  }
  cl_program program = cl_util_build("selftest", options);
  cl_kernel kernel = cl_util_kernel(program, "selftest_dot4");
  cl_mem m[3] = {cl_util_buffer(a, sizeof a), cl_util_buffer(b, sizeof b),
                 cl_util_buffer(c, sizeof c)};
  cl_util_args(kernel, 3, m[0], m[1], m[2]);
  cl_util_run(kernel, DOTS, 64);
  cl_util_read(m[2], out, sizeof out);
  int wrong = 0;
  for (int i = 0; i < DOTS; ++i) {
    wrong += out[2 * i] != dot(a[i], b[i], c[2 * i], true);
    wrong += out[2 * i + 1] != dot(a[i], b[i], c[2 * i], false);
  }
  cr_expect(wrong == 0, "%s: %d of %d are wrong", options, wrong, 2 * DOTS);
  for (int i = 0; i < 3; ++i) {
    clReleaseMemObject(m[i]);
  }
  clReleaseKernel(kernel);
  clReleaseProgram(program);
}

Test(devlib, dot4) {
  check_dot4("-cl-std=CL1.2 -DCLQ_SELFTEST_DOT=1");
  const struct {
    const char *extension;
    const char *options;
  } others[] = {
      {"cl_khr_integer_dot_product", "-cl-std=CL3.0 -DCLQ_SELFTEST_DOT=1 -DCLQ_DOT_KHR=1"},
      {"cl_nv_device_attribute_query", "-cl-std=CL1.2 -DCLQ_SELFTEST_DOT=1 -DCLQ_DOT_NVIDIA=1"},
      {"cl_amd_device_attribute_query", "-cl-std=CL1.2 -DCLQ_SELFTEST_DOT=1 -DCLQ_HAS_AMD_DOT=1"},
      {"cl_arm_integer_dot_product_accumulate_int8",
       "-cl-std=CL1.2 -DCLQ_SELFTEST_DOT=1 -DCLQ_DOT_ARM=1"},
  };
  for (int i = 0; i < 4; ++i) {
    if (cl_util_has_extension(others[i].extension)) {
      check_dot4(others[i].options);
    } else {
      cr_log_info("%s: not offered here", others[i].extension);
    }
  }
}

static void check_dot4x16(cl_program program, const char *name, int kind) {
  static uint32_t w[DOTS * 16];
  static uint32_t a[DOTS];
  static int32_t c[DOTS * 16];
  static int32_t out[DOTS * 16];
  for (int i = 0; i < DOTS; ++i) {
    a[i] = dot_word(i, true);
    for (int k = 0; k < 16; ++k) {
      const uint32_t word = i < 64 ? dot_word(i, false) : cl_util_random();
      w[16 * i + k] = kind == 2 ? word & 0x7f7f7f7fU : word;
      c[16 * i + k] = (int32_t)cl_util_random() >> 4;
    }
  }
  cl_kernel kernel = cl_util_kernel(program, "selftest_dot4x16");
  cl_mem m[3] = {cl_util_buffer(w, sizeof w), cl_util_buffer(a, sizeof a),
                 cl_util_buffer(c, sizeof c)};
  cl_util_args(kernel, 3, m[0], m[1], m[2]);
  cl_util_arg_int(kernel, 3, kind);
  cl_util_run(kernel, DOTS, 64);
  cl_util_read(m[2], out, sizeof out);
  int wrong = 0;
  for (int i = 0; i < 16 * DOTS; ++i) {
    wrong += out[i] != dot(w[i], a[i / 16], c[i], kind == 1);
  }
  cr_expect(wrong == 0, "%s, kind %d: %d of %d are wrong", name, kind, wrong, 16 * DOTS);
  for (int i = 0; i < 3; ++i) {
    clReleaseMemObject(m[i]);
  }
  clReleaseKernel(kernel);
}

Test(devlib, dot4x16) {
  const struct {
    const char *name;
    const char *options;
    bool possible;
  } backends[] = {
      {"plain C", "-cl-std=CL1.2 -DCLQ_SELFTEST_DOT=1", true},
      {"AVX2", "-cl-std=CL1.2 -DCLQ_SELFTEST_DOT=1 -DCLQ_DOT_AVX2=1",
       cl_util_is_cpu() && clqi_cpu_has_avx2()},
      {"VNNI", "-cl-std=CL1.2 -DCLQ_SELFTEST_DOT=1 -DCLQ_DOT_VNNI=1",
       cl_util_is_cpu() && clqi_cpu_has_vnni()},
  };
  for (int b = 0; b < 3; ++b) {
    cl_program program =
        backends[b].possible ? cl_util_try_build("selftest", backends[b].options) : NULL;
    if (program == NULL) {
      cr_expect(b > 0, "plain C must build");
      cr_log_info("%s: not possible here", backends[b].name);
      continue;
    }
    for (int kind = 0; kind < 3; ++kind) {
      check_dot4x16(program, backends[b].name, kind);
    }
    clReleaseProgram(program);
  }
}

/* quantize.h */

enum { QUANT_ROWS = 256, QUANT_COLS = 96 };

static void fill_quant_rows(float *x) {
  for (int r = 0; r < QUANT_ROWS; ++r) {
    const float size = ldexpf(1.0f, r - 128);
    for (int i = 0; i < QUANT_COLS; ++i) {
      x[r * QUANT_COLS + i] = cl_util_normal() * size;
    }
  }
  for (int i = 0; i < QUANT_COLS; ++i) { /* ties: multiplier 1 */
    x[i] = i == 0 ? 127.0f : (float)i - 60.5f;
    x[QUANT_COLS + i] = i % 2 == 0 ? 0.0f : -0.0f;
    x[2 * QUANT_COLS + i] = 0x1p-119f * (i == 5 ? 1.0f : 0.5f); /* the smallest row with a scale */
    x[3 * QUANT_COLS + i] = 0x1.fffffep-120f;                   /* the largest without */
    x[4 * QUANT_COLS + i] = i == 7 ? 0x1.fffffep+127f : 0x1p+127f;
  }
  x[5 * QUANT_COLS + 3] = NAN;
  x[6 * QUANT_COLS + 95] = INFINITY;
  x[6 * QUANT_COLS + 1] = -INFINITY;
  x[7 * QUANT_COLS + 2] = INFINITY;
  x[7 * QUANT_COLS + 3] = NAN;
  x[8 * QUANT_COLS + 64] = -INFINITY;
}

/* Codes and their sum of `count` values as one group. */
static float expected_codes(const float *x, int count, int8_t *q, int32_t *sum) {
  int32_t bits = 0;
  for (int i = 0; i < count; ++i) {
    bits = clqi_ref_absmax(bits, x[i]);
  }
  const float mult = clqi_ref_quant_mult(bits);
  *sum = 0;
  for (int i = 0; i < count; ++i) {
    q[i] = clqi_ref_quant_code(x[i], mult);
    *sum += q[i];
  }
  return clqi_ref_quant_scale(bits);
}

static bool same_scale(float a, float b) {
  return isnan(b) ? isnan(a) : cl_util_bits(a) == cl_util_bits(b);
}

Test(devlib, quantize_rows) {
  enum { COUNT = QUANT_ROWS * QUANT_COLS };
  static float x[COUNT];
  static int8_t q1[COUNT];
  static int8_t q16[COUNT];
  float scale[QUANT_ROWS];
  int32_t sum[QUANT_ROWS];
  fill_quant_rows(x);
  cl_program program = cl_util_build("selftest", "-cl-std=CL1.2 -DCLQ_SELFTEST_QUANTIZE=1");
  cl_kernel kernel = cl_util_kernel(program, "selftest_quantize");
  cl_mem m[5] = {cl_util_buffer(x, sizeof x), cl_util_buffer(NULL, sizeof q1),
                 cl_util_buffer(NULL, sizeof q16), cl_util_buffer(NULL, sizeof scale),
                 cl_util_buffer(NULL, sizeof sum)};
  cl_util_args(kernel, 5, m[0], m[1], m[2], m[3], m[4]);
  cl_util_arg_int(kernel, 5, QUANT_COLS);
  cl_util_run(kernel, QUANT_ROWS, 0);
  cl_util_read(m[1], q1, sizeof q1);
  cl_util_read(m[2], q16, sizeof q16);
  cl_util_read(m[3], scale, sizeof scale);
  cl_util_read(m[4], sum, sizeof sum);
  for (int r = 0; r < QUANT_ROWS; ++r) {
    int8_t q[QUANT_COLS];
    int32_t total;
    const float s = expected_codes(x + r * QUANT_COLS, QUANT_COLS, q, &total);
    cr_expect(same_scale(scale[r], s), "row %d: scale %a not %a", r, (double)scale[r], (double)s);
    cr_expect_eq(sum[r], total, "row %d: sum %d not %d", r, sum[r], total);
    cr_expect(memcmp(q, q1 + r * QUANT_COLS, QUANT_COLS) == 0, "row %d: codes one by one", r);
    cr_expect(memcmp(q, q16 + r * QUANT_COLS, QUANT_COLS) == 0, "row %d: codes by sixteen", r);
  }
  /* The contract itself, in numbers. */
  cr_expect_eq(q1[0], 127);
  cr_expect_eq(q1[60], 0, "-0.5 rounds to even");
  cr_expect_eq(q1[62], 2, "1.5 rounds to even");
  cr_expect(scale[1] == 0.0f && sum[1] == 0, "zero row");
  cr_expect(scale[2] > 0.0f && q1[2 * QUANT_COLS + 5] == 127, "smallest row");
  cr_expect(scale[3] == 0.0f && sum[3] == 0, "row below the smallest");
  cr_expect(isnan(scale[5]) && sum[5] == 0, "NaN row");
  cr_expect(isinf(scale[6]) && q1[6 * QUANT_COLS + 95] == 127 && q1[6 * QUANT_COLS + 1] == -127 &&
                sum[6] == 0,
            "Inf row");
  cr_expect(isnan(scale[7]) && q1[7 * QUANT_COLS + 2] == 0, "NaN and Inf");
  for (int i = 0; i < 5; ++i) {
    clReleaseMemObject(m[i]);
  }
  clReleaseKernel(kernel);
  clReleaseProgram(program);
}

Test(devlib, quantize_groups_of_32) {
  enum { COUNT = QUANT_ROWS * QUANT_COLS, GROUPS = COUNT / 32 };
  static float x[COUNT];
  static int8_t q[COUNT];
  static float scale[GROUPS];
  static int32_t sum[GROUPS];
  fill_quant_rows(x);
  cl_program program = cl_util_build("selftest", "-cl-std=CL1.2 -DCLQ_SELFTEST_QUANTIZE=1");
  cl_kernel kernel = cl_util_kernel(program, "selftest_quantize32");
  cl_mem m[4] = {cl_util_buffer(x, sizeof x), cl_util_buffer(NULL, sizeof q),
                 cl_util_buffer(NULL, sizeof scale), cl_util_buffer(NULL, sizeof sum)};
  cl_util_args(kernel, 4, m[0], m[1], m[2], m[3]);
  cl_util_run(kernel, GROUPS, 0);
  cl_util_read(m[1], q, sizeof q);
  cl_util_read(m[2], scale, sizeof scale);
  cl_util_read(m[3], sum, sizeof sum);
  for (int g = 0; g < GROUPS; ++g) {
    int8_t codes[32];
    int32_t total;
    const float s = expected_codes(x + 32 * g, 32, codes, &total);
    cr_expect(same_scale(scale[g], s) && sum[g] == total && memcmp(codes, q + 32 * g, 32) == 0,
              "group %d: scale %a not %a, sum %d not %d", g, (double)scale[g], (double)s, sum[g],
              total);
  }
  for (int i = 0; i < 4; ++i) {
    clReleaseMemObject(m[i]);
  }
  clReleaseKernel(kernel);
  clReleaseProgram(program);
}

Test(devlib, saturate) {
  enum { COUNT = 4096 };
  static float x[COUNT];
  static int8_t q1[COUNT];
  static int8_t q16[COUNT];
  const float specials[] = {NAN,     INFINITY, -INFINITY, 127.5f, -128.5f,
                            127.49f, 1e30f,    -1e30f,    -0.0f};
  for (int i = 0; i < COUNT; ++i) {
    x[i] = i < 9 ? specials[i] : (float)(i - 2048) * 0.125f;
  }
  cl_program program = cl_util_build("selftest", "-cl-std=CL1.2 -DCLQ_SELFTEST_QUANTIZE=1");
  cl_kernel kernel = cl_util_kernel(program, "selftest_saturate");
  cl_mem m[3] = {cl_util_buffer(x, sizeof x), cl_util_buffer(NULL, sizeof q1),
                 cl_util_buffer(NULL, sizeof q16)};
  cl_util_args(kernel, 3, m[0], m[1], m[2]);
  cl_util_run(kernel, COUNT / 16, 0);
  cl_util_read(m[1], q1, sizeof q1);
  cl_util_read(m[2], q16, sizeof q16);
  for (int i = 0; i < COUNT; ++i) {
    const int8_t expected = clqi_ref_saturate(x[i]);
    cr_expect(q1[i] == expected && q16[i] == expected, "%g: %d and %d, not %d", (double)x[i], q1[i],
              q16[i], expected);
  }
  cr_expect(q1[0] == 0 && q1[1] == 127 && q1[2] == -128, "NaN and infinities");
  for (int i = 0; i < 3; ++i) {
    clReleaseMemObject(m[i]);
  }
  clReleaseKernel(kernel);
  clReleaseProgram(program);
}
