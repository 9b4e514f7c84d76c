#ifndef CLQ_CLI_KERNEL_LABEL_H
#define CLQ_CLI_KERNEL_LABEL_H

#include <stdint.h>

#include <clquant/graph.h>

/* A line of the table has 100 columns, 42 of them numbers. */
enum { CLI_LABEL_BYTES = 59 };

/* A short name for the i-th of the kernels: its own, what it reads and makes in words, and of its
 * other build options those that tell it from others in the list, as "gemm_f32_tile q8_0 x f32 ->
 * f32 rows=8". */
void cli_kernel_label(const clq_kernel_time *kernels, int32_t count, int32_t i,
                      char label[CLI_LABEL_BYTES]);

#endif
