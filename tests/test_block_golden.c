/* Decoders of every block type against PyTorch: golden/block.bin, where make_block.py has written
 * down the wiring once more and apart from the library. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <clquant/block.h>

#include "device.h"
#include "opencl.h"
#include "weights.h"

TestSuite(block_golden, .fini = opencl_none_live);

/* The kinds of clq_block_kind and the norms of clq_norm_kind, in their order. */
enum { KINDS = 4, NORMS = 2, MOST_PARAMETERS = 64, CAPACITY = 16 };

/* ---------------------------------------------------------------- the file */

/* A matrix of more than one row is packed, all else is a buffer. */
typedef struct parameter {
  char name[33];
  int64_t rows, cols;
  float *values;
  test_buffer buffer;
  clq_weights *weights;
} parameter;

typedef struct golden_blocks {
  FILE *file;
  int64_t tokens, layers, heads, head_dim, width, hidden;
  uint32_t count;
  float eps;
  parameter parameters[MOST_PARAMETERS];
} golden_blocks;

static void read_bytes(FILE *file, void *out, size_t bytes) {
  cr_assert_eq(fread(out, 1, bytes, file), bytes, "block.bin is too short");
}

static uint32_t read_u32(FILE *file) {
  uint32_t value;
  read_bytes(file, &value, sizeof value);
  return value;
}

static void read_parameter(const test_device *d, FILE *file, parameter *p) {
  *p = (parameter){.rows = 0};
  read_bytes(file, p->name, 32);
  p->rows = read_u32(file);
  p->cols = read_u32(file);
  const int shift = (int)read_u32(file);
  const size_t count = (size_t)(p->rows * p->cols);
  int8_t *codes = malloc(count);
  p->values = malloc(count * sizeof *p->values);
  read_bytes(file, codes, count);
  for (size_t i = 0; i < count; ++i) {
    p->values[i] = ldexpf((float)codes[i], -shift);
  }
  free(codes);
  if (p->rows == 1) {
    p->buffer = test_buffer_new(d, p->values, count * sizeof *p->values);
  } else {
    const test_weights w = {
        .ref = {.format = CLQ_FORMAT_F32, .rows = p->rows, .cols = p->cols, .data = p->values},
        .whole_row = true};
    p->weights = test_weights_pack(d, &w);
  }
}

/* Leaves the file at the first result. */
static void open_golden(const test_device *d, golden_blocks *g) {
  char magic[4];
  g->file = fopen(CLQ_TEST_DIR "/golden/block.bin", "rb");
  cr_assert_not_null(g->file, "cannot open tests/golden/block.bin");
  read_bytes(g->file, magic, sizeof magic);
  cr_assert_arr_eq(magic, "CLQB", sizeof magic);
  cr_assert_eq(read_u32(g->file), 1, "version");
  g->tokens = read_u32(g->file);
  g->layers = read_u32(g->file);
  g->heads = read_u32(g->file);
  g->head_dim = read_u32(g->file);
  g->width = g->heads * g->head_dim;
  g->hidden = read_u32(g->file);
  g->count = read_u32(g->file);
  cr_assert_leq(g->count, MOST_PARAMETERS);
  cr_assert_eq(read_u32(g->file), KINDS);
  cr_assert_eq(read_u32(g->file), NORMS);
  read_bytes(g->file, &g->eps, sizeof g->eps);
  for (uint32_t i = 0; i < g->count; ++i) {
    read_parameter(d, g->file, &g->parameters[i]);
  }
}

static void close_golden(golden_blocks *g) {
  cr_assert_eq(fgetc(g->file), EOF, "block.bin is too long");
  (void)fclose(g->file);
  for (uint32_t i = 0; i < g->count; ++i) {
    test_buffer_free(&g->parameters[i].buffer);
    clq_weights_destroy(g->parameters[i].weights);
    free(g->parameters[i].values);
  }
}

/* ---------------------------------------------------------------- through the helper */

typedef struct recorder {
  golden_blocks *golden;
  clq_graph *graph;
  clq_block_kind kind;
  clq_norm_kind norm;
  clq_kv_cache cache;
  clq_tensor position, table;
} recorder;

