/* Layers of model folders as GPTQModel, AutoAWQ, QServe and plain exports write them, through
 * clq_weights_load: what unpacking and gemm give is the tool's own formula, bit for bit. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <clquant/checkpoint.h>

#include "counting.h"
#include "device.h"
#include "gptq_packer.h"
#include "io/plain_layer.h"
#include "opencl.h"
#include "progress.h"
#include "quant/weights.h"
#include "ref/math.h"
#include "safetensors_writer.h"

TestSuite(checkpoint, .fini = opencl_none_live);

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

enum { ROWS = 32, COLS = 64, SIZE = 16, GROUPS = COLS / SIZE };

/* --- folders --- */

typedef struct folder {
  char path[64];
} folder;

static void write_file(const folder *f, const char *name, const void *data, size_t bytes) {
  char path[128];
  (void)snprintf(path, sizeof path, "%s/%s", f->path, name);
  FILE *file = fopen(path, "wb");
  cr_assert_not_null(file);
  cr_assert_eq(fwrite(data, 1, bytes, file), bytes);
  cr_assert_eq(fclose(file), 0);
}

/* config NULL: none. Takes the image. */
static folder folder_new(st_image *image, const char *config) {
  folder f = {"/tmp/clq_checkpoint_XXXXXX"};
  cr_assert_not_null(mkdtemp(f.path));
  st_bytes bytes = st_finish(image);
  write_file(&f, "model.safetensors", bytes.data, bytes.size);
  free(bytes.data);
  if (config != NULL) {
    write_file(&f, "config.json", config, strlen(config));
  }
  return f;
}

static void folder_remove(const folder *f) {
  static const char *const names[] = {"model.safetensors", "config.json"};
  for (size_t i = 0; i < COUNT(names); ++i) {
    char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", f->path, names[i]);
    (void)unlink(path);
  }
  cr_assert_eq(rmdir(f->path), 0);
}

static clq_checkpoint *open_folder(const folder *f) {
  clq_checkpoint *c = NULL;
  test_ok(clq_checkpoint_open(f->path, &c));
  return c;
}

static void add(st_image *image, const char *layer, const char *part, const char *dtype,
                int64_t first, int64_t second, const void *data, size_t bytes) {
  char name[64];
  (void)snprintf(name, sizeof name, "%s.%s", layer, part);
  st_add(image, name, dtype, second < 0 ? 1 : 2, (const int64_t[]){first, second}, data, bytes);
}

/* --- layers before they are packed --- */

typedef struct source {
  uint32_t codes[COLS * ROWS];   /* [cols, rows] */
  uint32_t zeros[GROUPS * ROWS]; /* [groups, rows] */
  uint16_t scales[GROUPS * ROWS];
  int32_t g_idx[COLS];
} source;

/* Scales with few bits, so that no rounding could hide a mistake, and another one everywhere. */
static void fill(source *s, test_random *random, int bits, bool act_order, bool symmetric,
                 bool bf16) {
  const int32_t most = (1 << bits) - 1;
  for (size_t i = 0; i < COUNT(s->codes); ++i) {
    s->codes[i] = (uint32_t)test_random_int(random, 0, most);
  }
  for (size_t i = 0; i < COUNT(s->zeros); ++i) {
    const float scale = 0x1p-6f * (float)test_random_int(random, 1, 127);
    s->zeros[i] = symmetric ? 1u << (bits - 1) : (uint32_t)test_random_int(random, 1, most);
    s->scales[i] = bf16 ? clqi_ref_bf16_from_f32(scale) : clqi_ref_f16_from_f32(scale);
  }
  for (int32_t k = 0; k < COLS; ++k) {
    s->g_idx[k] = act_order ? k * 5 % COLS / SIZE : k / SIZE;
  }
}

static float source_weight(const source *s, size_t row, size_t col, bool bf16) {
  const size_t at = (size_t)s->g_idx[col] * ROWS + row;
  const float scale =
      bf16 ? clqi_ref_f32_from_bf16(s->scales[at]) : clqi_ref_f32_from_f16(s->scales[at]);
  return scale * (float)((int32_t)s->codes[col * ROWS + row] - (int32_t)s->zeros[at]);
}

