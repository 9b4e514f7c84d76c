#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "attention_batch.h"
#include "opencl.h"
#include "ref/math.h"
#include "runtime/context.h"
#include "sched/plan.h"

TestSuite(attention_sizes, .fini = opencl_none_live);

/* Seven lines a row: the same program serves a decode step and a prefill. */
static attention_batch sequence(int64_t head_dim, clq_dtype cache, int32_t rows) {
  return (attention_batch){.heads = 7,
                           .kv_heads = 1,
                           .head_dim = head_dim,
                           .capacity = (rows + 31) / 16 * 16,
                           .cache = cache,
                           .sequences = 1,
                           .rows = {rows}};
}

/* Every head_dim that a cache can have with CLQ_TEST_LONG, else some: each is a program. A row
 * alone has the bits that it has among others. */
Test(attention_sizes, head_dims) {
  const bool every = getenv("CLQ_TEST_LONG") != NULL;
  test_device d = test_device_open(NULL);
  for (int64_t head_dim = 16; head_dim <= 256; head_dim += 16) {
    if (!every && head_dim != 16 && head_dim != 80 && head_dim != 96 && head_dim != 256) {
      continue;
    }
    attention_batch b = sequence(head_dim, head_dim % 32 == 0 ? CLQ_F16 : CLQ_F32, 37);
    attention_fill(&b);
    const int64_t width = attention_width(&b);
    float *all = attention_run(&d, &b, NULL, NULL);
    for (int32_t row = 0; row < b.rows[0]; row += 12) {
      attention_check_row(&b, row, all, 1e-5);
      attention_batch last = b;
      last.q = b.q + row * width;
      last.rows[0] = 1;
      last.position[0] = row;
      float *alone = attention_run(&d, &last, NULL, NULL);
      cr_assert_arr_eq(alone, all + row * width, (size_t)width * sizeof *all);
      free(alone);
    }
    free(all);
    attention_drop(&b);
  }
  test_device_close(&d);
}

/* The portable form has the same bits for head sizes that no power of two divides. */
Test(attention_sizes, head_dims_of_the_portable_form) {
  static const int64_t head_dims[] = {80, 96};
  for (size_t i = 0; i < sizeof head_dims / sizeof head_dims[0]; ++i) {
    attention_batch b = sequence(head_dims[i], head_dims[i] % 32 == 0 ? CLQ_F16 : CLQ_F32, 37);
    attention_fill(&b);
    float *out[2];
    for (int portable = 0; portable < 2; ++portable) {
      test_device d = test_device_open(portable ? "cpu" : NULL);
      out[portable] = attention_run(&d, &b, NULL, NULL);
      test_device_close(&d);
    }
    cr_assert_arr_eq(out[0], out[1], (size_t)(37 * attention_width(&b)) * sizeof(float));
    free(out[0]);
    free(out[1]);
    attention_drop(&b);
  }
}

/* Relative error of at most 1e-5 with up to 4097 keys, alone and as the last of some rows. */
Test(attention_sizes, lengths) {
  static const int32_t lengths[] = {1, 2, 15, 17, 255, 256, 257, 511, 1000, 2049, 4097};
  test_device d = test_device_open(NULL);
  attention_batch b = sequence(80, CLQ_F32, 4097);
  attention_fill(&b);
  const int64_t width = attention_width(&b);
  for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; ++i) {
    const int32_t before = lengths[i] < 5 ? lengths[i] - 1 : 4;
    attention_batch last = b;
    last.position[0] = lengths[i] - 1 - before;
    last.rows[0] = before + 1;
    last.q = b.q + last.position[0] * width;
    float *rows = attention_run(&d, &last, NULL, NULL);
    attention_check_row(&last, before, rows, 1e-5);
    attention_batch one = last;
    one.position[0] = lengths[i] - 1;
    one.rows[0] = 1;
    one.q = last.q + before * width;
    float *alone = attention_run(&d, &one, NULL, NULL);
    cr_assert_arr_eq(alone, rows + before * width, (size_t)width * sizeof *rows);
    free(rows);
    free(alone);
  }
  attention_drop(&b);
  test_device_close(&d);
}

/* What rounding keys and values to f16 costs: a score moves by at most 2^-11 S and a value by 2^-11
 * of the largest, so that the result is within (exp(2 * 2^-11 S) - 1 + 2^-11) max |v|, rounding
 * aside. */
Test(attention_sizes, caches_of_halves) {
  test_device d = test_device_open(NULL);
  attention_batch half = sequence(96, CLQ_F32, 300);
  half.cache = CLQ_F16;
  attention_batch exact = sequence(96, CLQ_F32, 300);
  attention_fill(&half);
  attention_fill(&exact);
  const int64_t width = attention_width(&half);
  float *out = attention_run(&d, &half, NULL, NULL);
  double worst = 0.0;
  for (int64_t row = 0; row < 300; row += 23) {
    double *want = attention_exact(&exact, row);
    for (int64_t i = 0; i < width; ++i) {
      const double size = attention_score_size(&half, row, i / half.head_dim);
      const double error = fabs((double)out[row * width + i] - want[i]);
      cr_assert(error <= expm1(0x1p-10 * size) + 0x1p-11 + 0x1p-21 * (1.0 + size));
      worst = fmax(worst, error);
    }
    free(want);
  }
  cr_assert(worst > 1e-5, "nothing was rounded");
  free(out);
  attention_drop(&half);
  attention_drop(&exact);
  test_device_close(&d);
}

