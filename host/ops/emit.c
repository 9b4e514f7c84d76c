#include "ops/emit.h"

#include "runtime/checked.h"

/* Device code names types by the numbers of clq_dtype. */
_Static_assert(CLQ_F32 == 1 && CLQ_F16 == 2 && CLQ_BF16 == 3 && CLQ_I8 == 4 && CLQ_U8 == 5 &&
                   CLQ_I32 == 6,
               "CLQ_F32 ... of lib/types.h");

enum {
  GROUP = 256, /* CLQ_GROUP of lib/emit_group.h: the most work-items of a group */
  LEAST = 32,  /* the fewest: one for each lane of a sum */
  QUAD = 4,    /* elements of one of them */
  LINE = 64    /* work-items of a group that take an element each */
};

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

enum { MOST_OF_A_SUM = INT32_MAX / 255 };

/* An edge has them planned. */
static bool has_sums(const clq_tensor *out) { return out->quant.sum != NULL || out->value != 0; }

static int64_t codes_of_a_sum(const clq_tensor *out, int64_t cols) {
  const int64_t group = clqi_emit_group(out, cols);
  return group < cols ? group : cols;
}

clq_status clqi_check_output(const char *op, const clq_tensor *out, int64_t rows, int64_t cols) {
  const unsigned types =
      CLQI_DT(CLQ_F32) | CLQI_DT(CLQ_F16) | CLQI_DT(CLQ_BF16) | CLQI_DT(CLQ_I8) | CLQI_DT(CLQ_U8);
  const unsigned all = CLQI_GR(CLQ_PER_TENSOR) | CLQI_GR(CLQ_PER_CHANNEL) | CLQI_GR(CLQ_PER_TOKEN) |
                       CLQI_GR(CLQ_PER_GROUP);
  CLQI_TRY(clqi_check_tensor(op, "out", out, 2, types));
  CLQI_TRY(clqi_check_extent(op, "out", out, 0, rows, "rows of the input"));
  CLQI_TRY(clqi_check_extent(op, "out", out, 1, cols, "cols of the input"));
  CLQI_TRY(clqi_check_quant(op, "out", out, all, 0));
  if (out->value != 0 && clqi_scales_given(out)) {
    return clqi_fail(
        CLQ_UNSUPPORTED,
        "%s: out is an edge whose scales would be given; name buffers, or quantize per "
        "token or group",
        op);
  }
  if (clqi_is_codes(out) && has_sums(out) && codes_of_a_sum(out, cols) > MOST_OF_A_SUM) {
    return clqi_fail(CLQ_UNSUPPORTED,
                     "%s: quant.sum of out is of %lld codes, offered: up to %d, which fit an int32",
                     op, (long long)codes_of_a_sum(out, cols), MOST_OF_A_SUM);
  }
  if (out->dtype == CLQ_U8 && !clqi_scales_given(out) && out->quant.zero == NULL) {
    return clqi_fail(CLQ_UNSUPPORTED,
                     "%s: out is u8 without a zero point; give a zero plane, or use i8", op);
  }
  return CLQ_OK;
}

const char *clqi_emit_option(const clq_tensor *out) {
  static const char *const floats[] = {"-DCLQ_OUT=1", "-DCLQ_OUT=2", "-DCLQ_OUT=3"};
  static const char *const codes[][3] = {
      {"-DCLQ_OUT=4", "-DCLQ_OUT=4 -DCLQ_CODES=1", "-DCLQ_OUT=4 -DCLQ_CODES=2"},
      {"-DCLQ_OUT=5", "-DCLQ_OUT=5 -DCLQ_CODES=1", "-DCLQ_OUT=5 -DCLQ_CODES=2"}};
  if (!clqi_is_codes(out)) {
    return floats[out->dtype - CLQ_F32];
  }
  return codes[out->dtype - CLQ_I8][clqi_scales_given(out) ? 2 : out->quant.zero != NULL];
}

static bool is_for_cpus(const clqi_variant *variant) {
  return (variant->needs & CLQI_BIT(CPU)) != 0;
}

const char *clqi_stream_option(const clq_context *context, const clqi_variant *variant,
                               const clq_tensor *out) {
  const double bytes =
      (double)out->shape[0] * (double)out->shape[1] * (double)clq_dtype_bytes(out->dtype);
  const bool large = is_for_cpus(variant) && bytes > (double)context->cache_bytes / 4;
  return large ? " -DCLQ_STREAM=1" : "";
}

static bool has_groups(const clq_tensor *out) {
  return out->quant.per == CLQ_PER_GROUP && out->quant.group < out->shape[1];
}