static void add_gptq(st_image *image, const char *layer, const source *s, int bits, bool v1,
                     bool with_g_idx) {
  uint32_t *qweight = gptq_pack(s->codes, COLS, ROWS, bits);
  uint32_t *qzeros = gptq_pack_zeros(s->zeros, GROUPS, ROWS, bits);
  if (v1) {
    gptq_zeros_to_v1(qzeros, GROUPS, ROWS, bits);
  }
  const int64_t words = COLS * bits / 32;
  add(image, layer, "qweight", "I32", words, ROWS, qweight, (size_t)words * ROWS * 4);
  add(image, layer, "qzeros", "I32", GROUPS, ROWS * bits / 32, qzeros,
      (size_t)GROUPS * ROWS * (size_t)bits / 8);
  add(image, layer, "scales", "F16", GROUPS, ROWS, s->scales, sizeof s->scales);
  if (with_g_idx) {
    add(image, layer, "g_idx", "I32", COLS, -1, s->g_idx, sizeof s->g_idx);
  }
  free(qweight);
  free(qzeros);
}

static void add_awq(st_image *image, const char *layer, const source *s) {
  uint32_t *qweight = awq_pack(s->codes, COLS, ROWS);
  uint32_t *qzeros = awq_pack(s->zeros, GROUPS, ROWS);
  add(image, layer, "qweight", "I32", COLS, ROWS / 8, qweight, COLS * ROWS / 2);
  add(image, layer, "qzeros", "I32", GROUPS, ROWS / 8, qzeros, GROUPS * ROWS / 2);
  add(image, layer, "scales", "BF16", GROUPS, ROWS, s->scales, sizeof s->scales);
  free(qweight);
  free(qzeros);
}

static const char *gptq_config(int bits, bool v1, bool act_order, bool symmetric) {
  static char text[256];
  (void)snprintf(
      text, sizeof text,
      "{\"quantization_config\":{\"quant_method\":\"gptq\",\"bits\":%d,\"group_size\":%d,"
      "\"desc_act\":%s,\"sym\":%s,\"checkpoint_format\":\"%s\"}}",
      bits, SIZE, act_order ? "true" : "false", symmetric ? "true" : "false",
      v1 ? "gptq" : "gptq_v2");
  return text;
}

static const char awq_config[] =
    "{\"quantization_config\":{\"quant_method\":\"awq\",\"bits\":4,\"group_size\":16,"
    "\"zero_point\":true,\"version\":\"gemm\"}}";

/* --- what is loaded --- */

static void expect_unpacked(const clq_weights *w, const float *expected, const char *what) {
  const int64_t rows = clq_weights_rows(w);
  const int64_t cols = clq_weights_cols(w);
  float *got = malloc((size_t)(rows * cols) * sizeof *got);
  test_ok(clq_weights_unpack(w, 0, rows, got));
  for (int64_t i = 0; i < rows * cols; ++i) {
    cr_assert_eq(got[i], expected[i], "%s: [%lld, %lld] is %a, expected %a", what,
                 (long long)(i / cols), (long long)(i % cols), (double)got[i], (double)expected[i]);
  }
  free(got);
}

/* The product with the identity is W transposed. */
static void expect_product(const test_device *d, const clq_weights *w, const float *expected,
                           const char *what) {
  const int64_t n = clq_weights_rows(w);
  const int64_t k = clq_weights_cols(w);
  float *x = calloc((size_t)(k * k), sizeof *x);
  float *got = malloc((size_t)(k * n) * sizeof *got);
  for (int64_t i = 0; i < k; ++i) {
    x[i * k + i] = 1.0f;
  }
  test_buffer xb = test_buffer_new(d, x, (size_t)(k * k) * sizeof *x);
  test_buffer ob = test_buffer_new(d, NULL, (size_t)(k * n) * sizeof *got);
  test_ok(clq_gemm(d->stream, &(clq_gemm_args){.x = {xb.mem, CLQ_F32, {k, k}},
                                               .weights = w,
                                               .out = {ob.mem, CLQ_F32, {k, n}}}));
  test_buffer_read(d, &ob, got);
  for (int64_t i = 0; i < k * n; ++i) {
    cr_assert_eq(got[i], expected[i % n * k + i / n], "%s through gemm: [%lld, %lld] is %a", what,
                 (long long)(i % n), (long long)(i / n), (double)got[i]);
  }
  test_buffer_free(&xb);
  test_buffer_free(&ob);
  free(x);
  free(got);
}

