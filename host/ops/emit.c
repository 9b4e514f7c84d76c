#include "ops/emit.h"

#include <stdarg.h>
#include <stdio.h>

/* lib/emit.h names output types by the numbers of clq_dtype. */
_Static_assert(CLQ_F32 == 1 && CLQ_F16 == 2 && CLQ_I8 == 4, "CLQ_OUT_* of lib/emit.h");

void clqi_options(char options[CLQI_OPTIONS_BYTES], const char *format, ...) {
  va_list args;
  va_start(args, format);
  (void)vsnprintf(options, CLQI_OPTIONS_BYTES, format, args);
  va_end(args);
}

void clqi_infer_shape(clq_tensor *out, const clq_tensor *like) {
  for (int d = 0; d < CLQ_MAX_DIMS; ++d) {
    if (out->shape[d] != 0) {
      return;
    }
  }
  for (int d = 0; d < CLQ_MAX_DIMS; ++d) {
    out->shape[d] = like->shape[d];
  }
}

clq_status clqi_check_output(const char *op, const clq_tensor *out, int64_t rows, int64_t cols) {
  const unsigned types = CLQI_DT(CLQ_F32) | CLQI_DT(CLQ_F16) | CLQI_DT(CLQ_I8);
  CLQI_TRY(clqi_check_tensor(op, "out", out, 2, types));
  CLQI_TRY(clqi_check_extent(op, "out", out, 0, rows, "rows of the input"));
  CLQI_TRY(clqi_check_extent(op, "out", out, 1, cols, "cols of the input"));
  CLQI_TRY(clqi_check_quant(op, "out", out, CLQI_GR(CLQ_PER_TOKEN) | CLQI_GR(CLQ_PER_GROUP), 0));
  CLQI_REQUIRE(out->quant.zero == NULL, "%s: out is symmetric; its zero plane must be absent", op);
  return CLQ_OK;
}

const char *clqi_emit_option(const clq_tensor *out) {
  switch (out->dtype) {
    case CLQ_F16: return "-DCLQ_OUT=2";
    case CLQ_I8: return "-DCLQ_OUT=4";
    default: return "-DCLQ_OUT=1";
  }
}

int64_t clqi_emit_group(const clq_tensor *out, int64_t cols) {
  return out->quant.per == CLQ_PER_GROUP ? out->quant.group : cols;
}

double clqi_emit_bytes(const clq_tensor *out, int64_t rows, int64_t cols) {
  const double planes = (out->quant.sum != NULL ? 8.0 : 4.0);
  return (double)rows * (double)cols * (double)clq_dtype_bytes(out->dtype) +
         planes * (double)clqi_scale_count(out, rows, cols);
}
