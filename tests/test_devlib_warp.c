/* kernels_cl/lib/warp.h and welford.h on the device, each back end that it
 * offers, against host/ref. */
#include <math.h>
#include <stdint.h>

#include "cl_util.h"
#include "ref/math.h"
#include "ref/welford.h"

TestSuite(devlib_warp, .fini = cl_util_close);

typedef struct warp_backend {
  const char *name;
  const char *macro;
  const char *standard;
  const char *extension; /* NULL: always there */
} warp_backend;

static const warp_backend warp_backends[] = {
    {"local memory", "", "CL1.2", NULL},
    {"khr sub-groups", "-DCLQ_WARP_KHR=1", "CL3.0", "cl_khr_subgroup_shuffle"},
    {"intel sub-groups", "-DCLQ_WARP_INTEL=1", "CL1.2", "cl_intel_subgroups"},
    {"qualcomm sub-groups", "-DCLQ_WARP_QCOM=1", "CL2.0", "cl_qcom_subgroup_shuffle"},
    {"nvidia ptx", "-DCLQ_WARP_NVIDIA=1", "CL1.2", "cl_nv_device_attribute_query"},
};
enum { WARP_BACKENDS = sizeof warp_backends / sizeof warp_backends[0] };

/* NULL where the device does not offer the back end; it must build where it does. */
static cl_program warp_program(const warp_backend *backend, const char *section) {
  if (backend->extension != NULL && !cl_util_has_extension(backend->extension)) {
    cr_log_info("%s: not offered here", backend->name);
    return NULL;
  }
  char options[128];
  (void)snprintf(options, sizeof options, "-cl-std=%s -D%s=1 %s", backend->standard, section,
                 backend->macro);
  return cl_util_build("selftest", options);
}

enum { WARP_GROUPS = 3, WARP_OUT = 10, MAX_LOCAL = 1024 };

static void check_warp_item(const float *x, const int32_t *n, int local, int i, const float *o) {
  const int size = (int)o[0];
  cr_assert(size >= 1 && local % size == 0, "warp of %d in a group of %d", size, local);
  const int first = i / size * size;
  int32_t sum = 0;
  int32_t top = INT32_MIN;
  float max = -INFINITY;
  int32_t group_sum = 0;
  float group_max = -INFINITY;
  for (int k = 0; k < local; ++k) {
    if (k >= first && k < first + size) {
      sum += n[k];
      top = n[k] > top ? n[k] : top;
      max = fmaxf(max, x[k]);
    }
    group_sum += n[k];
    group_max = fmaxf(group_max, x[k]);
  }
  const float expected[WARP_OUT] = {(float)size,
                                    (float)i,
                                    x[first + size - 1],
                                    clqi_ref_fold_add(x + first, size),
                                    max,
                                    cl_util_float((uint32_t)sum),
                                    cl_util_float((uint32_t)top),
                                    clqi_ref_fold_add(x, local),
                                    group_max,
                                    cl_util_float((uint32_t)group_sum)};
  for (int k = 0; k < WARP_OUT; ++k) {
    cr_expect(cl_util_bits(o[k]) == cl_util_bits(expected[k]),
              "size %d of %d, item %d, number %d: %a not %a", size, local, i, k, (double)o[k],
              (double)expected[k]);
  }
}

static void check_warp(cl_program program, int local) {
  static float x[WARP_GROUPS * MAX_LOCAL];
  static int32_t n[WARP_GROUPS * MAX_LOCAL];
  static float out[WARP_OUT * WARP_GROUPS * MAX_LOCAL];
  const size_t count = (size_t)WARP_GROUPS * (size_t)local;
  for (size_t i = 0; i < count; ++i) {
    x[i] = cl_util_normal() * (i % 5 == 0 ? 1000.0f : 1.0f);
    n[i] = (int32_t)cl_util_random() >> 12;
  }
  cl_kernel kernel = cl_util_kernel(program, "selftest_warp");
  cl_mem m[3] = {cl_util_buffer(x, count * sizeof x[0]), cl_util_buffer(n, count * sizeof n[0]),
                 cl_util_buffer(NULL, WARP_OUT * count * sizeof out[0])};
  cl_util_args(kernel, 3, m[0], m[1], m[2]);
  clSetKernelArg(kernel, 3, 2 * sizeof(float) * (size_t)local, NULL);
  cl_util_run(kernel, count, (size_t)local);
  cl_util_read(m[2], out, WARP_OUT * count * sizeof out[0]);
  for (int i = 0; i < (int)count; ++i) {
    const int group = i / local * local;
    check_warp_item(x + group, n + group, local, i - group, out + WARP_OUT * i);
  }
  for (int i = 0; i < 3; ++i) {
    clReleaseMemObject(m[i]);
  }
  clReleaseKernel(kernel);
}

