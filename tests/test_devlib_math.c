/* kernels_cl/lib/math.h on the device: bit for bit what host/ref/math.c says,
 * which in turn keeps the bounds that the header states. */
#include <float.h>
#include <math.h>
#include <stdint.h>

#include "cl_util.h"
#include "ref/math.h"
#include "runtime/probe_expect.h"

TestSuite(devlib_math, .fini = cl_util_close);

enum { CHUNK = 1 << 20 };

typedef enum function { DIV, SQRT, RSQRT, EXP, SIGMOID, TANH, ERF, ROUND, FUNCTIONS } function;

static const char *const names[FUNCTIONS] = {"div",     "sqrt", "rsqrt", "exp",
                                             "sigmoid", "tanh", "erf",   "round"};

static float a_values[CHUNK];
static float b_values[CHUNK];
static float y_values[CHUNK];

static float reference(function f, float a, float b) {
  switch (f) {
    case DIV: return clqi_ref_div(a, b);
    case SQRT: return clqi_ref_sqrt(a);
    case RSQRT: return clqi_ref_rsqrt(a);
    case EXP: return clqi_ref_exp(a);
    case SIGMOID: return clqi_ref_sigmoid(a);
    case TANH: return clqi_ref_tanh(a);
    case ERF: return clqi_ref_erf(a);
    default: return rintf(a);
  }
}

/* A subnormal result of an odd function may have been flushed. */
static bool agrees(function f, float got, float expected) {
  if (isnan(expected)) {
    return isnan(got);
  }
  if (cl_util_bits(got) == cl_util_bits(expected)) {
    return true;
  }
  return (f == TANH || f == ERF) && fabsf(expected) < FLT_MIN && got == 0.0f;
}

typedef struct math_program {
  cl_program program;
  cl_mem a, b, y;
} math_program;

static math_program math_open(const char *options) {
  const math_program p = {cl_util_build("selftest", options), cl_util_buffer(NULL, sizeof a_values),
                          cl_util_buffer(NULL, sizeof b_values),
                          cl_util_buffer(NULL, sizeof y_values)};
  return p;
}

static void math_close(math_program *p) {
  clReleaseMemObject(p->a);
  clReleaseMemObject(p->b);
  clReleaseMemObject(p->y);
  clReleaseProgram(p->program);
}

/* Runs f over the first count elements of a_values (and b_values), width at a time, and compares
 * them all. */
static void check(const math_program *p, function f, int width, size_t count) {
  char name[32];
  (void)snprintf(name, sizeof name, width == 1 ? "selftest_math" : "selftest_math%d", width);
  cl_kernel kernel = cl_util_kernel(p->program, name);
  const size_t bytes = count * sizeof(float);
  cl_command_queue queue = cl_util_get()->queue;
  clEnqueueWriteBuffer(queue, p->a, CL_TRUE, 0, bytes, a_values, 0, NULL, NULL);
  clEnqueueWriteBuffer(queue, p->b, CL_TRUE, 0, bytes, b_values, 0, NULL, NULL);
  cl_util_args(kernel, 3, p->a, p->b, p->y);
  cl_util_arg_int(kernel, 3, (int)f);
  cl_util_run(kernel, count / (size_t)width, 64);
  cl_util_read(p->y, y_values, bytes);
  clReleaseKernel(kernel);
  size_t wrong = 0;
  for (size_t i = 0; i < count; ++i) {
    const float expected = reference(f, a_values[i], b_values[i]);
    if (!agrees(f, y_values[i], expected) && wrong++ < 3) {
      cr_log_warn("%s%d(%a, %a): got %a, expected %a", names[f], width, (double)a_values[i],
                  (double)b_values[i], (double)y_values[i], (double)expected);
    }
  }
  cr_expect(wrong == 0, "%s, %d wide: %zu of %zu are wrong", names[f], width, wrong, count);
}

static const uint32_t specials[] = {
    0x00000000, 0x80000000, 0x00000001, 0x807fffff, 0x00800000, 0x80800001, 0x3f800000, 0xbf800000,
    0x3fffffff, 0x3f7fffff, 0x40000000, 0x40490fdb, 0x7f7fffff, 0xff7fffff, 0x7f800000, 0xff800000,
    0x7fc00000, 0xffc00001, 0x7f800001, 0x42b17217, 0x42b17218, 0xc2aeac4f, 0xc2aeac50, 0x42fe0000,
    0x34000000, 0x3f0ccccd, 0x3f6ccccd, 0x41200000, 0x40800000, 0xc2fe0000, 0x01000000, 0x7e800000};
