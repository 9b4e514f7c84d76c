/* gemm with every type of activations, in every back end: against the plain reference, bit for bit,
 * and against exact sums. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device.h"
#include "opencl.h"
#include "ref/math.h"
#include "ref/ref.h"
#include "ref/weights.h"
#include "runtime/context.h"
#include "weights.h"

TestSuite(gemm_acts, .fini = opencl_none_live);

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* What x is. */
typedef struct acts {
  clq_dtype dtype;
  int64_t group; /* elements that share a scale; 0: the row */
  bool zeros;
  bool sums; /* x brings the sums of its codes */
} acts;

typedef struct form {
  acts x;
  clq_format format;
  int64_t group; /* of W4, W8 */
  bool zeros;
} form;

typedef struct shape {
  int64_t m, n, k;
} shape;

static bool is_codes(const acts *x) { return x->dtype == CLQ_I8 || x->dtype == CLQ_U8; }

/* One product, x at an odd place with a gap between its rows. */
typedef struct product {
  form form;
  shape s;
  int64_t stride, offset; /* of x, elements */
  unsigned char *x;
  size_t x_bytes;
  float *floats; /* what x stands for; [m, k], of floats only */
  float *scales;
  int32_t *zero_points, *sums;
  size_t scale_count;
  test_weights weights;
} product;

static float read_float(const product *p, int64_t at) {
  uint16_t half = 0;
  memcpy(&half, p->x + 2 * at, sizeof half);
  return p->form.x.dtype == CLQ_F16 ? clqi_ref_f32_from_f16(half) : clqi_ref_f32_from_bf16(half);
}

/* Rounds it to f16 or bf16. */
static void write_float(clq_dtype dtype, void *to, int64_t at, float value) {
  ((uint16_t *)to)[at] =
      dtype == CLQ_F16 ? clqi_ref_f16_from_f32(value) : clqi_ref_bf16_from_f32(value);
}

static void fill_codes(product *p, test_random *random) {
  const acts *x = &p->form.x;
  const int64_t group = x->group == 0 ? p->s.k : x->group;
  const int64_t groups = (p->s.k + group - 1) / group;
  const int32_t low = x->dtype == CLQ_U8 ? 0 : -128;
  p->scale_count = (size_t)(p->s.m * groups);
  p->scales = malloc(p->scale_count * sizeof *p->scales);
  p->zero_points = calloc(p->scale_count, sizeof *p->zero_points);
  p->sums = calloc(p->scale_count, sizeof *p->sums);
  for (size_t i = 0; i < p->x_bytes; ++i) {
    p->x[i] = (unsigned char)test_random_int(random, low, low + 255);
  }
  for (size_t i = 0; i < p->scale_count; ++i) {
    p->scales[i] = test_random_float(random);
    p->zero_points[i] = test_random_int(random, low, low + 255);
  }
  for (int64_t i = 0; i < p->s.m * p->s.k; ++i) {
    const unsigned char code = p->x[p->offset + i / p->s.k * p->stride + i % p->s.k];
    p->sums[i / p->s.k * groups + i % p->s.k / group] +=
        x->dtype == CLQ_U8 ? (int32_t)code : (int32_t)(int8_t)code;
  }
}

static void fill_floats(product *p, test_random *random) {
  p->floats = malloc((size_t)(p->s.m * p->s.k) * sizeof *p->floats);
  memset(p->x, 0xA5, p->x_bytes);
  for (int64_t i = 0; i < p->s.m * p->s.k; ++i) {
    const int64_t at = p->offset + i / p->s.k * p->stride + i % p->s.k;
    write_float(p->form.x.dtype, p->x, at, test_random_float(random));
    p->floats[i] = read_float(p, at);
  }
}

static product product_new(const form *f, shape s, test_random *random) {
  product p = {.form = *f, .s = s, .stride = s.k + s.m % 5, .offset = s.n % 4};
  const int64_t elements = p.offset + (s.m - 1) * p.stride + s.k;
  p.x_bytes = (size_t)elements * clq_dtype_bytes(f->x.dtype);
  p.x = calloc(p.x_bytes, 1);
  if (is_codes(&f->x)) {
    fill_codes(&p, random);
  } else {
    fill_floats(&p, random);
  }
  p.weights = test_weights_new(random, f->format, s.n, s.k, f->group, f->zeros);
  return p;
}

static void product_free(product *p) {
  free(p->x);
  free(p->floats);
  free(p->scales);
  free(p->zero_points);
  free(p->sums);
  test_weights_free(&p->weights);
}

