/* A context from inside: one device, its traits, its programs. */
#ifndef CLQI_RUNTIME_CONTEXT_H
#define CLQI_RUNTIME_CONTEXT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <clquant/context.h>

#include "runtime/host_pages.h"
#include "runtime/status.h"
#include "runtime/tuning.h"

typedef enum clqi_trait {
#define CLQ_TRAIT(id, name, macro) CLQI_TRAIT_##id,
#include "runtime/trait.def"
#undef CLQ_TRAIT
  CLQI_TRAIT_COUNT
} clqi_trait;

/* A set of traits, for tables: CLQI_BIT(X86_VNNI) | CLQI_BIT(X86_F16C). */
#define CLQI_BIT(id) (1U << CLQI_TRAIT_##id)

const char *clqi_trait_name(clqi_trait trait);
const char *clqi_trait_macro(clqi_trait trait);

typedef enum clqi_kernel_id {
#define CLQ_KERNEL(kernel, file) CLQI_KERNEL_##kernel,
#include "kernels.def"
#undef CLQ_KERNEL
  CLQI_KERNEL_COUNT,
  CLQI_KERNEL_SGEMM = CLQI_KERNEL_COUNT /* none of ours: CLBlast's (runtime/clblast.h) */
} clqi_kernel_id;

const char *clqi_kernel_name(clqi_kernel_id id);
const char *clqi_kernel_file(clqi_kernel_id id); /* without ".cl" */

typedef struct clqi_program_cache clqi_program_cache;

struct clq_context {
  cl_context cl;
  cl_device_id device;
  clq_device_info info;
  uint32_t traits;
  uint64_t cache_bytes; /* of the device's last cache, or what is common where it does not say */
  bool rounded_division_option;        /* -cl-fp32-correctly-rounded-divide-sqrt is taken */
  atomic_bool lost;                    /* sticky: see clqi_context_usable */
  atomic_uint_least64_t claimed_bytes; /* see clqi_memory_claim */
  atomic_bool used_clblast;            /* which then holds programs of it */
  clqi_host_pages pages;               /* of buffers, where the device is a CPU */
  clqi_program_cache *programs;
  clqi_tuning tuning;
};

static inline bool clqi_has(const clq_context *context, clqi_trait trait) {
  return ((context->traits >> trait) & 1U) != 0;
}

/* A value of runtime/tuning.def: CLQI_TUNED_VALUE(context, gemm_q8_many, chunk). */
#define CLQI_TUNED_VALUE(context, set, name) ((context)->tuning.value[CLQI_TUNED_##set##_##name])

/* Remembers a CLQ_DEVICE_LOST; returns the status. */
clq_status clqi_context_note(clq_context *context, clq_status status);
/* clqi_cl, remembered. */
clq_status clqi_context_cl(clq_context *context, cl_int code, const char *call);
/* CLQ_DEVICE_LOST once that has been seen, else CLQ_OK. Asked wherever the runtime is about to work
 * on the device: making a buffer or a kernel, enqueueing, waiting. */
clq_status clqi_context_usable(const clq_context *context);

/* CLQ_DEVICE_ERROR (or _LOST, _OUT_OF_DEVICE_MEMORY) for an OpenCL code other than CL_SUCCESS,
 * naming the call; CLQ_OK for CL_SUCCESS. */
clq_status clqi_cl(cl_int code, const char *call);
const char *clqi_cl_name(cl_int code);

#endif
