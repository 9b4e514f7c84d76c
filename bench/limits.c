/* Measures the limits, and `clq bench limits`, which prints them one by one. */
#include "limits.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"
#include "cli.h"

enum { REPETITIONS = 7 };

static int compare(const void *a, const void *b) {
  const double x = *(const double *)a;
  const double y = *(const double *)b;
  return (x > y) - (x < y);
}

double bench_median(double *values, size_t count) {
  if (count == 0) {
    return 0.0;
  }
  qsort(values, count, sizeof *values, compare);
  return values[(count - 1) / 2];
}

double bench_limits_copy(const bench_limits *limits) {
  return limits->copy_plain > limits->copy_nontemporal ? limits->copy_plain
                                                       : limits->copy_nontemporal;
}

size_t bench_last_cache_bytes(const clq_context *context) {
  const size_t least = 8U << 20;
  cl_ulong cache = 0;
  long bytes = 0;
#if defined(_SC_LEVEL3_CACHE_SIZE)
  if (strcmp(clq_context_info(context)->type, "cpu") == 0) {
    bytes = sysconf(_SC_LEVEL3_CACHE_SIZE);
  }
#endif
  if (bytes <= 0 && clGetDeviceInfo(clq_context_device(context), CL_DEVICE_GLOBAL_MEM_CACHE_SIZE,
                                    sizeof cache, &cache, NULL) == CL_SUCCESS) {
    bytes = (long)cache;
  }
  return bytes > (long)least ? (size_t)bytes : least;
}

/* Well past the last cache, but no more than a sixteenth of the memory. */
static size_t array_bytes(const clq_context *context) {
  const uint64_t memory = clq_context_info(context)->global_bytes;
  uint64_t bytes = 8U * (uint64_t)bench_last_cache_bytes(context);
  const uint64_t least = 128U << 20;
  const uint64_t most = 512U << 20;
  bytes = bytes < least ? least : bytes > most ? most : bytes;
  bytes = bytes > memory / 16 ? memory / 16 : bytes;
  return (size_t)bytes / 4096 * 4096;
}

/* Passes of arithmetic that take some milliseconds, also when this thread was interrupted while
 * they were tried. */
static long calibrate(bench_loop loop, int threads) {
  long passes = 16;
  for (int long_enough = 0; long_enough < 3 && passes < (1L << 24);) {
    const double seconds = (double)passes * bench_loop_seconds(loop, threads, NULL, 0, passes);
    if (seconds <= 0.0) {
      break;
    }
    if (seconds > 0.004) {
      ++long_enough;
    } else {
      passes *= 2;
    }
  }
  return passes;
}

static double rate(double amount, double seconds) { return seconds > 0.0 ? amount / seconds : 0.0; }

static void measure_cpu(bench_limits *l, bench_arrays *arrays) {
  double seconds[BENCH_LOOP_COUNT][REPETITIONS];
  long passes[BENCH_LOOP_COUNT];
  for (int loop = 0; loop < BENCH_LOOP_COUNT; ++loop) {
    passes[loop] = loop < BENCH_LOOP_FP32 ? 1 : calibrate((bench_loop)loop, l->threads);
  }
  for (int r = 0; r < REPETITIONS && !cli_interrupted(); ++r) {
    for (int loop = 0; loop < BENCH_LOOP_COUNT; ++loop) {
      seconds[loop][r] = bench_loop_seconds((bench_loop)loop, l->threads, arrays,
                                            (size_t)l->array_bytes, passes[loop]);
    }
  }
  if (cli_interrupted()) {
    return;
  }
  double figures[BENCH_LOOP_COUNT];
  for (int loop = 0; loop < BENCH_LOOP_COUNT; ++loop) {
    const double amount = loop == BENCH_LOOP_READ  ? l->array_bytes
                          : loop < BENCH_LOOP_FP32 ? 2.0 * l->array_bytes
                                                   : bench_loop_ops((bench_loop)loop, l->threads);
    figures[loop] = rate(amount, bench_median(seconds[loop], REPETITIONS));
  }
  l->read = figures[BENCH_LOOP_READ];
  l->copy_plain = figures[BENCH_LOOP_COPY];
  l->copy_nontemporal = figures[BENCH_LOOP_COPY_NONTEMPORAL];
  l->fp32 = figures[BENCH_LOOP_FP32];
  l->int8_plain = figures[BENCH_LOOP_INT8_PLAIN];
  l->int8_pairs = figures[BENCH_LOOP_INT8_PAIRS];
  l->int8 = figures[BENCH_LOOP_INT8];
  l->int8 = l->int8_pairs > l->int8 ? l->int8_pairs : l->int8;
}

int bench_limits_measure(clq_context *context, clq_stream *stream, bench_limits *limits) {
  const clq_device_info *info = clq_context_info(context);
  *limits = (bench_limits){.on_cpu = strcmp(info->type, "cpu") == 0,
                           .threads = (int)info->compute_units,
                           .array_bytes = (double)array_bytes(context)};
  if (!limits->on_cpu) {
    return bench_limits_kernels(context, stream, limits);
  }
  bench_arrays *arrays = bench_arrays_new((size_t)limits->array_bytes);
  if (arrays == NULL) {
    return cli_fail_memory();
  }
  measure_cpu(limits, arrays);
  bench_arrays_free(arrays);
  return CLI_DONE;
}

/* --- clq bench limits --- */

static void emit(bench_case *c, const char *name, double bytes_per_second, double ops_per_second) {
  if (bytes_per_second == 0.0 && ops_per_second == 0.0) {
    return;
  }
  bench_record *r = &c->record;
  *r = (bench_record){.repetitions = REPETITIONS};
  (void)snprintf(r->variant, sizeof r->variant, "%s", name);
  r->bytes = bytes_per_second == 0.0 ? 0.0 : c->session->limits.array_bytes;
  r->ops = ops_per_second == 0.0 ? 0.0 : 1e9;
  r->real_ns = r->bytes > 0.0 ? 1e9 * r->bytes / bytes_per_second : 1e9 * r->ops / ops_per_second;
  r->device_ns = r->min_ns = r->real_ns;
  bench_emit(c);
}

static void run(bench_case *c) {
  const bench_limits *l = &c->session->limits;
  bench_measuring(c);
  if (bench_over(c)) {
    return;
  }
  emit(c, "read", l->read, 0.0);
  emit(c, "copy_plain", l->copy_plain, 0.0);
  emit(c, "copy_nontemporal", l->copy_nontemporal, 0.0);
  emit(c, "fp32_fma", 0.0, l->fp32);
  emit(c, "int8_dot", 0.0, l->int8);
  emit(c, "int8_avx2_pairs_w4", 0.0, l->int8_pairs);
  emit(c, "int8_avx2_plain", 0.0, l->int8_plain);
}

extern const bench_op bench_op_limits;
const bench_op bench_op_limits = {.name = "limits", .run = run};
