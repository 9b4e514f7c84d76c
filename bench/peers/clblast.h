/* CLBlast, OpenCL's BLAS, as a peer. It is loaded when it is asked for, so that the command's other
 * uses pay nothing for it. */
#ifndef CLQ_BENCH_PEERS_CLBLAST_H
#define CLQ_BENCH_PEERS_CLBLAST_H

#include <stdint.h>

#include <clquant/context.h>

/* Loads it: NULL, or a sentence why it is not there. */
const char *bench_clblast_open(void);
/* "CLBlast 1.5.3", of the headers that this was built with. */
const char *bench_clblast_version(void);
/* Enqueues out[m, n] = x[m, k] * w[n, k]^T, dense f32 throughout: Sgemv for one row, else Sgemm.
 * 0, or CLBlast's status. */
int bench_clblast_product(cl_command_queue queue, int64_t m, int64_t n, int64_t k, cl_mem x,
                          cl_mem w, cl_mem out);
/* Releases the programs that it holds; before the OpenCL context goes. */
void bench_clblast_close(void);

#endif
