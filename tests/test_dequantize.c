#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "forms.h"
#include "opencl.h"
#include "ref/math.h"
#include "ref/ref.h"

TestSuite(dequantize, .fini = opencl_none_live);

enum { ROWS = 4, COLS = 77, GROUP = 32, MAX_PLANE = ROWS * COLS };

static void check(const test_device *d, clq_granularity per, bool zero, bool half) {
  const int64_t row_step = per == CLQ_PER_TOKEN ? 1 : per == CLQ_PER_GROUP ? 3 : 0;
  const int64_t group = per == CLQ_PER_CHANNEL ? 1 : per == CLQ_PER_GROUP ? GROUP : COLS;
  static int8_t codes[ROWS * COLS];
  static float scales[MAX_PLANE];
  static int32_t zeros[MAX_PLANE];
  static float expected[ROWS * COLS];
  static unsigned char got[ROWS * COLS * 4];
  const size_t planes = per == CLQ_PER_TENSOR    ? 1
                        : per == CLQ_PER_CHANNEL ? COLS
                        : per == CLQ_PER_TOKEN   ? ROWS
                                                 : ROWS * 3;
  test_random random = {99};
  for (size_t i = 0; i < ROWS * COLS; ++i) {
    codes[i] = (int8_t)test_random_int(&random, -128, 127);
  }
  for (size_t i = 0; i < planes; ++i) {
    scales[i] = 0.01f * (float)test_random_int(&random, 1, 500);
    zeros[i] = test_random_int(&random, -300, 300);
  }
  clqi_ref_dequantize(codes, scales, zero ? zeros : NULL, ROWS, COLS, row_step, group, expected);
  const size_t element = half ? 2 : 4;
  test_buffer xb = test_buffer_new(d, codes, sizeof codes);
  test_buffer sb = test_buffer_new(d, scales, planes * 4);
  test_buffer zb = test_buffer_new(d, zeros, planes * 4);
  test_buffer ob = test_buffer_new(d, NULL, ROWS * COLS * element);
  test_ok(clq_dequantize(
      d->stream, &(clq_dequantize_args){.x = {xb.mem,
                                              CLQ_I8,
                                              {ROWS, COLS},
                                              .quant = {.per = per,
                                                        .group = per == CLQ_PER_GROUP ? GROUP : 0,
                                                        .scale = sb.mem,
                                                        .zero = zero ? zb.mem : NULL}},
                                        .out = {ob.mem, half ? CLQ_F16 : CLQ_F32, {ROWS, COLS}}}));
  test_buffer_read(d, &ob, got);
  for (size_t i = 0; i < ROWS * COLS; ++i) {
    const uint16_t h = clqi_ref_f16_from_f32(expected[i]);
    cr_assert_arr_eq(got + i * element, half ? (const void *)&h : (const void *)&expected[i],
                     element, "granularity %d element %zu", (int)per, i);
  }
  test_buffer_free(&xb);
  test_buffer_free(&sb);
  test_buffer_free(&zb);
  test_buffer_free(&ob);
}

Test(dequantize, tiny_rows_of_every_granularity_is_the_reference_bit_for_bit) {
  for (test_forms f = {0}; test_forms_next(&f);) {
    for (int per = CLQ_PER_TENSOR; per <= CLQ_PER_GROUP; ++per) {
      for (int bits = 0; bits < 4; ++bits) {
        check(&f.device, (clq_granularity)per, (bits & 1) != 0, (bits & 2) != 0);
      }
    }
    test_forms_saw(&f, "dequantize", "dequantize_rows", "dequantize_elements");
  }
}

Test(dequantize, undoes_quantize_to_half_a_step) {
  enum { N = 500 };
  test_device d = test_device_open(NULL);
  float x[N];
  float back[N];
  float scale;
  test_random random = {3};
  for (int i = 0; i < N; ++i) {
    x[i] = test_random_normal(&random);
  }
  test_buffer xb = test_buffer_new(&d, x, sizeof x);
  test_buffer qb = test_buffer_new(&d, NULL, N);
  test_buffer sb = test_buffer_new(&d, NULL, sizeof scale);
  test_buffer ob = test_buffer_new(&d, NULL, sizeof back);
  const clq_tensor codes = {
      qb.mem, CLQ_I8, {1, N}, .quant = {.per = CLQ_PER_TOKEN, .scale = sb.mem}};
  test_ok(clq_quantize(d.stream, &(clq_quantize_args){{xb.mem, CLQ_F32, {1, N}}, codes}));
  test_ok(clq_dequantize(d.stream, &(clq_dequantize_args){codes, {ob.mem, CLQ_F32, {1, N}}}));
  test_buffer_read(&d, &ob, back);
  test_buffer_read(&d, &sb, &scale);
  for (int i = 0; i < N; ++i) {
    const float error = back[i] > x[i] ? back[i] - x[i] : x[i] - back[i];
    cr_assert(error <= 0.5001f * scale, "element %d: %g against %g", i, (double)back[i],
              (double)x[i]);
  }
  test_buffer_free(&xb);
  test_buffer_free(&qb);
  test_buffer_free(&sb);
  test_buffer_free(&ob);
  test_device_close(&d);
}
