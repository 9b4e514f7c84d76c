/* The Frobenius norm of a product that is never stored as a whole: a block of its columns at a
 * time, each block by one thread. */
#include <math.h>
#include <string.h>

#include "quant/norms.h"
#include "quant/parallel.h"
#include "runtime/checked.h"
#include "runtime/cpu.h"
#include "runtime/memory.h"
#include "runtime/status.h"

enum {
  TILE_ROWS = 6,
  TILE_COLS = 16,
  BLOCK_COLS = 128, /* of the product, one share of the loop */
  BLOCK_DEPTH = 256 /* summed in f32 */
};

/* Or the sums would live in memory. */
#if defined(__clang__)
#define UNROLLED _Pragma("clang loop unroll(full)")
#else
#define UNROLLED _Pragma("GCC unroll 8")
#endif

#define TILE_NAME   tile_plain
#define TILE_VECTOR plain_vector
#define TILE_BYTES  16
#define TILE_TARGET
#include "quant/product_tile.h"

#if defined(__x86_64__)
#define TILE_NAME   tile_avx2
#define TILE_VECTOR avx2_vector
#define TILE_BYTES  32
#define TILE_TARGET __attribute__((target("avx2")))
#include "quant/product_tile.h"
#endif

typedef void (*tile_function)(const float *const rows[TILE_ROWS], const float *panel, int64_t depth,
                              float sums[TILE_ROWS][TILE_COLS]);

static tile_function choose_tile(void) {
#if defined(__x86_64__)
  if (clqi_cpu_has_avx2()) {
    return tile_avx2;
  }
#endif
  return tile_plain;
}

/* What one thread needs: a block of B, [BLOCK_COLS / TILE_COLS][BLOCK_DEPTH][TILE_COLS], and the
 * block's columns of the product, [rows][BLOCK_COLS]. */
typedef struct room {
  float *panels;
  double *sums;
} room;

typedef struct product_loop {
  const clqi_product *product;
  tile_function tile;
  double b_scale; /* B diag(gamma) is taken times this, which brings all products near 1, */
  double back;    /* and sums times this */
  room rooms[CLQI_MAX_THREADS];
  double *squares; /* [blocks] */
} product_loop;

static double gamma_of(const clqi_product *p, int64_t col) {
  return p->gamma == NULL ? 1.0 : (double)p->gamma[col];
}

static int64_t min_i64(int64_t a, int64_t b) { return a < b ? a : b; }

/* Rows [k, k + depth) of B diag(gamma), columns [col, col + cols), scaled; missing columns of the
 * last panel are zero. */
static void pack_panels(const product_loop *loop, int64_t k, int64_t depth, int64_t col,
                        int64_t cols, float *panels) {
  const clqi_product *p = loop->product;
  double column_scale[BLOCK_COLS] = {0};
  for (int64_t j = 0; j < cols; ++j) {
    column_scale[j] = gamma_of(p, col + j) * loop->b_scale;
  }
  for (int64_t first = 0; first < cols; first += TILE_COLS) {
    const int64_t width = min_i64(TILE_COLS, cols - first);
    for (int64_t i = 0; i < depth; ++i) {
      const float *from = p->b + (k + i) * p->cols + col + first;
      float *to = panels + first * BLOCK_DEPTH + i * TILE_COLS;
      memset(to, 0, TILE_COLS * sizeof *to);
      for (int64_t j = 0; j < width; ++j) {
        to[j] = (float)((double)from[j] * column_scale[first + j]);
      }
    }
  }
}

/* Adds the products over `depth` of all rows of A with the packed block. */
static void add_products(const product_loop *loop, int64_t k, int64_t depth, int64_t cols,
                         const room *r) {
  const clqi_product *p = loop->product;
  float tile[TILE_ROWS][TILE_COLS];
  const float *rows[TILE_ROWS];
  for (int64_t first = 0; first < p->rows; first += TILE_ROWS) {
    const int64_t height = min_i64(TILE_ROWS, p->rows - first);
    for (int64_t i = 0; i < TILE_ROWS; ++i) {
      rows[i] = p->a + (first + min_i64(i, height - 1)) * p->depth + k;
    }
    for (int64_t col = 0; col < cols; col += TILE_COLS) {
      loop->tile(rows, r->panels + col * BLOCK_DEPTH, depth, tile);
      for (int64_t i = 0; i < height; ++i) {
        double *sums = r->sums + (first + i) * BLOCK_COLS + col;
        for (int64_t j = 0; j < TILE_COLS; ++j) {
          sums[j] += (double)tile[i][j];
        }
      }
    }
  }
}