static parameter *find(const recorder *r, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static parameter *find(const recorder *r, const char *format, ...) {
  char name[33];
  va_list arguments;
  va_start(arguments, format);
  (void)vsnprintf(name, sizeof name, format, arguments);
  va_end(arguments);
  for (uint32_t i = 0; i < r->golden->count; ++i) {
    if (strcmp(r->golden->parameters[i].name, name) == 0) {
      return &r->golden->parameters[i];
    }
  }
  cr_assert_fail("block.bin has no %s", name);
  return NULL;
}

static clq_tensor vector(const parameter *p) {
  return (clq_tensor){p->buffer.mem, CLQ_F32, {p->cols}};
}

static clq_tensor bias(const recorder *r, int i, const char *name) {
  return vector(find(r, "sublayers.%d.%s.bias", i, name));
}

/* name: "norms.0", "last", ... */
static clq_block_norm norm(const recorder *r, const char *name) {
  clq_block_norm n = {.gamma = vector(find(r, "%s.weight", name))};
  if (r->norm == CLQ_NORM_LAYER) {
    n.beta = vector(find(r, "%s.bias", name));
  }
  return n;
}

/* Without a bias, for the output projections, whose bias the next sum adds, too. */
static clq_tensor product(const recorder *r, int i, const char *name, clq_gemm_args args) {
  args.weights = find(r, "sublayers.%d.%s.weight", i, name)->weights;
  args.out = clq_graph_edge(r->graph, CLQ_F32, 2,
                            (int64_t[]){r->golden->tokens, clq_weights_rows(args.weights)});
  test_ok(clq_graph_add(r->graph, CLQ_OP_GEMM, &args));
  return args.out;
}

static clq_tensor heads(const recorder *r, int i, const char *name, clq_tensor x) {
  const golden_blocks *g = r->golden;
  clq_tensor t = product(r, i, name, (clq_gemm_args){.x = x, .bias = bias(r, i, name)});
  memcpy(t.shape, (int64_t[]){g->tokens, g->heads, g->head_dim}, 3 * sizeof t.shape[0]);
  return t;
}

/* What goes into the output projection of attention; rope turns by no angle. */
static clq_tensor attention(const recorder *r, int i, clq_tensor x) {
  const golden_blocks *g = r->golden;
  const clq_tensor q = heads(r, i, "q", x);
  const clq_tensor out =
      clq_graph_edge(r->graph, CLQ_F32, 2, (int64_t[]){g->tokens, g->heads * g->head_dim});
  test_ok(clq_graph_add(r->graph, CLQ_OP_ROPE,
                        &(clq_rope_args){.q = q,
                                         .out = q,
                                         .k = heads(r, i, "k", x),
                                         .v = heads(r, i, "v", x),
                                         .cache = r->cache,
                                         .position = r->position,
                                         .table = r->table}));
  test_ok(clq_graph_add(
      r->graph, CLQ_OP_ATTENTION,
      &(clq_attention_args){.q = q, .cache = r->cache, .position = r->position, .out = out}));
  return out;
}

static void record_sublayer(const recorder *r, clq_block *b, int i) {
  char before[33];
  char inside[33];
  (void)snprintf(before, sizeof before, "norms.%d", i);
  (void)snprintf(inside, sizeof inside, "sublayers.%d.inner", i);
  const bool is_mlp = i % 2 == 1;
  const char *last = is_mlp ? "fc2" : "out";
  const clq_block_norm own = norm(r, before);
  const clq_block_norm inner = norm(r, inside);
  const clq_tensor last_bias = bias(r, i, last);
  clq_tensor x;
  clq_tensor z;
  test_ok(clq_block_read(b, &own, &x));
  z = is_mlp ? product(r, i, "fc1",
                       (clq_gemm_args){
                           .x = x, .bias = bias(r, i, "fc1"), .activation = CLQ_ACTIVATION_GELU})
             : attention(r, i, x);
  test_ok(clq_block_inner(b, &inner, z, &z));
  test_ok(clq_block_add(b, product(r, i, last, (clq_gemm_args){.x = z}), &last_bias));
}

static void record(const recorder *r, clq_tensor stream, clq_tensor out) {
  const golden_blocks *g = r->golden;
  const bool is_post = r->kind == CLQ_BLOCK_POST_LN || r->kind == CLQ_BLOCK_DEEPNORM;
  clq_block b = {
      .graph = r->graph, .kind = r->kind, .norm = r->norm, .eps = g->eps, .stream = stream};
  if (r->kind == CLQ_BLOCK_DEEPNORM) {
    float beta;
    test_ok(clq_deepnorm(0, g->layers, CLQ_STACK_DECODER_ONLY, &b.alpha, &beta));
  }
  for (int i = 0; i < 2 * (int)g->layers; ++i) {
    record_sublayer(r, &b, i);
  }
  const clq_block_norm last = norm(r, "last");
  test_ok(clq_block_finish(&b, is_post ? NULL : &last, out));
}

/* One decoder on the golden x: out [tokens, width]. */
static void run(const test_device *d, recorder *r, float *out) {
  const golden_blocks *g = r->golden;
  const parameter *x = find(r, "x");
  const size_t bytes = (size_t)(g->tokens * g->width) * sizeof(float);
  const size_t cache_bytes = (size_t)(CAPACITY * g->width) * sizeof(float);
  float table[CAPACITY][2] = {{0}};
  for (int i = 0; i < CAPACITY; ++i) {
    table[i][0] = 1.0f;
  }
  test_buffer stream = test_buffer_new(d, x->values, bytes);
  test_buffer result = test_buffer_new(d, NULL, bytes);
  test_buffer k = test_buffer_new(d, NULL, cache_bytes);
  test_buffer v = test_buffer_new(d, NULL, cache_bytes);
  test_buffer position = test_buffer_new(d, &(int32_t){0}, sizeof(int32_t));
  test_buffer angles = test_buffer_new(d, table, sizeof table);
  clq_plan *plan;
  r->cache.k = (clq_tensor){k.mem, CLQ_F32, {1, g->heads, CAPACITY, g->head_dim}};
  r->cache.v = (clq_tensor){v.mem, CLQ_F32, {1, g->heads, CAPACITY, g->head_dim}};
  r->position = (clq_tensor){position.mem, CLQ_I32, {1}};
  r->table = (clq_tensor){angles.mem, CLQ_F32, {CAPACITY, 1, 2}};
  test_ok(clq_graph_create(d->context, &r->graph));
  record(r, (clq_tensor){stream.mem, CLQ_F32, {g->tokens, g->width}},
         (clq_tensor){result.mem, CLQ_F32, {g->tokens, g->width}});
  test_ok(clq_plan_create(r->graph, &plan));
  clq_graph_destroy(r->graph);
  test_ok(clq_plan_run(plan, d->stream));
  test_buffer_read(d, &result, out);
  clq_plan_destroy(plan);
  test_buffer *buffers[] = {&stream, &result, &k, &v, &position, &angles};
  for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; ++i) {
    test_buffer_free(buffers[i]);
  }
}

