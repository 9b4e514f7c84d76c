/* Weights whose positions are other columns (act-order): gemm in every back end, embedding and
 * unpacking against the plain reference, bit for bit. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "device.h"
#include "opencl.h"
#include "quant/weights.h"
#include "ref/ref.h"
#include "runtime/context.h"
#include "weights.h"

TestSuite(gemm_order, .fini = opencl_none_live);

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* A permutation of 0 .. cols - 1, not the identity if there are two. */
static int32_t *order_new(test_random *random, int64_t cols) {
  int32_t *order = malloc((size_t)cols * sizeof *order);
  for (int64_t i = 0; i < cols; ++i) {
    const int64_t j = i == 0 ? 0 : test_random_int(random, 0, (int32_t)i - (i == 1));
    order[i] = order[j];
    order[j] = (int32_t)i;
  }
  return order;
}

typedef struct form {
  clq_format format;
  bool codes; /* x i8 per token; else f32 */
  int64_t group;
  bool zeros;
} form;

typedef struct shape {
  int64_t m, n, k, gap;
} shape;

static void check(const test_device *d, const form *f, const shape *s, test_random *random) {
  const int64_t stride = s->k + s->gap;
  const size_t elements = (size_t)((s->m - 1) * stride + s->k);
  const size_t count = (size_t)(s->m * s->n);
  float *floats = malloc(elements * sizeof *floats);
  int8_t *codes = malloc(elements);
  float *scales = malloc((size_t)s->m * sizeof *scales);
  float *expected = malloc(count * sizeof *expected);
  float *got = malloc(count * sizeof *got);
  for (size_t i = 0; i < elements; ++i) {
    floats[i] = test_random_float(random);
    codes[i] = (int8_t)test_random_int(random, -127, 127);
  }
  for (int64_t m = 0; m < s->m; ++m) {
    scales[m] = test_random_float(random);
  }
  int32_t *order = order_new(random, s->k);
  test_weights w = test_weights_new(random, f->format, s->n, s->k, f->group, f->zeros);
  w.ref.order = order;
  if (f->codes) {
    clqi_ref_gemm_q8(codes, stride, scales, 0, s->m, &w.ref, expected, s->n);
  } else {
    clqi_ref_gemm_f32(floats, stride, s->m, &w.ref, expected, s->n);
  }
  clq_weights *packed = test_weights_pack(d, &w);
  test_buffer x =
      f->codes ? test_buffer_new(d, codes, elements) : test_buffer_new(d, floats, 4 * elements);
  test_buffer scale = test_buffer_new(d, scales, (size_t)s->m * sizeof *scales);
  test_buffer out = test_buffer_new(d, NULL, count * sizeof *got);
  clq_gemm_args a = {.x = {.mem = x.mem,
                           .dtype = f->codes ? CLQ_I8 : CLQ_F32,
                           .shape = {s->m, s->k},
                           .stride = {stride, 1}},
                     .weights = packed,
                     .out = {.mem = out.mem, .dtype = CLQ_F32, .shape = {s->m, s->n}}};
  if (f->codes) {
    a.x.quant = (clq_quant){.per = CLQ_PER_TOKEN, .scale = scale.mem};
  }
  test_ok(clq_gemm(d->stream, &a));
  test_buffer_read(d, &out, got);
  for (size_t i = 0; i < count; ++i) {
    cr_assert_eq(memcmp(&got[i], &expected[i], sizeof *got), 0,
                 "%s, M=%lld N=%lld K=%lld: element %zu is %a, expected %a",
                 clq_format_name(f->format), (long long)s->m, (long long)s->n, (long long)s->k, i,
                 (double)got[i], (double)expected[i]);
  }
  clq_weights_destroy(packed);
  test_weights_free(&w);
  test_buffer_free(&x);
  test_buffer_free(&scale);
  test_buffer_free(&out);
  free(order);
  free(floats);
  free(codes);
  free(scales);
  free(expected);
  free(got);
}