static double sum_of_squares(const product_loop *loop, int64_t col, int64_t cols, const room *r) {
  const clqi_product *p = loop->product;
  double total = 0.0;
  for (int64_t i = 0; i < p->rows; ++i) {
    for (int64_t j = 0; j < cols; ++j) {
      double value = r->sums[i * BLOCK_COLS + j] * loop->back;
      if (p->identity && i == col + j) {
        value += gamma_of(p, i);
      }
      total += value * value;
    }
  }
  return total;
}

static void product_block(void *argument, int64_t index, int thread) {
  product_loop *loop = argument;
  const clqi_product *p = loop->product;
  const room *r = &loop->rooms[thread];
  const int64_t col = index * BLOCK_COLS;
  const int64_t cols = min_i64(BLOCK_COLS, p->cols - col);
  memset(r->sums, 0, (size_t)p->rows * BLOCK_COLS * sizeof *r->sums);
  for (int64_t k = 0; k < p->depth; k += BLOCK_DEPTH) {
    const int64_t depth = min_i64(BLOCK_DEPTH, p->depth - k);
    pack_panels(loop, k, depth, col, cols, r->panels);
    add_products(loop, k, depth, cols, r);
  }
  loop->squares[index] = sum_of_squares(loop, col, cols, r);
}

float clqi_largest(const float *x, int64_t n) {
  float largest = 0.0f;
  for (int64_t i = 0; i < n; ++i) {
    largest = fmaxf(largest, fabsf(x[i]));
  }
  return largest;
}

/* Powers of two that keep f32 sums of products of finite numbers from overflow, and from underflow
 * where they count. */
static void choose_scales(product_loop *loop) {
  const clqi_product *p = loop->product;
  int a = 0;
  int b = 0;
  int g = 0;
  (void)frexpf(clqi_largest(p->a, p->rows * p->depth), &a);
  (void)frexpf(clqi_largest(p->b, p->depth * p->cols), &b);
  if (p->gamma != NULL) {
    (void)frexpf(clqi_largest(p->gamma, p->cols), &g);
  }
  /* A is taken as it is, so only as much of its exponent can be taken from B as leaves B normal. */
  a = a > 64 ? 64 : a < -64 ? -64 : a;
  loop->b_scale = ldexp(1.0, -(a + b + g));
  loop->back = ldexp(p->factor, a + b + g);
}

clq_status clqi_product_norm(const clqi_product *product, double *norm) {
  clq_status status = CLQ_OK;
  const int64_t blocks = clqi_div_up(product->cols, BLOCK_COLS);
  product_loop loop = {.product = product, .tile = choose_tile()};
  const double operations =
      2.0 * (double)product->rows * (double)product->depth * (double)product->cols;
  const int threads = (int)min_i64(clqi_useful_threads(operations), blocks);
  choose_scales(&loop);
  loop.squares = clqi_calloc((size_t)blocks, sizeof *loop.squares);
  bool fits = loop.squares != NULL;
  for (int t = 0; fits && t < threads; ++t) {
    room *r = &loop.rooms[t];
    r->panels = clqi_calloc((size_t)BLOCK_COLS * BLOCK_DEPTH, sizeof *r->panels);
    r->sums = clqi_calloc((size_t)product->rows, BLOCK_COLS * sizeof *r->sums);
    fits = r->panels != NULL && r->sums != NULL;
  }
  if (!fits) {
    status = clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "norm of a product: out of memory");
    goto cleanup;
  }
  clqi_parallel(product_block, &loop, blocks, threads);
  double total = 0.0;
  for (int64_t i = 0; i < blocks; ++i) {
    total += loop.squares[i];
  }
  *norm = sqrt(total);
cleanup:
  for (int t = 0; t < threads; ++t) {
    clqi_free(loop.rooms[t].panels);
    clqi_free(loop.rooms[t].sums);
  }
  clqi_free(loop.squares);
  return status;
}
