#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <clquant/graph.h>

#include "forms.h"
#include "opencl.h"
#include "ref/math.h"
#include "ref/ref.h"

TestSuite(lookup, .fini = opencl_none_live);

enum { ROWS = 3, ENTRIES = 256, MOST_COLS = 1000, PAD = 5, OFFSET = 3 };

/* One call: rows of x and out lie PAD and twice PAD elements apart, behind OFFSET others. */
typedef struct setting {
  clq_dtype x, out;
  clq_granularity per; /* of out, of codes */
  bool zero_plane;
} setting;

static int32_t code_at(clq_dtype dtype, uint8_t byte) {
  return dtype == CLQ_I8 ? (int8_t)byte : byte;
}

static void check_planes(const test_device *d, const setting *s, int64_t cols,
                         const test_buffer planes[3], const unsigned char *codes, int64_t stride) {
  float scales[ROWS];
  int32_t zeros[ROWS];
  int32_t sums[ROWS];
  test_buffer_read(d, &planes[0], scales);
  test_buffer_read(d, &planes[1], zeros);
  test_buffer_read(d, &planes[2], sums);
  for (int r = 0; r < (s->per == CLQ_PER_TOKEN ? ROWS : 1); ++r) {
    cr_assert_eq(scales[r], 0.25f, "scale %d", r);
    cr_assert_eq(zeros[r], s->zero_plane ? 7 : (int32_t)0xA5A5A5A5, "zero %d", r);
  }
  for (int r = 0; r < ROWS && s->per == CLQ_PER_TOKEN; ++r) {
    int32_t sum = 0;
    for (int64_t i = 0; i < cols; ++i) {
      sum += code_at(s->out, codes[OFFSET + r * stride + i]);
    }
    cr_assert_eq(sums[r], sum, "sum %d of %lld columns", r, (long long)cols);
  }
}

static void check(const test_device *d, const setting *s, int64_t cols) {
  static uint8_t x[OFFSET + ROWS * (MOST_COLS + PAD)];
  static unsigned char table[ENTRIES * 4];
  static unsigned char got[4 * (OFFSET + ROWS * (MOST_COLS + 2 * PAD))];
  static unsigned char expected[sizeof got];
  const size_t element = clq_dtype_bytes(s->out);
  const int64_t x_stride = cols + PAD;
  const int64_t out_stride = cols + 2 * PAD;
  const size_t x_bytes = OFFSET + (size_t)(2 * x_stride + cols);
  const size_t out_bytes = element * (OFFSET + (size_t)(2 * out_stride + cols));
  test_random random = {(uint64_t)cols};
  for (size_t i = 0; i < x_bytes; ++i) {
    x[i] = (uint8_t)test_random_u32(&random);
  }
  for (size_t i = 0; i < sizeof table; ++i) {
    table[i] = (uint8_t)test_random_u32(&random);
  }
  memset(expected, 0xA5, sizeof expected);
  for (int r = 0; r < ROWS; ++r) {
    clqi_ref_lookup(x + OFFSET + r * x_stride, cols, table, element,
                    expected + element * (size_t)(OFFSET + r * out_stride));
  }
  test_buffer xb = test_buffer_new(d, x, x_bytes);
  test_buffer tb = test_buffer_new(d, table, ENTRIES * element);
  test_buffer ob = test_buffer_new(d, NULL, out_bytes);
  test_buffer planes[3];
  for (int i = 0; i < 3; ++i) {
    planes[i] = test_buffer_new(d, NULL, sizeof(float) * ROWS);
  }
  clq_lookup_args args = {
      .x = {xb.mem, s->x, {ROWS, cols}, {x_stride, 1}, .offset = OFFSET},
      .table = {tb.mem, s->out, {ENTRIES}},
      .out = {ob.mem, s->out, {ROWS, cols}, {out_stride, 1}, .offset = OFFSET * element}};
  if (s->per != 0) {
    args.out.quant = (clq_quant){.per = s->per,
                                 .scale = planes[0].mem,
                                 .zero = s->zero_plane ? planes[1].mem : NULL,
                                 .sum = s->per == CLQ_PER_TOKEN ? planes[2].mem : NULL};
    args.out_scale = 0.25f;
    args.out_zero = s->zero_plane ? 7 : 0;
  }
  test_ok(clq_lookup(d->stream, &args));
  test_buffer_read(d, &ob, got);
  cr_assert_arr_eq(got, expected, out_bytes, "%lld columns", (long long)cols);
  if (s->per != 0) {
    check_planes(d, s, cols, planes, got, out_stride);
  }
  test_buffer_free(&xb);
  test_buffer_free(&tb);
  test_buffer_free(&ob);
  for (int i = 0; i < 3; ++i) {
    test_buffer_free(&planes[i]);
  }
}