static void reference(const product *p, float *out) {
  const acts *x = &p->form.x;
  if (is_codes(x)) {
    const clqi_ref_codes codes = {p->x + p->offset,
                                  x->dtype,
                                  p->s.m,
                                  p->stride,
                                  x->group,
                                  p->scales,
                                  x->zeros ? p->zero_points : NULL};
    clqi_ref_gemm_codes(&codes, &p->weights.ref, out, p->s.n);
  } else {
    clqi_ref_gemm_f32(p->floats, p->s.k, p->s.m, &p->weights.ref, out, p->s.n);
  }
}

/* What the device makes of it. */
static void run(const test_device *d, const product *p, float *out) {
  const acts *x = &p->form.x;
  clq_weights *w = test_weights_pack(d, &p->weights);
  test_buffer xb = test_buffer_new(d, p->x, p->x_bytes);
  test_buffer scales = test_buffer_new(d, p->scales, p->scale_count * 4);
  test_buffer zeros = test_buffer_new(d, p->zero_points, p->scale_count * 4);
  test_buffer sums = test_buffer_new(d, p->sums, p->scale_count * 4);
  test_buffer ob = test_buffer_new(d, NULL, (size_t)(p->s.m * p->s.n) * sizeof *out);
  clq_gemm_args a = {.x = {.mem = xb.mem,
                           .dtype = x->dtype,
                           .shape = {p->s.m, p->s.k},
                           .stride = {p->stride, 1},
                           .offset = (uint64_t)p->offset * clq_dtype_bytes(x->dtype)},
                     .weights = w,
                     .out = {.mem = ob.mem, .dtype = CLQ_F32}};
  if (is_codes(x)) {
    a.x.quant = (clq_quant){.per = x->group == 0 ? CLQ_PER_TOKEN : CLQ_PER_GROUP,
                            .group = (int32_t)x->group,
                            .scale = scales.mem,
                            .zero = x->zeros ? zeros.mem : NULL,
                            .sum = x->sums ? sums.mem : NULL};
  }
  test_ok(clq_gemm(d->stream, &a));
  test_buffer_read(d, &ob, out);
  clq_weights_destroy(w);
  test_buffer_free(&xb);
  test_buffer_free(&scales);
  test_buffer_free(&zeros);
  test_buffer_free(&sums);
  test_buffer_free(&ob);
}

static const char *name_of(const product *p) {
  static char text[160];
  const acts *x = &p->form.x;
  (void)snprintf(text, sizeof text, "%s group %lld%s%s x %s group %lld%s, M=%lld N=%lld K=%lld",
                 clq_dtype_name(x->dtype), (long long)x->group, x->zeros ? " zeros" : "",
                 x->sums ? " sums" : "", clq_format_name(p->form.format), (long long)p->form.group,
                 p->form.zeros ? " zeros" : "", (long long)p->s.m, (long long)p->s.n,
                 (long long)p->s.k);
  return text;
}

static bool same_bits(float a, float b) {
  uint32_t p = 0;
  uint32_t q = 0;
  memcpy(&p, &a, sizeof p);
  memcpy(&q, &b, sizeof q);
  return p == q;
}

static void check(const test_device *d, const form *f, shape s, test_random *random) {
  const int64_t block = clqi_ref_block_of(f->format).elements;
  s.k = (s.k + block - 1) / block * block;
  product p = product_new(f, s, random);
  const size_t count = (size_t)(s.m * s.n);
  float *expected = malloc(count * sizeof *expected);
  float *actual = malloc(count * sizeof *actual);
  reference(&p, expected);
  run(d, &p, actual);
  for (size_t i = 0; i < count; ++i) {
    cr_assert(same_bits(actual[i], expected[i]), "%s: element %zu is %a, expected %a", name_of(&p),
              i, (double)actual[i], (double)expected[i]);
  }
  free(expected);
  free(actual);
  product_free(&p);
}

/* --- the back ends: traits to drop, the variants that must then run --- */

typedef struct back_end {
  const char *disable;
  const char *needs; /* a trait, or NULL; without it the test is about nothing */
  const char *row, *tile;
} back_end;

/* Programs cost more than runs: forms of x and W for one row or few, and others for tiles. */
static const shape rows[] = {{1, 33, 77}, {1, 300, 520}, {2, 17, 7}, {1, 2, 2100}};
static const shape single_rows[] = {{1, 33, 77}, {1, 3, 521}, {1, 18, 1}, {1, 2, 16}};
static const shape tiles[] = {{7, 18, 129}, {9, 35, 1030}, {17, 1, 100}, {33, 70, 64}, {5, 3, 1}};

static void sweep(const test_device *d, const form *f, const shape *shapes, size_t count) {
  test_random random = {31};
  for (size_t i = 0; f != NULL && i < count; ++i) {
    check(d, f, shapes[i], &random);
  }
}