bool clqi_near_groups(const clq_tensor *out) {
  const int32_t group = out->quant.group;
  return has_groups(out) && group >= QUAD && group <= LEAST * QUAD && (group & (group - 1)) == 0;
}

const char *clqi_share_option(const clqi_variant *variant, const clq_tensor *out) {
  if (is_for_cpus(variant) || !has_groups(out)) {
    return "";
  }
  return clqi_near_groups(out) ? " -DCLQ_SHARE=1" : " -DCLQ_SHARE=2";
}

void clqi_arg_out(clqi_launch *launch, const clq_tensor *out, int64_t cols) {
  clqi_arg_tensor(launch, out);
  clqi_arg_scale(launch, out);
  clqi_arg_zero(launch, out);
  clqi_arg_sum(launch, out);
  clqi_arg_i64(launch, clqi_stride(out, 2, 0));
  clqi_arg_i64(launch, clqi_emit_group(out, cols));
  clqi_arg_i64(launch, out->quant.per == CLQ_PER_CHANNEL);
}

int64_t clqi_emit_group(const clq_tensor *out, int64_t cols) {
  return out->quant.per == CLQ_PER_GROUP ? out->quant.group : cols;
}

double clqi_emit_bytes(const clq_tensor *out, int64_t rows, int64_t cols) {
  const double scales = 4.0 * (double)clqi_scale_count(out, rows, cols);
  const double zeros = out->quant.zero != NULL ? scales : 0.0;
  const double sums = out->quant.sum != NULL ? 4.0 * (double)clqi_sum_count(out, rows, cols) : 0.0;
  return (double)rows * (double)cols * (double)clq_dtype_bytes(out->dtype) + scales + zeros + sums;
}

size_t clqi_group_size(const clqi_launch *launch, size_t most) {
  size_t limit = 0;
  if (launch->status != CLQ_OK ||
      clGetKernelWorkGroupInfo(launch->kernel, launch->emitter->context->device,
                               CL_KERNEL_WORK_GROUP_SIZE, sizeof limit, &limit,
                               NULL) != CL_SUCCESS) {
    return most;
  }
  while (most > LEAST && most > limit) {
    most /= 2;
  }
  return most;
}

clq_status clqi_launch_rows(clqi_launch *launch, const clqi_variant *variant, int64_t rows,
                            double bytes, double ops) {
  if (is_for_cpus(variant)) {
    return clqi_launch_end(launch, 1, (size_t[]){(size_t)rows}, NULL, bytes, ops);
  }
  const size_t local = clqi_group_size(launch, GROUP);
  return clqi_launch_end(launch, 1, (size_t[]){(size_t)rows * local}, (size_t[]){local}, bytes,
                         ops);
}

/* Columns of one work-group: about a quad for each work-item, and whole groups. */
static int64_t chunk_of(const clq_tensor *out, int64_t cols, int64_t span) {
  switch (out->quant.per) {
    case CLQ_PER_GROUP: return clqi_div_up(span, out->quant.group) * out->quant.group;
    case CLQ_PER_TENSOR:
    case CLQ_PER_CHANNEL: return out->quant.sum == NULL ? span : cols;
    case CLQ_PER_TOKEN: return cols;
    default: return span;
  }
}

clq_status clqi_launch_chunks(clqi_launch *launch, const clqi_variant *variant,
                              const clq_tensor *out, double bytes, double ops) {
  const int64_t rows = out->shape[0];
  const int64_t cols = out->shape[1];
  if (is_for_cpus(variant)) {
    return clqi_launch_rows(launch, variant, rows, bytes, ops);
  }
  const size_t local = clqi_group_size(launch, GROUP);
  const int64_t chunk = chunk_of(out, cols, (int64_t)local * QUAD);
  clqi_arg_i64(launch, chunk);
  return clqi_launch_end(launch, 2,
                         (size_t[]){(size_t)rows * local, (size_t)clqi_div_up(cols, chunk)},
                         (size_t[]){local, 1}, bytes, ops);
}

clq_status clqi_launch_elements(clqi_launch *launch, const clqi_variant *variant, int64_t rows,
                                int64_t cols, double bytes, double ops) {
  if (is_for_cpus(variant)) {
    return clqi_launch_rows(launch, variant, rows, bytes, ops);
  }
  const size_t local = clqi_group_size(launch, LINE);
  const size_t across = (size_t)clqi_div_up(cols, (int64_t)local) * local;
  return clqi_launch_end(launch, 2, (size_t[]){across, (size_t)rows}, (size_t[]){local, 1}, bytes,
                         ops);
}
