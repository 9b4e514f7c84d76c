/* What a kernel finds wrong in its data: the first finding stays until the host
 * reads it (clq_stream_finish). Numbers as clqi_device_error in the host. */
#ifndef CLQ_LIB_DEVICE_ERROR_H
#define CLQ_LIB_DEVICE_ERROR_H

#define CLQ_ERROR_EMBEDDING_ID 1
#define CLQ_ERROR_POSITION 2

static inline void clq_device_error(__global int *error_word, int error, int datum) {
  if (atomic_cmpxchg((volatile __global int *)error_word, 0, error) == 0) {
    error_word[1] = datum;
  }
}

#endif
