/* gemm in every back end against the plain reference, bit for bit. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device.h"
#include "opencl.h"
#include "quant/weights.h"
#include "ref/math.h"
#include "ref/ref.h"
#include "ref/weights.h"
#include "runtime/context.h"
#include "weights.h"

TestSuite(gemm, .fini = opencl_none_live);

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

typedef enum activation { X_F32, X_TOKEN, X_GROUPED } activation;

/* One product. Strides and offsets in elements beyond dense ones. */
typedef struct product {
  clq_format format;
  activation x;
  int64_t m, n, k;
  int64_t group; /* of plain codes */
  bool zeros;
  bool mins;
  clq_dtype scale_dtype; /* of plain codes; 0: f32 */
  bool sums;             /* x brings the sums of its codes */
  int64_t x_gap, x_offset, out_gap, out_offset;
  bool half; /* out is f16 */
} product;

static const char *name_of(const product *p) {
  static char text[160];
  static const char *const x_names[] = {"f32", "q8 per token", "q8g32"};
  (void)snprintf(text, sizeof text, "%s x %s%s, M=%lld N=%lld K=%lld group=%lld%s gaps %lld %lld%s",
                 x_names[p->x], clq_format_name(p->format), p->zeros ? " zeros" : "",
                 (long long)p->m, (long long)p->n, (long long)p->k, (long long)p->group,
                 p->sums ? " sums" : "", (long long)p->x_gap, (long long)p->out_gap,
                 p->half ? " out f16" : "");
  return text;
}

/* Host copies of one product's data; x has p->x_gap elements between its rows. */
typedef struct operands {
  void *x;
  size_t x_bytes;
  float *scales;
  int32_t *sums;
  size_t scale_count;
  test_weights weights;
} operands;

static int64_t x_stride(const product *p) { return p->k + p->x_gap; }
static int64_t out_stride(const product *p) { return p->n + p->out_gap; }
static size_t out_elements(const product *p) {
  return (size_t)(p->out_offset + (p->m - 1) * out_stride(p) + p->n);
}

static operands operands_new(const product *p, test_random *random) {
  operands o = {0};
  const size_t elements = (size_t)(p->x_offset + (p->m - 1) * x_stride(p) + p->k);
  o.x_bytes = elements * (p->x == X_F32 ? 4 : 1);
  o.x = malloc(o.x_bytes);
  for (size_t i = 0; i < elements; ++i) {
    if (p->x == X_F32) {
      ((float *)o.x)[i] = test_random_float(random);
    } else {
      ((int8_t *)o.x)[i] = (int8_t)test_random_int(random, -127, 127);
    }
  }
  if (p->x != X_F32) {
    const int64_t group = p->x == X_GROUPED ? 32 : p->k;
    const int64_t groups = (p->k + group - 1) / group;
    o.scale_count = (size_t)(p->m * groups);
    o.scales = malloc(o.scale_count * sizeof *o.scales);
    o.sums = calloc(o.scale_count, sizeof *o.sums);
    for (size_t i = 0; i < o.scale_count; ++i) {
      o.scales[i] = test_random_float(random);
    }
    for (int64_t m = 0; m < p->m; ++m) {
      for (int64_t k = 0; k < p->k; ++k) {
        o.sums[m * groups + k / group] += ((int8_t *)o.x)[p->x_offset + m * x_stride(p) + k];
      }
    }
  }
  o.weights = clqi_ref_plain_bits(p->format) == 0
                  ? test_weights_new(random, p->format, p->n, p->k, 0, false)
                  : test_plain_weights_new(random, p->format, p->n, p->k, p->group,
                                           p->mins    ? TEST_MINS
                                           : p->zeros ? TEST_ZEROS
                                                      : TEST_SCALES,
                                           p->scale_dtype == 0 ? CLQ_F32 : p->scale_dtype);
  return o;
}

static void operands_free(operands *o) {
  free(o->x);
  free(o->scales);
  free(o->sums);
  test_weights_free(&o->weights);
}

static void reference(const product *p, const operands *o, float *out) {
  const clqi_ref_weights *w = &o->weights.ref;
  if (p->x == X_F32) {
    clqi_ref_gemm_f32((const float *)o->x + p->x_offset, x_stride(p), p->m, w, out + p->out_offset,
                      out_stride(p));
  } else {
    clqi_ref_gemm_q8((const int8_t *)o->x + p->x_offset, x_stride(p), o->scales,
                     p->x == X_GROUPED ? 32 : 0, p->m, w, out + p->out_offset, out_stride(p));
  }
}

