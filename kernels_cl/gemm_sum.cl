/* Zeroes the sums of codes of the rows, to which the tiles of a GEMM then add what each has of a
 * row (lib/epilogue.h): no order of work-groups within one launch lets the first one do it.
 * Launch: (rows padded to the work-group). */
#include "lib/tensor.h"

__kernel void gemm_sum_zero(CLQ_TENSOR(int, sum), const int rows) {
  CLQ_AT(int, sum);
  const long m = (long)get_global_id(0);
  if (m < rows) {
    sum[m] = 0;
  }
}
