#include "runtime/launch.h"

#include <stdio.h>

static void set_arg(clqi_launch *launch, size_t bytes, const void *value) {
  if (launch->status != CLQ_OK) {
    return;
  }
  const cl_int code = clSetKernelArg(launch->kernel, launch->next_arg, bytes, value);
  if (code != CL_SUCCESS) {
    launch->status = clqi_cl(code, "clSetKernelArg");
    launch->status = clqi_fail_prefix(launch->status, "kernel %s, argument %u",
                                      clqi_kernel_name(launch->id), launch->next_arg);
    return;
  }
  ++launch->next_arg;
}

void clqi_launch_begin(clqi_launch *launch, clqi_emitter *emitter, clqi_kernel_id id,
                       const char *options) {
  *launch = (clqi_launch){.emitter = emitter, .id = id};
  launch->status = emitter->kernel(emitter, id, options, &launch->kernel);
}

void clqi_arg_buffer(clqi_launch *launch, cl_mem mem, uint64_t offset, size_t element_bytes) {
  if (mem == NULL) {
    set_arg(launch, sizeof(cl_mem), NULL);
    clqi_arg_i64(launch, 0);
    return;
  }
  set_arg(launch, sizeof mem, &mem);
  clqi_arg_i64(launch, (int64_t)(offset / element_bytes));
}

void clqi_arg_tensor(clqi_launch *launch, const clq_tensor *tensor) {
  clqi_arg_buffer(launch, tensor->mem, tensor->offset,
                  tensor->mem == NULL ? 1 : clq_dtype_bytes(tensor->dtype));
}

void clqi_arg_scale(clqi_launch *launch, const clq_tensor *tensor) {
  clqi_arg_buffer(launch, tensor->quant.scale, tensor->quant.scale_offset, sizeof(cl_float));
}

void clqi_arg_zero(clqi_launch *launch, const clq_tensor *tensor) {
  clqi_arg_buffer(launch, tensor->quant.zero, tensor->quant.zero_offset, sizeof(cl_int));
}

void clqi_arg_sum(clqi_launch *launch, const clq_tensor *tensor) {
  clqi_arg_buffer(launch, tensor->quant.sum, tensor->quant.sum_offset, sizeof(cl_int));
}

void clqi_arg_i32(clqi_launch *launch, int32_t value) {
  const cl_int v = value;
  set_arg(launch, sizeof v, &v);
}

void clqi_arg_i64(clqi_launch *launch, int64_t value) {
  const cl_long v = value;
  set_arg(launch, sizeof v, &v);
}

void clqi_arg_f32(clqi_launch *launch, float value) {
  const cl_float v = value;
  set_arg(launch, sizeof v, &v);
}

void clqi_arg_error_word(clqi_launch *launch) {
  launch->uses_error_word = true;
  set_arg(launch, sizeof(cl_mem), &launch->emitter->error_word);
}

clq_status clqi_launch_end(clqi_launch *launch, cl_uint dims, const size_t *global,
                           const size_t *local, double bytes, double ops) {
  if (launch->status != CLQ_OK) {
    return launch->status;
  }
  launch->dims = dims;
  for (cl_uint d = 0; d < dims; ++d) {
    launch->global[d] = global[d];
    launch->local[d] = local == NULL ? 1 : local[d];
  }
  launch->bytes = bytes;
  launch->ops = ops;
  return launch->emitter->take(launch->emitter, launch);
}

clq_status clqi_launch_sgemm(clqi_emitter *emitter, const clqi_sgemm *product) {
  clqi_launch launch = {.emitter = emitter, .id = CLQI_KERNEL_SGEMM, .sgemm = *product};
  const double m = (double)product->rows;
  const double n = (double)product->cols;
  const double k = (double)product->depth;
  return clqi_launch_end(&launch, 2, (size_t[]){(size_t)product->cols, (size_t)product->rows}, NULL,
                         (double)sizeof(cl_float) * (m * k + k * n + m * n), 2.0 * m * n * k);
}