/* The packed weights in a buffer that ends at a guard page. */
static test_buffer guard_weights(const test_device *d, clq_weights *w) {
  void *bytes = malloc(w->bytes);
  cr_assert_eq(clEnqueueReadBuffer(clq_stream_queue(d->stream), w->mem, CL_TRUE, 0, w->bytes, bytes,
                                   0, NULL, NULL),
               CL_SUCCESS);
  const test_buffer guarded = test_buffer_new(d, bytes, w->bytes);
  clReleaseMemObject(w->mem);
  w->mem = guarded.mem;
  clRetainMemObject(w->mem);
  free(bytes);
  return guarded;
}

static clq_gemm_args arguments(const product *p, const clq_weights *w, cl_mem x, cl_mem scale,
                               cl_mem sum, cl_mem out) {
  clq_gemm_args a = {
      .x = {.mem = x,
            .dtype = p->x == X_F32 ? CLQ_F32 : CLQ_I8,
            .shape = {p->m, p->k},
            .stride = {x_stride(p), 1},
            .offset = (uint64_t)p->x_offset * (p->x == X_F32 ? 4 : 1)},
      .weights = w,
      .out = {.mem = out,
              .dtype = p->half ? CLQ_F16 : CLQ_F32,
              .shape = {p->m, p->n},
              .stride = {out_stride(p), 1},
              .offset = (uint64_t)p->out_offset * (p->half ? 2 : 4)},
  };
  if (p->x != X_F32) {
    a.x.quant = (clq_quant){.per = p->x == X_GROUPED ? CLQ_PER_GROUP : CLQ_PER_TOKEN,
                            .group = p->x == X_GROUPED ? 32 : 0,
                            .scale = scale,
                            .sum = p->sums ? sum : NULL};
  }
  return a;
}

/* Rounds what the reference says; between the rows stays what was there. */
static void round_rows(const product *p, const float *from, uint16_t *to) {
  for (int64_t m = 0; m < p->m; ++m) {
    const int64_t row = p->out_offset + m * out_stride(p);
    for (int64_t n = 0; n < p->n; ++n) {
      to[row + n] = clqi_ref_f16_from_f32(from[row + n]);
    }
  }
}

/* Runs it on the device and compares every element, and what lies between the rows. */
static void check(const test_device *d, const product *p, test_random *random) {
  operands o = operands_new(p, random);
  const size_t count = out_elements(p);
  const size_t size = p->half ? sizeof(uint16_t) : sizeof(float);
  float *floats = malloc(count * sizeof *floats);
  uint16_t *halves = malloc(count * sizeof *halves);
  char *actual = malloc(count * size);
  memset(floats, 0xA5, count * sizeof *floats);
  memset(halves, 0xA5, count * sizeof *halves);
  reference(p, &o, floats);
  round_rows(p, floats, halves);
  const char *expected = p->half ? (const char *)halves : (const char *)floats;

  clq_weights *w = test_weights_pack(d, &o.weights);
  test_buffer guarded = guard_weights(d, w);
  test_buffer x = test_buffer_new(d, o.x, o.x_bytes);
  test_buffer scale = test_buffer_new(d, o.scales, o.scale_count * 4);
  test_buffer sum = test_buffer_new(d, o.sums, o.scale_count * 4);
  test_buffer out = test_buffer_new(d, NULL, count * size);
  const clq_gemm_args a = arguments(p, w, x.mem, scale.mem, sum.mem, out.mem);
  test_ok(clq_gemm(d->stream, &a));
  test_buffer_read(d, &out, actual);
  for (size_t i = 0; i < count; ++i) {
    cr_assert_eq(memcmp(&actual[i * size], &expected[i * size], size), 0,
                 "%s: element %zu differs from %a", name_of(p), i, (double)floats[i]);
  }
  clq_weights_destroy(w);
  test_buffer_free(&guarded);
  test_buffer_free(&x);
  test_buffer_free(&scale);
  test_buffer_free(&sum);
  test_buffer_free(&out);
  free(floats);
  free(halves);
  free(actual);
  operands_free(&o);
}

/* --- the back ends: traits to drop, the variants that must then run --- */

typedef struct back_end {
  const char *disable;
  const char *needs; /* a trait, or NULL; without it the test is about nothing */
  const char *row, *tile;
  const char *more; /* another one, or NULL */
} back_end;

static const back_end vnni = {NULL, "x86_vnni", "gemm_q8_row_vnni", "gemm_q8_tile_vnni", NULL};
static const back_end avx2 = {"x86_vnni", "x86_avx2", "gemm_q8_row_avx2", "gemm_q8_tile_avx2",
                              NULL};