static void decode(const source *s, bool bf16, float *out) {
  for (size_t row = 0; row < ROWS; ++row) {
    for (size_t col = 0; col < COLS; ++col) {
      out[row * COLS + col] = source_weight(s, row, col, bf16);
    }
  }
}

static clq_weights *load(const test_device *d, const clq_checkpoint *c, const char *name) {
  clq_weights *w = NULL;
  test_ok(clq_weights_load(d->context, c, &name, 1, &w));
  return w;
}

static void check_gptq(const test_device *d, test_random *random, int bits, int mode) {
  static const clq_format formats[] = {
      [2] = CLQ_FORMAT_W2, [3] = CLQ_FORMAT_W3, [4] = CLQ_FORMAT_W4, [8] = CLQ_FORMAT_W8};
  const bool v1 = (mode & 1) != 0;
  const bool act_order = (mode & 2) != 0;
  const bool symmetric = (mode & 4) != 0;
  char what[64];
  (void)snprintf(what, sizeof what, "gptq of %d bits, mode %d", bits, mode);
  st_image image = {0};
  source s;
  float expected[ROWS * COLS];
  fill(&s, random, bits, act_order, symmetric, false);
  decode(&s, false, expected);
  add_gptq(&image, "m.q_proj", &s, bits, v1, act_order);
  const folder f = folder_new(&image, gptq_config(bits, v1, act_order, symmetric));
  clq_checkpoint *c = open_folder(&f);
  clq_weights *w = load(d, c, "m.q_proj");
  cr_assert_eq(clq_weights_format(w), formats[bits], "%s", what);
  cr_assert_eq(w->has_order, act_order, "%s", what);
  cr_assert_eq(w->has_zero, !symmetric, "%s", what);
  expect_unpacked(w, expected, what);
  if (mode == 3) {
    expect_product(d, w, expected, what);
  }
  clq_weights_destroy(w);
  clq_checkpoint_close(c);
  folder_remove(&f);
}

Test(checkpoint, gptq_of_all_widths) {
  static const int widths[] = {2, 3, 4, 8};
  test_device d = test_device_open(NULL);
  test_random random = {1};
  for (size_t i = 0; i < COUNT(widths); ++i) {
    for (int mode = 0; mode < 8; ++mode) {
      check_gptq(&d, &random, widths[i], mode);
    }
  }
  test_device_close(&d);
}

Test(checkpoint, awq) {
  test_device d = test_device_open(NULL);
  test_random random = {2};
  source s;
  float expected[ROWS * COLS];
  st_image image = {0};
  fill(&s, &random, 4, false, false, true);
  decode(&s, true, expected);
  add_awq(&image, "m.up_proj", &s);
  const folder f = folder_new(&image, awq_config);
  clq_checkpoint *c = open_folder(&f);
  clq_weights *w = load(&d, c, "m.up_proj");
  cr_assert_eq(clq_weights_format(w), CLQ_FORMAT_W4);
  expect_unpacked(w, expected, "awq");
  expect_product(&d, w, expected, "awq");
  clq_weights_destroy(w);
  clq_checkpoint_close(c);
  folder_remove(&f);
  test_device_close(&d);
}

/* --- QServe --- */

enum { Q_ROWS = 64, Q_COLS = 256, Q_GROUPS = Q_COLS / 128 };

/* torch's reshape and permute: element at `axes` of the result is that of `dims`. */
static void permute(const uint8_t *in, const size_t dims[8], const int axes[8], uint8_t *out) {
  size_t strides[8];
  size_t stride = 1;
  for (int a = 7; a >= 0; --a) {
    strides[a] = stride;
    stride *= dims[a];
  }
  for (size_t i = 0; i < stride; ++i) {
    size_t rest = i;
    size_t from = 0;
    for (int a = 7; a >= 0; --a) {
      from += rest % dims[axes[a]] * strides[axes[a]];
      rest /= dims[axes[a]];
    }
    out[i] = in[from];
  }
}

/* W4A8OF16LinearDynamicInputScale.from_linear: codes [rows, cols] to qweight [rows, cols / 2]. */
static void qserve_pack(const uint8_t *codes, uint8_t *qweight) {
  static const size_t dims[8] = {Q_ROWS / 32, 2, 2, 8, Q_COLS / 32, 2, 4, 4};
  static const int first[8] = {0, 4, 3, 6, 1, 5, 2, 7};
  static const int second[8] = {0, 1, 2, 3, 5, 6, 7, 4};
  static uint8_t a[Q_ROWS * Q_COLS];
  static uint8_t b[Q_ROWS * Q_COLS];
  size_t permuted[8];
  for (int i = 0; i < 8; ++i) {
    permuted[i] = dims[first[i]];
  }
  permute(codes, dims, first, a);
  permute(a, permuted, second, b);
  for (size_t i = 0; i < Q_ROWS * Q_COLS / 2; ++i) {
    qweight[i] = (uint8_t)((b[2 * i + 1] << 4) + b[2 * i]);
  }
}

