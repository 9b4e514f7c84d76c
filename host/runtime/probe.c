#include "runtime/probe.h"

#include <string.h>
#include <xxhash.h>

#include "runtime/cpu.h"
#include "runtime/device.h"
#include "runtime/memory.h"
#include "runtime/probe_expect.h"
#include "runtime/program_cache.h"
#include "runtime/queue.h"
#include "runtime/source.h"

static bool is_cpu(const clq_context *context) { return strcmp(context->info.type, "cpu") == 0; }

/* What must hold before a probe is even compiled: a wrong instruction kills the process. */
static bool on_cpu_with_avx2(const clq_context *context) {
  return is_cpu(context) && clqi_cpu_has_avx2();
}
static bool on_cpu_with_f16c(const clq_context *context) {
  return is_cpu(context) && clqi_cpu_has_f16c();
}
static bool on_cpu_with_avx512(const clq_context *context) {
  return is_cpu(context) && clqi_cpu_has_avx512();
}
static bool on_cpu_with_vnni(const clq_context *context) {
  return is_cpu(context) && clqi_cpu_has_vnni();
}
static bool on_cpu_with_vbmi(const clq_context *context) {
  return is_cpu(context) && clqi_cpu_has_vbmi();
}
static bool has_subgroups(const clq_context *context) {
  /* Not cl_khr_subgroups: a driver without independent forward progress may not list it. */
  return clqi_device_has_extension(context->device, "cl_khr_subgroup_shuffle");
}
static bool has_intel_subgroups(const clq_context *context) {
  return clqi_device_has_extension(context->device, "cl_intel_subgroups");
}
static bool has_qcom_subgroups(const clq_context *context) {
  return clqi_device_has_extension(context->device, "cl_qcom_subgroup_shuffle");
}
static bool has_int_dot(const clq_context *context) {
  return clqi_device_has_extension(context->device, "cl_khr_integer_dot_product");
}
static bool is_nvidia(const clq_context *context) {
  return clqi_device_has_extension(context->device, "cl_nv_device_attribute_query");
}
static bool is_amd(const clq_context *context) {
  return clqi_device_has_extension(context->device, "cl_amd_device_attribute_query");
}
static bool always(const clq_context *context) {
  (void)context;
  return true;
}

static const struct {
  clqi_trait trait;
  bool (*plausible)(const clq_context *context);
  const char *options;
} probes[] = {
    {CLQI_TRAIT_EXACT_DIVIDE, always, "-DCLQ_PROBE_DIVIDE=1"},
    {CLQI_TRAIT_KHR_SUBGROUPS, has_subgroups, "-DCLQ_PROBE_KHR_SUBGROUPS=1 -cl-std=CL3.0"},
    {CLQI_TRAIT_INTEL_SUBGROUPS, has_intel_subgroups, "-DCLQ_PROBE_INTEL_SUBGROUPS=1"},
    {CLQI_TRAIT_QCOM_SUBGROUPS, has_qcom_subgroups, "-DCLQ_PROBE_QCOM_SUBGROUPS=1 -cl-std=CL2.0"},
    {CLQI_TRAIT_KHR_INT_DOT, has_int_dot, "-DCLQ_PROBE_KHR_DOT=1 -cl-std=CL3.0"},
    {CLQI_TRAIT_NVIDIA_PTX, is_nvidia, "-DCLQ_PROBE_NVIDIA=1"},
    {CLQI_TRAIT_NVIDIA_MMA, is_nvidia, "-DCLQ_PROBE_NVIDIA_MMA=1"},
    {CLQI_TRAIT_AMD_DOT, is_amd, "-DCLQ_PROBE_AMD_DOT=1"},
    {CLQI_TRAIT_X86_AVX2, on_cpu_with_avx2, "-DCLQ_PROBE_AVX2=1"},
    {CLQI_TRAIT_X86_F16C, on_cpu_with_f16c, "-DCLQ_PROBE_F16C=1"},
    {CLQI_TRAIT_X86_AVX512, on_cpu_with_avx512, "-DCLQ_PROBE_HALF_X86=1"},
    {CLQI_TRAIT_X86_VNNI, on_cpu_with_vnni, "-DCLQ_PROBE_VNNI=1"},
    {CLQI_TRAIT_X86_VBMI, on_cpu_with_vbmi, "-DCLQ_PROBE_VBMI=1"},
};
enum { PROBE_COUNT = sizeof probes / sizeof probes[0] };

/* Runs the program's kernel `probe` once; false if the driver refuses anything. (A probe is a
 * program of its own, because what it tries may not even parse elsewhere.) */
