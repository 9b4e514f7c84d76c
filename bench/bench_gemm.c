#include "bench.h"

#include "ref/weights.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "peers/clblast.h"
#include "ref/math.h"

typedef struct state {
  clq_gemm_args args;
  clq_quantize_args quantize; /* behind the product, for an out of q8 */
  clqi_ref_weights weights;
  float *x; /* what the activations stand for */
  int8_t *codes;
  float *scales;
  int32_t *zeros;
  const float *products; /* as the device left them */
  cl_mem peer_w, peer_out;
} state;

static const bench_word words[] = {
    {"m", BENCH_NUMBER, "1", NULL, NULL},
    {"n", BENCH_NUMBER, "4096", NULL, NULL},
    {"k", BENCH_NUMBER, "4096", NULL, NULL},
    {"weights", BENCH_WORD, "w4g32", NULL, bench_is_weights_word},
    {"acts", BENCH_WORD, "q8", NULL, bench_is_acts_word},
    {"out", BENCH_WORD, "f32", "f32|f16|q8", NULL},
};

static void prepare(bench_case *c) {
  state *s = c->state;
  const int64_t m = bench_number(c, "m");
  const int64_t n = bench_number(c, "n");
  const int64_t k = bench_number(c, "k");
  s->weights = bench_weights(c, bench_choice(c, "weights"), n, k);
  s->x = bench_random_floats(c, m * k, 1);
  s->args.weights = c->weights;
  s->args.x = bench_input(c, bench_choice(c, "acts"), m, k, s->x);
  const bool codes = bench_is(c, "out", "q8");
  s->args.out = bench_output(c, codes ? "f32" : bench_choice(c, "out"), m, n);
  if (codes) {
    s->quantize = (clq_quantize_args){s->args.out, bench_output(c, "q8", m, n)};
    c->then = (bench_step){CLQ_OP_QUANTIZE, "quantize", &s->quantize};
  }
  if (c->code == 0) {
    c->record.bytes = bench_weights_bytes(&s->weights, (double)n) + bench_tensor_bytes(&s->args.x) +
                      bench_tensor_bytes(&s->args.out);
    c->record.ops = 2.0 * (double)m * (double)n * (double)k;
  }
  if (c->code == 0 && codes) {
    c->record.bytes += bench_tensor_bytes(&s->quantize.x) + bench_tensor_bytes(&s->quantize.out);
  }
  c->args = &s->args;
}

/* One element as the reference computes it. */
static float element(const state *s, int64_t row, int64_t col) {
  const int64_t k = s->weights.cols;
  const clq_format format = s->weights.format;
  clqi_ref_weights one = s->weights;
  const int64_t groups = s->weights.group == 0 ? 0 : (k + s->weights.group - 1) / s->weights.group;
  const clqi_ref_block block = clqi_ref_block_of(format);
  const int64_t row_bytes = block.bytes != 0            ? k / block.elements * block.bytes
                            : format == CLQ_FORMAT_F32  ? 4 * k
                            : format == CLQ_FORMAT_F16  ? 2 * k
                            : format == CLQ_FORMAT_BF16 ? 2 * k
                                                        : bench_plain_row_bytes(format, k);
  one.rows = 1;
  one.data = (const char *)s->weights.data + col * row_bytes;
  one.scales = s->weights.scales == NULL ? NULL : (const float *)s->weights.scales + col * groups;
  one.zeros = s->weights.zeros == NULL ? NULL : s->weights.zeros + col * groups;
  float out = 0.0f;
  if (s->codes == NULL) {
    clqi_ref_gemm_f32(s->x + row * k, k, 1, &one, &out, 1);
  } else {
    const int64_t group = s->args.x.quant.per == CLQ_PER_GROUP ? s->args.x.quant.group : 0;
    const int64_t scales = group == 0 ? 1 : (k + group - 1) / group;
    const clqi_ref_codes x = {
        .codes = s->codes + row * k,
        .dtype = CLQ_I8,
        .rows = 1,
        .stride = k,
        .group = group,
        .scale = s->scales + row * scales,
        .zero = s->zeros == NULL ? NULL : s->zeros + row * scales,
    };
    clqi_ref_gemm_codes(&x, &one, &out, 1);
  }
  return out;
}

static void product_row(bench_case *c, int64_t row, float *out) {
  const state *s = c->state;
  const int64_t n = s->args.out.shape[1];
  for (int64_t i = 0; i < n; ++i) {
    out[i] = s->products[row * n + i];
  }
}

/* What the device has as f32, f16 widened. */
static const float *read_products(bench_case *c, int64_t count) {
  const clq_tensor *out = &((const state *)c->state)->args.out;
  if (out->dtype == CLQ_F32) {
    return bench_read(c, out->mem, count, sizeof(float));
  }
  const uint16_t *halves = bench_read(c, out->mem, count, sizeof *halves);
  float *floats = bench_host(c, count, sizeof *floats);
  for (int64_t i = 0; halves != NULL && floats != NULL && i < count; ++i) {
    floats[i] = clqi_ref_f32_from_f16(halves[i]);
  }
  return floats;
}

static float as_stored(const clq_tensor *out, float value) {
  return out->dtype == CLQ_F16 ? clqi_ref_f32_from_f16(clqi_ref_f16_from_f32(value)) : value;
}

/* CLBlast adds in an order of its own: the product is within the bound that clq_gemm_args states.
 */