/* [rows, groups] to [groups, rows]: reshape (groups, rows / 32, 4, 8), the last two swapped. */
static void qserve_planes(const int8_t *in, int8_t *out) {
  for (size_t g = 0; g < Q_GROUPS; ++g) {
    for (size_t t = 0; t < Q_ROWS / 32; ++t) {
      for (size_t i = 0; i < 4; ++i) {
        for (size_t j = 0; j < 8; ++j) {
          out[g * Q_ROWS + t * 32 + j * 4 + i] = in[(t * 32 + i * 8 + j) * Q_GROUPS + g];
        }
      }
    }
  }
}

typedef struct qserve_source {
  uint8_t codes[Q_ROWS * Q_COLS];
  uint16_t scales[Q_ROWS];
  uint16_t szeros[Q_ROWS];
  int8_t second[Q_ROWS * Q_GROUPS];
  int8_t lift[Q_ROWS * Q_GROUPS]; /* -zero * second */
} qserve_source;

/* Within the protective range: 0 .. 15 less the zero point, times the scale, is an int8. */
static void fill_qserve(qserve_source *s, test_random *random) {
  for (size_t i = 0; i < COUNT(s->codes); ++i) {
    s->codes[i] = (uint8_t)test_random_int(random, 0, 15);
  }
  for (size_t n = 0; n < Q_ROWS; ++n) {
    s->scales[n] = clqi_ref_f16_from_f32(0.01f * (1.5f + test_random_float(random)));
    s->szeros[n] = clqi_ref_f16_from_f32(clqi_ref_f32_from_f16(s->scales[n]) *
                                         (float)test_random_int(random, 0, 15));
  }
  for (size_t i = 0; i < COUNT(s->second); ++i) {
    s->second[i] = (int8_t)test_random_int(random, 0, 15);
    s->lift[i] = (int8_t)(-test_random_int(random, 0, 8) * s->second[i]);
  }
}

static void add_qserve(st_image *image, const char *layer, const qserve_source *s, bool grouped) {
  static uint8_t qweight[Q_ROWS * Q_COLS / 2];
  int8_t plane[Q_ROWS * Q_GROUPS];
  qserve_pack(s->codes, qweight);
  add(image, layer, "qweight", "I8", Q_ROWS, Q_COLS / 2, qweight, sizeof qweight);
  add(image, layer, "s1_scales", "F16", Q_ROWS, -1, s->scales, sizeof s->scales);
  if (grouped) {
    qserve_planes(s->second, plane);
    add(image, layer, "s2_scales", "I8", Q_GROUPS, Q_ROWS, plane, sizeof plane);
    qserve_planes(s->lift, plane);
    add(image, layer, "s2_zeros", "I8", Q_GROUPS, Q_ROWS, plane, sizeof plane);
  } else {
    add(image, layer, "s1_szeros", "F16", Q_ROWS, -1, s->szeros, sizeof s->szeros);
  }
}

/* In double both formulas are exact. */
static float qserve_weight(const qserve_source *s, size_t n, size_t k, bool grouped) {
  const double first = (double)clqi_ref_f32_from_f16(s->scales[n]);
  const double code = (double)s->codes[n * Q_COLS + k];
  const size_t g = n * Q_GROUPS + k / 128;
  return grouped ? (float)((code * s->second[g] + s->lift[g]) * first)
                 : (float)(code * first - (double)clqi_ref_f32_from_f16(s->szeros[n]));
}