static const back_end vectors = {"x86_vnni,x86_avx2,x86_avx512,x86_f16c", "cpu", "gemm_q8_row",
                                 "gemm_q8_tile", NULL};
static const back_end lanes = {"cpu", NULL, "gemm_q8_lane_row", "gemm_q8_lane", "gemm_q8_split"};
static const back_end plain_lanes = {"cpu,khr_int_dot,nvidia_ptx,amd_dot", NULL, "gemm_q8_lane_row",
                                     "gemm_q8_lane", "gemm_q8_split"};

static const back_end tensor_cores = {"cpu", "nvidia_mma", "gemm_q8_lane_row", "gemm_q8_mma", NULL};

static const back_end float_tiles = {NULL, "cpu", "gemm_f32_row", "gemm_f32_tile", "gemm_f32_lane"};
static const back_end float_lanes = {"cpu", NULL, "gemm_f32_lane_row", "gemm_f32_lane", NULL};

/* Formats that a back end's test covers: what leads to programs of their own. */
typedef struct form {
  clq_format format;
  activation x;
  int64_t group;
  bool zeros;
  bool mins;
  clq_dtype scale_dtype;
} form;

static const form all_forms[] = {
    {CLQ_FORMAT_Q4_0, X_GROUPED, 0, false}, {CLQ_FORMAT_Q4_1, X_GROUPED, 0, false},
    {CLQ_FORMAT_Q8_0, X_GROUPED, 0, false}, {CLQ_FORMAT_Q4_0, X_TOKEN, 0, false},
    {CLQ_FORMAT_Q4_1, X_TOKEN, 0, false},   {CLQ_FORMAT_Q8_0, X_TOKEN, 0, false},
    {CLQ_FORMAT_W4, X_TOKEN, 8, false},     {CLQ_FORMAT_W4, X_TOKEN, 0, true},
    {CLQ_FORMAT_W4, X_GROUPED, 64, true},   {CLQ_FORMAT_W4, X_GROUPED, 0, false},
    {CLQ_FORMAT_W8, X_TOKEN, 128, false},   {CLQ_FORMAT_W8, X_GROUPED, 0, false},
    {CLQ_FORMAT_W8, X_GROUPED, 8, false},   {CLQ_FORMAT_W4, X_GROUPED, 16, true},
};
/* The other widths, with every correction; test_model_formats has every format. */
static const form more_forms[] = {
    {CLQ_FORMAT_Q5_0, X_GROUPED, 0, false},
    {CLQ_FORMAT_Q5_1, X_TOKEN, 0, false},
    {CLQ_FORMAT_Q2_K, X_GROUPED, 0, false},
    {CLQ_FORMAT_Q3_K, X_GROUPED, 0, false},
    {CLQ_FORMAT_Q4_K, X_GROUPED, 0, false},
    {CLQ_FORMAT_Q6_K, X_GROUPED, 0, false},
    {CLQ_FORMAT_W2, X_TOKEN, 8, true, false, CLQ_F32},
    {CLQ_FORMAT_W3, X_TOKEN, 40, false, true, CLQ_BF16},
    {CLQ_FORMAT_W8, X_TOKEN, 24, true, false, CLQ_F16},
};
/* Q4_1, Q5_1 and W4 with zero points need every correction there is; Q8_0, Q5_1, Q6_K and Q2_K the
 * other widths; Q2_K and Q6_K have groups shorter than those of x. */
static const form few_forms[] = {
    {CLQ_FORMAT_Q4_0, X_GROUPED, 0, false}, {CLQ_FORMAT_Q5_1, X_GROUPED, 0, false},
    {CLQ_FORMAT_Q8_0, X_TOKEN, 0, false},   {CLQ_FORMAT_W4, X_TOKEN, 40, true},
    {CLQ_FORMAT_Q6_K, X_GROUPED, 0, false}, {CLQ_FORMAT_Q2_K, X_GROUPED, 0, false},
    {CLQ_FORMAT_Q4_1, X_GROUPED, 0, false}, {CLQ_FORMAT_W8, X_TOKEN, 24, true},
};
/* Of these, where the others would only repeat what the default back end's test shows. */
enum { FEWER = 6 };

static product of_form(const form *f, int64_t m, int64_t n, int64_t k) {
  const int64_t block = clqi_ref_block_of(f->format).elements;
  return (product){.format = f->format,
                   .x = f->x,
                   .m = m,
                   .n = n,
                   .k = (k + block - 1) / block * block,
                   .group = f->group,
                   .zeros = f->zeros,
                   .mins = f->mins,
                   .scale_dtype = f->scale_dtype};
}