/* The largest deviation, in units of the expected root mean square. */
static double deviation(const float *got, const double *expected, int64_t count) {
  double most = 0.0;
  double squares = 0.0;
  for (int64_t i = 0; i < count; ++i) {
    const double error = fabs((double)got[i] - expected[i]);
    most = error <= most ? most : error; /* NaN counts */
    squares += expected[i] * expected[i];
  }
  return most / sqrt(squares / (double)count);
}

/* The bound is twice what PyTorch in float32 is off by on the same decoder: ours differs from it in
 * the order of sums and in exp and erf alone, so the worst of 240 elements is as far off but for
 * chance. For measure, alpha wrong by 1e-4 of itself makes DeepNorm 400 times as far off. */
Test(block_golden, forward_is_that_of_pytorch) {
  static const char *const kinds[KINDS] = {"Pre-LN", "Post-LN", "DeepNorm", "Sub-LN"};
  test_device d = test_device_open(NULL);
  golden_blocks g;
  open_golden(&d, &g);
  const int64_t count = g.tokens * g.width;
  double *expected = malloc((size_t)count * sizeof *expected);
  float *got = malloc((size_t)count * sizeof *got);
  for (int kind = 0; kind < KINDS; ++kind) {
    for (int norm = CLQ_NORM_LAYER; norm <= CLQ_NORM_RMS; ++norm) {
      double float32_error;
      read_bytes(g.file, &float32_error, sizeof float32_error);
      read_bytes(g.file, expected, (size_t)count * sizeof *expected);
      recorder r = {.golden = &g,
                    .kind = (clq_block_kind)(CLQ_BLOCK_PRE_LN + kind),
                    .norm = (clq_norm_kind)norm};
      run(&d, &r, got);
      const double error = deviation(got, expected, count);
      (void)fprintf(stderr, "%s, norm %d: off by %.1e, PyTorch in float32 by %.1e\n", kinds[kind],
                    norm, error, float32_error);
      cr_expect(error <= 2.0 * float32_error, "%s, norm %d: off by %g, PyTorch in float32 by %g",
                kinds[kind], norm, error, float32_error);
      cr_assert_leq(float32_error, 1e-5);
    }
  }
  free(expected);
  free(got);
  close_golden(&g);
  test_device_close(&d);
}