Test(checkpoint, qserve) {
  static qserve_source s;
  static float expected[Q_ROWS * Q_COLS];
  test_device d = test_device_open(NULL);
  test_random random = {3};
  fill_qserve(&s, &random);
  st_image image = {0};
  add_qserve(&image, "m.grouped", &s, true);
  add_qserve(&image, "m.rows", &s, false);
  const folder f = folder_new(&image, NULL);
  clq_checkpoint *c = open_folder(&f);
  for (int grouped = 0; grouped < 2; ++grouped) {
    for (size_t i = 0; i < COUNT(expected); ++i) {
      expected[i] = qserve_weight(&s, i / Q_COLS, i % Q_COLS, grouped);
    }
    const char *name = grouped ? "m.grouped" : "m.rows";
    clq_weights *w = load(&d, c, name);
    cr_assert_eq(clq_weights_format(w), CLQ_FORMAT_W4);
    expect_unpacked(w, expected, name);
    expect_product(&d, w, expected, name);
    clq_weights_destroy(w);
  }
  clq_checkpoint_close(c);
  folder_remove(&f);
  test_device_close(&d);
}

/* --- floats, lists, stacks --- */

Test(checkpoint, plain_layers_and_tensors) {
  enum { N = 5, K = 7 };
  static const char *const names[] = {"m.a", "m.b", "m.c"};
  test_device d = test_device_open(NULL);
  test_random random = {4};
  float values[N * K];
  uint16_t halves[N * K];
  uint16_t brains[N * K];
  for (int i = 0; i < N * K; ++i) {
    values[i] = (float)test_random_int(&random, -127, 127);
    halves[i] = clqi_ref_f16_from_f32(values[i]);
    brains[i] = clqi_ref_bf16_from_f32(values[i]);
  }
  st_image image = {0};
  add(&image, "m.a", "weight", "F32", N, K, values, sizeof values);
  add(&image, "m.b", "weight", "F16", N, K, halves, sizeof halves);
  add(&image, "m.c", "weight", "BF16", N, K, brains, sizeof brains);
  add(&image, "m.norm", "weight", "F16", K, -1, halves, 2 * K);
  add(&image, "m.a", "bias", "BF16", N, -1, brains, 2 * N);
  add(&image, "m.ids", "weight", "I32", N, K, values, sizeof values);
  add(&image, "m.none", "bias", "F32", 0, -1, values, 0);
  const folder f = folder_new(&image, NULL);
  char file[128];
  (void)snprintf(file, sizeof file, "%s/model.safetensors", f.path);
  clq_checkpoint *c = NULL;
  test_ok(clq_checkpoint_open(file, &c));
  cr_assert_eq(clq_checkpoint_layers(c), 3);
  for (int i = 0; i < 3; ++i) {
    cr_assert_str_eq(clq_checkpoint_layer(c, i), names[i]);
    clq_weights *w = load(&d, c, names[i]);
    expect_unpacked(w, values, names[i]);
    clq_weights_destroy(w);
  }
  cr_assert_null(clq_checkpoint_layer(c, 3));
  cr_assert_null(clq_checkpoint_layer(c, -1));
  float out[N * K];
  cr_assert_eq(clq_checkpoint_elements(c, "m.a.bias"), N);
  cr_assert_eq(clq_checkpoint_elements(c, "m.b.bias"), -1);
  test_ok(clq_checkpoint_floats(c, "m.a.bias", out, N));
  cr_assert_arr_eq(out, values, N * sizeof *out);
  test_ok(clq_checkpoint_floats(c, "m.b.weight", out, N * K));
  cr_assert_arr_eq(out, values, sizeof out);
  test_ok(clq_checkpoint_floats(c, "m.a.weight", out, N * K));
  cr_assert_arr_eq(out, values, sizeof out);
  test_ok(clq_checkpoint_floats(c, "m.none.bias", NULL, 0));
  test_fails(clq_checkpoint_floats(c, "m.a.bias", out, N + 1), CLQ_INVALID_ARGUMENT,
             "6 elements of tensor 'm.a.bias' are wanted, it has 5");
  test_fails(clq_checkpoint_floats(c, "m.ids.weight", out, N * K), CLQ_UNSUPPORTED,
             "tensor 'm.ids.weight' is I32, expected F32, F16 or BF16");
  test_fails(clq_checkpoint_floats(c, "m.d.bias", out, N), CLQ_BAD_FILE, "is missing");
  clq_weights *w = NULL;
  test_fails(clq_weights_load(d.context, c, names, 2, &w), CLQ_UNSUPPORTED,
             "layers 'm.a' and 'm.b' differ in their dtype or their columns");
  cr_assert_null(w);
  test_fails(clq_weights_load(d.context, c, &(const char *){"m.norm"}, 1, &w), CLQ_UNSUPPORTED,
             "tensor 'm.norm.weight' is F16 of 1 dimensions");
  test_fails(clq_weights_load(d.context, c, &(const char *){"m.ids"}, 1, &w), CLQ_UNSUPPORTED,
             "tensor 'm.ids.weight' is I32");
  test_fails(clq_weights_load(d.context, c, &(const char *){"m.d"}, 1, &w), CLQ_BAD_FILE,
             "there is no layer 'm.d'");
  test_fails(clq_weights_load(d.context, c, names, 0, &w), CLQ_INVALID_ARGUMENT,
             "at least one name");
  test_fails(clq_weights_load(d.context, c, &(const char *){NULL}, 1, &w), CLQ_INVALID_ARGUMENT,
             "name 0 is NULL");
  clq_checkpoint_close(c);
  folder_remove(&f);
  test_fails(clq_checkpoint_open(file, &c), CLQ_IO_ERROR, file);
  cr_assert_null(c);
  clq_checkpoint_close(NULL);
  test_device_close(&d);
}

