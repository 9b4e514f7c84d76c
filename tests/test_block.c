/* Residual streams of every kind: against the formulas in double, against the references of the
 * operators bit for bit, and by what they record. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <clquant/block.h>

#include "device.h"
#include "opencl.h"
#include "ref/norm.h"
#include "ref/ref.h"
#include "weights.h"

TestSuite(block, .fini = opencl_none_live);

enum { LAYERS = 2, SUBLAYERS = 2 * LAYERS, GROUP = 32 };
static const float eps = 1e-5f;

/* ---------------------------------------------------------------- a small model */

/* Gamma, beta, bias: all of the width of what they belong to. */
typedef struct line {
  float *values;
  int64_t cols;
  test_buffer buffer;
} line;

typedef struct matrix {
  test_weights host;
  clq_weights *device;
} matrix;

/* Even sublayers: out(inner(in x)). Odd ones: out(inner(silu(in x) * (up x))). */
typedef struct sublayer {
  matrix in, up, out;
  line gamma, beta, inner_gamma, inner_beta, bias;
} sublayer;

typedef struct model {
  clq_block_kind kind;
  clq_norm_kind norm;
  clq_granularity per; /* of what sublayers read; 0: floats */
  float alpha;
  int64_t rows, width, hidden;
  float *x;
  sublayer sublayers[SUBLAYERS];
  line gamma, beta; /* of the last norm */
} model;

static bool is_gated(int i) { return i % 2 == 1; }
static bool is_post(const model *m) {
  return m->kind == CLQ_BLOCK_POST_LN || m->kind == CLQ_BLOCK_DEEPNORM;
}
static int64_t inner_cols(const model *m, int i) { return is_gated(i) ? m->hidden : m->width; }

static line new_line(const test_device *d, test_random *random, int64_t cols, float mean) {
  line l = {.values = malloc(sizeof(float) * (size_t)cols), .cols = cols};
  for (int64_t i = 0; i < cols; ++i) {
    l.values[i] = mean + 0.5f * test_random_float(random);
  }
  l.buffer = test_buffer_new(d, l.values, sizeof(float) * (size_t)cols);
  return l;
}

static void free_line(line *l) {
  test_buffer_free(&l->buffer);
  free(l->values);
}

static matrix new_matrix(const test_device *d, test_random *random, const model *m, int64_t rows,
                         int64_t cols) {
  const clq_format format = m->per == 0 ? CLQ_FORMAT_F32 : CLQ_FORMAT_W8;
  const int64_t group = m->per == CLQ_PER_GROUP ? GROUP : 0;
  matrix w = {.host = test_weights_new(random, format, rows, cols, group, false)};
  w.device = test_weights_pack(d, &w.host);
  return w;
}

static void free_matrix(matrix *w) {
  clq_weights_destroy(w->device);
  test_weights_free(&w->host);
}

static void open_model(const test_device *d, model *m) {
  test_random random = {77};
  m->x = malloc(sizeof(float) * (size_t)(m->rows * m->width) + 1);
  for (int64_t i = 0; i < m->rows * m->width; ++i) {
    m->x[i] = test_random_normal(&random);
  }
  for (int i = 0; i < SUBLAYERS; ++i) {
    sublayer *s = &m->sublayers[i];
    const int64_t inner = inner_cols(m, i);
    s->in = new_matrix(d, &random, m, inner, m->width);
    s->up = new_matrix(d, &random, m, inner, m->width);
    s->out = new_matrix(d, &random, m, m->width, inner);
    s->gamma = new_line(d, &random, m->width, 1.0f);
    s->beta = new_line(d, &random, m->width, 0.0f);
    s->inner_gamma = new_line(d, &random, inner, 1.0f);
    s->inner_beta = new_line(d, &random, inner, 0.0f);
    s->bias = new_line(d, &random, m->width, 0.0f);
  }
  m->gamma = new_line(d, &random, m->width, 1.0f);
  m->beta = new_line(d, &random, m->width, 0.0f);
}

static void close_model(model *m) {
  for (int i = 0; i < SUBLAYERS; ++i) {
    sublayer *s = &m->sublayers[i];
    free_matrix(&s->in);
    free_matrix(&s->up);
    free_matrix(&s->out);
    free_line(&s->gamma);
    free_line(&s->beta);
    free_line(&s->inner_gamma);
    free_line(&s->inner_beta);
    free_line(&s->bias);
  }
  free_line(&m->gamma);
  free_line(&m->beta);
  free(m->x);
}

