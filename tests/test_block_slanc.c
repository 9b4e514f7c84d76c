/* SLaNC's scales, one for each norm of a block: the nodes that clq_block records with them give the
 * bits of those that are recorded by hand. */
#include <criterion/criterion.h>
#include <math.h>

#include <clquant/block.h>

#include "device.h"
#include "opencl.h"

TestSuite(block_slanc, .fini = opencl_none_live);

static const float eps = 1e-5f;
static const clq_block_kind kinds[] = {CLQ_BLOCK_PRE_LN, CLQ_BLOCK_POST_LN, CLQ_BLOCK_DEEPNORM,
                                       CLQ_BLOCK_SUB_LN};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

static float alpha_of(clq_block_kind kind) { return kind == CLQ_BLOCK_DEEPNORM ? 2.5f : 0.0f; }

enum { ROWS = 3, COLS = 70, COUNT = ROWS * COLS };

typedef struct scaled {
  const test_device *d;
  clq_tensor h, add, gamma, beta, out;
  test_buffer buffers[5];
} scaled;

static scaled scaled_open(const test_device *d, const float *h) {
  scaled s = {.d = d};
  test_random random = {9};
  float values[COUNT];
  for (int i = 0; i < 5; ++i) {
    for (int j = 0; j < COUNT; ++j) {
      values[j] = i == 0 ? h[j] : test_random_normal(&random);
    }
    s.buffers[i] = test_buffer_new(d, values, sizeof values);
  }
  clq_tensor *const all[] = {&s.h, &s.add, &s.gamma, &s.beta, &s.out};
  for (int i = 0; i < 5; ++i) {
    const bool is_line = i == 2 || i == 3;
    *all[i] = (clq_tensor){s.buffers[i].mem, CLQ_F32, {is_line ? COLS : ROWS}};
    all[i]->shape[1] = is_line ? 0 : COLS;
  }
  return s;
}

static clq_tensor edge(clq_graph *g) {
  return clq_graph_edge(g, CLQ_F32, 2, (int64_t[]){ROWS, COLS});
}

/* Sublayers that add a constant to what they read. */
static clq_tensor plus(clq_graph *g, const scaled *s, clq_tensor x) {
  const clq_tensor y = edge(g);
  test_ok(clq_graph_add(g, CLQ_OP_ADD, &(clq_add_args){.a = x, .b = s->add, .out = y}));
  return y;
}

static void record_scaled(clq_graph *g, const scaled *s, clq_block_kind kind, const float *scales) {
  clq_block b = {.graph = g, .kind = kind, .eps = eps, .stream = s->h};
  b.alpha = alpha_of(kind);
  clq_block_norm norm = {.gamma = s->gamma, .beta = s->beta};
  for (int i = 0; i < 2; ++i) {
    clq_tensor x;
    norm.x_scale = *scales++;
    test_ok(clq_block_read(&b, &norm, &x));
    x = plus(g, s, x);
    if (kind == CLQ_BLOCK_SUB_LN) {
      norm.x_scale = *scales++;
      test_ok(clq_block_inner(&b, &norm, x, &x));
    }
    test_ok(clq_block_add(&b, x, NULL));
  }
  const bool post = kind == CLQ_BLOCK_POST_LN || kind == CLQ_BLOCK_DEEPNORM;
  norm.x_scale = post ? 0.0f : *scales;
  test_ok(clq_block_finish(&b, post ? NULL : &norm, s->out));
}

/* N(x), or with the stream N(alpha stream + x), written there. */
static void by_hand(clq_graph *g, const scaled *s, clq_tensor x, const clq_tensor *stream,
                    float alpha, float scale, clq_tensor out) {
  clq_layernorm_args a = {
      .x = x, .gamma = s->gamma, .beta = s->beta, .out = out, .eps = eps, .x_scale = scale};
  if (stream != NULL) {
    a.residual = *stream;
    a.alpha = alpha;
  }
  test_ok(clq_graph_add(g, CLQ_OP_LAYERNORM, &a));
}

