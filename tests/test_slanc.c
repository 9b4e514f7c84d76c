/* SLaNC scales: the norms beneath against plain sums, the formulas by hand, and what is refused. */
#include <clquant/slanc.h>
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "device.h"
#include "quant/norms.h"

/* --- the machine that the library sees: see clq_test_wrap in CMakeLists.txt --- */

static bool no_avx2;
static long processors;

bool __real_clqi_cpu_has_avx2(void);
bool __wrap_clqi_cpu_has_avx2(void);
bool __wrap_clqi_cpu_has_avx2(void) { return !no_avx2 && __real_clqi_cpu_has_avx2(); }

long __real_sysconf(int name);
long __wrap_sysconf(int name);
long __wrap_sysconf(int name) { return processors > 0 ? processors : __real_sysconf(name); }

/* --- fills and sums --- */

static float *filled(test_random *random, int64_t count, float size) {
  float *x = malloc((size_t)count * sizeof *x);
  for (int64_t i = 0; i < count; ++i) {
    x[i] = size * test_random_normal(random);
  }
  return x;
}

static float *integers(test_random *random, int64_t count) {
  float *x = malloc((size_t)count * sizeof *x);
  for (int64_t i = 0; i < count; ++i) {
    x[i] = (float)test_random_int(random, -7, 7);
  }
  return x;
}

static double plain_product_norm(const clqi_product *p) {
  double total = 0.0;
  for (int64_t i = 0; i < p->rows; ++i) {
    for (int64_t j = 0; j < p->cols; ++j) {
      double sum = 0.0;
      for (int64_t k = 0; k < p->depth; ++k) {
        sum += (double)p->a[i * p->depth + k] * (double)p->b[k * p->cols + j];
      }
      sum = p->factor * sum + (p->identity && i == j ? 1.0 : 0.0);
      sum *= p->gamma == NULL ? 1.0 : (double)p->gamma[j];
      total += sum * sum;
    }
  }
  return sqrt(total);
}

static void expect_near(double got, double expected, double relative) {
  cr_assert(fabs(got - expected) <= relative * fabs(expected), "%.17g, expected %.17g, error %.2g",
            got, expected, fabs(got / expected - 1.0));
}

static const struct {
  int64_t rows, depth, cols;
} products[] = {{1, 1, 1},       {6, 256, 16},  {7, 300, 17},   {5, 255, 129},
                {130, 513, 128}, {64, 1, 1000}, {300, 700, 30}, {576, 192, 576}};
enum { PRODUCTS = sizeof products / sizeof products[0] };

Test(slanc, product_norm_of_integers_is_exact) {
  test_random random = {1};
  for (int i = 0; i < PRODUCTS; ++i) {
    clqi_product p = {.rows = products[i].rows,
                      .depth = products[i].depth,
                      .cols = products[i].cols,
                      .factor = 1.0};
    float *a = integers(&random, p.rows * p.depth);
    float *b = integers(&random, p.depth * p.cols);
    float *gamma = integers(&random, p.cols);
    p.a = a;
    p.b = b;
    for (int form = 0; form < 4; ++form) {
      p.gamma = form % 2 == 0 ? NULL : gamma;
      p.identity = form >= 2 && p.rows == p.cols;
      double norm = 0.0;
      test_ok(clqi_product_norm(&p, &norm));
      cr_assert_eq(norm, plain_product_norm(&p), "product %d, form %d", i, form);
    }
    free(a);
    free(b);
    free(gamma);
  }
}

Test(slanc, product_norm_of_any_numbers_and_sizes) {
  static const float sizes[] = {1.0f, 1e-3f, 1e17f, 1e30f, 1e-30f, 5e37f, 1e-42f};
  test_random random = {2};
  for (int i = 0; i < PRODUCTS; ++i) {
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; ++s) {
      clqi_product p = {.rows = products[i].rows,
                        .depth = products[i].depth,
                        .cols = products[i].cols,
                        .factor = 4.0};
      float *a = filled(&random, p.rows * p.depth, sizes[s]);
      float *b = filled(&random, p.depth * p.cols, sizes[i % 7]);
      float *gamma = filled(&random, p.cols, sizes[(s + 3) % 7]);
      p.a = a;
      p.b = b;
      p.gamma = gamma;
      double norm = 0.0;
      test_ok(clqi_product_norm(&p, &norm));
      expect_near(norm, plain_product_norm(&p), 1e-6);
      free(a);
      free(b);
      free(gamma);
    }
  }
}