static void sweep(const test_device *d, const form *f, test_random *random) {
  static const int64_t columns[] = {1, 15, 17, 33, 300};
  static const int64_t depths[] = {1, 7, 13, 33, 64, 100, 129, 250};
  for (int64_t m = 1; m <= 20; ++m) {
    product p = of_form(f, m, 33, 77);
    p.x_gap = m % 3;
    p.out_gap = m % 5;
    check(d, &p, random);
  }
  for (size_t i = 0; i < COUNT(columns); ++i) {
    for (int64_t m = 1; m <= 9; m += 8) {
      const product p = of_form(f, m, columns[i], 96);
      check(d, &p, random);
    }
  }
  int64_t last_depth = 0;
  for (size_t i = 0; i < COUNT(depths); ++i) {
    const int64_t depth = of_form(f, 1, 1, depths[i]).k;
    for (int64_t m = depth == last_depth ? 7 : 1; m <= 6; m += 5) {
      product p = of_form(f, m, 18, depths[i]);
      p.x_offset = 3;
      p.x_gap = 5;
      p.out_offset = 7;
      p.out_gap = 3;
      check(d, &p, random);
    }
    last_depth = depth;
  }
  product p = of_form(f, 64, 50, 160);
  check(d, &p, random);
  p = of_form(f, 130, 20, 64);
  check(d, &p, random);
  /* so many columns that a work-item could take several rows */
  for (int64_t m = 2; m <= 9; m += m < 4 ? 1 : 5) {
    p = of_form(f, m, 1500, 40);
    check(d, &p, random);
  }
  /* longer than the chunk of K that a tile holds; groups enough to split */
  p = of_form(f, 9, 17, 4170);
  check(d, &p, random);
  p = of_form(f, 1, 40, 330);
  check(d, &p, random);
}

static void sweep_forms(const back_end *b, const form *forms, size_t count) {
  test_device d = test_device_open(b->disable);
  if (b->needs != NULL && !test_has_trait(d.context, b->needs)) {
    test_device_close(&d);
    cr_skip_test("the device has no %s", b->needs);
  }
  test_random random = {7};
  for (size_t i = 0; i < count; ++i) {
    test_dispatch_start();
    sweep(&d, &forms[i], &random);
    /* where rows are split, those of 256 elements and more are */
    const bool never_row = b->more != NULL && clqi_ref_block_of(forms[i].format).elements == 256;
    cr_assert(never_row || test_dispatch_saw("gemm", b->row), "%s did not run", b->row);
    cr_assert(test_dispatch_saw("gemm", b->tile), "%s did not run", b->tile);
    cr_assert(b->more == NULL || test_dispatch_saw("gemm", b->more), "%s did not run", b->more);
    test_dispatch_stop();
  }
  test_device_close(&d);
}

Test(gemm, vnni) { sweep_forms(&vnni, all_forms, COUNT(all_forms)); }
Test(gemm, vnni_more_formats) { sweep_forms(&vnni, more_forms, COUNT(more_forms)); }
Test(gemm, avx2) { sweep_forms(&avx2, few_forms, FEWER); }
Test(gemm, plain_vectors) { sweep_forms(&vectors, few_forms, FEWER); }
Test(gemm, lanes) { sweep_forms(&lanes, few_forms, COUNT(few_forms)); }
Test(gemm, tensor_cores) { sweep_forms(&tensor_cores, few_forms, COUNT(few_forms)); }

static uint32_t traits_without(const char *disable) {
  test_device d = test_device_open(disable);
  const uint32_t traits = d.context->traits;
  test_device_close(&d);
  return traits;
}

Test(gemm, plain_lanes) {
  if (traits_without(plain_lanes.disable) == traits_without(lanes.disable)) {
    cr_skip_test("the device has nothing that plain lanes lack: they are those of lanes");
  }
  sweep_forms(&plain_lanes, few_forms, FEWER);
}

/* Codes that choose values of a table: the ways to look them up that test_model_formats does not
 * meet. */
Test(gemm, tables) {
  static const struct {
    const back_end *back_end;
    clq_format format;
    activation x;
    int64_t m;
  } cases[] = {
      {&avx2, CLQ_FORMAT_IQ4_NL, X_GROUPED, 1},    {&avx2, CLQ_FORMAT_IQ4_NL, X_TOKEN, 9},
      {&avx2, CLQ_FORMAT_MXFP4, X_GROUPED, 9},     {&vectors, CLQ_FORMAT_MXFP4, X_TOKEN, 1},
      {&float_tiles, CLQ_FORMAT_IQ4_NL, X_F32, 9}, {&lanes, CLQ_FORMAT_IQ4_NL, X_GROUPED, 9},
  };
  test_random random = {31};
  for (size_t i = 0; i < COUNT(cases); ++i) {
    test_device d = test_device_open(cases[i].back_end->disable);
    const form f = {.format = cases[i].format, .x = cases[i].x};
    const product p = of_form(&f, cases[i].m, 33, 96);
    check(&d, &p, &random);
    test_device_close(&d);
  }
}