/* The gather is the same for all that a kernel can do: forms are as few as show every place of it.
 */
static const form nibbles = {CLQ_FORMAT_W4, true, 40, true};
static const form eights = {CLQ_FORMAT_W8, true, 64, false};
static const form floats = {CLQ_FORMAT_W4, false, 24, true};

/* row, tile: variants that must have run; no row: without products of one row. */
static void sweep(const char *disable, const char *needs, const form *f, const char *row,
                  const char *tile) {
  /* one row, a few, more than a tile; K of no word, and longer than a chunk of the CPU forms */
  static const shape shapes[] = {{1, 33, 77, 3}, {1, 20, 96, 0},   {3, 18, 50, 0},  {9, 33, 77, 1},
                                 {17, 17, 1, 2}, {12, 300, 64, 0}, {9, 17, 2117, 0}};
  test_device d = test_device_open(disable);
  if (needs != NULL && !test_has_trait(d.context, needs)) {
    test_device_close(&d);
    cr_skip_test("the device has no %s", needs);
  }
  test_random random = {3};
  test_dispatch_start();
  for (size_t i = row == NULL ? 2 : 0; i < COUNT(shapes); ++i) {
    check(&d, f, &shapes[i], &random);
  }
  cr_assert(row == NULL || test_dispatch_saw("gemm", row), "%s did not run", row);
  cr_assert(test_dispatch_saw("gemm", tile), "%s did not run", tile);
  test_dispatch_stop();
  test_device_close(&d);
}

Test(gemm_order, vnni) {
  sweep(NULL, "x86_vnni", &nibbles, "gemm_q8_row_vnni", "gemm_q8_tile_vnni");
}
Test(gemm_order, avx2) {
  sweep("x86_vnni", "x86_avx2", &eights, "gemm_q8_row_avx2", "gemm_q8_tile_avx2");
}
Test(gemm_order, lanes) { sweep("cpu", NULL, &eights, NULL, "gemm_q8_lane"); }
Test(gemm_order, float_tiles) { sweep(NULL, "cpu", &floats, "gemm_f32_row", "gemm_f32_tile"); }
Test(gemm_order, float_lanes) { sweep("cpu", NULL, &floats, NULL, "gemm_f32_lane"); }

/* Sliced groups, and tensor cores in the plain form of lib/mma.h. */
Test(gemm_order, slices_and_matrices) {
  test_random random = {5};
  test_device d = test_device_open("cpu,nvidia_ptx");
  test_dispatch_start();
  check(&d, &nibbles, &(shape){2, 33, 317, 1}, &random);
  check(&d, &nibbles, &(shape){1, 33, 328, 0}, &random);
  cr_assert(test_dispatch_saw("gemm", "gemm_q8_split"));
  d.context->traits |= CLQI_BIT(NVIDIA_MMA);
  check(&d, &nibbles, &(shape){17, 33, 77, 1}, &random);
  check(&d, &nibbles, &(shape){33, 17, 320, 0}, &random);
  cr_assert(test_dispatch_saw("gemm", "gemm_q8_mma"));
  test_dispatch_stop();
  test_device_close(&d);
}

Test(gemm_order, tiny_product) {
  test_device d = test_device_open(NULL);
  test_random random = {7};
  for (int64_t m = 1; m <= 9; m += 8) {
    check(&d, &nibbles, &(shape){m, 19, 43, 1}, &random);
    check(&d, &floats, &(shape){m, 19, 43, 1}, &random);
  }
  test_device_close(&d);
}