static const setting settings[] = {
    {CLQ_I8, CLQ_I8, CLQ_PER_TOKEN, false},
    {CLQ_I8, CLQ_F16, 0, false},
    {CLQ_U8, CLQ_I8, 0, false},
    {CLQ_U8, CLQ_U8, CLQ_PER_TENSOR, true},
    {CLQ_U8, CLQ_U8, CLQ_PER_TOKEN, true},
    {CLQ_I8, CLQ_F32, 0, false},
};
enum { SETTINGS = sizeof settings / sizeof settings[0], FEW_SETTINGS = 2 };

static void check_widths(const test_device *d, size_t count) {
  static const int64_t widths[] = {1, 3, 63, 64, 65, 130, MOST_COLS};
  for (size_t i = 0; i < count; ++i) {
    for (size_t w = 0; w < sizeof widths / sizeof widths[0]; ++w) {
      check(d, &settings[i], widths[w]);
    }
  }
}

Test(lookup, is_the_reference_in_every_form) {
  for (test_forms f = {0}; test_forms_next(&f);) {
    const bool cpu = test_has_trait(f.device.context, "cpu");
    const bool permutes = cpu && test_has_trait(f.device.context, "x86_vbmi");
    check_widths(&f.device, cpu ? SETTINGS : FEW_SETTINGS);
    cr_assert_eq(test_dispatch_saw("lookup", "lookup_rows_vbmi"), permutes);
    cr_assert_eq(test_dispatch_saw("lookup", "lookup_rows"), cpu);
    cr_assert_eq(test_dispatch_saw("lookup", "lookup_group"), !cpu);
  }
}

Test(lookup, the_form_that_permutes_has_the_bits_of_the_one_that_does_not) {
  test_device d = test_device_open("x86_vbmi");
  test_dispatch_start();
  check_widths(&d, 1);
  cr_assert(!test_dispatch_saw("lookup", "lookup_rows_vbmi"));
  test_dispatch_stop();
  test_device_close(&d);
}

Test(lookup, tiny_in_place) {
  enum { COLS = 100 };
  uint8_t x[ROWS * COLS];
  uint8_t table[ENTRIES];
  uint8_t expected[sizeof x];
  uint8_t got[sizeof x];
  for (int i = 0; i < ROWS * COLS; ++i) {
    x[i] = (uint8_t)i;
  }
  for (int i = 0; i < ENTRIES; ++i) {
    table[i] = (uint8_t)(i * 37 + 11);
  }
  clqi_ref_lookup(x, ROWS * COLS, table, 1, expected);
  for (test_forms f = {0}; test_forms_next(&f);) {
    test_buffer b = test_buffer_new(&f.device, x, sizeof x);
    test_buffer tb = test_buffer_new(&f.device, table, sizeof table);
    const clq_tensor t = {b.mem, CLQ_I8, {ROWS, COLS}};
    test_ok(clq_lookup(f.device.stream,
                       &(clq_lookup_args){.x = t, .table = {tb.mem, CLQ_I8, {ENTRIES}}, .out = t}));
    test_buffer_read(&f.device, &b, got);
    cr_assert_arr_eq(got, expected, sizeof got);
    test_buffer_free(&b);
    test_buffer_free(&tb);
  }
}

