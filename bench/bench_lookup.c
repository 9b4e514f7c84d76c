#include <string.h>

#include "bench.h"

enum { ENTRIES = 256 };

typedef struct state {
  clq_lookup_args args;
  uint8_t *codes;
  float *values; /* what entries stand for, in units of codes or as they are */
} state;

static const bench_word words[] = {
    {"rows", BENCH_NUMBER, "4096", NULL, NULL},
    {"cols", BENCH_NUMBER, "4096", NULL, NULL},
    {"out", BENCH_WORD, "i8", "i8|f32|f16|bf16", NULL},
    {"activation", BENCH_WORD, "gelu", "relu|gelu|gelu_tanh|silu", NULL},
};

static double (*function_of(bench_case *c))(double, void *) {
  return bench_is(c, "activation", "relu")        ? clq_scalar_relu
         : bench_is(c, "activation", "gelu")      ? clq_scalar_gelu
         : bench_is(c, "activation", "gelu_tanh") ? clq_scalar_gelu_tanh
                                                  : clq_scalar_silu;
}

static clq_dtype out_of(bench_case *c) {
  return bench_is(c, "out", "f32")    ? CLQ_F32
         : bench_is(c, "out", "f16")  ? CLQ_F16
         : bench_is(c, "out", "bf16") ? CLQ_BF16
                                      : CLQ_I8;
}

static void fill_table(bench_case *c, state *s, clq_dtype out) {
  unsigned char table[ENTRIES * sizeof(float)];
  clq_lookup_desc desc = {
      .x = CLQ_I8, .x_scale = 0.05f, .out = out, .out_scale = 0.03f, .function = function_of(c)};
  (void)bench_ok(c, clq_lookup_fill(&desc, table));
  s->args.table =
      (clq_tensor){bench_buffer(c, table, ENTRIES, clq_dtype_bytes(out)), out, {ENTRIES}};
  s->values = bench_host(c, ENTRIES, sizeof *s->values);
  int8_t codes[ENTRIES];
  desc.out = CLQ_F32;
  if (s->values == NULL || !bench_ok(c, clq_lookup_fill(&desc, s->values)) || out != CLQ_I8) {
    return;
  }
  memcpy(codes, table, sizeof codes);
  for (int i = 0; i < ENTRIES; ++i) {
    s->values[i] = (float)codes[i];
  }
}

static void prepare(bench_case *c) {
  state *s = c->state;
  const int64_t rows = bench_number(c, "rows");
  const int64_t cols = bench_number(c, "cols");
  const clq_dtype out = out_of(c);
  if (rows > INT64_MAX / cols) {
    bench_fail(c, "lookup: the shape is too large; take a smaller one");
    return;
  }
  s->codes = bench_host(c, rows * cols, 1);
  uint64_t seed = 1;
  for (int64_t i = 0; s->codes != NULL && i < rows * cols; ++i) {
    s->codes[i] = (uint8_t)bench_random(&seed);
  }
  s->args.x = (clq_tensor){bench_buffer(c, s->codes, rows * cols, 1), CLQ_I8, {rows, cols}};
  s->args.out =
      (clq_tensor){bench_buffer(c, NULL, rows * cols, clq_dtype_bytes(out)), out, {rows, cols}};
  fill_table(c, s, out);
  c->record.bytes = (double)rows * (double)cols * (1.0 + (double)clq_dtype_bytes(out));
  c->record.ops = (double)rows * (double)cols;
  c->args = &s->args;
}

static void reference(bench_case *c, int64_t row, float *out) {
  const state *s = c->state;
  const int64_t cols = s->args.x.shape[1];
  for (int64_t i = 0; i < cols; ++i) {
    out[i] = s->values[s->codes[row * cols + i]];
  }
}

/* Codes are equal or wrong. */
static void check_codes(bench_case *c) {
  const state *s = c->state;
  const int64_t rows = s->args.x.shape[0];
  const int64_t cols = s->args.x.shape[1];
  const int8_t *out = bench_read(c, s->args.out.mem, rows * cols, 1);
  const int64_t samples = bench_sample_count(rows, cols);
  for (int64_t i = 0; out != NULL && i < samples && !bench_over(c); ++i) {
    const int64_t row = bench_sample_row(rows, samples, i);
    for (int64_t k = row * cols; k < (row + 1) * cols; ++k) {
      bench_error(c, (double)out[k], (double)s->values[s->codes[k]]);
    }
  }
}

static void check(bench_case *c) {
  const state *s = c->state;
  if (s->args.out.dtype == CLQ_I8) {
    check_codes(c);
  } else {
    bench_check_rows(c, &s->args.out, s->args.x.shape[1], reference);
  }
}

extern const bench_op bench_op_lookup;
const bench_op bench_op_lookup = {.name = "lookup",
                                  .words = words,
                                  .word_count = sizeof words / sizeof words[0],
                                  .state_bytes = sizeof(state),
                                  .op = CLQ_OP_LOOKUP,
                                  .prepare = prepare,
                                  .check = check};