/* row and tile: the form that each variant takes; NULL: it does not run. */
static void sweep_pair(const back_end *b, const form *row, const form *tile) {
  const bool floats = strncmp(b->row, "gemm_f32", 8) == 0;
  test_device d = test_device_open(b->disable);
  if (b->needs != NULL && !test_has_trait(d.context, b->needs)) {
    test_device_close(&d);
    cr_skip_test("the device has no %s", b->needs);
  }
  test_dispatch_start();
  if (floats) {
    sweep(&d, row, single_rows, COUNT(single_rows));
  } else {
    sweep(&d, row, rows, COUNT(rows));
  }
  sweep(&d, tile, tiles, COUNT(tiles));
  cr_assert(row == NULL || test_dispatch_saw("gemm", b->row), "%s did not run", b->row);
  cr_assert(tile == NULL || test_dispatch_saw("gemm", b->tile), "%s did not run", b->tile);
  test_dispatch_stop();
  test_device_close(&d);
}

/* --- floats of 16 bits --- */

static const back_end float_tiles = {NULL, "cpu", "gemm_f32_row", "gemm_f32_tile"};
static const back_end plain_float_tiles = {"x86_vnni,x86_avx2,x86_avx512,x86_f16c", "cpu",
                                           "gemm_f32_row", "gemm_f32_tile"};
static const back_end float_lanes = {"cpu", NULL, "gemm_f32_lane_row", "gemm_f32_lane"};

static const form half_form = {{CLQ_F16, 0, false, false}, CLQ_FORMAT_F16, 0, false};
static const form brain_form = {{CLQ_BF16, 0, false, false}, CLQ_FORMAT_Q4_1, 0, false};

Test(gemm_acts, halves) { sweep_pair(&float_tiles, &half_form, &half_form); }
Test(gemm_acts, halves_plain) { sweep_pair(&plain_float_tiles, NULL, &half_form); }
Test(gemm_acts, brains) { sweep_pair(&float_tiles, &brain_form, NULL); }
Test(gemm_acts, halves_and_brains_lanes) { sweep_pair(&float_lanes, &brain_form, &half_form); }

/* Codes are the floats that they stand for where the weights are floats. */
static const form signed_floats = {{CLQ_I8, 24, true, false}, CLQ_FORMAT_F16, 0, false};
static const form unsigned_floats = {{CLQ_U8, 0, false, true}, CLQ_FORMAT_F16, 0, false};

Test(gemm_acts, codes_as_floats) { sweep_pair(&float_tiles, &unsigned_floats, &signed_floats); }
Test(gemm_acts, codes_as_floats_lanes) { sweep_pair(&float_lanes, NULL, &signed_floats); }

/* x and W of small integers: sums are exact, whatever their order. Then of any floats: within the
 * bound of a sum of K products. */
static void check_sums(const test_device *d, const form *f, shape s, bool integers) {
  const clq_dtype dtype = f->x.dtype;
  test_random random = {37};
  product p = product_new(f, s, &random);
  void *weights = (void *)(uintptr_t)p.weights.ref.data;
  for (int64_t i = 0; integers && i < s.n * s.k; ++i) {
    write_float(dtype, weights, i, (float)test_random_int(&random, -15, 15));
  }
  for (int64_t i = 0; integers && i < s.m * s.k; ++i) {
    p.floats[i] = (float)test_random_int(&random, -15, 15);
    write_float(dtype, p.x, p.offset + i / s.k * p.stride + i % s.k, p.floats[i]);
  }
  float *actual = malloc((size_t)(s.m * s.n) * sizeof *actual);
  run(d, &p, actual);
  for (int64_t i = 0; i < s.m * s.n; ++i) {
    double sum = 0.0;
    double size = 0.0;
    for (int64_t k = 0; k < s.k; ++k) {
      const double part =
          (double)p.floats[i / s.n * s.k + k] * (double)clqi_ref_weight(&p.weights.ref, i % s.n, k);
      sum += part;
      size += fabs(part);
    }
    const double bound = integers ? 0.0 : (double)s.k * 0x1p-24 * size;
    cr_assert_leq(fabs((double)actual[i] - sum), bound, "%s: element %lld is %a, exactly %a",
                  name_of(&p), (long long)i, (double)actual[i], sum);
  }
  free(actual);
  product_free(&p);
}

Test(gemm_acts, sums_of_halves) {
  static const shape shapes[] = {{1, 19, 4100}, {17, 33, 600}};
  test_device d = test_device_open(NULL);
  for (size_t i = 0; i < COUNT(shapes); ++i) {
    check_sums(&d, &half_form, shapes[i], true);
    check_sums(&d, &half_form, shapes[i], false);
  }
  check_sums(&d, &brain_form, (shape){1, 33, 640}, false);
  /* a longer row than the least that is made room for */
  check_sums(&d, &half_form, (shape){1, 3, 8200}, false);
  test_device_close(&d);
}