static void check_bound(bench_case *c, const state *s, int64_t row, int64_t col) {
  const int64_t k = s->weights.cols;
  double exact = 0.0;
  double size = 0.0;
  for (int64_t i = 0; i < k; ++i) {
    const double term = (double)s->x[row * k + clqi_ref_column(&s->weights, i)] *
                        (double)clqi_ref_weight(&s->weights, col, i);
    exact += term;
    size += fabs(term);
  }
  const double product = (double)s->products[row * s->args.out.shape[1] + col];
  double bound = (double)k * 0x1p-23 * size;
  bound += s->args.out.dtype == CLQ_F16 ? 0x1p-11 * (fabs(exact) + bound) + 0x1p-25 : 0.0;
  bench_error(c, product, exact);
  c->bound = fmax(c->bound, bound);
  if (!(fabs(product - exact) <= bound)) {
    bench_fail(c, "gemm: element %lld of row %lld is %g, %g was expected, to within %g",
               (long long)col, (long long)row, product, exact, bound);
  }
}

static void check_element(bench_case *c, const state *s, int64_t row, int64_t col) {
  if (c->other_bits || strcmp(c->record.variant, "gemm_f32_clblast") == 0) {
    check_bound(c, s, row, col);
  } else {
    bench_error(c, (double)s->products[row * s->args.out.shape[1] + col],
                (double)as_stored(&s->args.out, element(s, row, col)));
  }
}

/* A sample of rows times a sample of columns, all of them where that is little work; of codes, the
 * rows that clq_quantize must make of these products. */
static void check(bench_case *c) {
  state *s = c->state;
  const int64_t m = s->args.out.shape[0];
  const int64_t n = s->args.out.shape[1];
  const int64_t k = s->weights.cols;
  if (s->args.x.dtype == CLQ_I8) {
    const int64_t group = s->args.x.quant.per == CLQ_PER_GROUP ? s->args.x.quant.group : k;
    s->codes = bench_read(c, s->args.x.mem, m * k, 1);
    const int64_t scales = m * ((k + group - 1) / group);
    s->scales = bench_read(c, s->args.x.quant.scale, scales, sizeof(float));
    s->zeros = s->args.x.quant.zero == NULL
                   ? NULL
                   : bench_read(c, s->args.x.quant.zero, scales, sizeof(int32_t));
  }
  s->products = read_products(c, m * n);
  const int64_t cols = bench_sample_count(n, 64 * k);
  const int64_t rows = bench_sample_count(m, cols * k);
  for (int64_t i = 0; i < rows && !bench_over(c); ++i) {
    const int64_t row = bench_sample_row(m, rows, i);
    for (int64_t j = 0; j < cols; ++j) {
      check_element(c, s, row, bench_sample_row(n, cols, j));
    }
  }
  if (c->then.args != NULL && !bench_over(c)) {
    bench_check_rows(c, &s->quantize.out, n, product_row);
  }
}

/* --- CLBlast --- */

static void peer_prepare(bench_case *c) {
  state *s = c->state;
  if (s->weights.format != CLQ_FORMAT_F32 || s->args.x.dtype != CLQ_F32 ||
      s->args.out.dtype != CLQ_F32 || c->then.args != NULL) {
    bench_fail(c, "gemm: CLBlast multiplies floats only; take --weights f32 --acts f32 --out f32");
    return;
  }
  s->peer_w = bench_buffer(c, s->weights.data, s->weights.rows * s->weights.cols, sizeof(float));
  s->peer_out = bench_buffer(c, NULL, s->args.x.shape[0] * s->weights.rows, sizeof(float));
}

static void peer_call(bench_case *c) {
  const state *s = c->state;
  const int status = bench_clblast_product(clq_stream_queue(c->session->stream), s->args.x.shape[0],
                                           s->weights.rows, s->weights.cols, s->args.x.mem,
                                           s->peer_w, s->peer_out);
  if (status != 0) {
    bench_fail(c, "gemm: CLBlast failed with status %d", status);
  }
}

/* Both sum K products in f32, each in an order of its own: either may be off by K * 2^-24 of the
 * sum of their sizes, which is at most K here. */
static void peer_check(bench_case *c) {
  const state *s = c->state;
  const int64_t count = s->args.x.shape[0] * s->weights.rows;
  const double k = (double)s->weights.cols;
  const float *theirs = bench_read(c, s->peer_out, count, sizeof *theirs);
  for (int64_t i = 0; theirs != NULL && s->products != NULL && i < count; ++i) {
    bench_error(c, (double)theirs[i], (double)s->products[i]);
  }
  c->bound = 2.0 * k * 0x1p-24 * k;
  (void)snprintf(c->record.variant, sizeof c->record.variant, "%s",
                 s->args.x.shape[0] == 1 ? "CLBlastSgemv" : "CLBlastSgemm");
}

static const bench_peer peer = {"clblast",           bench_clblast_open, bench_clblast_version,
                                bench_clblast_close, peer_prepare,       peer_call,
                                peer_check};

extern const bench_op bench_op_gemm;
const bench_op bench_op_gemm = {.name = "gemm",
                                .words = words,
                                .word_count = sizeof words / sizeof words[0],
                                .state_bytes = sizeof(state),
                                .op = CLQ_OP_GEMM,
                                .prepare = prepare,
                                .check = check,
                                .peer = &peer};
