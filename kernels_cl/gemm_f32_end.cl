/* What follows a product (lib/epilogue.h) that another library left as floats: element (m, n) of
 * `product` is that of row first_row + m and column first_col + n of out, which may be where it lies.
 * Launch: (columns padded to the work-group, rows), work-groups of one row. */
#include "lib/gemm_args.h"

__kernel void gemm_f32_end(CLQ_TENSOR(const float, product), CLQ_TENSOR(clq_out, out),
                           const long product_stride, const long out_stride, const int first_row,
                           const int first_col, const int width, const int cols
                               CLQ_EPILOGUE_ARGS) {
  CLQ_AT(const float, product);
  CLQ_AT(clq_out, out);
  CLQ_EPILOGUE_AT
  const int i = (int)get_global_id(0);
  if (i < width) {
    const long m = first_row + (long)get_global_id(1);
    const int n = first_col + i;
    const float v = product[(m - first_row) * product_stride + i];
    CLQ_PUT(v, m, n);
  }
}
