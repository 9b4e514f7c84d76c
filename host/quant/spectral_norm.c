/* The largest singular value, by Lanczos' method on the Gram matrix: power iteration that keeps
 * its history as a tridiagonal matrix, whose largest eigenvalue comes close far sooner than the
 * last iterate does. */
#include <math.h>
#include <string.h>

#include "quant/norms.h"
#include "quant/parallel.h"
#include "runtime/checked.h"
#include "runtime/memory.h"
#include "runtime/status.h"

enum {
  MAX_STEPS = 1000,
  SLICES = 16, /* of rows, each with sums of its own, whatever the number of threads */
  ROWS_AT_ONCE = 4
};

/* Of the square of the singular value. */
#define TOLERANCE 2e-6

/* w = H A^T A H v with H = diag(gamma) scaled so that nothing overflows. */
typedef struct gram {
  const float *a;
  int64_t rows, cols;
  int threads;
  double *scale; /* [cols], H */
  double *x;     /* [cols], H v */
  double *sums;  /* [SLICES][cols] */
} gram;

static void add_four_rows(const float *a, int64_t cols, const double *x, double *sums) {
  const float *a0 = a;
  const float *a1 = a + cols;
  const float *a2 = a + 2 * cols;
  const float *a3 = a + 3 * cols;
  double s0 = 0.0;
  double s1 = 0.0;
  double s2 = 0.0;
  double s3 = 0.0;
  for (int64_t j = 0; j < cols; ++j) {
    s0 += (double)a0[j] * x[j];
    s1 += (double)a1[j] * x[j];
    s2 += (double)a2[j] * x[j];
    s3 += (double)a3[j] * x[j];
  }
  for (int64_t j = 0; j < cols; ++j) {
    sums[j] +=
        ((double)a0[j] * s0 + (double)a1[j] * s1) + ((double)a2[j] * s2 + (double)a3[j] * s3);
  }
}

static void add_row(const float *a, int64_t cols, const double *x, double *sums) {
  double s = 0.0;
  for (int64_t j = 0; j < cols; ++j) {
    s += (double)a[j] * x[j];
  }
  for (int64_t j = 0; j < cols; ++j) {
    sums[j] += (double)a[j] * s;
  }
}

static void gram_slice(void *argument, int64_t index, int thread) {
  (void)thread;
  const gram *g = argument;
  double *sums = g->sums + index * g->cols;
  const int64_t step = clqi_div_up(g->rows, SLICES);
  int64_t row = index * step;
  const int64_t end = row + step < g->rows ? row + step : g->rows;
  memset(sums, 0, (size_t)g->cols * sizeof *sums);
  for (; row + ROWS_AT_ONCE <= end; row += ROWS_AT_ONCE) {
    add_four_rows(g->a + row * g->cols, g->cols, g->x, sums);
  }
  for (; row < end; ++row) {
    add_row(g->a + row * g->cols, g->cols, g->x, sums);
  }
}

static void gram_apply(gram *g, const double *v, double *w) {
  for (int64_t j = 0; j < g->cols; ++j) {
    g->x[j] = g->scale[j] * v[j];
  }
  clqi_parallel(gram_slice, g, SLICES, g->threads);
  for (int64_t j = 0; j < g->cols; ++j) {
    double sum = 0.0;
    for (int64_t s = 0; s < SLICES; ++s) {
      sum += g->sums[s * g->cols + j];
    }
    w[j] = g->scale[j] * sum;
  }
}

/* A symmetric tridiagonal matrix of `size` rows; beside[i] joins rows i and i + 1. beside[size - 1]
 * joins the last row to the one that is not there yet. */
typedef struct tridiagonal {
  double diagonal[MAX_STEPS];
  double beside[MAX_STEPS];
  int size;
} tridiagonal;

/* True unless all eigenvalues are below x (Sturm). */
static bool reaches(const tridiagonal *t, double x) {
  double pivot = t->diagonal[0] - x;
  for (int i = 1; i < t->size && pivot < 0.0; ++i) {
    pivot = t->diagonal[i] - x - t->beside[i - 1] * t->beside[i - 1] / pivot;
  }
  return !(pivot < 0.0);
}