enum { SPECIALS = sizeof specials / sizeof specials[0] };

/* Every pair of special values, then random bit patterns. */
static void fill_mixed(void) {
  for (size_t i = 0; i < CHUNK; ++i) {
    const bool special = i < (size_t)SPECIALS * SPECIALS;
    a_values[i] = cl_util_float(special ? specials[i / SPECIALS] : cl_util_random());
    b_values[i] = cl_util_float(special ? specials[i % SPECIALS] : cl_util_random());
  }
}

/* Quotients within the range of normal numbers. */
static void fill_tame(void) {
  for (size_t i = 0; i < CHUNK; ++i) {
    a_values[i] = cl_util_float((cl_util_random() & 0x1fffffffU) + 0x30000000U);
    b_values[i] = cl_util_float((cl_util_random() & 0x1fffffffU) + 0x30000000U);
  }
}

static bool probe_passes(const char *options) {
  static uint32_t in[CLQI_PROBE_WORDS];
  static uint32_t out[CLQI_PROBE_WORDS];
  static uint32_t expected[CLQI_PROBE_WORDS];
  clqi_probe_input(in);
  clqi_probe_expected(CLQI_TRAIT_EXACT_DIVIDE, in, expected);
  cl_program program = cl_util_build("probe", options);
  cl_kernel kernel = cl_util_kernel(program, "probe");
  cl_mem in_mem = cl_util_buffer(in, sizeof in);
  cl_mem out_mem = cl_util_buffer(NULL, sizeof out);
  cl_util_args(kernel, 2, in_mem, out_mem);
  cl_util_run(kernel, CLQI_PROBE_ITEMS, CLQI_PROBE_ITEMS);
  cl_util_read(out_mem, out, sizeof out);
  clReleaseMemObject(in_mem);
  clReleaseMemObject(out_mem);
  clReleaseKernel(kernel);
  clReleaseProgram(program);
  return memcmp(out, expected, sizeof out) == 0;
}

static const char *const plain = "-cl-std=CL1.2 -DCLQ_SELFTEST_MATH=1 -DCLQ_DIVIDE_IS_EXACT=0";

Test(devlib_math, every_width_and_special_value) {
  math_program p = math_open(plain);
  const int widths[] = {1, 4, 8, 16};
  for (int w = 0; w < 4; ++w) {
    for (function f = DIV; f < FUNCTIONS; ++f) {
      fill_mixed();
      check(&p, f, widths[w], 1 << 16);
    }
  }
  math_close(&p);
}

Test(devlib_math, division_and_roots_of_all_significands) {
  math_program p = math_open(plain);
  for (uint32_t base = 0x3f800000U; base < 0x40800000U; base += CHUNK) {
    for (uint32_t i = 0; i < CHUNK; ++i) {
      a_values[i] = cl_util_float(base + i);
      b_values[i] = cl_util_float(0x3fffffffU); /* the hardest divisor */
    }
    check(&p, SQRT, 16, CHUNK);
    check(&p, RSQRT, 16, CHUNK);
    if (base < 0x40000000U) {
      check(&p, DIV, 16, CHUNK);
      for (uint32_t i = 0; i < CHUNK; ++i) {
        b_values[i] = a_values[i];
        a_values[i] = 1.0f;
      }
      check(&p, DIV, 16, CHUNK);
    }
  }
  for (int k = 0; k < 4; ++k) {
    fill_tame();
    check(&p, DIV, 16, CHUNK);
    fill_mixed();
    check(&p, DIV, 16, CHUNK);
    check(&p, SQRT, 16, CHUNK);
    check(&p, RSQRT, 16, CHUNK);
  }
  math_close(&p);
}