/* The kernel of tensor cores where there are none: in the plain form of lib/mma.h, which it takes
 * without inline PTX. */
Test(gemm, plain_matrices) {
  static const int64_t shapes[][3] = {/* m, n, k */
                                      {9, 33, 77},  {16, 1, 100},   {33, 300, 64}, {64, 50, 160},
                                      {17, 17, 13}, {130, 20, 250}, {9, 17, 1030}};
  test_device d = test_device_open("cpu,nvidia_ptx");
  d.context->traits |= CLQI_BIT(NVIDIA_MMA);
  test_random random = {29};
  for (size_t i = 0; i < COUNT(few_forms); ++i) {
    test_dispatch_start();
    for (size_t j = 0; j < COUNT(shapes); ++j) {
      product p = of_form(&few_forms[i], shapes[j][0], shapes[j][1], shapes[j][2]);
      p.x_gap = p.x_offset = (int64_t)(j % 3);
      p.out_gap = p.out_offset = (int64_t)(j % 2);
      p.sums = j == 2;
      check(&d, &p, &random);
    }
    cr_assert(test_dispatch_saw("gemm", "gemm_q8_mma"));
    cr_assert_not(test_dispatch_saw("gemm", "gemm_q8_lane"));
    test_dispatch_stop();
  }
  test_device_close(&d);
}

/* An f16 out is the f32 result rounded once, whatever K's chunks are for f32. */
static void sweep_halves(const back_end *b, bool floats) {
  static const form forms[] = {
      {CLQ_FORMAT_Q4_1, X_GROUPED, 0, false},
      {CLQ_FORMAT_W4, X_TOKEN, 40, true},
      {CLQ_FORMAT_Q4_1, X_F32, 0, false},
      {CLQ_FORMAT_F16, X_F32, 0, false},
  };
  static const int64_t shapes[][3] = {/* m, n, k */
                                      {1, 33, 77},   {3, 17, 520},  {9, 35, 100},  {130, 20, 70},
                                      {9, 3, 16384}, {2, 3, 16384}, {9, 2, 16416}, {9, 2, 32800}};
  test_device d = test_device_open(b->disable);
  if (b->needs != NULL && !test_has_trait(d.context, b->needs)) {
    test_device_close(&d);
    cr_skip_test("the device has no %s", b->needs);
  }
  test_random random = {23};
  test_dispatch_start();
  for (size_t i = 0; i < COUNT(forms); ++i) {
    for (size_t j = 0; j < COUNT(shapes) && (forms[i].x == X_F32) == floats; ++j) {
      product p = of_form(&forms[i], shapes[j][0], shapes[j][1], shapes[j][2]);
      p.half = true;
      p.out_gap = (int64_t)(j % 3);
      p.out_offset = (int64_t)(j % 2);
      check(&d, &p, &random);
    }
  }
  cr_assert(test_dispatch_saw("gemm", b->row), "%s did not run", b->row);
  cr_assert(test_dispatch_saw("gemm", b->tile), "%s did not run", b->tile);
  cr_assert(b->more == NULL || test_dispatch_saw("gemm", b->more), "%s did not run", b->more);
  test_dispatch_stop();
  test_device_close(&d);
}

Test(gemm, halves_vnni) { sweep_halves(&vnni, false); }
Test(gemm, halves_avx2) { sweep_halves(&avx2, false); }
Test(gemm, halves_plain_vectors) { sweep_halves(&vectors, false); }
Test(gemm, halves_lanes) { sweep_halves(&lanes, false); }
Test(gemm, halves_float_tiles) { sweep_halves(&float_tiles, true); }
Test(gemm, halves_float_lanes) { sweep_halves(&float_lanes, true); }