static void check_segments(cl_program program, int local, int segment) {
  static int32_t n[WARP_GROUPS * MAX_LOCAL];
  static int32_t out[2 * WARP_GROUPS * MAX_LOCAL];
  const size_t count = (size_t)WARP_GROUPS * (size_t)local;
  for (size_t i = 0; i < count; ++i) {
    n[i] = (int32_t)cl_util_random() >> 12;
  }
  cl_kernel kernel = cl_util_kernel(program, "selftest_segment");
  cl_mem m[2] = {cl_util_buffer(n, count * sizeof n[0]),
                 cl_util_buffer(NULL, 2 * count * sizeof out[0])};
  cl_util_args(kernel, 2, m[0], m[1]);
  cl_util_arg_int(kernel, 2, segment);
  clSetKernelArg(kernel, 3, 2 * sizeof n[0] * (size_t)local, NULL);
  cl_util_run(kernel, count, (size_t)local);
  cl_util_read(m[1], out, 2 * count * sizeof out[0]);
  for (int i = 0; i < (int)count; ++i) {
    int32_t sum = 0;
    int32_t top = INT32_MIN;
    for (int k = i / segment * segment; k < (i / segment + 1) * segment; ++k) {
      sum += n[k];
      top = n[k] > top ? n[k] : top;
    }
    cr_expect(out[2 * i] == sum && out[2 * i + 1] == top, "segments of %d in groups of %d, item %d",
              segment, local, i);
  }
  clReleaseMemObject(m[0]);
  clReleaseMemObject(m[1]);
  clReleaseKernel(kernel);
}

Test(devlib_warp, reductions_of_segments) {
  for (int b = 0; b < WARP_BACKENDS; ++b) {
    cl_program program = warp_program(&warp_backends[b], "CLQ_SELFTEST_WARP");
    if (program == NULL) {
      continue;
    }
    for (int segment = 1; segment <= 256; segment *= 2) {
      check_segments(program, 256, segment);
    }
    clReleaseProgram(program);
  }
}

Test(devlib_warp, reductions) {
  for (int b = 0; b < WARP_BACKENDS; ++b) {
    cl_program program = warp_program(&warp_backends[b], "CLQ_SELFTEST_WARP");
    if (program == NULL) {
      continue;
    }
    const int any[] = {1, 3, 64, 100};
    const int full[] = {64, 128, 256, 512};
    const bool local_memory = warp_backends[b].extension == NULL;
    for (int i = 0; i < 4; ++i) {
      check_warp(program, local_memory ? any[i] : full[i]);
    }
    clReleaseProgram(program);
  }
}

/* Rows with a hard mean; the variance is compared with double arithmetic. */

enum { ROWS = 16, MAX_COLS = 128 };
static float rows[ROWS * MAX_COLS];

static void fill_rows(int cols) {
  const double base[6] = {0.0, 1000.0, 1000.0, 1e4, 1e5, -1e5};
  const double spread[6] = {1.0, 1.0, 0.01, 0.01, 0.01, 0.01};
  for (int r = 0; r < ROWS; ++r) {
    for (int i = 0; i < cols; ++i) {
      rows[r * cols + i] = (float)(base[r % 6] + spread[r % 6] * (double)cl_util_normal());
    }
  }
}