/* Three layers in one matrix; those that do not fit together are refused. */
Test(checkpoint, layers_are_stacked) {
  static const char *const qkv[] = {"m.q", "m.k", "m.v"};
  test_device d = test_device_open(NULL);
  test_random random = {5};
  static source s[4];
  static float expected[3 * ROWS * COLS];
  st_image image = {0};
  for (int i = 0; i < 3; ++i) { /* the second one alone could do without zero points */
    fill(&s[i], &random, 4, true, i == 1, false);
    decode(&s[i], false, expected + (size_t)i * ROWS * COLS);
    add_gptq(&image, qkv[i], &s[i], 4, false, true);
  }
  fill(&s[3], &random, 4, false, false, false);
  add_gptq(&image, "m.other", &s[3], 4, false, true);
  add(&image, "m.plain", "weight", "F16", ROWS, COLS, NULL, ROWS * COLS * 2);
  const folder f = folder_new(&image, gptq_config(4, false, true, false));
  clq_checkpoint *c = open_folder(&f);
  cr_assert_eq(clq_checkpoint_layers(c), 5);
  cr_assert_str_eq(clq_checkpoint_layer(c, 0), "m.k");
  clq_weights *w = NULL;
  test_ok(clq_weights_load(d.context, c, qkv, 3, &w));
  cr_assert_eq(clq_weights_rows(w), 3 * ROWS);
  expect_unpacked(w, expected, "q, k and v");
  clq_weights_destroy(w);
  test_progress seen = {0};
  const clq_progress progress = test_progress_of(&seen);
  test_ok(clq_weights_load_with_progress(d.context, c, qkv, 3, &progress, &w));
  expect_unpacked(w, expected, "q, k and v");
  clq_weights_destroy(w);
  cr_assert_eq(seen.calls, 4, "three layers read, one matrix packed");
  test_progress_end(&seen, 3 * ROWS * COLS / 2);
  const opencl_objects before = opencl_live();
  for (int stop = 1; stop <= 4; ++stop) {
    seen = (test_progress){.stop_at = stop};
    counting_start(0, 0);
    const clq_status status = clq_weights_load_with_progress(d.context, c, qkv, 3, &progress, &w);
    const size_t left = counting_live();
    counting_stop();
    test_fails(status, CLQ_CANCELLED, ": cancelled after ");
    cr_assert_null(w);
    cr_assert_eq(seen.calls, stop);
    cr_assert_eq(left, 0);
    opencl_assert_live(&before);
  }
  test_fails(clq_weights_load(d.context, c, (const char *[]){"m.q", "m.other"}, 2, &w),
             CLQ_UNSUPPORTED, "layers 'm.q' and 'm.other' differ in the order of their columns");
  test_fails(clq_weights_load(d.context, c, (const char *[]){"m.q", "m.plain"}, 2, &w),
             CLQ_UNSUPPORTED, "differ in whether they are packed");
  clq_checkpoint_close(c);
  folder_remove(&f);
  test_device_close(&d);
}

/* --- mistakes --- */

