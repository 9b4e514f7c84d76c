#include "ops/epilogue.h"

#include <stdio.h>

#include "ops/emit.h"
#include "quant/weights.h"

_Static_assert(CLQ_ACTIVATION_RELU == 1 && CLQ_ACTIVATION_GELU == 2 &&
                   CLQ_ACTIVATION_GELU_TANH == 3 && CLQ_ACTIVATION_SILU == 4,
               "CLQ_RELU ... of lib/activation.h");

static const char NAME[] = "gemm";
static const unsigned FLOATS = CLQI_DT(CLQ_F32) | CLQI_DT(CLQ_F16) | CLQI_DT(CLQ_BF16);

/* An optional [rows, cols]. */
static clq_status check_matrix(const char *arg, const clq_tensor *t, int64_t rows, int64_t cols) {
  if (!clqi_present(t)) {
    return CLQ_OK;
  }
  CLQI_TRY(clqi_check_tensor(NAME, arg, t, 2, FLOATS));
  CLQI_TRY(clqi_check_extent(NAME, arg, t, 0, rows, "rows of x"));
  return clqi_check_extent(NAME, arg, t, 1, cols, "N of the weights");
}

/* What the weights' outlier columns meet: there if they are. */
static clq_status check_outliers(const clq_gemm_args *args, int64_t rows) {
  const int32_t count = args->weights->outlier_count;
  const bool given = clqi_present(&args->x_outliers);
  CLQI_REQUIRE(given || count == 0,
               "gemm: the weights have %d outlier columns, but x_outliers is missing", (int)count);
  CLQI_REQUIRE(!given || count > 0,
               "gemm: x_outliers is given, but the weights have no outlier columns");
  if (!given) {
    return CLQ_OK;
  }
  CLQI_TRY(clqi_check_tensor(NAME, "x_outliers", &args->x_outliers, 2, FLOATS));
  CLQI_TRY(clqi_check_extent(NAME, "x_outliers", &args->x_outliers, 0, rows, "rows of x"));
  return clqi_check_extent(NAME, "x_outliers", &args->x_outliers, 1, count,
                           "outlier columns of the weights");
}

clq_status clqi_check_epilogue(const clq_gemm_args *args, int64_t rows, int64_t cols) {
  CLQI_TRY(check_outliers(args, rows));
  if (clqi_present(&args->bias)) {
    CLQI_TRY(clqi_check_tensor(NAME, "bias", &args->bias, 1, FLOATS));
    CLQI_TRY(clqi_check_extent(NAME, "bias", &args->bias, 0, cols, "N of the weights"));
  }
  CLQI_REQUIRE(args->activation >= 0 && args->activation <= CLQ_ACTIVATION_SILU,
               "gemm: activation is %d, expected one of clq_activation (0 to 4)",
               (int)args->activation);
  CLQI_TRY(check_matrix("gate", &args->gate, rows, cols));
  CLQI_TRY(check_matrix("residual", &args->residual, rows, cols));
  const clq_tensor *out = &args->out;
  CLQI_TRY(clqi_check_tensor(NAME, "out", out, 2, FLOATS | CLQI_DT(CLQ_I8) | CLQI_DT(CLQ_U8)));
  CLQI_TRY(clqi_check_extent(NAME, "out", out, 0, rows, "rows of x"));
  CLQI_TRY(clqi_check_extent(NAME, "out", out, 1, cols, "N of the weights"));
  /* No tile of a launch has seen a whole row. */
  CLQI_TRY(
      clqi_check_quant(NAME, "out", out, CLQI_GR(CLQ_PER_TENSOR) | CLQI_GR(CLQ_PER_CHANNEL), 0));
  return clqi_check_output(NAME, out, rows, cols);
}

bool clqi_out_holds_sums(const clq_gemm_args *args) {
  const clq_tensor *out = &args->out;
  const bool residual_there = clqi_present(&args->residual) && args->residual.mem == out->mem &&
                              args->residual.offset == out->offset;
  return out->dtype == CLQ_F32 && !residual_there;
}