static double diagonal_norm(int64_t rows, int64_t cols, double (*entry)(double)) {
  const int64_t n = rows < cols ? rows : cols;
  float *a = calloc((size_t)(rows * cols), sizeof *a);
  for (int64_t i = 0; i < n; ++i) {
    /* Somewhere in the middle, so that no end is special. */
    a[i * cols + (i * 7 + 3) % cols] = (float)entry((double)i / (double)n);
  }
  double norm = 0.0;
  test_ok(clqi_spectral_norm(a, rows, cols, NULL, &norm));
  free(a);
  return norm;
}

static double all_equal(double t) {
  (void)t;
  return -3.0;
}
static double gap_of_a_tenth(double t) { return t == 0.0 ? 1.0 : 0.9; }
static double falling_evenly(double t) { return 1.0 - t; }
static double crowded_at_the_top(double t) { return 1.0 - t * t; }
static double falling_fast(double t) { return exp(-30.0 * t); }

/* One entry in each row and column: the singular values are known. The last case but one is the
 * hardest that there is, no gap at the top. */
Test(slanc, spectral_norm_of_known_matrices) {
  static const int64_t sizes[][2] = {{1, 1},   {2, 2},     {5, 1},    {1, 5},
                                     {17, 40}, {500, 500}, {600, 250}};
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; ++i) {
    const int64_t rows = sizes[i][0];
    const int64_t cols = sizes[i][1];
    expect_near(diagonal_norm(rows, cols, all_equal), 3.0, 1e-12);
    expect_near(diagonal_norm(rows, cols, gap_of_a_tenth), 1.0, 1e-6);
    expect_near(diagonal_norm(rows, cols, falling_evenly), 1.0, 1e-6);
    expect_near(diagonal_norm(rows, cols, crowded_at_the_top), 1.0, 1e-5);
    expect_near(diagonal_norm(rows, cols, falling_fast), 1.0, 1e-6);
  }
}

/* || a b^T diag(gamma) ||_2 = |a| |gamma b|, whatever the size of the numbers. */
Test(slanc, spectral_norm_of_rank_one) {
  static const float sizes[] = {1.0f, 1e18f, 1e-18f, 1e37f, 1e-37f};
  enum { ROWS = 37, COLS = 91 };
  test_random random = {3};
  for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; ++s) {
    float *a = filled(&random, ROWS, 1.0f);
    float *b = filled(&random, COLS, 1.0f);
    float *gamma = filled(&random, COLS, sizes[(s + 1) % 5]);
    float *matrix = malloc(sizeof *matrix * ROWS * COLS);
    double a_squares = 0.0;
    double b_squares = 0.0;
    for (int i = 0; i < ROWS; ++i) {
      a_squares += (double)a[i] * (double)a[i];
      for (int j = 0; j < COLS; ++j) {
        matrix[i * COLS + j] = a[i] * b[j] * sizes[s];
      }
    }
    for (int j = 0; j < COLS; ++j) {
      b_squares += pow((double)gamma[j] * (double)b[j], 2.0);
    }
    double norm = 0.0;
    test_ok(clqi_spectral_norm(matrix, ROWS, COLS, gamma, &norm));
    expect_near(norm, sqrt(a_squares * b_squares) * (double)sizes[s], 1e-6);
    free(a);
    free(b);
    free(gamma);
    free(matrix);
  }
}

/* --- the same bits on every machine --- */

typedef struct bits {
  double product, spectral;
} bits;

static bits bits_with(bool avx2, long threads) {
  enum { ROWS = 301, DEPTH = 523, COLS = 777 };
  test_random random = {4};
  float *a = filled(&random, ROWS * DEPTH, 0.1f);
  float *b = filled(&random, DEPTH * COLS, 0.1f);
  const clqi_product p = {
      .a = a, .b = b, .rows = ROWS, .depth = DEPTH, .cols = COLS, .factor = 1.0};
  bits result = {0};
  no_avx2 = !avx2;
  processors = threads;
  test_ok(clqi_product_norm(&p, &result.product));
  test_ok(clqi_spectral_norm(b, DEPTH, COLS, NULL, &result.spectral));
  no_avx2 = false;
  processors = 0;
  free(a);
  free(b);
  return result;
}

