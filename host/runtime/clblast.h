/* CLBlast, OpenCL's BLAS: f32 products where a tuned value asks for them. The library is built with
 * its headers, where they are there, and loads it when it is first asked for. */
#ifndef CLQI_RUNTIME_CLBLAST_H
#define CLQI_RUNTIME_CLBLAST_H

#include <stdint.h>

#include <clquant/context.h>

/* Rows of f32 in a buffer; offset and stride in elements. */
typedef struct clqi_matrix {
  cl_mem mem;
  uint64_t offset;
  int64_t stride;
} clqi_matrix;

/* out[rows, cols] = x[rows, depth] * w[depth, cols], in whatever order CLBlast adds. None is 0. */
typedef struct clqi_sgemm {
  clqi_matrix x;
  clqi_matrix w;
  clqi_matrix out;
  int64_t rows, cols, depth;
} clqi_sgemm;

/* NULL if it is there, else what is missing, for "needs ...". */
const char *clqi_clblast_missing(void);

/* Enqueues the product, one command or several; *event is the last one's. The first of a shape and
 * a context compiles. Returns OpenCL's code or CLBlast's own; then there is no event. */
cl_int clqi_clblast_sgemm(const clqi_sgemm *product, cl_command_queue queue, cl_event *event);

/* Releases the programs that it holds, those of other contexts as well, which compile again. */
void clqi_clblast_clear(void);

#endif