/* Gated sublayers alone have a bias. */
static const float *bias_of(const model *m, int i) {
  return is_gated(i) ? m->sublayers[i].bias.values : NULL;
}
static const float *beta_of(const model *m, const line *beta) {
  return m->norm == CLQ_NORM_RMS ? NULL : beta->values;
}

/* ---------------------------------------------------------------- through the helper */

static clq_tensor edge(clq_graph *g, int64_t rows, int64_t cols) {
  return clq_graph_edge(g, CLQ_F32, 2, (int64_t[]){rows, cols});
}

static clq_tensor codes(clq_graph *g, const model *m, int64_t cols) {
  clq_tensor t = clq_graph_edge(g, CLQ_I8, 2, (int64_t[]){m->rows, cols});
  t.quant.per = m->per;
  t.quant.group = m->per == CLQ_PER_GROUP ? GROUP : 0;
  return t;
}

static clq_block_norm norm_of(const model *m, const line *gamma, const line *beta) {
  clq_block_norm n = {.gamma = {gamma->buffer.mem, CLQ_F32, {gamma->cols}}};
  if (m->norm != CLQ_NORM_RMS) {
    n.beta = (clq_tensor){beta->buffer.mem, CLQ_F32, {beta->cols}};
  }
  return n;
}

static clq_tensor gemm(clq_graph *g, const model *m, clq_tensor x, const matrix *w) {
  const clq_tensor y = edge(g, m->rows, clq_weights_rows(w->device));
  test_ok(clq_graph_add(g, CLQ_OP_GEMM, &(clq_gemm_args){.x = x, .weights = w->device, .out = y}));
  return y;
}

/* What goes into the output projection, or, in Sub-LN, into the norm before it. */
static clq_tensor record_inner(clq_graph *g, const model *m, int i, clq_tensor x) {
  const sublayer *s = &m->sublayers[i];
  const bool floats = m->per == 0 || m->kind == CLQ_BLOCK_SUB_LN;
  const clq_tensor in = gemm(g, m, x, &s->in);
  if (!is_gated(i) && floats) {
    return in;
  }
  const clq_tensor z = floats ? edge(g, m->rows, inner_cols(m, i)) : codes(g, m, inner_cols(m, i));
  if (is_gated(i)) {
    const clq_tensor up = gemm(g, m, x, &s->up);
    test_ok(clq_graph_add(
        g, CLQ_OP_ACTIVATE,
        &(clq_activate_args){.x = in, .activation = CLQ_ACTIVATION_SILU, .up = up, .out = z}));
  } else {
    test_ok(clq_graph_add(g, CLQ_OP_QUANTIZE, &(clq_quantize_args){.x = in, .out = z}));
  }
  return z;
}

static clq_graph *record(const test_device *d, const model *m, cl_mem stream, cl_mem out) {
  clq_graph *g;
  test_ok(clq_graph_create(d->context, &g));
  clq_block b = {.graph = g,
                 .kind = m->kind,
                 .norm = m->norm,
                 .eps = eps,
                 .alpha = m->alpha,
                 .stream = {stream, CLQ_F32, {m->rows, m->width}}};
  if (m->per != 0) {
    b.acts.dtype = CLQ_I8;
    b.acts.quant.per = m->per;
    b.acts.quant.group = m->per == CLQ_PER_GROUP ? GROUP : 0;
  }
  for (int i = 0; i < SUBLAYERS; ++i) {
    const sublayer *s = &m->sublayers[i];
    const clq_block_norm norm = norm_of(m, &s->gamma, &s->beta);
    const clq_block_norm inner = norm_of(m, &s->inner_gamma, &s->inner_beta);
    const clq_tensor bias = {s->bias.buffer.mem, CLQ_F32, {m->width}};
    clq_tensor x;
    clq_tensor a;
    test_ok(clq_block_read(&b, &norm, &x));
    test_ok(clq_block_inner(&b, &inner, record_inner(g, m, i, x), &a));
    test_ok(clq_block_add(&b, gemm(g, m, a, &s->out), is_gated(i) ? &bias : NULL));
  }
  const clq_block_norm last = norm_of(m, &m->gamma, &m->beta);
  const clq_tensor result = {out, CLQ_F32, {m->rows, m->width}};
  test_ok(clq_block_finish(&b, is_post(m) ? NULL : &last, result));
  return g;
}

static int norms_of(const model *m) {
  return m->kind == CLQ_BLOCK_PRE_LN ? SUBLAYERS + 1 : is_post(m) ? SUBLAYERS : 2 * SUBLAYERS + 1;
}