static uint16_t code_of(clq_dtype type, float x, float scale) {
  switch (type) {
    case CLQ_F16: return clqi_ref_f16_from_f32(x);
    case CLQ_BF16: return clqi_ref_bf16_from_f32(x);
    default: return (uint8_t)(int8_t)fmaxf(fminf(rintf(x * (1.0f / scale)), 127.0f), -128.0f);
  }
}

/* out in f16, bf16 and codes with one scale are the f32 result, rounded. */
Test(attention_sizes, types_of_out) {
  static const clq_dtype types[] = {CLQ_F16, CLQ_BF16, CLQ_I8};
  static const float scale = 0.004f; /* some saturate */
  attention_batch b = sequence(16, CLQ_F32, 20);
  b.heads = 2;
  b.kv_heads = 2;
  attention_fill(&b);
  const int64_t count = 20 * attention_width(&b);
  for (int portable = 0; portable < 2; ++portable) {
    test_device d = test_device_open(portable ? "cpu" : NULL);
    float *exact = attention_run(&d, &b, NULL, NULL);
    for (size_t t = 0; t < sizeof types / sizeof types[0]; ++t) {
      test_buffer scales = test_buffer_new(&d, &scale, sizeof scale);
      attention_call call = attention_call_new(&d, &b, NULL, types[t]);
      if (types[t] == CLQ_I8) {
        call.args.out.quant = (clq_quant){.per = CLQ_PER_TENSOR, .scale = scales.mem};
      }
      test_ok(clq_attention(d.stream, &call.args));
      void *out = attention_call_end(&d, &call);
      for (int64_t i = 0; i < count; ++i) {
        const uint16_t got = types[t] == CLQ_I8 ? ((uint8_t *)out)[i] : ((uint16_t *)out)[i];
        cr_assert_eq(got, code_of(types[t], exact[i], scale), "type %d, element %lld: %d of %g",
                     (int)types[t], (long long)i, got, (double)exact[i]);
      }
      free(out);
      test_buffer_free(&scales);
    }
    free(exact);
    test_device_close(&d);
  }
  attention_drop(&b);
}

/* Bytes that a plan of one attention node takes beside its arguments, its result among them. */
static double plan_bytes(const test_device *d, int64_t rows, int64_t capacity) {
  test_buffer q = test_buffer_new(d, NULL, (size_t)(rows * 7 * 16) * sizeof(float));
  test_buffer cache = test_buffer_new(d, NULL, (size_t)(capacity * 16) * sizeof(float));
  const clq_tensor kv = {cache.mem, CLQ_F32, {1, 1, capacity, 16}};
  clq_graph *graph = NULL;
  clq_plan *plan = NULL;
  test_ok(clq_graph_create(d->context, &graph));
  const clq_tensor out = clq_graph_edge(graph, CLQ_F32, 2, (int64_t[]){rows, 7 * 16});
  test_ok(clq_graph_add(
      graph, CLQ_OP_ATTENTION,
      &(clq_attention_args){.q = {q.mem, CLQ_F32, {rows, 7, 16}}, .cache = {kv, kv}, .out = out}));
  test_ok(clq_plan_create(graph, &plan));
  clq_plan_stats stats;
  clq_plan_get_stats(plan, &stats);
  double bytes = (double)stats.arena_bytes;
  for (int32_t i = 0; i < plan->scratch_count; ++i) {
    bytes += (double)plan->scratch[i].bytes;
  }
  clq_plan_destroy(plan);
  clq_graph_destroy(graph);
  test_buffer_free(&q);
  test_buffer_free(&cache);
  return bytes;
}

/* A prefill of so many rows takes its result and no more; a decode step on many compute units a
 * part a chunk. */
Test(attention_sizes, memory_is_linear_in_length) {
  test_device d = test_device_open(NULL);
  const uint32_t units = d.context->info.compute_units;
  for (int64_t length = 512; length <= 8192; length *= 4) {
    d.context->info.compute_units = 1;
    const double result = (double)(length * 7 * 16) * sizeof(float);
    cr_assert_eq(plan_bytes(&d, length, length), result);
    d.context->info.compute_units = 4096;
    const double parts = 7.0 * (double)length / 256.0 * (16.0 + 2.0) * sizeof(float);
    const double one = plan_bytes(&d, 1, length);
    cr_assert(one >= parts + 7 * 16 * sizeof(float) && one <= parts + 4096, "%g, expected %g", one,
              parts);
  }
  d.context->info.compute_units = units;
  test_device_close(&d);
}
