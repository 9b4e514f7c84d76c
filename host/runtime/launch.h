/* From a chosen kernel to an enqueued one.
 *
 * An operator does not know whether it runs now or is recorded into a plan: it
 * talks to an emitter. A launch is begun with a kernel and its build options,
 * given its arguments in the kernel's order, and ended with its range. The
 * first failure sticks and is returned by clqi_launch_end. */
#ifndef CLQI_RUNTIME_LAUNCH_H
#define CLQI_RUNTIME_LAUNCH_H

#include <stddef.h>
#include <stdint.h>

#include "runtime/clblast.h"
#include "runtime/context.h"

typedef struct clqi_launch clqi_launch;
typedef struct clqi_emitter clqi_emitter;

struct clqi_emitter {
  clq_context *context;
  cl_mem error_word; /* i32 [CLQI_ERROR_WORDS]: what kernels found in their data */
  /* A kernel that this emitter may set arguments on; owned by the emitter. */
  clq_status (*kernel)(clqi_emitter *self, clqi_kernel_id id, const char *options, cl_kernel *out);
  /* Device memory of at least so many bytes for what launches of one operator hand on to each
   * other: the next operator may be given the same. Owned by the emitter. */
  clq_status (*scratch)(clqi_emitter *self, uint64_t bytes, cl_mem *out);
  /* Takes a finished launch: enqueues or records it. */
  clq_status (*take)(clqi_emitter *self, const clqi_launch *launch);
};

/* error_word[0] holds the number of the first error (lib/device_error.def), [1] its datum (an id, a
 * position). */
enum { CLQI_NO_DEVICE_ERROR = 0, CLQI_ERROR_WORDS = 2 };

struct clqi_launch {
  clqi_emitter *emitter;
  clqi_kernel_id id;
  cl_kernel kernel; /* NULL: a product of CLBlast's, which is `sgemm` */
  clqi_sgemm sgemm;
  cl_uint next_arg;
  bool uses_error_word; /* the kernel was given the emitter's */
  clq_status status;
  cl_uint dims;
  size_t global[3];
  size_t local[3];
  double bytes; /* that must move */
  double ops;   /* a multiply-add is two */
};

/* options: build options beside those that the context's traits imply, e.g. "-DCLQ_ROWS=8";
 * the same string gives the same program. NULL for none. */
void clqi_launch_begin(clqi_launch *launch, clqi_emitter *emitter, clqi_kernel_id id,
                       const char *options);

/* A tensor becomes two kernel arguments: `__global T *x_base, const long x_start` (an element
 * offset); an absent one becomes NULL and 0. In kernels: CLQ_TENSOR(T, x) of lib/tensor.h. */
void clqi_arg_tensor(clqi_launch *launch, const clq_tensor *tensor);
/* The same for a buffer at a byte offset, in units of element_bytes. */
void clqi_arg_buffer(clqi_launch *launch, cl_mem mem, uint64_t offset, size_t element_bytes);
void clqi_arg_scale(clqi_launch *launch, const clq_tensor *tensor); /* quant.scale, f32 */
void clqi_arg_zero(clqi_launch *launch, const clq_tensor *tensor);  /* quant.zero, i32 */
void clqi_arg_sum(clqi_launch *launch, const clq_tensor *tensor);   /* quant.sum, i32 */
void clqi_arg_i32(clqi_launch *launch, int32_t value);
void clqi_arg_i64(clqi_launch *launch, int64_t value); /* `long` in the kernel */
void clqi_arg_f32(clqi_launch *launch, float value);
void clqi_arg_error_word(clqi_launch *launch); /* one argument: __global int * */

/* global in work-items (a multiple of local); local NULL: one work-item a group. */
clq_status clqi_launch_end(clqi_launch *launch, cl_uint dims, const size_t *global,
                           const size_t *local, double bytes, double ops);

/* A product of CLBlast's, begun and ended. Its range is counted as an element a work-item. */
clq_status clqi_launch_sgemm(clqi_emitter *emitter, const clqi_sgemm *product);

#endif