/* A node for each norm, GEMM and product, and to quantize only where no norm or product can. */
static int nodes_of(const model *m) {
  const int gemms = LAYERS * 2 + LAYERS * 3;
  const int quantized = m->per == 0                   ? 0
                        : m->kind == CLQ_BLOCK_PRE_LN ? LAYERS
                        : m->kind == CLQ_BLOCK_SUB_LN ? 0
                                                      : LAYERS + SUBLAYERS;
  return norms_of(m) + gemms + LAYERS + quantized;
}

/* Launches of kernels whose names begin so. */
static int calls_of(const clq_kernel_time *times, int32_t count, const char *prefix) {
  int calls = 0;
  for (int32_t i = 0; i < count; ++i) {
    calls += strncmp(times[i].name, prefix, strlen(prefix)) == 0 ? (int)times[i].calls : 0;
  }
  return calls;
}

/* Runs the model; the caller frees the result. */
static float *run_model(const test_device *d, const model *m) {
  enum { KERNELS = 32 };
  const size_t bytes = sizeof(float) * (size_t)(m->rows * m->width);
  test_buffer stream = test_buffer_new(d, m->x, bytes);
  test_buffer out = test_buffer_new(d, NULL, bytes);
  clq_graph *g = record(d, m, stream.mem, out.mem);
  clq_plan *plan;
  clq_trace *trace;
  clq_plan_stats stats;
  clq_kernel_time times[KERNELS];
  test_ok(clq_plan_create(g, &plan));
  clq_graph_destroy(g);
  clq_plan_get_stats(plan, &stats);
  test_ok(clq_trace_create(&trace));
  test_ok(clq_plan_run_traced(plan, d->stream, trace));
  const int32_t count = clq_trace_kernels(trace, times, KERNELS);
  cr_assert_leq(count, KERNELS);
  cr_assert_eq(stats.nodes, nodes_of(m), "kind %d per %d: %d nodes, expected %d", (int)m->kind,
               (int)m->per, (int)stats.nodes, nodes_of(m));
  if (m->rows > 0) {
    const char *norm = m->norm == CLQ_NORM_RMS ? "rmsnorm" : "layernorm";
    cr_assert_eq(calls_of(times, count, norm), norms_of(m));
    cr_assert_eq(calls_of(times, count, "add"), 0);
  }
  float *result = malloc(bytes + 1);
  test_buffer_read(d, &out, result);
  clq_trace_destroy(trace);
  clq_plan_destroy(plan);
  test_buffer_free(&stream);
  test_buffer_free(&out);
  return result;
}

/* ---------------------------------------------------------------- in double */

static void norm_exact(const model *m, const double *x, int64_t cols, const line *gamma,
                       const line *beta, double *out) {
  const float *shift = beta_of(m, beta);
  double mean = 0.0;
  double squares = 0.0;
  for (int64_t c = 0; c < cols && m->norm != CLQ_NORM_RMS; ++c) {
    mean += x[c] / (double)cols;
  }
  for (int64_t c = 0; c < cols; ++c) {
    squares += (x[c] - mean) * (x[c] - mean) / (double)cols;
  }
  for (int64_t c = 0; c < cols; ++c) {
    const double y = (x[c] - mean) / sqrt(squares + (double)eps) * (double)gamma->values[c];
    out[c] = y + (shift == NULL ? 0.0 : (double)shift[c]);
  }
}

static void gemm_exact(const matrix *w, const double *x, double *out) {
  for (int64_t n = 0; n < w->host.ref.rows; ++n) {
    out[n] = 0.0;
    for (int64_t k = 0; k < w->host.ref.cols; ++k) {
      out[n] += x[k] * (double)clqi_ref_weight(&w->host.ref, n, k);
    }
  }
}

/* F(x) of one row, bias included; in Sub-LN with its inner norm. */
static void sublayer_exact(const model *m, int i, const double *x, double *out) {
  const sublayer *s = &m->sublayers[i];
  const int64_t cols = inner_cols(m, i);
  double *z = malloc(sizeof(double) * (size_t)cols);
  double *up = malloc(sizeof(double) * (size_t)cols);
  gemm_exact(&s->in, x, z);
  if (is_gated(i)) {
    gemm_exact(&s->up, x, up);
    for (int64_t c = 0; c < cols; ++c) {
      z[c] = z[c] / (1.0 + exp(-z[c])) * up[c];
    }
  }
  if (m->kind == CLQ_BLOCK_SUB_LN) {
    norm_exact(m, z, cols, &s->inner_gamma, &s->inner_beta, z);
  }
  gemm_exact(&s->out, z, out);
  for (int64_t c = 0; c < m->width && bias_of(m, i) != NULL; ++c) {
    out[c] += (double)bias_of(m, i)[c];
  }
  free(z);
  free(up);
}