/* The largest eigenvalue, known to be at least `low`, by bisection. */
static double largest_eigenvalue(const tridiagonal *t, double low) {
  double high = low;
  for (int i = 0; i < t->size; ++i) {
    const double before = i == 0 ? 0.0 : t->beside[i - 1];
    const double after = i == t->size - 1 ? 0.0 : t->beside[i];
    high = fmax(high, t->diagonal[i] + before + after);
  }
  for (;;) {
    const double middle = low + (high - low) / 2;
    if (!(middle > low && middle < high)) {
      return low;
    }
    if (reaches(t, middle)) {
      low = middle;
    } else {
      high = middle;
    }
  }
}

/* The last component of the unit eigenvector of the largest eigenvalue, from the last row up: the
 * direction in which it grows, and rounding does not. */
static double last_component(const tridiagonal *t, double eigenvalue) {
  double below = 0.0;
  double here = 1.0;
  double squares = 1.0;
  for (int i = t->size - 1; i > 0 && squares < 1e60; --i) {
    const double join = i == t->size - 1 ? 0.0 : t->beside[i] * below;
    const double above = ((eigenvalue - t->diagonal[i]) * here - join) / t->beside[i - 1];
    below = here;
    here = above;
    squares += here * here;
  }
  return 1.0 / sqrt(squares);
}

static double dot(const double *a, const double *b, int64_t n) {
  double sum = 0.0;
  for (int64_t i = 0; i < n; ++i) {
    sum += a[i] * b[i];
  }
  return sum;
}

/* A unit vector without a pattern, the same on every machine: SplitMix64 of the index. */
static void fill_start(double *v, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    uint64_t z = ((uint64_t)i + 1) * UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    v[i] = (double)((z ^ (z >> 31)) >> 11) * 0x1p-52 - 1.0;
  }
  const double length = sqrt(dot(v, v, n));
  for (int64_t i = 0; i < n; ++i) {
    v[i] /= length;
  }
}

/* The largest eigenvalue of g. v, before and w are rooms of [cols]; v holds the start. */
static double lanczos(gram *g, tridiagonal *t, double *v, double *before, double *w) {
  double eigenvalue = 0.0;
  double beside = 0.0;
  for (t->size = 1; t->size <= MAX_STEPS; ++t->size) {
    gram_apply(g, v, w);
    const double diagonal = dot(v, w, g->cols);
    for (int64_t j = 0; j < g->cols; ++j) {
      w[j] -= diagonal * v[j] + beside * before[j];
    }
    beside = sqrt(dot(w, w, g->cols));
    t->diagonal[t->size - 1] = diagonal;
    t->beside[t->size - 1] = beside;
    eigenvalue = largest_eigenvalue(t, eigenvalue);
    if (beside * last_component(t, eigenvalue) <= TOLERANCE * eigenvalue) {
      break;
    }
    for (int64_t j = 0; j < g->cols; ++j) {
      before[j] = v[j];
      v[j] = w[j] / beside;
    }
  }
  return eigenvalue;
}

clq_status clqi_spectral_norm(const float *a, int64_t rows, int64_t cols, const float *gamma,
                              double *norm) {
  enum { VECTORS = 5 }; /* scale, x, and three of Lanczos */
  clq_status status = CLQ_OK;
  int exponent = 0;
  int gamma_exponent = 0;
  (void)frexpf(clqi_largest(a, rows * cols), &exponent);
  if (gamma != NULL) {
    (void)frexpf(clqi_largest(gamma, cols), &gamma_exponent);
  }
  exponent += gamma_exponent;
  const size_t n = (size_t)cols;
  tridiagonal *t = clqi_calloc(1, sizeof *t);
  double *vectors = clqi_calloc(n, (VECTORS + SLICES) * sizeof *vectors);
  if (t == NULL || vectors == NULL) {
    status = clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "spectral norm: out of memory");
    goto cleanup;
  }
  gram g = {.a = a,
            .rows = rows,
            .cols = cols,
            .threads = clqi_useful_threads(4.0 * (double)rows * (double)cols),
            .scale = vectors,
            .x = vectors + n,
            .sums = vectors + VECTORS * n};
  for (int64_t j = 0; j < cols; ++j) {
    g.scale[j] = ldexp(gamma == NULL ? 1.0 : (double)gamma[j], -exponent);
  }
  double *start = vectors + 2 * n;
  fill_start(start, cols);
  *norm = ldexp(sqrt(lanczos(&g, t, start, vectors + 3 * n, vectors + 4 * n)), exponent);
cleanup:
  clqi_free(vectors);
  clqi_free(t);
  return status;
}