/* A graph plans the planes of codes, and what reads them finds the scale there. */
Test(lookup, in_a_graph_before_dequantize) {
  enum { COLS = 70 };
  uint8_t x[ROWS * COLS];
  int8_t table[ENTRIES];
  float got[ROWS * COLS];
  for (int i = 0; i < ROWS * COLS; ++i) {
    x[i] = (uint8_t)(3 * i);
  }
  test_ok(clq_lookup_fill(&(clq_lookup_desc){.x = CLQ_I8,
                                             .x_scale = 0.05f,
                                             .out = CLQ_I8,
                                             .out_scale = 0.04f,
                                             .function = clq_scalar_gelu},
                          table));
  test_device d = test_device_open(NULL);
  test_buffer xb = test_buffer_new(&d, x, sizeof x);
  test_buffer tb = test_buffer_new(&d, table, sizeof table);
  test_buffer ob = test_buffer_new(&d, NULL, sizeof got);
  clq_graph *graph = NULL;
  clq_plan *plan = NULL;
  test_ok(clq_graph_create(d.context, &graph));
  clq_tensor edge = clq_graph_edge(graph, CLQ_I8, 2, (int64_t[]){ROWS, COLS});
  edge.quant.per = CLQ_PER_TOKEN;
  test_ok(clq_graph_add(graph, CLQ_OP_LOOKUP,
                        &(clq_lookup_args){.x = {xb.mem, CLQ_I8, {ROWS, COLS}},
                                           .table = {tb.mem, CLQ_I8, {ENTRIES}},
                                           .out = edge,
                                           .out_scale = 0.04f}));
  test_ok(clq_graph_add(graph, CLQ_OP_DEQUANTIZE,
                        &(clq_dequantize_args){.x = edge, .out = {ob.mem, CLQ_F32}}));
  test_ok(clq_plan_create(graph, &plan));
  test_ok(clq_plan_run(plan, d.stream));
  test_buffer_read(&d, &ob, got);
  for (int i = 0; i < ROWS * COLS; ++i) {
    cr_assert_eq(got[i], 0.04f * (float)table[x[i]], "element %d", i);
  }
  clq_plan_destroy(plan);
  clq_graph_destroy(graph);
  test_buffer_free(&xb);
  test_buffer_free(&tb);
  test_buffer_free(&ob);
  test_device_close(&d);
}

/* --- tables --- */

static double linear(double x, void *user) { return x * *(const double *)user; }

static double nothing(double x, void *user) {
  (void)user;
  return x > 0.0 ? (double)NAN : x < 0.0 ? -(double)INFINITY : 0.0;
}

Test(lookup, codes_are_the_nearest_and_saturate) {
  double by = 0.5;
  int8_t i8[ENTRIES];
  uint8_t u8[ENTRIES];
  clq_lookup_desc d = {.x = CLQ_I8,
                       .x_scale = 1.0f,
                       .out = CLQ_I8,
                       .out_scale = 1.0f,
                       .function = linear,
                       .user = &by};
  test_ok(clq_lookup_fill(&d, i8));
  cr_assert_eq(i8[1], 0, "half to even");
  cr_assert_eq(i8[3], 2);
  cr_assert_eq(i8[255], 0);
  cr_assert_eq(i8[128], -64, "the entry of -128");
  by = 3.0;
  test_ok(clq_lookup_fill(&d, i8));
  cr_assert_eq(i8[128], -127, "symmetric codes");
  cr_assert_eq(i8[127], 127);
  d.out_zero = -3;
  test_ok(clq_lookup_fill(&d, i8));
  cr_assert_eq(i8[128], -128);
  cr_assert_eq(i8[2], 3);
  d.x = CLQ_U8;
  d.x_zero = 100;
  d.out = CLQ_U8;
  d.out_zero = 20;
  test_ok(clq_lookup_fill(&d, u8));
  cr_assert_eq(u8[100], 20);
  cr_assert_eq(u8[101], 23);
  cr_assert_eq(u8[90], 0);
  cr_assert_eq(u8[255], 255);
  d.function = nothing;
  test_ok(clq_lookup_fill(&d, u8));
  cr_assert_eq(u8[101], 20, "NaN is the zero point");
  cr_assert_eq(u8[99], 0);
}

static double value_of(clq_dtype dtype, uint16_t bits) {
  return (double)(dtype == CLQ_F16 ? clqi_ref_f32_from_f16(bits) : clqi_ref_f32_from_bf16(bits));
}