/* The formulas as block.h and the papers have them; h: one row, in and out. */
static void forward_exact(const model *m, double *h) {
  const int64_t width = m->width;
  double *x = malloc(sizeof(double) * (size_t)width);
  double *f = malloc(sizeof(double) * (size_t)width);
  for (int i = 0; i < SUBLAYERS; ++i) {
    const sublayer *s = &m->sublayers[i];
    switch (m->kind) {
      case CLQ_BLOCK_PRE_LN:
      case CLQ_BLOCK_SUB_LN: /* h = h + F(N(h)) */
        norm_exact(m, h, width, &s->gamma, &s->beta, x);
        sublayer_exact(m, i, x, f);
        for (int64_t c = 0; c < width; ++c) {
          h[c] += f[c];
        }
        break;
      case CLQ_BLOCK_POST_LN: /* h = N(h + F(h)) */
        sublayer_exact(m, i, h, f);
        for (int64_t c = 0; c < width; ++c) {
          h[c] += f[c];
        }
        norm_exact(m, h, width, &s->gamma, &s->beta, h);
        break;
      case CLQ_BLOCK_DEEPNORM: /* h = N(alpha h + F(h)) */
        sublayer_exact(m, i, h, f);
        for (int64_t c = 0; c < width; ++c) {
          h[c] = (double)m->alpha * h[c] + f[c];
        }
        norm_exact(m, h, width, &s->gamma, &s->beta, h);
        break;
    }
  }
  if (!is_post(m)) {
    norm_exact(m, h, width, &m->gamma, &m->beta, h);
  }
  free(x);
  free(f);
}

/* The largest deviation, in units of the result's root mean square. */
static double check_exact(const test_device *d, model *m) {
  open_model(d, m);
  float *got = run_model(d, m);
  double *h = malloc(sizeof(double) * (size_t)m->width);
  double worst = 0.0;
  double squares = 0.0;
  for (int64_t r = 0; r < m->rows; ++r) {
    for (int64_t c = 0; c < m->width; ++c) {
      h[c] = (double)m->x[r * m->width + c];
    }
    forward_exact(m, h);
    for (int64_t c = 0; c < m->width; ++c) {
      worst = fmax(worst, fabs((double)got[r * m->width + c] - h[c]));
      cr_assert(isfinite(got[r * m->width + c]));
      squares += h[c] * h[c];
    }
  }
  free(h);
  free(got);
  close_model(m);
  return m->rows == 0 ? 0.0 : worst / sqrt(squares / (double)(m->rows * m->width));
}

static const clq_block_kind kinds[] = {CLQ_BLOCK_PRE_LN, CLQ_BLOCK_POST_LN, CLQ_BLOCK_DEEPNORM,
                                       CLQ_BLOCK_SUB_LN};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

static float alpha_of(clq_block_kind kind) {
  float alpha = 0.0f;
  float beta;
  if (kind == CLQ_BLOCK_DEEPNORM) {
    test_ok(clq_deepnorm(0, 8, CLQ_STACK_DECODER_ONLY, &alpha, &beta)); /* 2 */
  }
  return alpha;
}

Test(block, forward_is_that_of_the_formulas) {
  const int64_t shapes[][3] = {{5, 64, 96}, {1, 37, 51}, {0, 64, 96}};
  test_device d = test_device_open(NULL);
  for (int k = 0; k < KINDS; ++k) {
    for (int norm = CLQ_NORM_LAYER; norm <= CLQ_NORM_RMS; ++norm) {
      for (int s = 0; s < 3; ++s) {
        model m = {.kind = kinds[k],
                   .norm = (clq_norm_kind)norm,
                   .alpha = alpha_of(kinds[k]),
                   .rows = shapes[s][0],
                   .width = shapes[s][1],
                   .hidden = shapes[s][2]};
        const double error = check_exact(&d, &m);
        (void)fprintf(stderr, "kind %d norm %d %lld x %lld: %.1e\n", (int)m.kind, norm,
                      (long long)m.rows, (long long)m.width, error);
        cr_expect(error <= 1e-5, "kind %d norm %d shape %d: %g", (int)m.kind, norm, s, error);
      }
    }
  }
  test_device_close(&d);
}

/* ---------------------------------------------------------------- with codes, to the bit */

