/* What the machine itself can do, measured in the run whose figures it stands
 * beside. On CPU devices the figures come from plain C with as many threads as
 * the driver has compute units; elsewhere from small kernels. */
#ifndef CLQ_BENCH_LIMITS_H
#define CLQ_BENCH_LIMITS_H

#include <stdbool.h>
#include <stddef.h>

#include <clquant/context.h>

typedef struct bench_limits {
  bool on_cpu;
  int threads;
  double array_bytes;      /* of each array of the bandwidth figures */
  double read;             /* bytes per second */
  double copy_plain;       /* bytes per second, read and written both counted */
  double copy_nontemporal; /* 0: there is no such loop here */
  double fp32;             /* operations per second; a multiply-add is two */
  double int8;             /* of the best loop below */
  double int8_pairs; /* AVX2 only: products of 4-bit weights, pairs added in int16 first; 0: not
                        measured */
  double int8_plain; /* AVX2 only: vpmaddubsw, vpmaddwd, vpaddd */
} bench_limits;

/* 0, or an exit code after a sentence on stderr. */
int bench_limits_measure(clq_context *context, clq_stream *stream, bench_limits *limits);

/* The faster copy. */
double bench_limits_copy(const bench_limits *limits);

/* Names of what the CPU has, "avx2" and so on; NULL past the last. */
const char *bench_cpu_feature(int i);

/* Bytes of the largest cache that the operating system or the driver tells of. */
size_t bench_last_cache_bytes(const clq_context *context);

/* --- the loops on a CPU; limits_cpu.c --- */

typedef enum bench_loop {
  BENCH_LOOP_READ,
  BENCH_LOOP_COPY,
  BENCH_LOOP_COPY_NONTEMPORAL,
  BENCH_LOOP_FP32,
  BENCH_LOOP_INT8,
  BENCH_LOOP_INT8_PAIRS,
  BENCH_LOOP_INT8_PLAIN,
  BENCH_LOOP_COUNT
} bench_loop;

typedef struct bench_arrays bench_arrays;
/* Two arrays whose pages are there, aligned to 64 bytes; NULL without memory. */
bench_arrays *bench_arrays_new(size_t bytes_each);
void bench_arrays_free(bench_arrays *arrays);

/* Seconds of one pass over the first `bytes` bytes of the arrays (copy: of each), or of `passes`
 * loops of arithmetic; 0 if the CPU has no such loop. */
double bench_loop_seconds(bench_loop loop, int threads, bench_arrays *arrays, size_t bytes,
                          long passes);
/* Operations in one pass of arithmetic, all threads together; 0 if there is no such loop. */
double bench_loop_ops(bench_loop loop, int threads);

/* --- limits_kernels.c --- */

int bench_limits_kernels(clq_context *context, clq_stream *stream, bench_limits *limits);

/* Sorts; of an even number the lower middle. */
double bench_median(double *values, size_t count);

#endif