/* No neighbour is nearer; of two that are as near this one is even. */
static void expect_nearest(clq_dtype dtype, uint16_t bits, double y) {
  const double error = fabs(value_of(dtype, bits) - y);
  for (int step = -1; step <= 1; step += 2) {
    const uint16_t other = (uint16_t)(bits + step);
    const double further = fabs(value_of(dtype, other) - y);
    if ((bits & 0x7fffU) != 0 && isfinite(value_of(dtype, other))) {
      cr_assert(error < further || (error == further && bits % 2 == 0), "%a as %04x", y, bits);
    }
  }
}

Test(lookup, floats_are_rounded_once) {
  static const double factors[] = {
      0x1p-25, 1.0 / 3.0 * 0x1p-14, 1.0 + 0x1p-11 + 0x1p-40, 7.7, 1e-40, 0x1.ffp+7, -0x1.002p-9};
  for (size_t i = 0; i < sizeof factors / sizeof factors[0]; ++i) {
    double by = factors[i];
    clq_lookup_desc d = {
        .x = CLQ_I8, .x_scale = 1.0f, .out = CLQ_F16, .function = linear, .user = &by};
    uint16_t halves[ENTRIES];
    float singles[ENTRIES];
    for (; d.out <= CLQ_BF16; ++d.out) {
      test_ok(clq_lookup_fill(&d, halves));
      for (int code = -128; code < 128; ++code) {
        expect_nearest(d.out, halves[code & 255], by * code);
      }
    }
    d.out = CLQ_F32;
    test_ok(clq_lookup_fill(&d, singles));
    for (int code = -128; code < 128; ++code) {
      cr_assert_eq(singles[code & 255], (float)(by * code));
    }
  }
  double large = 1e9;
  uint16_t halves[ENTRIES];
  test_ok(clq_lookup_fill(
      &(clq_lookup_desc){
          .x = CLQ_I8, .x_scale = 1.0f, .out = CLQ_F16, .function = linear, .user = &large},
      halves));
  cr_assert_eq(halves[1], 0x7c00);
  cr_assert_eq(halves[255], 0xfc00);
  test_ok(clq_lookup_fill(
      &(clq_lookup_desc){.x = CLQ_I8, .x_scale = 1.0f, .out = CLQ_BF16, .function = nothing},
      halves));
  cr_assert_eq(halves[1] & 0x7fff, 0x7fc0);
  cr_assert_eq(halves[255], 0xff80);
}

/* By the formulas that the library does not use, and at both ends. */
Test(lookup, ready_functions) {
  for (int i = -4000; i <= 4000; ++i) {
    const double x = i * 0.01;
    const double sigmoid = 0.5 + 0.5 * tanh(0.5 * x);
    const double gelu = 0.5 * x * (1.0 + erf(x / sqrt(2.0)));
    const double by_tanh = 0.5 * x * (1.0 + tanh(sqrt(2.0 / M_PI) * (x + 0.044715 * pow(x, 3.0))));
    const double bound = 1e-15 * (1.0 + fabs(x));
    cr_assert_eq(clq_scalar_relu(x, NULL), fmax(x, 0.0));
    cr_assert_float_eq(clq_scalar_sigmoid(x, NULL), sigmoid, bound);
    cr_assert_float_eq(clq_scalar_silu(x, NULL), x * sigmoid, bound);
    cr_assert_float_eq(clq_scalar_gelu(x, NULL), gelu, bound);
    cr_assert_float_eq(clq_scalar_gelu_tanh(x, NULL), by_tanh, bound);
    cr_assert_eq(clq_scalar_tanh(x, NULL), tanh(x));
  }
  cr_assert_eq(clq_scalar_silu(-1e4, NULL), 0.0);
  cr_assert_eq(clq_scalar_gelu_tanh(-1e4, NULL), 0.0);
  cr_assert_eq(clq_scalar_gelu(1e4, NULL), 1e4);
}

/* --- what is refused --- */