static void norm_bits(const model *m, const float *x, float *residual, const float *bias,
                      int64_t cols, const line *gamma, const line *beta, float *out) {
  const clqi_ref_norm n = {.centered = m->norm != CLQ_NORM_RMS,
                           .x = x,
                           .residual = residual,
                           .residual_type = CLQ_F32,
                           .bias = bias,
                           .gamma = gamma->values,
                           .beta = beta_of(m, beta),
                           .eps = eps,
                           .alpha = m->alpha == 0.0f ? 1.0f : m->alpha,
                           .x_scale = 1.0f,
                           .cast = CLQ_CAST_F32,
                           .round = CLQ_F32};
  clqi_ref_norm_rows(&n, m->rows, cols, out, NULL, NULL);
}

/* out = W x, x quantized first. */
static void gemm_bits(const model *m, const matrix *w, const float *x, float *out) {
  const int64_t cols = w->host.ref.cols;
  const int64_t group = m->per == CLQ_PER_GROUP ? GROUP : cols;
  const size_t groups = (size_t)((cols + group - 1) / group);
  int8_t *q = malloc((size_t)(m->rows * cols));
  float *scales = malloc(sizeof(float) * (size_t)m->rows * groups);
  clqi_ref_quantize(x, m->rows, cols, group, q, scales, NULL);
  clqi_ref_gemm_q8(q, cols, scales, m->per == CLQ_PER_GROUP ? GROUP : 0, m->rows, &w->host.ref, out,
                   w->host.ref.rows);
  free(q);
  free(scales);
}

static void sublayer_bits(const model *m, int i, const float *x, float *out) {
  const sublayer *s = &m->sublayers[i];
  const int64_t cols = inner_cols(m, i);
  const size_t bytes = sizeof(float) * (size_t)(m->rows * cols);
  float *z = malloc(bytes);
  float *up = malloc(bytes);
  gemm_bits(m, &s->in, x, z);
  if (is_gated(i)) {
    gemm_bits(m, &s->up, x, up);
    clqi_ref_activate(z, CLQ_ACTIVATION_SILU, up, m->rows * cols, z);
  }
  if (m->kind == CLQ_BLOCK_SUB_LN) {
    norm_bits(m, z, NULL, NULL, cols, &s->inner_gamma, &s->inner_beta, up);
    memcpy(z, up, bytes);
  }
  gemm_bits(m, &s->out, z, out);
  free(z);
  free(up);
}

/* The stream h [rows, width] to the result. */
static void forward_bits(const model *m, float *h, float *out) {
  const size_t bytes = sizeof(float) * (size_t)(m->rows * m->width);
  float *x = malloc(bytes);
  float *f = malloc(bytes);
  for (int i = 0; i < SUBLAYERS; ++i) {
    const sublayer *s = &m->sublayers[i];
    if (is_post(m)) {
      sublayer_bits(m, i, h, f);
      norm_bits(m, f, h, bias_of(m, i), m->width, &s->gamma, &s->beta, x);
      memcpy(h, x, bytes);
    } else {
      norm_bits(m, i == 0 ? h : f, i == 0 ? NULL : h, i == 0 ? NULL : bias_of(m, i - 1), m->width,
                &s->gamma, &s->beta, x);
      sublayer_bits(m, i, x, f);
    }
  }
  if (is_post(m)) {
    memcpy(out, h, bytes);
  } else {
    norm_bits(m, f, h, bias_of(m, SUBLAYERS - 1), m->width, &m->gamma, &m->beta, out);
  }
  free(x);
  free(f);
}

Test(block, forward_with_codes_has_the_bits_of_the_references) {
  test_device d = test_device_open(NULL);
  for (int k = 0; k < KINDS; ++k) {
    for (int norm = CLQ_NORM_LAYER; norm <= CLQ_NORM_RMS; ++norm) {
      for (int per = CLQ_PER_TOKEN; per <= CLQ_PER_GROUP; ++per) {
        model m = {.kind = kinds[k],
                   .norm = (clq_norm_kind)norm,
                   .per = (clq_granularity)per,
                   .alpha = alpha_of(kinds[k]),
                   .rows = 3,
                   .width = 64,
                   .hidden = 96};
        open_model(&d, &m);
        float *got = run_model(&d, &m);
        float *expected = malloc(sizeof(float) * (size_t)(m.rows * m.width));
        forward_bits(&m, m.x, expected);
        for (int64_t i = 0; i < m.rows * m.width; ++i) {
          cr_assert_eq(memcmp(&got[i], &expected[i], sizeof(float)), 0,
                       "kind %d norm %d per %d: element %lld is %.9g, expected %.9g", (int)m.kind,
                       norm, per, (long long)i, got[i], expected[i]);
        }
        free(expected);
        free(got);
        close_model(&m);
      }
    }
  }
  test_device_close(&d);
}

