#include "ops/weights_args.h"

#include <stdio.h>

void clqi_weights_options(const clq_weights *w, char options[CLQI_WEIGHTS_OPTIONS_BYTES]) {
  (void)snprintf(options, CLQI_WEIGHTS_OPTIONS_BYTES,
                 "-DCLQ_W_BITS=%d -DCLQ_W_TABLE=%d -DCLQ_W_ZERO=%d -DCLQ_W_MIN=%d "
                 "-DCLQ_W_SCALE=%d -DCLQ_W_SUPER=%d%s%s",
                 (int)w->bits, (int)w->values, w->has_zero, w->has_min, (int)w->scale_dtype,
                 (int)clqi_weights_super(w), w->format == CLQ_FORMAT_BF16 ? " -DCLQ_W_BF16=1" : "",
                 w->has_order ? " -DCLQ_W_ORDER=1" : "");
}

void clqi_arg_weights(clqi_launch *launch, const clq_weights *w) {
  clqi_arg_buffer(launch, w->mem, 0, 4);
  clqi_arg_buffer(launch, w->groups > 0 ? w->mem : NULL, w->scale_offset,
                  clqi_weights_scale_bytes(w));
  clqi_arg_buffer(launch, w->has_min ? w->mem : NULL, w->min_offset, clqi_weights_scale_bytes(w));
  clqi_arg_buffer(launch, w->has_zero ? w->mem : NULL, w->zero_offset, 1);
}

void clqi_arg_order(clqi_launch *launch, const clq_weights *w) {
  if (w->has_order) {
    clqi_arg_buffer(launch, w->mem, w->order_offset, sizeof(cl_int));
  }
}

double clqi_weights_row_bytes(const clq_weights *w, double rows) {
  const double scales = (double)clqi_weights_plane_bytes(w) * (w->has_min ? 2.0 : 1.0);
  const double zeros = w->has_zero ? (double)w->groups : 0.0;
  return rows * ((double)w->cols * (double)w->bits / 8.0 + scales + zeros);
}