/* NaN and the infinities come through, subnormal halves too, and a row of them spoils no other. */
Test(gemm_acts, special_values_of_halves) {
  static const float special[] = {NAN, INFINITY, -INFINITY, 0x1p-24f, 65504.0f};
  test_device d = test_device_open(NULL);
  for (int64_t m = 1; m <= 9; m += 8) {
    test_random random = {41};
    product p = product_new(&half_form, (shape){m, 5, 50}, &random);
    void *weights = (void *)(uintptr_t)p.weights.ref.data;
    float actual[9 * 5];
    for (int i = 0; i < 5 * 50; ++i) {
      write_float(CLQ_F16, weights, i, i % 50 == 7 ? 1.0f : 0.0f);
    }
    for (int64_t i = 0; i < m; ++i) {
      write_float(CLQ_F16, p.x, p.offset + i * p.stride + 7, special[i % 5]);
    }
    run(&d, &p, actual);
    for (int64_t i = 0; i < m * 5; ++i) {
      const float expected = special[i / 5 % 5];
      cr_assert(isnan(expected) ? isnan(actual[i]) : actual[i] == expected, "row %lld is %a",
                (long long)(i / 5), (double)actual[i]);
    }
    product_free(&p);
  }
  test_device_close(&d);
}

/* --- codes --- */

static const back_end vnni = {NULL, "x86_vnni", "gemm_q8_row_vnni", "gemm_q8_tile_vnni"};
static const back_end avx2 = {"x86_vnni", "x86_avx2", "gemm_q8_row_avx2", "gemm_q8_tile_avx2"};
static const back_end vectors = {"x86_vnni,x86_avx2,x86_avx512,x86_f16c", "cpu", "gemm_q8_row",
                                 "gemm_q8_tile"};
static const back_end lanes = {"cpu", NULL, "gemm_q8_split", "gemm_q8_lane"};
static const back_end tensor_cores = {"cpu", "nvidia_mma", "gemm_q8_lane_row", "gemm_q8_mma"};

/* Between them every correction there is, scales of x that serve several groups, and scales of
 * weights that do. */
static const form by_token = {{CLQ_I8, 0, true, false}, CLQ_FORMAT_W8, 40, false};
static const form by_group = {{CLQ_U8, 64, true, false}, CLQ_FORMAT_Q4_1, 0, false};
static const form with_sums = {{CLQ_U8, 32, true, true}, CLQ_FORMAT_W4, 64, true};
static const form no_zeros = {{CLQ_U8, 0, false, true}, CLQ_FORMAT_W8, 0, false};
static const form short_groups = {{CLQ_I8, 16, false, true}, CLQ_FORMAT_Q4_1, 0, false};
static const form long_group = {{CLQ_I8, 5000, true, false}, CLQ_FORMAT_W8, 24, true};

Test(gemm_acts, codes_by_token_vnni) { sweep_pair(&vnni, &by_token, &by_token); }
Test(gemm_acts, codes_by_group_vnni) { sweep_pair(&vnni, NULL, &by_group); }
Test(gemm_acts, codes_with_sums_vnni) { sweep_pair(&vnni, &with_sums, NULL); }
Test(gemm_acts, codes_more_vnni) { sweep_pair(&vnni, &long_group, &no_zeros); }
Test(gemm_acts, codes_short_groups_vnni) { sweep_pair(&vnni, NULL, &short_groups); }
Test(gemm_acts, codes_avx2) { sweep_pair(&avx2, &by_group, &by_token); }
Test(gemm_acts, codes_plain_vectors) { sweep_pair(&vectors, NULL, &by_group); }
Test(gemm_acts, codes_lanes) { sweep_pair(&lanes, &by_group, &by_token); }
Test(gemm_acts, codes_with_sums_lanes) { sweep_pair(&lanes, NULL, &with_sums); }
Test(gemm_acts, codes_tensor_cores) { sweep_pair(&tensor_cores, NULL, &by_group); }

/* The kernel of tensor cores where there are none: in the plain form of lib/mma.h, which it takes
 * without inline PTX. */
Test(gemm_acts, codes_plain_matrices) {
  static const shape shapes[] = {{9, 35, 100}, {17, 1, 77}, {33, 17, 40}};
  test_device d = test_device_open("cpu,nvidia_ptx");
  d.context->traits |= CLQI_BIT(NVIDIA_MMA);
  test_dispatch_start();
  sweep(&d, &by_group, shapes, COUNT(shapes));
  cr_assert(test_dispatch_saw("gemm", "gemm_q8_mma"));
  test_dispatch_stop();
  test_device_close(&d);
}