static void record_by_hand(clq_graph *g, const scaled *s, clq_block_kind kind,
                           const float *scales) {
  clq_tensor n[5];
  for (int i = 0; i < 5; ++i) {
    n[i] = edge(g);
  }
  clq_tensor y = {0};
  switch (kind) {
    case CLQ_BLOCK_PRE_LN:
      by_hand(g, s, s->h, NULL, 0, scales[0], n[0]);
      by_hand(g, s, plus(g, s, n[0]), &s->h, 0, scales[1], n[1]);
      by_hand(g, s, plus(g, s, n[1]), &s->h, 0, scales[2], s->out);
      break;
    case CLQ_BLOCK_POST_LN:
    case CLQ_BLOCK_DEEPNORM:
      by_hand(g, s, plus(g, s, s->h), &s->h, alpha_of(kind), scales[0], n[0]);
      by_hand(g, s, plus(g, s, n[0]), &n[0], alpha_of(kind), scales[1], s->out);
      break;
    case CLQ_BLOCK_SUB_LN:
      by_hand(g, s, s->h, NULL, 0, scales[0], n[0]);
      by_hand(g, s, plus(g, s, n[0]), NULL, 0, scales[1], n[1]);
      by_hand(g, s, n[1], &s->h, 0, scales[2], n[2]);
      y = plus(g, s, n[2]);
      by_hand(g, s, y, NULL, 0, scales[3], n[3]);
      by_hand(g, s, n[3], &s->h, 0, scales[4], s->out);
      break;
  }
}

typedef void (*recorder)(clq_graph *g, const scaled *s, clq_block_kind kind, const float *scales);

static const float *scales_of(clq_block_kind kind) {
  static const float pre[] = {3e-25f, 5e-26f, 2e-25f};
  static const float post[] = {3e-25f, 0.3f};
  static const float sub[] = {3e-25f, 0.3f, 5e-26f, 1.7f, 2e-25f};
  return kind == CLQ_BLOCK_PRE_LN ? pre : kind == CLQ_BLOCK_SUB_LN ? sub : post;
}

/* Streams of all kinds in one graph, for which kernels are built once. */
static void run_scaled(const test_device *d, const float *h, recorder record_it,
                       float out[KINDS][COUNT]) {
  scaled s[KINDS];
  clq_graph *g;
  clq_plan *plan;
  test_ok(clq_graph_create(d->context, &g));
  for (int k = 0; k < KINDS; ++k) {
    s[k] = scaled_open(d, h);
    record_it(g, &s[k], kinds[k], scales_of(kinds[k]));
  }
  test_ok(clq_plan_create(g, &plan));
  test_ok(clq_plan_run(plan, d->stream));
  for (int k = 0; k < KINDS; ++k) {
    test_buffer_read(d, &s[k].buffers[4], out[k]);
    for (int i = 0; i < 5; ++i) {
      test_buffer_free(&s[k].buffers[i]);
    }
  }
  clq_plan_destroy(plan);
  clq_graph_destroy(g);
}

/* The streams are so that without the scales squares overflow. */
Test(block_slanc, scales_are_those_of_the_norms) {
  static float got[KINDS][COUNT];
  static float expected[KINDS][COUNT];
  test_device d = test_device_open(NULL);
  test_random random = {3};
  float h[COUNT];
  for (int i = 0; i < COUNT; ++i) {
    h[i] = 1e25f * test_random_normal(&random);
  }
  run_scaled(&d, h, record_scaled, got);
  run_scaled(&d, h, record_by_hand, expected);
  for (int k = 0; k < KINDS; ++k) {
    for (int i = 0; i < COUNT; ++i) {
      cr_assert(isfinite(got[k][i]) && got[k][i] == expected[k][i],
                "kind %d, element %d: %.9g, not %.9g", (int)kinds[k], i, (double)got[k][i],
                (double)expected[k][i]);
    }
  }
  test_device_close(&d);
}