static void check_rows(const test_device *d, const form *f, int64_t k, test_random *random) {
  enum { ROWS = 19, IDS = 5 };
  static const int32_t ids[IDS] = {18, 0, 3, 3, 16};
  int32_t *order = order_new(random, k);
  test_weights w = test_weights_new(random, f->format, ROWS, k, f->group, f->zeros);
  w.ref.order = order;
  clq_weights *packed = test_weights_pack(d, &w);
  const size_t bytes = IDS * (size_t)k * sizeof(float);
  float *expected = malloc(bytes);
  float *got = malloc(bytes);
  test_buffer ib = test_buffer_new(d, ids, sizeof ids);
  test_buffer ob = test_buffer_new(d, NULL, bytes);
  cr_assert_eq(clqi_ref_embedding(ids, IDS, &w.ref, expected), 0);
  test_ok(clq_embedding(d->stream, &(clq_embedding_args){.ids = {ib.mem, CLQ_I32, {IDS}},
                                                         .weights = packed,
                                                         .out = {ob.mem, CLQ_F32, {IDS, k}}}));
  test_buffer_read(d, &ob, got);
  cr_assert_arr_eq(got, expected, bytes, "%s", clq_format_name(f->format));
  for (int i = 0; i < IDS; ++i) {
    test_ok(clq_weights_unpack(packed, ids[i], 1, got));
    cr_assert_arr_eq(got, expected + i * k, bytes / IDS, "%s", clq_format_name(f->format));
  }
  clq_weights_destroy(packed);
  test_buffer_free(&ib);
  test_buffer_free(&ob);
  test_weights_free(&w);
  free(order);
  free(expected);
  free(got);
}

Test(gemm_order, rows_of_a_table_and_unpacking) {
  static const form halves = {CLQ_FORMAT_F16, false, 0, false};
  test_random random = {11};
  test_device d = test_device_open(NULL);
  check_rows(&d, &nibbles, 67, &random);
  test_device_close(&d);
  d = test_device_open("cpu");
  check_rows(&d, &halves, 40, &random);
  test_device_close(&d);
}

Test(gemm_order, mistakes_are_named) {
  enum { K = 32 };
  test_device d = test_device_open(NULL);
  int8_t data[K] = {0};
  float scale = 1.0f;
  int32_t order[K];
  for (int32_t k = 0; k < K; ++k) {
    order[k] = k;
  }
  const clq_weights_part part = {.data = data, .scales = &scale, .rows = 1};
  const clq_weights_desc desc = {
      .format = CLQ_FORMAT_W8, .cols = K, .parts = &part, .part_count = 1, .order = order};
  clq_weights *w = NULL;
  test_ok(clq_weights_pack(d.context, &desc, &w));
  cr_assert(!w->has_order, "an order that changes nothing costs nothing");
  clq_weights_destroy(w);
  order[5] = 4;
  test_fails(clq_weights_pack(d.context, &desc, &w), CLQ_INVALID_ARGUMENT,
             "weights_pack: position 5 of the order is column 4, expected each of 0 to 31 once");
  cr_assert_null(w);
  order[5] = K;
  test_fails(clq_weights_pack(d.context, &desc, &w), CLQ_INVALID_ARGUMENT,
             "weights_pack: position 5 of the order is column 32, expected each of 0 to 31 once");
  order[5] = -1;
  test_fails(clq_weights_pack(d.context, &desc, &w), CLQ_INVALID_ARGUMENT,
             "position 5 of the order is column -1");
  order[5] = 4;
  order[4] = 5;
  test_ok(clq_weights_pack(d.context, &desc, &w));
  cr_assert(w->has_order);
  test_buffer b = test_buffer_new(&d, NULL, 1024);
  test_fails(
      clq_gemm(d.stream,
               &(clq_gemm_args){.x = {b.mem,
                                      CLQ_I8,
                                      {1, K},
                                      .quant = {.per = CLQ_PER_GROUP, .group = 32, .scale = b.mem}},
                                .weights = w,
                                .out = {b.mem, CLQ_F32, {1, 1}, .offset = 512}}),
      CLQ_UNSUPPORTED, "x must be floats, or codes per token");
  clq_weights_destroy(w);
  test_buffer_free(&b);
  test_device_close(&d);
}