/* A read or a finish out of turn is refused, and the stream goes on as if it had not been. */
Test(block, calls_out_of_turn_change_nothing) {
  enum { ROWS = 2, COLS = 32, COUNT = ROWS * COLS };
  test_device d = test_device_open(NULL);
  test_random random = {5};
  float values[2][COUNT];
  for (int i = 0; i < 2 * COUNT; ++i) {
    values[i / COUNT][i % COUNT] = test_random_normal(&random);
  }
  test_buffer h = test_buffer_new(&d, values[0], sizeof values[0]);
  test_buffer y = test_buffer_new(&d, values[1], sizeof values[1]);
  test_buffer out = test_buffer_new(&d, NULL, sizeof values[0]);
  clq_graph *g;
  clq_plan *plan;
  clq_tensor x;
  test_ok(clq_graph_create(d.context, &g));
  clq_block b = {.graph = g, .kind = CLQ_BLOCK_PRE_LN, .eps = eps};
  b.stream = (clq_tensor){h.mem, CLQ_F32, {ROWS, COLS}};
  const clq_tensor last = {out.mem, CLQ_F32, {ROWS, COLS}};
  test_ok(clq_block_read(&b, NULL, &x));
  test_fails(clq_block_read(&b, NULL, &x), CLQ_INVALID_ARGUMENT,
             "block: a sublayer reads, but the one before has not added");
  test_fails(clq_block_finish(&b, NULL, last), CLQ_INVALID_ARGUMENT,
             "block: finished, but the last sublayer has not added");
  test_ok(clq_block_add(&b, (clq_tensor){y.mem, CLQ_F32, {ROWS, COLS}}, NULL));
  test_ok(clq_block_finish(&b, NULL, last));
  test_ok(clq_plan_create(g, &plan));
  test_ok(clq_plan_run(plan, d.stream));

  const model m = {.rows = ROWS};
  line ones = {.values = malloc(sizeof values[0])};
  line zeros = {.values = calloc(COUNT, sizeof(float))};
  for (int i = 0; i < COUNT; ++i) {
    ones.values[i] = 1.0f;
  }
  float expected[COUNT];
  float got[COUNT];
  norm_bits(&m, values[1], values[0], NULL, COLS, &ones, &zeros, expected);
  test_buffer_read(&d, &out, got);
  for (int i = 0; i < COUNT; ++i) {
    cr_assert_eq(got[i], expected[i], "element %d is %.9g, expected %.9g", i, got[i], expected[i]);
  }
  test_buffer_read(&d, &h, got);
  cr_assert_arr_eq(got, values[0], sizeof got, "the stream is not h + y");
  free(ones.values);
  free(zeros.values);
  clq_plan_destroy(plan);
  clq_graph_destroy(g);
  test_buffer_free(&h);
  test_buffer_free(&y);
  test_buffer_free(&out);
  test_device_close(&d);
}

/* ---------------------------------------------------------------- what is refused */

static clq_tensor rows_of_f32(cl_mem mem) { return (clq_tensor){mem, CLQ_F32, {2, 32}}; }