Test(slanc, same_bits_on_any_number_of_threads_and_any_vectors) {
  const bits one = bits_with(true, 1);
  for (long threads = 1; threads <= 9; threads += 2) {
    for (int avx2 = 0; avx2 < 2; ++avx2) {
      const bits other = bits_with(avx2 == 1, threads);
      cr_assert_eq(one.product, other.product, "%ld threads, avx2 %d", threads, avx2);
      cr_assert_eq(one.spectral, other.spectral, "%ld threads", threads);
    }
  }
}

/* --- the formulas --- */

/* || (P W_V' + I) D ||_F with W_V' written out, kv_of naming the key-value head of each head. */
static double plain_attention(const clq_slanc_attention_args *a, const int *kv_of) {
  const int64_t q_rows = a->heads * a->head_dim;
  float *repeated = malloc((size_t)(q_rows * a->width) * sizeof *repeated);
  for (int64_t h = 0; h < a->heads; ++h) {
    const size_t count = (size_t)(a->head_dim * a->width);
    memcpy(repeated + (size_t)h * count, a->value + (size_t)kv_of[h] * count,
           count * sizeof(float));
  }
  const clqi_product p = {.a = a->out,
                          .b = repeated,
                          .gamma = a->gamma,
                          .rows = a->width,
                          .depth = q_rows,
                          .cols = a->width,
                          .factor = 1.0,
                          .identity = true};
  const double norm = plain_product_norm(&p);
  free(repeated);
  return norm;
}

Test(slanc, heads_meet_the_values_that_they_share) {
  enum { WIDTH = 50, DIM = 3 };
  static const struct {
    int heads, kv_heads;
    int right[8]; /* head to key-value head */
    int tiled[8]; /* as the authors' code has it */
  } cases[] = {
      {4, 4, {0, 1, 2, 3}, {0, 1, 2, 3}},
      {4, 2, {0, 0, 1, 1}, {0, 1, 0, 1}},
      {6, 2, {0, 0, 0, 1, 1, 1}, {0, 1, 0, 1, 0, 1}},
      {8, 1, {0}, {0}},
  };
  test_random random = {5};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
    const int64_t q_rows = cases[i].heads * DIM;
    const int64_t kv_rows = cases[i].kv_heads * DIM;
    float *gamma = filled(&random, WIDTH, 1.0f);
    float *value = filled(&random, kv_rows * WIDTH, 0.5f);
    float *out = filled(&random, q_rows * WIDTH, 0.5f);
    const clq_slanc_attention_args args = {.gamma = gamma,
                                           .value = value,
                                           .out = out,
                                           .width = WIDTH,
                                           .heads = cases[i].heads,
                                           .kv_heads = cases[i].kv_heads,
                                           .head_dim = DIM};
    float s = 0.0f;
    test_ok(clq_slanc_attention(&args, &s));
    expect_near(s, plain_attention(&args, cases[i].right), 1e-6);
    const bool same = memcmp(cases[i].right, cases[i].tiled, sizeof cases[i].right) == 0;
    const double tiled = plain_attention(&args, cases[i].tiled);
    cr_assert(same || fabs((double)s / tiled - 1.0) > 1e-3, "the case cannot tell the two apart");
    free(gamma);
    free(value);
    free(out);
  }
}

/* Diagonal matrices, for which the formulas can be worked out by hand. */
Test(slanc, feed_forward_by_hand) {
  static const float gamma[2] = {2.0f, -4.0f};
  static const float up[2 * 2] = {3.0f, 0.0f, 0.0f, 1.0f};
  static const float gate[2 * 2] = {1.0f, 0.0f, 0.0f, 2.0f};
  static const float down[2 * 2] = {0.0f, 3.0f, 2.0f, 0.0f};
  clq_slanc_mlp_args args = {.gamma = gamma, .up = up, .down = down, .width = 2, .hidden = 2};
  float s = 0.0f;
  test_ok(clq_slanc_mlp(&args, &s));
  expect_near(s, 3.0 * 3.0 * 3.0, 1e-6); /* mean |gamma|, fc1, fc2 */
  args.gate = gate;
  test_ok(clq_slanc_mlp(&args, &s));
  expect_near(s, sqrt(12.0 * 12.0 + 12.0 * 12.0) * 8.0, 1e-6);
  args.gamma = NULL;
  test_ok(clq_slanc_mlp(&args, &s));
  expect_near(s, sqrt(6.0 * 6.0 + 3.0 * 3.0) * 2.0, 1e-6);
  args.gate = NULL;
  test_ok(clq_slanc_mlp(&args, &s));
  expect_near(s, 9.0, 1e-6);
}