/* What the device takes by default, whatever it is. */
Test(gemm, default_back_end) {
  test_device d = test_device_open(NULL);
  test_random random = {9};
  for (size_t i = 0; i < COUNT(few_forms); ++i) {
    for (int sums = 0; sums < 2; ++sums) {
      for (int64_t m = 1; m <= 11; m += 10) {
        product p = of_form(&few_forms[i], m, 35, 200);
        p.sums = sums;
        check(&d, &p, &random);
      }
    }
  }
  for (size_t i = 0; i < COUNT(more_forms); ++i) {
    for (int64_t m = 1; m <= 11; m += 10) {
      product p = of_form(&more_forms[i], m, 35, 500);
      p.sums = m > 1;
      check(&d, &p, &random);
    }
  }
  /* per token with one scale a row: the sums of the rows serve */
  for (int64_t m = 1; m <= 11; m += 10) {
    product p = {.format = CLQ_FORMAT_W4, .x = X_TOKEN, .m = m, .n = 21, .k = 93, .sums = true};
    check(&d, &p, &random);
    /* a group longer than the chunk of K */
    p.k = 5000;
    check(&d, &p, &random);
  }
  /* longer than what the form for few rows takes at once */
  const product deep = {.format = CLQ_FORMAT_Q4_1, .x = X_GROUPED, .m = 1, .n = 40, .k = 16480};
  check(&d, &deep, &random);
  test_device_close(&d);
}

static void sweep_floats(const char *disable, const char *row, const char *tile) {
  static const form forms[] = {
      {CLQ_FORMAT_Q4_0, X_F32, 0, false},
      {CLQ_FORMAT_Q4_1, X_F32, 0, false},
      {CLQ_FORMAT_Q8_0, X_F32, 0, false},
      {CLQ_FORMAT_W4, X_F32, 24, true},
      {CLQ_FORMAT_W8, X_F32, 8, false},
      {CLQ_FORMAT_F32, X_F32, 0, false},
      {CLQ_FORMAT_F16, X_F32, 0, false},
      {CLQ_FORMAT_BF16, X_F32, 0, false},
      {CLQ_FORMAT_Q5_1, X_F32, 0, false},
      {CLQ_FORMAT_Q2_K, X_F32, 0, false},
      {CLQ_FORMAT_Q6_K, X_F32, 0, false},
      {CLQ_FORMAT_W2, X_F32, 8, true, false, CLQ_F16},
      {CLQ_FORMAT_W3, X_F32, 40, false, true, CLQ_BF16},
      {CLQ_FORMAT_W8, X_F32, 32, true, false, CLQ_BF16},
  };
  test_device d = test_device_open(disable);
  if (disable == NULL && !test_has_trait(d.context, "cpu")) {
    test_device_close(&d);
    cr_skip_test("the device is no CPU");
  }
  test_random random = {11};
  test_dispatch_start();
  for (size_t i = 0; i < COUNT(forms); ++i) {
    sweep(&d, &forms[i], &random);
  }
  cr_assert(test_dispatch_saw("gemm", row));
  cr_assert(test_dispatch_saw("gemm", tile));
  test_dispatch_stop();
  test_device_close(&d);
}

Test(gemm, float_tiles) { sweep_floats(NULL, "gemm_f32_row", "gemm_f32_tile"); }
Test(gemm, float_lanes) { sweep_floats("cpu", "gemm_f32_lane_row", "gemm_f32_lane"); }

/* Small enough for a simulated device. */
Test(gemm, tiny_shapes) {
  static const form forms[] = {
      {CLQ_FORMAT_Q4_1, X_GROUPED, 0, false}, {CLQ_FORMAT_Q8_0, X_TOKEN, 0, false},
      {CLQ_FORMAT_W4, X_TOKEN, 40, true},     {CLQ_FORMAT_Q4_0, X_F32, 0, false},
      {CLQ_FORMAT_F16, X_F32, 0, false},      {CLQ_FORMAT_Q2_K, X_GROUPED, 0, false},
      {CLQ_FORMAT_BF16, X_F32, 0, false},     {CLQ_FORMAT_Q5_1, X_GROUPED, 0, false},
  };
  test_device d = test_device_open(NULL);
  test_random random = {17};
  for (size_t i = 0; i < COUNT(forms); ++i) {
    for (int64_t m = 1; m <= 9; m += 4) {
      const product p = of_form(&forms[i], m, 19, 77);
      check(&d, &p, &random);
    }
  }
  test_device_close(&d);
}