Test(block, refuses) {
  test_device d = test_device_open(NULL);
  test_buffer buffer = test_buffer_new(&d, NULL, sizeof(float) * 2 * 32);
  test_buffer other = test_buffer_new(&d, NULL, sizeof(float) * 2 * 32);
  const clq_tensor h = rows_of_f32(buffer.mem);
  clq_graph *g;
  clq_tensor x;
  test_ok(clq_graph_create(d.context, &g));
  const struct {
    clq_block block;
    const char *part;
  } cases[] = {
      {{.graph = g, .stream = h}, "block: kind is 0, expected one of clq_block_kind (1 to 4)"},
      {{.graph = g, .stream = h, .kind = (clq_block_kind)5}, "block: kind is 5, expected one of"},
      {{.graph = g, .stream = h, .kind = CLQ_BLOCK_PRE_LN, .norm = (clq_norm_kind)3},
       "norm is 3, expected 0 or one of clq_norm_kind (1 or 2)"},
      {{.graph = g, .stream = h, .kind = CLQ_BLOCK_PRE_LN, .cast = CLQ_CAST_GEMMA},
       "cast is 3, expected 0: it is for CLQ_NORM_RMS"},
      {{.graph = g, .stream = h, .kind = CLQ_BLOCK_DEEPNORM}, "that of clq_deepnorm"},
      {{.graph = g, .stream = h, .kind = CLQ_BLOCK_DEEPNORM, .alpha = NAN},
       "alpha is nan, expected a positive number"},
      {{.graph = g, .stream = h, .kind = CLQ_BLOCK_DEEPNORM, .alpha = INFINITY},
       "alpha is inf, expected a positive number"},
      {{.graph = g, .stream = h, .kind = CLQ_BLOCK_POST_LN, .alpha = 2}, "only DeepNorm has"},
      {{.graph = g, .stream = h, .kind = CLQ_BLOCK_SUB_LN, .alpha = 2}, "only DeepNorm has"},
      {{.graph = g, .kind = CLQ_BLOCK_SUB_LN}, "block: stream is absent"},
      {{.graph = g, .stream = h, .kind = CLQ_BLOCK_POST_LN, .acts = {.dtype = CLQ_F16}},
       "sublayers want f16, but where norms stand behind the sums they read the stream, f32"},
      {{.stream = h, .kind = CLQ_BLOCK_PRE_LN}, "block: graph is NULL"},
      {{.graph = g, .stream = h, .kind = CLQ_BLOCK_PRE_LN, .acts = h},
       "block: acts has more than a type, expected dtype, quant.per and quant.group"},
      {{.graph = g, .stream = h, .kind = CLQ_BLOCK_POST_LN, .acts = {.dtype = (clq_dtype)99}},
       "block: dtype of acts is 99, expected one of f32, f16, bf16, i8"},
      {{.graph = g, .stream = h, .kind = CLQ_BLOCK_POST_LN, .acts = {.dtype = CLQ_I8}},
       "block: acts is i8, so quant.per must say what shares a scale"},
      {{.graph = g, .stream = h, .kind = CLQ_BLOCK_PRE_LN, .acts = {.quant = {CLQ_PER_TOKEN}}},
       "block: quant.per of acts is 3, expected 0 without a dtype"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
    clq_block b = cases[i].block;
    test_fails(clq_block_read(&b, NULL, &x), CLQ_INVALID_ARGUMENT, cases[i].part);
  }
  test_fails(clq_block_read(NULL, NULL, &x), CLQ_INVALID_ARGUMENT, "block: the block is NULL");
  test_fails(clq_block_inner(NULL, NULL, h, &x), CLQ_INVALID_ARGUMENT, "block: the block is NULL");
  test_fails(clq_block_add(NULL, h, NULL), CLQ_INVALID_ARGUMENT, "block: the block is NULL");
  test_fails(clq_block_finish(NULL, NULL, h), CLQ_INVALID_ARGUMENT, "block: the block is NULL");

  clq_block b = {.graph = g, .kind = CLQ_BLOCK_POST_LN, .norm = CLQ_NORM_RMS, .stream = h};
  const clq_block_norm with_beta = {.beta = h};
  test_fails(clq_block_read(&b, NULL, NULL), CLQ_INVALID_ARGUMENT, "result pointer is NULL");
  test_fails(clq_block_inner(&b, NULL, h, &x), CLQ_INVALID_ARGUMENT, "but none has read");
  test_fails(clq_block_inner(&b, NULL, h, NULL), CLQ_INVALID_ARGUMENT, "result pointer is NULL");
  test_fails(clq_block_add(&b, h, NULL), CLQ_INVALID_ARGUMENT, "no sublayer has read");
  test_fails(clq_block_finish(&b, NULL, h), CLQ_INVALID_ARGUMENT, "no sublayer has added");
  test_ok(clq_block_read(&b, NULL, &x));
  cr_assert_eq(x.mem, h.mem);
  test_fails(clq_block_read(&b, NULL, &x), CLQ_INVALID_ARGUMENT, "the one before has not added");
  test_fails(clq_block_finish(&b, NULL, h), CLQ_INVALID_ARGUMENT,
             "the last sublayer has not added");
  test_fails(clq_block_add(&b, (clq_tensor){0}, NULL), CLQ_INVALID_ARGUMENT, "y is absent");
  test_ok(clq_block_add(&b, rows_of_f32(other.mem), NULL));
  test_fails(clq_block_add(&b, h, NULL), CLQ_INVALID_ARGUMENT, "no sublayer has read");
  test_fails(clq_block_finish(&b, &with_beta, h), CLQ_INVALID_ARGUMENT, "has its own");
  b.kind = CLQ_BLOCK_PRE_LN;
  test_fails(clq_block_read(&b, &with_beta, &x), CLQ_INVALID_ARGUMENT, "CLQ_NORM_RMS has none");
  clq_graph_destroy(g);
  test_buffer_free(&buffer);
  test_buffer_free(&other);
  test_device_close(&d);
}

/* A block's own tensors are what its sentences name, and the sublayer; nothing changes. */
Test(block, sentences_name_the_tensors_of_the_block) {
  test_device d = test_device_open(NULL);
  test_buffer buffers[3];
  for (int i = 0; i < 3; ++i) {
    buffers[i] = test_buffer_new(&d, NULL, sizeof(float) * 2 * 32);
  }
  const clq_tensor h = rows_of_f32(buffers[0].mem);
  const clq_tensor y = rows_of_f32(buffers[1].mem);
  const clq_tensor bias = {buffers[2].mem, CLQ_F32, {32}};
  clq_graph *g;
  clq_tensor x;
  clq_tensor odd;
  test_ok(clq_graph_create(d.context, &g));
  clq_block b = {.graph = g, .kind = CLQ_BLOCK_SUB_LN};

  b.stream = edge(g, 2, 32);
  test_fails(clq_block_read(&b, NULL, &x), CLQ_INVALID_ARGUMENT,
             "block: stream reads edge 1 before any node has written it");
  b.stream = h;
  b.stream.dtype = CLQ_I32;
  test_fails(clq_block_read(&b, NULL, &x), CLQ_UNSUPPORTED, "block: dtype of stream is i32");
  b.stream = h;
  b.stream.shape[0] = 3;
  test_fails(clq_block_read(&b, NULL, &x), CLQ_INVALID_ARGUMENT,
             "block: the buffer of stream has 256 bytes, needed: 384");
  b.stream = h;
  test_ok(clq_block_read(&b, NULL, &x));
  test_ok(clq_block_add(&b, y, &bias));
  test_ok(clq_block_read(&b, NULL, &x));

  test_fails(clq_block_add(&b, edge(g, 2, 32), NULL), CLQ_INVALID_ARGUMENT,
             "block: sublayer 1: y reads edge 4 before any node has written it");
  odd = y;
  odd.shape[1] = 16;
  test_fails(clq_block_add(&b, odd, NULL), CLQ_INVALID_ARGUMENT,
             "block: sublayer 1: dimension 1 of y is 16, expected 32 (cols of the stream)");
  odd.dtype = CLQ_I8;
  test_fails(clq_block_inner(&b, NULL, odd, &x), CLQ_UNSUPPORTED,
             "block: the norm inside sublayer 1: dtype of x is i8");
  odd = bias;
  odd.shape[0] = 31;
  test_fails(clq_block_add(&b, y, &odd), CLQ_INVALID_ARGUMENT,
             "block: sublayer 1: dimension 0 of bias is 31, expected 32 (cols of the stream)");
  odd.dtype = CLQ_I8;
  test_fails(clq_block_add(&b, y, &odd), CLQ_UNSUPPORTED, "block: sublayer 1: dtype of bias is i8");
  odd = y;
  odd.dtype = CLQ_I8;
  test_fails(clq_block_add(&b, odd, NULL), CLQ_INVALID_ARGUMENT,
             "block: sublayer 1: y is i8, so quant.per must say");
  odd.quant = (clq_quant){.per = CLQ_PER_GROUP, .group = 32, .scale = bias.mem};
  test_fails(clq_block_add(&b, odd, NULL), CLQ_UNSUPPORTED,
             "block: sublayer 1: y is quantized per group, offered: per tensor, per channel, per "
             "token");
  clq_block other = b;
  other.acts = (clq_tensor){.dtype = CLQ_I8, .quant = {.per = CLQ_PER_CHANNEL}};
  test_fails(clq_block_add(&other, y, NULL), CLQ_UNSUPPORTED,
             "block: acts is quantized per channel, offered: per token, per group");
  test_ok(clq_block_add(&b, y, NULL));

  /* What only a node can see. */
  odd = rows_of_f32(buffers[2].mem);
  odd.shape[0] = 1;
  test_fails(clq_block_finish(&b, NULL, odd), CLQ_INVALID_ARGUMENT,
             "block: the last norm (x is y, residual the stream): graph: node 2: "
             "layernorm: dimension 0 of out is 1, expected 2");
  test_fails(clq_block_finish(&b, NULL, odd), CLQ_INVALID_ARGUMENT,
             "graph: node 2: layernorm: dimension 0 of out");
  clq_graph_destroy(g);
  for (int i = 0; i < 3; ++i) {
    test_buffer_free(&buffers[i]);
  }
  test_device_close(&d);
}