Test(slanc, hidden_may_differ_from_width) {
  enum { WIDTH = 40, HIDDEN = 75 };
  test_random random = {6};
  float *up = filled(&random, HIDDEN * WIDTH, 1.0f);
  float *down = filled(&random, HIDDEN * WIDTH, 1.0f);
  float *gate = filled(&random, HIDDEN * WIDTH, 1.0f);
  double spectral = 0.0;
  test_ok(clqi_spectral_norm(gate, HIDDEN, WIDTH, NULL, &spectral));
  const clqi_product p = {
      .a = down, .b = up, .rows = WIDTH, .depth = HIDDEN, .cols = WIDTH, .factor = 1.0};
  float s = 0.0f;
  test_ok(clq_slanc_mlp(
      &(clq_slanc_mlp_args){.gate = gate, .up = up, .down = down, .width = WIDTH, .hidden = HIDDEN},
      &s));
  expect_near(s, plain_product_norm(&p) * spectral, 1e-6);
  free(up);
  free(down);
  free(gate);
}

/* --- edges --- */

static float zeros[16];
static float ones[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

static clq_status attention_of(const float *gamma, const float *value, const float *out, float *s) {
  return clq_slanc_attention(&(clq_slanc_attention_args){.gamma = gamma,
                                                         .value = value,
                                                         .out = out,
                                                         .width = 4,
                                                         .heads = 2,
                                                         .kv_heads = 2,
                                                         .head_dim = 2},
                             s);
}

static clq_status mlp_of(const float *gamma, const float *gate, const float *up, const float *down,
                         float *s) {
  return clq_slanc_mlp(
      &(clq_slanc_mlp_args){
          .gamma = gamma, .gate = gate, .up = up, .down = down, .width = 4, .hidden = 4},
      s);
}

Test(slanc, zeros) {
  float s = 0.0f;
  test_ok(attention_of(NULL, zeros, ones, &s));
  cr_assert_eq(s, 2.0f, "the identity is left");
  test_ok(attention_of(zeros, ones, ones, &s));
  cr_assert_eq(s, 1.0f);
  test_ok(mlp_of(zeros, NULL, ones, ones, &s));
  cr_assert_eq(s, 1.0f);
  test_ok(mlp_of(NULL, NULL, zeros, ones, &s));
  cr_assert_eq(s, 1.0f);
  test_ok(mlp_of(NULL, ones, ones, zeros, &s));
  cr_assert_eq(s, 1.0f);
  test_ok(mlp_of(zeros, ones, ones, ones, &s));
  cr_assert_eq(s, 1.0f);
}

Test(slanc, large_and_small_numbers) {
  float huge[16];
  float tiny[16];
  for (int i = 0; i < 16; ++i) {
    huge[i] = 0x1p120f;
    tiny[i] = 0x1p-140f; /* subnormal */
  }
  float s = 0.0f;
  test_ok(mlp_of(NULL, tiny, huge, ones, &s)); /* 2^120 times 16, 2^-140 times 4 */
  expect_near(s, 0x1p-14, 1e-6);
  test_ok(mlp_of(NULL, NULL, tiny, huge, &s));
  expect_near(s, 0x1p-16, 1e-6);
  test_ok(mlp_of(NULL, NULL, tiny, ones, &s));
  cr_assert_eq(s, 1.0f, "the reciprocal of 2^-136 is no float");
  s = -5.0f;
  test_fails(mlp_of(NULL, huge, huge, huge, &s), CLQ_INVALID_ARGUMENT,
             "slanc_mlp: the scale is 1.50307e+110, expected 2^126 at most");
  test_fails(attention_of(huge, huge, huge, &s), CLQ_INVALID_ARGUMENT,
             "slanc_attention: the scale");
  cr_assert_eq(s, -5.0f);
}

Test(slanc, numbers_that_are_none) {
  float bad[16];
  memcpy(bad, ones, sizeof bad);
  bad[6] = NAN;
  float s = -5.0f;
  test_fails(attention_of(NULL, bad, ones, &s), CLQ_INVALID_ARGUMENT,
             "slanc_attention: value is nan at row 1, column 2");
  test_fails(attention_of(NULL, ones, bad, &s), CLQ_INVALID_ARGUMENT, "out is nan at row 1");
  bad[6] = 1.0f;
  bad[2] = INFINITY;
  test_fails(attention_of(bad, ones, ones, &s), CLQ_INVALID_ARGUMENT,
             "gamma is inf at row 0, column 2");
  test_fails(mlp_of(bad, NULL, ones, ones, &s), CLQ_INVALID_ARGUMENT, "slanc_mlp: gamma is inf");
  test_fails(mlp_of(NULL, bad, ones, ones, &s), CLQ_INVALID_ARGUMENT, "gate is inf");
  test_fails(mlp_of(NULL, NULL, bad, ones, &s), CLQ_INVALID_ARGUMENT, "up is inf");
  test_fails(mlp_of(NULL, NULL, ones, bad, &s), CLQ_INVALID_ARGUMENT, "down is inf");
  cr_assert_eq(s, -5.0f);
}

Test(slanc, arguments_out_of_contract) {
  float s = 0.0f;
  const clq_slanc_attention_args good = {
      .value = ones, .out = ones, .width = 4, .heads = 4, .kv_heads = 2, .head_dim = 1};
  test_ok(clq_slanc_attention(&good, &s));
  test_fails(clq_slanc_attention(NULL, &s), CLQ_INVALID_ARGUMENT, "must not be NULL");
  test_fails(clq_slanc_attention(&good, NULL), CLQ_INVALID_ARGUMENT, "must not be NULL");
  clq_slanc_attention_args bad = good;
  bad.kv_heads = 3;
  test_fails(clq_slanc_attention(&bad, &s), CLQ_INVALID_ARGUMENT, "4 heads do not share 3");
  bad = good;
  bad.head_dim = 0;
  test_fails(clq_slanc_attention(&bad, &s), CLQ_INVALID_ARGUMENT, "head_dim is 0");
  bad = good;
  bad.head_dim = INT64_MAX / 2;
  test_fails(clq_slanc_attention(&bad, &s), CLQ_INVALID_ARGUMENT, "overflow");
  bad = good;
  bad.value = NULL;
  test_fails(clq_slanc_attention(&bad, &s), CLQ_INVALID_ARGUMENT, "value must not be NULL");
  bad = good;
  bad.rounding = (clq_slanc_rounding)2;
  test_fails(clq_slanc_attention(&bad, &s), CLQ_INVALID_ARGUMENT, "rounding is 2, expected one of");
  /* Sizes are looked at before any element is. */
  bad = (clq_slanc_attention_args){.gamma = ones,
                                   .value = ones,
                                   .out = ones,
                                   .width = INT64_C(1) << 40,
                                   .heads = INT64_C(1) << 40,
                                   .kv_heads = 1,
                                   .head_dim = 1};
  test_fails(clq_slanc_attention(&bad, &s), CLQ_INVALID_ARGUMENT, "out has 1099511627776 x");
  const clq_slanc_mlp_args mlp = {.up = ones, .down = ones, .width = 4, .hidden = 4};
  test_ok(clq_slanc_mlp(&mlp, &s));
  clq_slanc_mlp_args wrong = mlp;
  wrong.hidden = -1;
  test_fails(clq_slanc_mlp(&wrong, &s), CLQ_INVALID_ARGUMENT, "hidden is -1");
  wrong = mlp;
  wrong.down = NULL;
  test_fails(clq_slanc_mlp(&wrong, &s), CLQ_INVALID_ARGUMENT, "down must not be NULL");
  wrong = mlp;
  wrong.width = INT64_C(1) << 62;
  test_fails(clq_slanc_mlp(&wrong, &s), CLQ_INVALID_ARGUMENT, "overflow");
}

Test(slanc, rounds_up_to_a_power_of_two) {
  static const struct {
    float exact, rounded;
  } cases[] = {{1.0f, 1.0f},   {1.000005f, 1.0f}, {1.0001f, 2.0f},  {1.99f, 2.0f},
               {3.0f, 4.0f},   {0.3f, 0.5f},      {0.25f, 0.25f},   {0.24f, 0.25f},
               {64.0f, 64.0f}, {65.0f, 128.0f},   {1e30f, 0x1p100f}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
    const float matrix[1] = {cases[i].exact};
    float s = 0.0f;
    test_ok(clq_slanc_mlp(
        &(clq_slanc_mlp_args){.up = matrix, .down = ones, .width = 1, .hidden = 1}, &s));
    expect_near(s, cases[i].exact, 1e-7);
    test_ok(clq_slanc_mlp(&(clq_slanc_mlp_args){.up = matrix,
                                                .down = ones,
                                                .width = 1,
                                                .hidden = 1,
                                                .rounding = CLQ_SLANC_POWER_OF_TWO},
                          &s));
    cr_assert_eq(s, cases[i].rounded, "%g: %a", cases[i].exact, s);
  }
}