/* Relative error of the variance of a row, or the variance where it should be 0. */
static double variance_error(const float *x, int cols, float variance) {
  double mean = 0.0;
  double m2 = 0.0;
  for (int i = 0; i < cols; ++i) {
    mean += (double)x[i] / cols;
  }
  for (int i = 0; i < cols; ++i) {
    m2 += ((double)x[i] - mean) * ((double)x[i] - mean);
  }
  const double truth = m2 / cols;
  return truth == 0.0 ? (double)variance : fabs((double)variance - truth) / truth;
}

/* Means and variances of ROWS rows into out; local 1: a work-item takes a row. */
static void run_welford(cl_program program, const char *name, int cols, int local, float *out) {
  cl_kernel kernel = cl_util_kernel(program, name);
  cl_mem x = cl_util_buffer(rows, sizeof(float) * ROWS * (size_t)cols);
  cl_mem y = cl_util_buffer(NULL, sizeof(float) * 2 * ROWS);
  cl_util_args(kernel, 2, x, y);
  cl_util_arg_int(kernel, 2, cols);
  if (local > 1) {
    clSetKernelArg(kernel, 3, 12 * (size_t)local, NULL);
  }
  cl_util_run(kernel, local > 1 ? (size_t)(ROWS * cols) : ROWS, (size_t)local);
  cl_util_read(y, out, sizeof(float) * 2 * ROWS);
  clReleaseMemObject(x);
  clReleaseMemObject(y);
  clReleaseKernel(kernel);
}

static void check_welford(cl_program program, const char *name, int cols, int local) {
  float out[2 * ROWS];
  fill_rows(cols);
  run_welford(program, name, cols, local, out);
  for (int r = 0; r < ROWS; ++r) {
    const float *x = rows + r * cols;
    const clqi_ref_welford w = clqi_ref_welford_row(x, cols);
    const float variance = clqi_ref_div(w.m2, w.n);
    cr_expect(cl_util_bits(out[2 * r]) == cl_util_bits(w.mean) &&
                  cl_util_bits(out[2 * r + 1]) == cl_util_bits(variance),
              "%s, row %d of %d columns: mean %a not %a, variance %a not %a", name, r, cols,
              (double)out[2 * r], (double)w.mean, (double)out[2 * r + 1], (double)variance);
    cr_expect_leq(variance_error(x, cols, out[2 * r + 1]), 5e-7, "%s, row %d of %d columns", name,
                  r, cols);
  }
}

Test(devlib_warp, welford_variance) {
  enum { LOCAL = 128 };
  for (int b = 0; b < WARP_BACKENDS; ++b) {
    cl_program program = warp_program(&warp_backends[b], "CLQ_SELFTEST_WELFORD");
    if (program == NULL) {
      continue;
    }
    for (int cols = 8; cols <= LOCAL; cols *= 2) {
      check_welford(program, "selftest_welford_segment", cols, LOCAL);
    }
    check_welford(program, "selftest_welford8", 8, 1);
    clReleaseProgram(program);
  }
}

Test(devlib_warp, welford_of_nan_and_constants) {
  enum { COLS = 64 };
  cl_program program = cl_util_build("selftest", "-cl-std=CL1.2 -DCLQ_SELFTEST_WELFORD=1");
  for (int r = 0; r < ROWS; ++r) {
    for (int i = 0; i < COLS; ++i) {
      rows[r * COLS + i] = r % 3 == 0 ? 1e30f : cl_util_normal();
    }
    if (r % 3 != 0) {
      rows[r * COLS + 4 * r] = r % 3 == 1 ? NAN : INFINITY;
    }
  }
  float out[2 * ROWS];
  run_welford(program, "selftest_welford_segment", COLS, COLS, out);
  for (int r = 0; r < ROWS; ++r) {
    const float variance = out[2 * r + 1];
    cr_expect(r % 3 == 0   ? variance == 0.0f
              : r % 3 == 1 ? isnan(variance)
                           : !isfinite(variance),
              "row %d: variance %g", r, (double)variance);
  }
  clReleaseProgram(program);
}
