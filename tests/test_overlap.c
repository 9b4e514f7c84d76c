/* Which tensors share bytes: against counting the bytes one by one, and what operators answer. */
#include <criterion/criterion.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <clquant/ops.h>

#include "device.h"
#include "opencl.h"
#include "ops/overlap.h"

TestSuite(overlap, .fini = opencl_none_live);

enum { BYTES = 4096 };

static void mark(const clq_tensor *t, unsigned char touched[BYTES]) {
  const int dims = clqi_used_dims(t);
  const int64_t inner = dims > 2 ? t->shape[2] : 1;
  const int64_t cols = dims > 1 ? t->shape[1] : 1;
  const size_t bytes = clq_dtype_bytes(t->dtype);
  for (int64_t r = 0; r < t->shape[0]; r++) {
    for (int64_t c = 0; c < cols; c++) {
      for (int64_t i = 0; i < inner; i++) {
        const int64_t element = r * clqi_stride(t, dims, 0) +
                                (dims > 1 ? c * clqi_stride(t, dims, 1) : 0) + (dims > 2 ? i : 0);
        memset(touched + t->offset + (size_t)element * bytes, 1, bytes);
      }
    }
  }
}

static bool share_a_byte(const clq_tensor *a, const clq_tensor *b) {
  unsigned char in_a[BYTES] = {0};
  unsigned char in_b[BYTES] = {0};
  mark(a, in_a);
  mark(b, in_b);
  for (size_t i = 0; i < BYTES; i++) {
    if (in_a[i] && in_b[i]) {
      return true;
    }
  }
  return false;
}

/* Columns of a matrix of `pitch` floats a row. */
static clq_tensor random_columns(test_random *random, int32_t pitch) {
  const int32_t cols = test_random_int(random, 1, pitch);
  return (clq_tensor){.dtype = CLQ_F32,
                      .shape = {test_random_int(random, 1, 5), cols},
                      .stride = {pitch, 1},
                      .offset = 4U * (uint64_t)test_random_int(random, 0, 100)};
}

static clq_tensor random_heads(test_random *random, int32_t pitch) {
  const int32_t dim = test_random_int(random, 1, 4);
  return (clq_tensor){
      .dtype = CLQ_F32,
      .shape = {test_random_int(random, 1, 5), test_random_int(random, 1, pitch / dim), dim},
      .stride = {pitch, dim, 1},
      .offset = 4U * (uint64_t)test_random_int(random, 0, 100)};
}

Test(overlap, views_against_counted_bytes) {
  test_random random = {11};
  int shared = 0;
  int apart = 0;
  int strided_apart = 0;
  for (int round = 0; round < 20000; round++) {
    const int32_t pitch = test_random_int(&random, 4, 24);
    const bool heads = test_random_int(&random, 0, 1) == 1;
    const bool same_pitch = test_random_int(&random, 0, 3) != 0;
    const clq_tensor a = random_columns(&random, pitch);
    const int32_t other = same_pitch ? pitch : test_random_int(&random, 4, 24);
    const clq_tensor b = heads ? random_heads(&random, other) : random_columns(&random, other);
    const bool expected = share_a_byte(&a, &b);
    const bool got = clqi_views_overlap(&a, &b);
    cr_assert_eq(got, clqi_views_overlap(&b, &a));
    cr_assert(got || !expected, "round %d: an overlap is not seen", round);
    shared += expected;
    apart += !expected;
    if (same_pitch && a.shape[0] > 1 && b.shape[0] > 1) {
      /* Of one matrix the answer is also "no" wherever column ranges are apart. */
      const int64_t from = (int64_t)(a.offset / 4) % pitch;
      const int64_t to = (int64_t)(b.offset / 4) % pitch;
      const int64_t width = heads ? b.shape[1] * b.shape[2] : b.shape[1];
      const bool columns_apart = (from + a.shape[1] <= to && to + width - pitch <= from) ||
                                 (to + width <= from && from + a.shape[1] - pitch <= to);
      cr_assert(!columns_apart || !got, "round %d: columns apart are said to overlap", round);
      strided_apart += columns_apart;
    }
  }
  cr_assert(shared > 1000 && apart > 1000 && strided_apart > 500);
}

Test(overlap, empty_views_overlap_nothing) {
  const clq_tensor full = {.dtype = CLQ_F32, .shape = {4, 4}};
  const clq_tensor none = {.dtype = CLQ_F32, .shape = {0, 4}};
  cr_assert(!clqi_views_overlap(&full, &none));
  cr_assert(!clqi_views_overlap(&none, &full));
  cr_assert(clqi_views_overlap(&full, &full));
}

Test(overlap, operators_refuse_it) {
  enum { ROWS = 4, COLS = 64 };
  test_device d = test_device_open(NULL);
  test_buffer b = test_buffer_new(&d, NULL, 2 * sizeof(float) * (size_t)ROWS * COLS);
  test_buffer planes = test_buffer_new(&d, NULL, 2 * sizeof(float) * ROWS);
  const clq_tensor low = {b.mem, CLQ_F32, {ROWS, COLS}};
  clq_tensor high = low;
  high.offset = sizeof(float) * (size_t)ROWS * COLS;
  test_ok(clq_add(d.stream, &(clq_add_args){.a = low, .b = high, .out = low}));
  test_ok(clq_add(d.stream, &(clq_add_args){.a = low, .b = high, .out = high}));
  clq_tensor between = low;
  between.offset = sizeof(float) * COLS;
  test_fails(clq_add(d.stream, &(clq_add_args){.a = low, .b = high, .out = between}),
             CLQ_INVALID_ARGUMENT, "add: out overlaps a");
  test_ok(clq_activate(d.stream, &(clq_activate_args){.x = high, .up = low, .out = low}));
  test_fails(clq_activate(d.stream, &(clq_activate_args){.x = high, .up = low, .out = between}),
             CLQ_INVALID_ARGUMENT, "activate: out overlaps x");
  test_fails(clq_rmsnorm(d.stream, &(clq_rmsnorm_args){.x = low, .residual = low, .out = high}),
             CLQ_INVALID_ARGUMENT, "rmsnorm: residual overlaps x");

  /* Planes are outputs too. */
  clq_tensor codes = {b.mem, CLQ_I8, {ROWS, COLS}, .offset = high.offset};
  codes.quant = (clq_quant){.per = CLQ_PER_TOKEN, .scale = planes.mem, .sum = planes.mem};
  codes.quant.sum_offset = sizeof(float) * ROWS;
  test_ok(clq_quantize(d.stream, &(clq_quantize_args){.x = low, .out = codes}));
  codes.quant.scale = b.mem;
  test_fails(clq_quantize(d.stream, &(clq_quantize_args){.x = low, .out = codes}),
             CLQ_INVALID_ARGUMENT, "quantize: out.quant.scale overlaps x");
  test_ok(clq_stream_finish(d.stream));
  test_buffer_free(&b);
  test_buffer_free(&planes);
  test_device_close(&d);
}