bool clqi_epilogue_is_plain(const clq_gemm_args *args) {
  return !clqi_present(&args->bias) && args->activation == CLQ_ACTIVATION_NONE &&
         !clqi_present(&args->gate) && !clqi_present(&args->residual) &&
         !clqi_present(&args->x_outliers) && !clqi_is_codes(&args->out);
}

void clqi_epilogue_options(const clq_gemm_args *args, char options[CLQI_EPILOGUE_OPTIONS_BYTES]) {
  const struct {
    const char *name;
    int value;
  } parts[] = {
      {"BIAS", clqi_present(&args->bias) ? (int)args->bias.dtype : 0},
      {"ACTIVATION", (int)args->activation},
      {"GATE", clqi_present(&args->gate) ? (int)args->gate.dtype : 0},
      {"RESIDUAL", clqi_present(&args->residual) ? (int)args->residual.dtype : 0},
      {"OUTLIERS", clqi_present(&args->x_outliers) ? (int)args->x_outliers.dtype : 0},
  };
  int length = snprintf(options, CLQI_EPILOGUE_OPTIONS_BYTES, "-DCLQ_OUT=%d", (int)args->out.dtype);
  for (size_t i = 0; i < CLQI_COUNT(parts); ++i) {
    if (parts[i].value != 0) {
      length += snprintf(options + length, CLQI_EPILOGUE_OPTIONS_BYTES - (size_t)length,
                         " -DCLQ_%s=%d", parts[i].name, parts[i].value);
    }
  }
}

void clqi_arg_epilogue(clqi_launch *launch, const clq_gemm_args *args) {
  if (clqi_epilogue_is_plain(args)) {
    return;
  }
  clqi_arg_tensor(launch, &args->bias);
  clqi_arg_tensor(launch, &args->gate);
  clqi_arg_tensor(launch, &args->residual);
  clqi_arg_scale(launch, &args->out);
  clqi_arg_zero(launch, &args->out);
  clqi_arg_sum(launch, &args->out);
  clqi_arg_i64(launch, clqi_stride(&args->gate, 2, 0));
  clqi_arg_i64(launch, clqi_stride(&args->residual, 2, 0));
  clqi_arg_i64(launch, args->out.quant.per == CLQ_PER_CHANNEL);
  if (clqi_present(&args->x_outliers)) {
    clqi_arg_tensor(launch, &args->x_outliers);
    clqi_arg_buffer(launch, args->weights->mem, args->weights->outlier_offset, 2);
    clqi_arg_i64(launch, clqi_stride(&args->x_outliers, 2, 0));
    clqi_arg_i32(launch, args->weights->outlier_count);
  }
}

static double bytes_of(const clq_tensor *t) {
  const double inner = t->shape[1] == 0 ? 1.0 : (double)t->shape[1];
  return clqi_present(t) ? (double)t->shape[0] * inner * (double)clq_dtype_bytes(t->dtype) : 0.0;
}

double clqi_epilogue_bytes(const clq_gemm_args *args) {
  return clqi_emit_bytes(&args->out, args->out.shape[0], args->out.shape[1]) +
         bytes_of(&args->bias) + bytes_of(&args->gate) + bytes_of(&args->residual) +
         bytes_of(&args->x_outliers) +
         2.0 * (double)args->weights->outlier_count * (double)args->weights->rows;
}

double clqi_epilogue_ops(const clq_gemm_args *args) {
  const int parts = clqi_present(&args->bias) + (args->activation != CLQ_ACTIVATION_NONE) +
                    clqi_present(&args->gate) + clqi_present(&args->residual) +
                    clqi_is_codes(&args->out) + 2 * args->weights->outlier_count;
  return (double)parts * (double)args->out.shape[0] * (double)args->out.shape[1];
}
