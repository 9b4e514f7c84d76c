#include "attention_batch.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ref/attention.h"
#include "ref/math.h"

int64_t attention_width(const attention_batch *b) { return b->heads * b->head_dim; }

int64_t attention_rows_before(const attention_batch *b, int sequence) {
  int64_t rows = 0;
  for (int s = 0; s < sequence; ++s) {
    rows += b->rows[s];
  }
  return rows;
}

void attention_starts(const attention_batch *b, int32_t *starts) {
  for (int s = 0; s <= b->sequences; ++s) {
    starts[s] = (int32_t)attention_rows_before(b, s);
  }
}

static int64_t keys_of(const attention_batch *b, int s) {
  return b->has_keys ? b->keys[s] : b->position[s] + b->rows[s];
}

static int64_t sequence_elements(const attention_batch *b) {
  return b->kv_heads * b->capacity * b->head_dim;
}

static size_t cache_bytes(const attention_batch *b) {
  return (size_t)(b->sequences * sequence_elements(b)) * clq_dtype_bytes(b->cache);
}

void attention_put(const attention_batch *b, void *cache, int64_t i, float x) {
  if (b->cache == CLQ_F16) {
    ((uint16_t *)cache)[i] = clqi_ref_f16_from_f32(x);
  } else {
    ((float *)cache)[i] = x;
  }
}

int64_t attention_k_index(const attention_batch *b, int s, int64_t head, int64_t key, int64_t d) {
  const int64_t start = (s * b->kv_heads + head) * b->capacity * b->head_dim;
  return start + key / 16 * 16 * b->head_dim + d * 16 + key % 16;
}

int64_t attention_v_index(const attention_batch *b, int s, int64_t head, int64_t key, int64_t d) {
  return ((s * b->kv_heads + head) * b->capacity + key) * b->head_dim + d;
}

void attention_fill(attention_batch *b) {
  test_random random = {(uint64_t)(b->head_dim + b->heads)};
  const int64_t elements = attention_rows_before(b, b->sequences) * attention_width(b);
  b->q = malloc((size_t)(elements + 1) * sizeof *b->q);
  b->k = malloc(cache_bytes(b));
  b->v = malloc(cache_bytes(b));
  for (int64_t i = 0; i < elements; ++i) {
    b->q[i] = 2.0f * test_random_float(&random);
  }
  for (int s = 0; s < b->sequences; ++s) {
    for (int64_t h = 0; h < b->kv_heads; ++h) {
      for (int64_t key = 0; key < b->capacity; ++key) {
        for (int64_t d = 0; d < b->head_dim; ++d) {
          const bool there = key < keys_of(b, s);
          const float k = there ? 2.0f * test_random_float(&random) : NAN;
          attention_put(b, b->k, attention_k_index(b, s, h, key, d), k);
          const float v = there ? test_random_float(&random) : NAN;
          attention_put(b, b->v, attention_v_index(b, s, h, key, d), v);
        }
      }
    }
  }
}

void attention_drop(attention_batch *b) {
  free(b->q);
  free(b->k);
  free(b->v);
}

attention_batch attention_one(const attention_batch *b, int sequence) {
  attention_batch r = *b;
  const size_t at = (size_t)(sequence * sequence_elements(b)) * clq_dtype_bytes(b->cache);
  r.sequences = 1;
  r.rows[0] = b->rows[sequence];
  r.position[0] = b->position[sequence];
  r.keys[0] = b->keys[sequence];
  r.q = b->q + attention_rows_before(b, sequence) * attention_width(b);
  r.k = (char *)b->k + at;
  r.v = (char *)b->v + at;
  return r;
}