/* Codes at their limits, and every product of the same sign: the largest sums there are. */
Test(gemm, extreme_codes) {
  test_device d = test_device_open(NULL);
  enum { K = 32768, N = 16, M = 9 };
  int8_t *x = malloc((size_t)M * K);
  int8_t *codes = malloc((size_t)N * K);
  memset(x, -127, (size_t)M * K);
  memset(codes, -128, (size_t)N * K);
  float scales[N];
  float x_scales[M];
  for (int i = 0; i < N; ++i) {
    scales[i] = 0x1p-20f;
  }
  for (int i = 0; i < M; ++i) {
    x_scales[i] = 1.0f;
  }
  const test_weights w = {.ref = {.format = CLQ_FORMAT_W8,
                                  .rows = N,
                                  .cols = K,
                                  .group = K,
                                  .data = codes,
                                  .scales = scales},
                          .whole_row = true};
  clq_weights *packed = test_weights_pack(&d, &w);
  test_buffer xb = test_buffer_new(&d, x, (size_t)M * K);
  test_buffer sb = test_buffer_new(&d, x_scales, sizeof x_scales);
  test_buffer ob = test_buffer_new(&d, NULL, sizeof(float) * M * N);
  const product p = {.format = CLQ_FORMAT_W8, .x = X_TOKEN, .m = M, .n = N, .k = K};
  const clq_gemm_args a = arguments(&p, packed, xb.mem, sb.mem, NULL, ob.mem);
  test_ok(clq_gemm(d.stream, &a));
  float out[M * N];
  test_buffer_read(&d, &ob, out);
  for (int i = 0; i < M * N; ++i) {
    cr_assert_eq(out[i], (float)(127 * 128 * K) * 0x1p-20f);
  }
  clq_weights_destroy(packed);
  test_buffer_free(&xb);
  test_buffer_free(&sb);
  test_buffer_free(&ob);
  free(x);
  free(codes);
  test_device_close(&d);
}

/* All of a block's bits are ones: its code is the largest, `value`. */
typedef struct full_block {
  clq_format format;
  size_t elements, bytes;
  size_t scale_at; /* f16 */
  size_t small_at; /* signed bytes: scales of sub-blocks */
  size_t small_count;
  int value;
} full_block;

static void check_full(const test_device *d, const full_block *b, int64_t rows) {
  enum { K = 512, N = 18 };
  uint8_t data[N * K / 32 * 27];
  const size_t blocks = (size_t)N * K / b->elements;
  cr_assert_leq(blocks * b->bytes, sizeof data);
  memset(data, 0xff, sizeof data);
  for (size_t i = 0; i < blocks; ++i) {
    uint8_t *at = &data[i * b->bytes];
    at[b->scale_at] = 0x00;
    at[b->scale_at + 1] = 0x3c; /* 1 */
    memset(at + b->small_at, 1, b->small_count);
  }
  const test_weights w = {.ref = {.format = b->format, .rows = N, .cols = K, .data = data}};
  clq_weights *packed = test_weights_pack(d, &w);
  int8_t x[9 * K];
  float scales[9];
  float out[9 * N];
  memset(x, -128, sizeof x);
  for (int i = 0; i < 9; ++i) {
    scales[i] = 1.0f;
  }
  test_buffer xb = test_buffer_new(d, x, sizeof x);
  test_buffer sb = test_buffer_new(d, scales, sizeof scales);
  test_buffer ob = test_buffer_new(d, NULL, sizeof(float) * N * (size_t)rows);
  const product p = {.format = b->format, .x = X_TOKEN, .m = rows, .n = N, .k = K};
  const clq_gemm_args a = arguments(&p, packed, xb.mem, sb.mem, NULL, ob.mem);
  test_ok(clq_gemm(d->stream, &a));
  test_buffer_read(d, &ob, out);
  for (int i = 0; i < rows * N; ++i) {
    cr_assert_eq(out[i], (float)(-128 * b->value * K), "%s: element %d is %g",
                 clq_format_name(b->format), i, (double)out[i]);
  }
  clq_weights_destroy(packed);
  test_buffer_free(&xb);
  test_buffer_free(&sb);
  test_buffer_free(&ob);
}

/* The largest sums that 16 bits meet in between. */
Test(gemm, extreme_narrow_codes) {
  static const full_block blocks[] = {{CLQ_FORMAT_Q4_0, 32, 18, 0, 0, 0, 7},
                                      {CLQ_FORMAT_Q5_0, 32, 22, 0, 0, 0, 15},
                                      {CLQ_FORMAT_Q6_K, 256, 210, 208, 192, 16, 31}};
  const back_end *const back_ends[] = {&vnni, &avx2, &vectors};
  for (size_t i = 0; i < COUNT(back_ends); ++i) {
    test_device d = test_device_open(back_ends[i]->disable);
    for (size_t j = 0; j < COUNT(blocks); ++j) {
      check_full(&d, &blocks[j], 1);
      check_full(&d, &blocks[j], 9);
    }
    test_device_close(&d);
  }
}

