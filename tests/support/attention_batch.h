/* Sequences with a KV cache, for tests of attention. */
#ifndef CLQ_TESTS_ATTENTION_BATCH_H
#define CLQ_TESTS_ATTENTION_BATCH_H

#include "device.h"

enum {
  ATTENTION_SEQUENCES = 8, /* at most */
  ATTENTION_GUARD = 3      /* rows behind the last of out, which must stay as they are */
};

/* Set the numbers, then attention_fill. Keys that no row can see are NaN, k and v. */
typedef struct attention_batch {
  int64_t heads, kv_heads, head_dim, capacity;
  clq_dtype cache; /* CLQ_F32 or CLQ_F16 */
  int sequences;
  int32_t rows[ATTENTION_SEQUENCES]; /* query rows of each */
  int32_t position[ATTENTION_SEQUENCES];
  bool bidirectional;
  bool has_keys;
  int32_t keys[ATTENTION_SEQUENCES];
  int64_t window;
  float *q;    /* [all rows, heads, head_dim], in [-2, 2) */
  void *k, *v; /* [sequences, kv_heads, capacity, head_dim] in the operator's layout; in [-2, 2) and
                  [-1, 1) */
} attention_batch;

/* The same numbers for the same heads, head_dim, rows and keys: an f16 cache holds those of an f32
 * one, rounded. */
void attention_fill(attention_batch *b);
void attention_drop(attention_batch *b);
/* One sequence of it, on the same memory. */
attention_batch attention_one(const attention_batch *b, int sequence);

int64_t attention_width(const attention_batch *b);
/* Rows before a sequence; of all: before the one behind the last. */
int64_t attention_rows_before(const attention_batch *b, int sequence);
/* [sequences + 1] */
void attention_starts(const attention_batch *b, int32_t *starts);
int64_t attention_k_index(const attention_batch *b, int s, int64_t head, int64_t key, int64_t d);
int64_t attention_v_index(const attention_batch *b, int s, int64_t head, int64_t key, int64_t d);
void attention_put(const attention_batch *b, void *cache, int64_t i, float x);

/* What a call takes. */
typedef struct attention_call {
  clq_attention_args args;
  test_buffer buffers[6];
  test_buffer out;
} attention_call;

/* starts NULL: absent. out: of f32, f16, bf16, or i8 whose scale the test gives. */
attention_call attention_call_new(const test_device *d, const attention_batch *b,
                                  const int32_t *starts, clq_dtype out);
/* Waits, copies out and frees; asserts that the rows behind the last are as they were. */
void *attention_call_end(const test_device *d, attention_call *call);

/* All of it to f32. The status of the stream's finish goes to *finish if not NULL, else it must be
 * CLQ_OK. */
float *attention_run(const test_device *d, const attention_batch *b, const int32_t *starts,
                     clq_status *finish);

/* A row of a batch of one sequence in double. */
double *attention_exact(const attention_batch *b, int64_t row);
/* The largest sum over d of |scale * q[d] * k[d]| that a head of the row can have. */
double attention_score_size(const attention_batch *b, int64_t row, int64_t head);
/* Asserts that `out`, [rows, width], has the row within the bound of ops.h, and that the largest
 * error is within `relative` of the head's largest value. */
void attention_check_row(const attention_batch *b, int64_t row, const float *out, double relative);

#endif