attention_call attention_call_new(const test_device *d, const attention_batch *b,
                                  const int32_t *starts, clq_dtype out) {
  const int64_t rows = attention_rows_before(b, b->sequences);
  const int64_t width = attention_width(b);
  const size_t ints = (size_t)b->sequences * sizeof(int32_t);
  attention_call call = {
      .buffers = {test_buffer_new(d, b->q, (size_t)(rows * width) * sizeof *b->q),
                  test_buffer_new(d, b->k, cache_bytes(b)),
                  test_buffer_new(d, b->v, cache_bytes(b)), test_buffer_new(d, b->position, ints),
                  test_buffer_new(d, b->keys, ints),
                  test_buffer_new(d, starts, starts == NULL ? 4 : ints + sizeof(int32_t))},
      .out = test_buffer_new(d, NULL,
                             (size_t)((rows + ATTENTION_GUARD) * width) * clq_dtype_bytes(out))};
  const clq_tensor cache = {.dtype = b->cache,
                            .shape = {b->sequences, b->kv_heads, b->capacity, b->head_dim}};
  call.args = (clq_attention_args){
      .q = {call.buffers[0].mem, CLQ_F32, {rows, b->heads, b->head_dim}},
      .cache = {cache, cache},
      .position = {call.buffers[3].mem, CLQ_I32, {b->sequences}},
      .out = {call.out.mem, out, {rows, width}},
      .bidirectional = b->bidirectional,
      .window = b->window,
  };
  call.args.cache.k.mem = call.buffers[1].mem;
  call.args.cache.v.mem = call.buffers[2].mem;
  if (b->has_keys) {
    call.args.keys = (clq_tensor){call.buffers[4].mem, CLQ_I32, {b->sequences}};
  }
  if (starts != NULL) {
    call.args.starts = (clq_tensor){call.buffers[5].mem, CLQ_I32, {b->sequences + 1}};
  }
  return call;
}

void *attention_call_end(const test_device *d, attention_call *call) {
  const clq_tensor *out = &call->args.out;
  unsigned char *data = malloc(call->out.bytes);
  test_buffer_read(d, &call->out, data);
  const size_t end = (size_t)(out->shape[0] * out->shape[1]) * clq_dtype_bytes(out->dtype);
  for (size_t i = end; i < call->out.bytes; ++i) {
    cr_assert_eq(data[i], 0xA5, "wrote behind the last row");
  }
  for (size_t i = 0; i < sizeof call->buffers / sizeof call->buffers[0]; ++i) {
    test_buffer_free(&call->buffers[i]);
  }
  test_buffer_free(&call->out);
  return data;
}

float *attention_run(const test_device *d, const attention_batch *b, const int32_t *starts,
                     clq_status *finish) {
  attention_call call = attention_call_new(d, b, starts, CLQ_F32);
  test_ok(clq_attention(d->stream, &call.args));
  if (finish != NULL) {
    *finish = clq_stream_finish(d->stream);
  }
  return attention_call_end(d, &call);
}

double *attention_exact(const attention_batch *b, int64_t row) {
  const int64_t width = attention_width(b);
  double *exact = malloc((size_t)width * sizeof *exact);
  double *scratch = malloc((size_t)b->capacity * sizeof *scratch);
  const clqi_ref_attention r = {.q = b->q + row * width,
                                .k_cache = b->k,
                                .v_cache = b->v,
                                .out = exact,
                                .scratch = scratch,
                                .cache_dtype = b->cache,
                                .rows = 1,
                                .heads = b->heads,
                                .kv_heads = b->kv_heads,
                                .head_dim = b->head_dim,
                                .capacity = b->capacity,
                                .position = b->position[0] + row,
                                .bidirectional = b->bidirectional,
                                .keys = keys_of(b, 0),
                                .window = b->window};
  cr_assert_eq(clqi_ref_attention_run(&r), 0);
  free(scratch);
  return exact;
}

double attention_score_size(const attention_batch *b, int64_t row, int64_t head) {
  const float *q = b->q + (row * b->heads + head) * b->head_dim;
  double size = 0.0;
  for (int64_t d = 0; d < b->head_dim; ++d) {
    size += 2.0 * fabs((double)q[d]);
  }
  return size / sqrt((double)b->head_dim);
}

void attention_check_row(const attention_batch *b, int64_t row, const float *out, double relative) {
  const int64_t width = attention_width(b);
  double *exact = attention_exact(b, row);
  for (int64_t head = 0; head < b->heads; ++head) {
    const double bound = 0x1p-21 * (1.0 + attention_score_size(b, row, head));
    double error = 0.0;
    double largest = 0.0;
    for (int64_t i = head * b->head_dim; i < (head + 1) * b->head_dim; ++i) {
      const double e = fabs((double)out[row * width + i] - exact[i]);
      cr_assert(e <= bound, "row %lld, element %lld: %g, expected %g (head_dim %lld)",
                (long long)row, (long long)i, (double)out[row * width + i], exact[i],
                (long long)b->head_dim);
      error = fmax(error, e);
      largest = fmax(largest, fabs(exact[i]));
    }
    cr_assert(error <= relative * largest, "row %lld, head %lld: relative error %g, at most %g",
              (long long)row, (long long)head, error / largest, relative);
  }
  free(exact);
}