/* A row that is not finite spoils no other row. */
Test(gemm, rows_do_not_touch_each_other) {
  test_device d = test_device_open(NULL);
  test_random random = {13};
  const product p = {.format = CLQ_FORMAT_Q4_1, .x = X_GROUPED, .m = 9, .n = 20, .k = 64};
  operands o = operands_new(&p, &random);
  float expected[9 * 20];
  float actual[9 * 20];
  reference(&p, &o, expected);
  o.scales[2 * 4 + 1] = NAN;
  o.scales[2 * 7] = INFINITY;
  clq_weights *w = test_weights_pack(&d, &o.weights);
  test_buffer x = test_buffer_new(&d, o.x, o.x_bytes);
  test_buffer scale = test_buffer_new(&d, o.scales, o.scale_count * 4);
  test_buffer out = test_buffer_new(&d, NULL, sizeof actual);
  const clq_gemm_args a = arguments(&p, w, x.mem, scale.mem, NULL, out.mem);
  test_ok(clq_gemm(d.stream, &a));
  test_buffer_read(&d, &out, actual);
  for (int m = 0; m < 9; ++m) {
    for (int n = 0; n < 20; ++n) {
      if (m == 4) {
        cr_assert(isnan(actual[m * 20 + n]));
      } else if (m != 7) {
        cr_assert_eq(actual[m * 20 + n], expected[m * 20 + n], "row %d", m);
      }
    }
  }
  clq_weights_destroy(w);
  test_buffer_free(&x);
  test_buffer_free(&scale);
  test_buffer_free(&out);
  operands_free(&o);
  test_device_close(&d);
}

Test(gemm, refusals) {
  test_device d = test_device_open(NULL);
  test_device other = test_device_open(NULL);
  test_random random = {17};
  product p = {.format = CLQ_FORMAT_W8, .x = X_TOKEN, .m = 3, .n = 5, .k = 48, .group = 24};
  operands o = operands_new(&p, &random);
  clq_weights *w = test_weights_pack(&d, &o.weights);
  test_weights floats = test_weights_new(&random, CLQ_FORMAT_F16, 5, 48, 0, false);
  clq_weights *wf = test_weights_pack(&d, &floats);
  test_buffer x = test_buffer_new(&d, NULL, 4096);
  test_buffer out = test_buffer_new(&d, NULL, 3 * 5 * 4);
  const clq_gemm_args good = arguments(&p, w, x.mem, x.mem, NULL, out.mem);
  test_ok(clq_gemm(d.stream, &good));
  test_ok(clq_stream_finish(d.stream));

  clq_gemm_args a = good;
  a.weights = NULL;
  test_fails(clq_gemm(d.stream, &a), CLQ_INVALID_ARGUMENT, "weights are missing");
  test_fails(clq_gemm(other.stream, &good), CLQ_INVALID_ARGUMENT, "another context");
  a = good;
  a.x.shape[1] = 47;
  test_fails(clq_gemm(d.stream, &a), CLQ_INVALID_ARGUMENT, "K of the weights");
  a = good;
  a.out.shape[1] = 6;
  a.out.stride[0] = 6;
  test_fails(clq_gemm(d.stream, &a), CLQ_INVALID_ARGUMENT, "N of the weights");
  a = good;
  a.out.shape[0] = 2;
  test_fails(clq_gemm(d.stream, &a), CLQ_INVALID_ARGUMENT, "rows of x");
  a = good;
  a.x.quant = (clq_quant){.per = CLQ_PER_GROUP, .group = 32, .scale = x.mem};
  test_fails(clq_gemm(d.stream, &a), CLQ_UNSUPPORTED, "group of the weights is 24");
  a.x.quant.group = 12;
  test_fails(clq_gemm(d.stream, &a), CLQ_UNSUPPORTED, "group of x is 12");
  a = good;
  a.x.quant.per = CLQ_PER_TENSOR;
  test_fails(clq_gemm(d.stream, &a), CLQ_UNSUPPORTED, "per tensor");
  a = good;
  a.x.dtype = CLQ_I32;
  test_fails(clq_gemm(d.stream, &a), CLQ_UNSUPPORTED, "i32");
  a = good;
  a.out.dtype = CLQ_I32;
  test_fails(clq_gemm(d.stream, &a), CLQ_UNSUPPORTED, "out");
  a = good;
  a.out.offset = 4;
  test_fails(clq_gemm(d.stream, &a), CLQ_INVALID_ARGUMENT, "buffer of out");
  a = good;
  a.x.shape[0] = 0;
  a.out.shape[0] = 0;
  test_ok(clq_gemm(d.stream, &a));

  clq_weights_destroy(w);
  clq_weights_destroy(wf);
  test_buffer_free(&x);
  test_buffer_free(&out);
  test_weights_free(&floats);
  operands_free(&o);
  test_device_close(&other);
  test_device_close(&d);
}