Test(lookup, bad_tables_are_named) {
  int8_t table[ENTRIES];
  const clq_lookup_desc good = {
      .x = CLQ_I8, .x_scale = 0.1f, .out = CLQ_I8, .out_scale = 0.1f, .function = clq_scalar_tanh};
  clq_lookup_desc d = good;
  test_fails(clq_lookup_fill(NULL, table), CLQ_INVALID_ARGUMENT, "must not be NULL");
  test_fails(clq_lookup_fill(&d, NULL), CLQ_INVALID_ARGUMENT, "must not be NULL");
  d.function = NULL;
  test_fails(clq_lookup_fill(&d, table), CLQ_INVALID_ARGUMENT, "must not be NULL");
  d = good;
  d.x = CLQ_F16;
  test_fails(clq_lookup_fill(&d, table), CLQ_INVALID_ARGUMENT, "x is f16, expected i8 or u8");
  d = good;
  d.out = CLQ_I32;
  test_fails(clq_lookup_fill(&d, table), CLQ_INVALID_ARGUMENT, "out is i32, expected i8, u8, f32");
  d = good;
  d.x_scale = 0.0f;
  test_fails(clq_lookup_fill(&d, table), CLQ_INVALID_ARGUMENT, "x_scale is 0, expected a finite");
  d = good;
  d.out_scale = NAN;
  test_fails(clq_lookup_fill(&d, table), CLQ_INVALID_ARGUMENT, "out_scale is nan");
  d = good;
  d.out_zero = 128;
  test_fails(clq_lookup_fill(&d, table), CLQ_INVALID_ARGUMENT,
             "out_zero is 128, expected -128 to 127 (i8)");
  d.out = CLQ_F32;
  d.x = CLQ_U8;
  d.x_zero = -1;
  test_fails(clq_lookup_fill(&d, table), CLQ_INVALID_ARGUMENT, "x_zero is -1, expected 0 to 255");
}

Test(lookup, bad_arguments_are_named) {
  test_device d = test_device_open(NULL);
  test_buffer b = test_buffer_new(&d, NULL, 1024);
  test_buffer o = test_buffer_new(&d, NULL, 4096);
  const clq_lookup_args good = {.x = {b.mem, CLQ_I8, {2, 30}},
                                .table = {b.mem, CLQ_I8, {ENTRIES}, .offset = 256},
                                .out = {o.mem, CLQ_I8, {2, 30}}};
  clq_lookup_args a = good;
  test_ok(clq_lookup(d.stream, &a));
  test_ok(clq_stream_finish(d.stream));
  a.x.dtype = CLQ_I32;
  test_fails(clq_lookup(d.stream, &a), CLQ_UNSUPPORTED, "dtype of x is i32, offered: i8, u8");
  a = good;
  a.x.quant.per = CLQ_PER_CHANNEL;
  test_fails(clq_lookup(d.stream, &a), CLQ_UNSUPPORTED, "quant.per of x is 2");
  a = good;
  a.table.shape[0] = 255;
  test_fails(clq_lookup(d.stream, &a), CLQ_INVALID_ARGUMENT,
             "dimension 0 of table is 255, expected 256 (one for each code)");
  a = good;
  a.table.dtype = CLQ_U8;
  test_fails(clq_lookup(d.stream, &a), CLQ_UNSUPPORTED, "dtype of table is u8, offered: i8");
  a = good;
  a.out.shape[1] = 29;
  test_fails(clq_lookup(d.stream, &a), CLQ_INVALID_ARGUMENT, "dimension 1 of out is 29");
  a = good;
  a.out.quant = (clq_quant){.per = CLQ_PER_TOKEN, .scale = o.mem, .scale_offset = 128};
  test_fails(clq_lookup(d.stream, &a), CLQ_INVALID_ARGUMENT, "out_scale is 0");
  a.out_scale = 1.0f;
  a.out_zero = 1;
  test_fails(clq_lookup(d.stream, &a), CLQ_INVALID_ARGUMENT, "out has no quant.zero");
  a = good;
  a.out.mem = b.mem;
  a.out.offset = 10;
  test_fails(clq_lookup(d.stream, &a), CLQ_INVALID_ARGUMENT, "overlap");
  test_buffer_free(&b);
  test_buffer_free(&o);
  test_device_close(&d);
}
