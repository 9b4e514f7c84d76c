#include "bench.h"

#include "ref/integer_norm.h"

typedef struct state {
  clq_integer_norm_args args;
  int32_t *codes; /* [rows, cols] as integers */
  int8_t *exponent;
  int32_t *multiplier, *bias;
  int32_t *values, *expected; /* one row */
} state;

static const bench_word words[] = {
    {"rows", BENCH_NUMBER, "4096", NULL, NULL},       {"cols", BENCH_NUMBER, "768", NULL, NULL},
    {"dtype", BENCH_WORD, "i8", "i8|u8|i32", NULL},   {"out", BENCH_WORD, "i8", "i8|u8", NULL},
    {"norm", BENCH_WORD, "layer", "layer|rms", NULL}, {"exponents", BENCH_FLAG, "", NULL, NULL},
};

/* Roughly normal codes of the input's type. */
static cl_mem fill_codes(bench_case *c, state *s, clq_dtype dtype, int64_t count) {
  s->codes = bench_host(c, count, sizeof *s->codes);
  uint8_t *bytes = bench_host(c, count, 1);
  uint64_t seed = 1;
  for (int64_t i = 0; bytes != NULL && i < count; ++i) {
    int32_t code = 0;
    for (int k = 0; k < 4; ++k) {
      code += (int32_t)(bench_random(&seed) & 63) - 32;
    }
    s->codes[i] = dtype == CLQ_I32 ? code * 8191 : dtype == CLQ_U8 ? code + 128 : code;
    bytes[i] = (uint8_t)s->codes[i];
  }
  return dtype == CLQ_I32 ? bench_buffer(c, s->codes, count, sizeof *s->codes)
                          : bench_buffer(c, bytes, count, 1);
}

static void fill_affine(bench_case *c, state *s, int64_t cols) {
  float *gamma = bench_random_floats(c, cols, 2);
  float *beta = bench_random_floats(c, cols, 3);
  s->multiplier = bench_host(c, cols, sizeof *s->multiplier);
  s->bias = bench_host(c, cols, sizeof *s->bias);
  if (s->bias == NULL) {
    return;
  }
  const clq_integer_norm_desc desc = {
      .cols = cols, .gamma = gamma, .beta = beta, .x_scale = 0.05f, .out_scale = 0.03f};
  (void)bench_ok(c, clq_integer_norm_prepare(&desc, s->multiplier, s->bias, &s->args));
  const clq_tensor vector = {.dtype = CLQ_I32, .shape = {cols}};
  s->args.multiplier = vector;
  s->args.multiplier.mem = bench_buffer(c, s->multiplier, cols, sizeof *s->multiplier);
  s->args.bias = vector;
  s->args.bias.mem = bench_buffer(c, s->bias, cols, sizeof *s->bias);
}

static void fill_exponents(bench_case *c, state *s, int64_t cols) {
  s->exponent = bench_host(c, cols, 1);
  uint64_t seed = 4;
  for (int64_t i = 0; s->exponent != NULL && i < cols; ++i) {
    s->exponent[i] = (int8_t)(bench_random(&seed) & 3);
  }
  s->args.exponent = (clq_tensor){bench_buffer(c, s->exponent, cols, 1), CLQ_I8, {cols}};
}

static void prepare(bench_case *c) {
  state *s = c->state;
  const int64_t rows = bench_number(c, "rows");
  const int64_t cols = bench_number(c, "cols");
  const clq_dtype x = bench_is(c, "dtype", "i32")  ? CLQ_I32
                      : bench_is(c, "dtype", "u8") ? CLQ_U8
                                                   : CLQ_I8;
  if (rows > INT64_MAX / cols) {
    bench_fail(c, "integer_norm: the shape is too large; take a smaller one");
    return;
  }
  s->args.kind = bench_is(c, "norm", "rms") ? CLQ_NORM_RMS : CLQ_NORM_LAYER;
  s->args.x = (clq_tensor){fill_codes(c, s, x, rows * cols), x, {rows, cols}};
  fill_affine(c, s, cols);
  s->values = bench_host(c, cols, sizeof *s->values);
  s->expected = bench_host(c, cols, sizeof *s->expected);
  s->args.out = (clq_tensor){bench_buffer(c, NULL, rows * cols, 1),
                             bench_is(c, "out", "u8") ? CLQ_U8 : CLQ_I8,
                             {rows, cols}};
  if (bench_number(c, "exponents") != 0) {
    fill_exponents(c, s, cols);
  }
  c->args = &s->args;
}

static void check_row(bench_case *c, const clqi_ref_integer_norm *norm, const uint8_t *out,
                      int64_t row) {
  const state *s = c->state;
  for (int64_t i = 0; i < norm->cols; ++i) {
    s->values[i] = clqi_ref_integer_norm_value(s->args.x.dtype, s->codes[row * norm->cols + i], 0,
                                               (int8_t)(s->exponent == NULL ? 0 : s->exponent[i]));
  }
  (void)clqi_ref_integer_norm_row(norm, s->values, s->expected);
  for (int64_t i = 0; i < norm->cols; ++i) {
    const uint8_t code = out[row * norm->cols + i];
    bench_error(c, s->args.out.dtype == CLQ_I8 ? (int8_t)code : code, s->expected[i]);
  }
}

/* Codes are equal or wrong. */
static void check(bench_case *c) {
  const state *s = c->state;
  const int64_t rows = s->args.x.shape[0];
  const int64_t cols = s->args.x.shape[1];
  const bool is_signed = s->args.out.dtype == CLQ_I8;
  const clqi_ref_integer_norm norm = {.is_layer = s->args.kind != CLQ_NORM_RMS,
                                      .cols = cols,
                                      .multiplier = s->multiplier,
                                      .bias = s->bias,
                                      .shift = s->args.shift,
                                      .eps = s->args.eps,
                                      .eps_shift = s->args.eps_shift,
                                      .low = is_signed ? -128 : 0,
                                      .high = is_signed ? 127 : 255};
  const uint8_t *out = bench_read(c, s->args.out.mem, rows * cols, 1);
  const int64_t samples = bench_sample_count(rows, cols);
  for (int64_t i = 0; out != NULL && i < samples && !bench_over(c); ++i) {
    check_row(c, &norm, out, bench_sample_row(rows, samples, i));
  }
}

extern const bench_op bench_op_integer_norm;
const bench_op bench_op_integer_norm = {.name = "integer_norm",
                                        .words = words,
                                        .word_count = sizeof words / sizeof words[0],
                                        .state_bytes = sizeof(state),
                                        .op = CLQ_OP_INTEGER_NORM,
                                        .prepare = prepare,
                                        .check = check};
