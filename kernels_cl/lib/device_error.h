/* What a kernel finds wrong in its data: the first finding stays until the host
 * reads it (clq_stream_finish). */
#ifndef CLQ_LIB_DEVICE_ERROR_H
#define CLQ_LIB_DEVICE_ERROR_H

enum {
#define CLQ_DEVICE_ERROR(name, number, sentence) CLQ_ERROR_##name = number,
#include "lib/device_error.def"
#undef CLQ_DEVICE_ERROR
};

static inline void clq_device_error(__global int *error_word, int error, int datum) {
  if (atomic_cmpxchg((volatile __global int *)error_word, 0, error) == 0) {
    error_word[1] = datum;
  }
}

#endif
