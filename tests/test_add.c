#include <criterion/criterion.h>
#include <math.h>

#include "forms.h"
#include "opencl.h"
#include "ref/math.h"
#include "ref/ref.h"

TestSuite(add, .fini = opencl_none_live);

enum { ROWS = 3, COLS = 131, N = ROWS * COLS };

static void check(const test_device *d) {
  float a[N];
  float b[N];
  float expected[N];
  float got[N];
  uint16_t ha[N];
  uint16_t hb[N];
  uint16_t got_half[N];
  test_random random = {5};
  for (int i = 0; i < N; ++i) {
    a[i] = test_random_normal(&random);
    b[i] = test_random_normal(&random);
  }
  a[3] = NAN;
  a[4] = INFINITY;
  clqi_ref_add(a, b, N, expected);
  test_buffer ab = test_buffer_new(d, a, sizeof a);
  test_buffer bb = test_buffer_new(d, b, sizeof b);
  const clq_tensor at = {ab.mem, CLQ_F32, {ROWS, COLS}};
  const clq_tensor bt = {bb.mem, CLQ_F32, {ROWS, COLS}};
  test_ok(clq_add(d->stream, &(clq_add_args){at, bt, at}));
  test_buffer_read(d, &ab, got);
  for (int i = 0; i < N; ++i) {
    cr_assert(got[i] == expected[i] || (isnan(got[i]) && isnan(expected[i])), "element %d", i);
  }
  for (int i = 0; i < N; ++i) {
    a[i] = b[i] * 3.0f + 0.1f;
    ha[i] = clqi_ref_f16_from_f32(a[i]);
    hb[i] = clqi_ref_f16_from_f32(b[i]);
    a[i] = clqi_ref_f32_from_f16(ha[i]);
    b[i] = clqi_ref_f32_from_f16(hb[i]);
  }
  clqi_ref_add(a, b, N, expected);
  test_buffer hab = test_buffer_new(d, ha, sizeof ha);
  test_buffer hbb = test_buffer_new(d, hb, sizeof hb);
  test_buffer hob = test_buffer_new(d, NULL, sizeof ha);
  test_ok(clq_add(d->stream, &(clq_add_args){{hab.mem, CLQ_F16, {ROWS, COLS}},
                                             {hbb.mem, CLQ_F16, {ROWS, COLS}},
                                             {hob.mem, CLQ_F16}}));
  test_buffer_read(d, &hob, got_half);
  for (int i = 0; i < N; ++i) {
    cr_assert_eq(got_half[i], clqi_ref_f16_from_f32(expected[i]), "element %d", i);
  }
  test_buffer_free(&ab);
  test_buffer_free(&bb);
  test_buffer_free(&hab);
  test_buffer_free(&hbb);
  test_buffer_free(&hob);
}

Test(add, tiny_f32_and_f16_are_the_reference_bit_for_bit_also_in_place) {
  for (test_forms f = {0}; test_forms_next(&f);) {
    check(&f.device);
    test_forms_saw(&f, "add", "add_rows", "add_elements");
  }
}

Test(add, bad_arguments_are_named) {
  test_device d = test_device_open(NULL);
  test_buffer b = test_buffer_new(&d, NULL, 4 * N);
  const clq_tensor t = {b.mem, CLQ_F32, {ROWS, COLS}};
  clq_tensor wrong = t;
  wrong.shape[1] = COLS - 1;
  test_fails(clq_add(d.stream, &(clq_add_args){t, wrong, t}), CLQ_INVALID_ARGUMENT,
             "add: dimension 1 of b is 130, expected 131 (cols of a)");
  wrong = t;
  wrong.dtype = CLQ_F16;
  test_fails(clq_add(d.stream, &(clq_add_args){t, wrong, t}), CLQ_UNSUPPORTED, "dtype of b");
  test_buffer_free(&b);
  test_device_close(&d);
}