static bool run_probe(clq_context *context, cl_program program, const uint32_t in[CLQI_PROBE_WORDS],
                      uint32_t out[CLQI_PROBE_WORDS]) {
  enum { BYTES = CLQI_PROBE_WORDS * sizeof(uint32_t) };
  static const uint32_t zeros[CLQI_PROBE_WORDS];
  const size_t items = CLQI_PROBE_ITEMS;
  cl_int code = CL_SUCCESS;
  cl_mem source = NULL;
  cl_mem target = NULL;
  cl_kernel kernel = NULL;
  bool ran = false;
  cl_command_queue queue = NULL;
  if (clqi_queue_create(context, 0, &queue) != CLQ_OK) {
    return false;
  }
  source = clCreateBuffer(context->cl, CL_MEM_READ_ONLY | CL_MEM_COPY_HOST_PTR, BYTES,
                          (void *)(uintptr_t)in, &code);
  if (code != CL_SUCCESS) {
    goto cleanup;
  }
  target = clCreateBuffer(context->cl, CL_MEM_READ_WRITE | CL_MEM_COPY_HOST_PTR, BYTES,
                          (void *)(uintptr_t)zeros, &code);
  if (code != CL_SUCCESS) {
    goto cleanup;
  }
  kernel = clCreateKernel(program, "probe", &code);
  ran =
      code == CL_SUCCESS && clSetKernelArg(kernel, 0, sizeof source, &source) == CL_SUCCESS &&
      clSetKernelArg(kernel, 1, sizeof target, &target) == CL_SUCCESS &&
      clEnqueueNDRangeKernel(queue, kernel, 1, NULL, &items, &items, 0, NULL, NULL) == CL_SUCCESS &&
      clEnqueueReadBuffer(queue, target, CL_TRUE, 0, BYTES, out, 0, NULL, NULL) == CL_SUCCESS;
cleanup:
  if (kernel != NULL) {
    (void)clReleaseKernel(kernel);
  }
  if (target != NULL) {
    (void)clReleaseMemObject(target);
  }
  if (source != NULL) {
    (void)clReleaseMemObject(source);
  }
  (void)clReleaseCommandQueue(queue);
  return ran;
}

typedef enum answer { NO, YES, CANNOT_TELL } answer;

/* NO only where the compiler refused the source or the numbers were wrong. CLQ_DEVICE_ERROR where
 * it refuses everything. */
static clq_status try_trait(clq_context *context, clqi_trait trait, const char *options,
                            answer *says) {
  cl_program program = NULL;
  const clq_status status = clqi_program_try(context->programs, "probe", options, &program);
  if (status != CLQ_OK) {
    clqi_log(CLQ_LOG_DISPATCH, "probe %s: does not build", clqi_trait_name(trait));
    *says = status == CLQ_BUILD_FAILED ? NO : CANNOT_TELL;
    return status == CLQ_DEVICE_ERROR ? status : CLQ_OK;
  }
  uint32_t in[CLQI_PROBE_WORDS];
  uint32_t out[CLQI_PROBE_WORDS];
  uint32_t expected[CLQI_PROBE_WORDS];
  clqi_probe_input(in);
  clqi_probe_expected(trait, in, expected);
  const bool ran = run_probe(context, program, in, out);
  const bool right = ran && memcmp(out, expected, sizeof out) == 0;
  clqi_log(CLQ_LOG_DISPATCH, "probe %s: %s", clqi_trait_name(trait),
           right ? "passed"
           : ran ? "gave wrong numbers"
                 : "did not run");
  (void)clReleaseProgram(program);
  *says = right ? YES : ran ? NO : CANNOT_TELL;
  return CLQ_OK;
}

static clq_status probe_key(clq_context *context, clqi_disk_key *key) {
  char *source = NULL;
  size_t length = 0;
  CLQI_TRY(clqi_source_load("probe", &source, &length));
  const XXH128_hash_t hash =
      XXH3_128bits_withSeed(source, length, clqi_program_cache_device_hash(context->programs));
  clqi_free(source);
  *key = (clqi_disk_key){{hash.low64, hash.high64}};
  return CLQ_OK;
}

/* What the disk cache keeps. Even a clear NO may have a passing reason (two processes in one
 * driver's cache), so it is believed only when it has come several times. */
typedef struct probe_record {
  uint32_t traits;
  uint32_t runs;
} probe_record;

enum { BELIEVED_AFTER = 3 };

static probe_record recall(clqi_disk_cache *disk, clqi_disk_key key) {
  probe_record record = {0, 0};
  void *blob = NULL;
  size_t length = 0;
  if (clqi_disk_cache_get(disk, key, &blob, &length) && length == sizeof record) {
    memcpy(&record, blob, sizeof record);
  }
  clqi_free(blob);
  return record;
}

clq_status clqi_probe_all(clq_context *context) {
  clqi_disk_cache *disk = clqi_program_cache_disk(context->programs);
  clqi_disk_key key;
  CLQI_TRY(probe_key(context, &key));
  probe_record record = recall(disk, key);
  bool news = record.runs == 0;
  bool certain = true;
  record.traits |= is_cpu(context) ? CLQI_BIT(CPU) : 0;
  for (int i = 0; i < PROBE_COUNT && record.runs < BELIEVED_AFTER; ++i) {
    const uint32_t bit = 1U << probes[i].trait;
    if ((record.traits & bit) == 0 && probes[i].plausible(context)) {
      answer a = CANNOT_TELL;
      CLQI_TRY(try_trait(context, probes[i].trait, probes[i].options, &a));
      news = true;
      certain = certain && a != CANNOT_TELL;
      record.traits |= a == YES ? bit : 0;
    }
  }
  if (news && certain) {
    ++record.runs;
    (void)clqi_disk_cache_put(disk, key, &record, sizeof record); /* saving tells of it */
  }
  context->traits = record.traits;
  return CLQ_OK;
}