/* 2^23 bit patterns over the whole line, 2^23 values where the result is a normal number. */
Test(devlib_math, exp_of_2_to_the_24_values) {
  math_program p = math_open(plain);
  for (uint32_t base = 0; base < 1U << 23; base += CHUNK) {
    for (uint32_t i = 0; i < CHUNK; ++i) {
      a_values[i] = cl_util_float((base + i) << 9 | (i * 37U & 511U));
    }
    check(&p, EXP, 16, CHUNK);
    for (uint32_t i = 0; i < CHUNK; ++i) {
      a_values[i] = -88.0f + (float)(base + i) * (177.0f * 0x1p-23f);
    }
    check(&p, EXP, 16, CHUNK);
  }
  math_close(&p);
}

Test(devlib_math, the_other_functions) {
  math_program p = math_open(plain);
  const float reach[FUNCTIONS] = {[SIGMOID] = 90.0f, [TANH] = 11.0f, [ERF] = 5.0f, [ROUND] = 70.0f};
  for (function f = SIGMOID; f < FUNCTIONS; ++f) {
    for (uint32_t i = 0; i < CHUNK; ++i) {
      a_values[i] = cl_util_float(i << 12 | (i * 37U & 4095U));
    }
    check(&p, f, 16, CHUNK);
    for (uint32_t i = 0; i < CHUNK; ++i) {
      a_values[i] = reach[f] * ((float)i * 0x1p-19f - 1.0f);
    }
    check(&p, f, 16, CHUNK);
  }
  math_close(&p);
}

/* With the device's own operators, where the probe finds them exact. */
Test(devlib_math, exact_operators) {
  cl_device_fp_config config = 0;
  cr_assert_eq(clGetDeviceInfo(cl_util_get()->device, CL_DEVICE_SINGLE_FP_CONFIG, sizeof config,
                               &config, NULL),
               CL_SUCCESS);
  const char *option = (config & CL_FP_CORRECTLY_ROUNDED_DIVIDE_SQRT) != 0
                           ? "-cl-fp32-correctly-rounded-divide-sqrt"
                           : "";
  char options[160];
  (void)snprintf(options, sizeof options, "-cl-std=CL1.2 -DCLQ_PROBE_DIVIDE=1 %s", option);
  if (!probe_passes(options)) {
    cr_skip_test("the device's division is not exact");
  }
  (void)snprintf(options, sizeof options,
                 "-cl-std=CL1.2 -DCLQ_SELFTEST_MATH=1 -DCLQ_DIVIDE_IS_EXACT=1 %s", option);
  math_program p = math_open(options);
  for (function f = DIV; f < FUNCTIONS; ++f) {
    fill_mixed();
    check(&p, f, 1, CHUNK);
    check(&p, f, 16, CHUNK);
    fill_tame();
    check(&p, f, 16, CHUNK);
  }
  math_close(&p);
}

/* Units in the last place between y and the true value, a normal float. */
static double ulps(float y, double truth) {
  int exponent;
  (void)frexp(truth, &exponent);
  return fabs((double)y - truth) / ldexp(1.0, exponent - 24);
}

Test(devlib_math, bounds_of_the_header) {
  double worst[FUNCTIONS] = {0};
  for (uint32_t i = 0; i < 1U << 22; ++i) {
    const float t = (float)i * 0x1p-21f - 1.0f; /* [-1, 1) */
    const float e = 87.0f * t;
    const float h = 10.0f * t;
    worst[EXP] = fmax(worst[EXP], ulps(clqi_ref_exp(e), exp((double)e)));
    worst[SIGMOID] = fmax(worst[SIGMOID], ulps(clqi_ref_sigmoid(e), 1.0 / (1.0 + exp(-(double)e))));
    if (h != 0.0f) {
      worst[TANH] = fmax(worst[TANH], ulps(clqi_ref_tanh(h), tanh((double)h)));
      worst[ERF] = fmax(worst[ERF], ulps(clqi_ref_erf(h), erf((double)h)));
    }
  }
  cr_log_info("ulp: exp %.3f, sigmoid %.3f, tanh %.3f, erf %.3f", worst[EXP], worst[SIGMOID],
              worst[TANH], worst[ERF]);
  cr_expect_leq(worst[EXP], 1.0);
  cr_expect_leq(worst[SIGMOID], 3.0);
  cr_expect_leq(worst[TANH], 2.0);
  cr_expect_leq(worst[ERF], 1.0);
}