Test(checkpoint, what_is_wrong_is_named) {
  static qserve_source q;
  test_device d = test_device_open(NULL);
  test_random random = {6};
  static const struct {
    const char *name, *message;
  } cases[] = {
      {"m.no_config", "is packed, but neither config.json nor quantize_config.json"},
      {"m.lift", "layer 'm.lift': qserve: s2_zeros of row 0, group 0 is 7, which is not -zero"},
      {"m.no_zeros", "tensor 'm.no_zeros.s1_szeros' is missing"},
      {"m.shape",
       "tensor 'm.shape.s1_scales' is F16 [63, 1] of 1 dimensions, expected F16 [64, 1]"},
      {"m.dtype", "tensor 'm.dtype.qweight' is U8"},
      {"m.ragged", "expected rows in multiples of 32 and inputs in multiples of 32"},
      {"m.short", "expected rows in multiples of 32 and inputs in multiples of 128"},
  };
  fill_qserve(&q, &random);
  st_image image = {0};
  add(&image, "m.no_config", "qweight", "I32", 8, 32, NULL, 1024);
  q.lift[0] = 7;
  add_qserve(&image, "m.lift", &q, true);
  add(&image, "m.no_zeros", "qweight", "I8", 64, 128, NULL, 8192);
  add(&image, "m.no_zeros", "s1_scales", "F16", 64, -1, NULL, 128);
  add(&image, "m.shape", "qweight", "I8", 64, 128, NULL, 8192);
  add(&image, "m.shape", "s1_scales", "F16", 63, -1, NULL, 126);
  add(&image, "m.dtype", "qweight", "U8", 64, 128, NULL, 8192);
  add(&image, "m.dtype", "s1_scales", "F16", 64, -1, NULL, 128);
  add(&image, "m.ragged", "qweight", "I8", 48, 16, NULL, 48 * 16);
  add(&image, "m.ragged", "s1_scales", "F16", 48, -1, NULL, 96);
  add(&image, "m.short", "qweight", "I8", 32, 32, NULL, 1024);
  add(&image, "m.short", "s1_scales", "F16", 32, -1, NULL, 64);
  add(&image, "m.short", "s2_scales", "I8", 1, 32, NULL, 32);
  const folder f = folder_new(&image, NULL);
  clq_checkpoint *c = open_folder(&f);
  for (size_t i = 0; i < COUNT(cases); ++i) {
    clq_weights *w = NULL;
    test_fails(clq_weights_load(d.context, c, &cases[i].name, 1, &w), CLQ_BAD_FILE,
               cases[i].message);
    cr_assert_null(w);
    cr_assert_eq(strncmp(clq_last_error(), f.path, strlen(f.path)), 0, "%s", clq_last_error());
  }
  clq_checkpoint_close(c);
  folder_remove(&f);
  test_device_close(&d);
}

/* Opening, and reading layers of two kinds. */
static clq_status read_all(const char *path) {
  clq_checkpoint *c = NULL;
  clqi_safetensors *set = NULL;
  clqi_plain_layer layer = {0};
  const clqi_quant_config config = {.method = CLQI_QUANT_GPTQ, .bits = 3, .group_size = SIZE};
  clq_status status = clq_checkpoint_open(path, &c);
  if (status == CLQ_OK) {
    status = clqi_safetensors_open(path, &set);
  }
  static const char *const names[] = {"m.q", "m.grouped", "m.rows"};
  for (size_t i = 0; i < COUNT(names) && status == CLQ_OK; ++i) {
    status = clqi_plain_layer_load(set, &config, names[i], &layer);
    clqi_plain_layer_free(&layer);
  }
  clqi_safetensors_close(set);
  clq_checkpoint_close(c);
  return status;
}

Test(checkpoint, every_failed_allocation_is_reported_and_nothing_leaks) {
  static qserve_source q;
  test_random random = {7};
  source s;
  st_image image = {0};
  fill(&s, &random, 3, true, false, false);
  fill_qserve(&q, &random);
  add_gptq(&image, "m.q", &s, 3, false, true);
  add_qserve(&image, "m.grouped", &q, true);
  add_qserve(&image, "m.rows", &q, false);
  const folder f = folder_new(&image, NULL);
  size_t failures = 0;
  for (size_t k = 1;; ++k) {
    counting_start(k, 0);
    const clq_status status = read_all(f.path);
    counting_stop();
    cr_assert_eq(counting_live(), 0, "allocation %zu: %zu blocks leak", k, counting_live());
    if (!counting_failed()) {
      test_ok(status);
      break;
    }
    ++failures;
    cr_assert_eq(status, CLQ_OUT_OF_HOST_MEMORY, "allocation %zu: %s", k, clq_status_name(status));
  }
  cr_assert_geq(failures, 40, "%zu", failures);
  folder_remove(&f);
}
