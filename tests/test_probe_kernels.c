/* Every probe that builds on this device gives the expected answer or a wrong
 * one in full knowledge: the traits that a device of a known kind must have are
 * demanded, and a probe that answers wrongly is a failure. */
#include "cl_util.h"
#include "runtime/cpu.h"
#include "runtime/probe_expect.h"

TestSuite(probe_kernels, .fini = cl_util_close);

typedef struct probe_case {
  clqi_trait trait;
  const char *options;
  const char *extension; /* without it the probe is not tried; NULL: always */
} probe_case;

static const probe_case cases[] = {
    {CLQI_TRAIT_CPU, "-cl-std=CL1.2", NULL},
    {CLQI_TRAIT_EXACT_DIVIDE, "-cl-std=CL1.2 -DCLQ_PROBE_DIVIDE=1", NULL},
    {CLQI_TRAIT_KHR_SUBGROUPS, "-cl-std=CL3.0 -DCLQ_PROBE_KHR_SUBGROUPS=1",
     "cl_khr_subgroup_shuffle"},
    {CLQI_TRAIT_INTEL_SUBGROUPS, "-cl-std=CL1.2 -DCLQ_PROBE_INTEL_SUBGROUPS=1",
     "cl_intel_subgroups"},
    {CLQI_TRAIT_QCOM_SUBGROUPS, "-cl-std=CL1.2 -DCLQ_PROBE_QCOM_SUBGROUPS=1",
     "cl_qcom_subgroup_shuffle"},
    {CLQI_TRAIT_KHR_INT_DOT, "-cl-std=CL3.0 -DCLQ_PROBE_KHR_DOT=1", "cl_khr_integer_dot_product"},
    {CLQI_TRAIT_NVIDIA_PTX, "-cl-std=CL1.2 -DCLQ_PROBE_NVIDIA=1", "cl_nv_device_attribute_query"},
    {CLQI_TRAIT_NVIDIA_MMA, "-cl-std=CL1.2 -DCLQ_PROBE_NVIDIA_MMA=1",
     "cl_nv_device_attribute_query"},
    /* its fragments, in the plain form */
    {CLQI_TRAIT_NVIDIA_MMA, "-cl-std=CL1.2 -DCLQ_PROBE_NVIDIA_MMA=1 -DCLQ_MMA_NVIDIA=0", NULL},
    {CLQI_TRAIT_AMD_DOT, "-cl-std=CL1.2 -DCLQ_PROBE_AMD_DOT=1", "cl_amd_device_attribute_query"},
    {CLQI_TRAIT_X86_AVX2, "-cl-std=CL1.2 -DCLQ_PROBE_AVX2=1", NULL},
    {CLQI_TRAIT_X86_VNNI, "-cl-std=CL1.2 -DCLQ_PROBE_VNNI=1", NULL},
    {CLQI_TRAIT_X86_F16C, "-cl-std=CL1.2 -DCLQ_PROBE_F16C=1", NULL},
    {CLQI_TRAIT_X86_AVX512, "-cl-std=CL1.2 -DCLQ_PROBE_HALF_X86=1", NULL},
    {CLQI_TRAIT_X86_VBMI, "-cl-std=CL1.2 -DCLQ_PROBE_VBMI=1", NULL},
};

static bool may_run(const probe_case *c) {
  const bool cpu = cl_util_is_cpu();
  switch (c->trait) {
    case CLQI_TRAIT_X86_AVX2: return cpu && clqi_cpu_has_avx2();
    case CLQI_TRAIT_X86_F16C: return cpu && clqi_cpu_has_f16c();
    case CLQI_TRAIT_X86_AVX512: return cpu && clqi_cpu_has_avx512();
    case CLQI_TRAIT_X86_VBMI: return cpu && clqi_cpu_has_vbmi();
    case CLQI_TRAIT_X86_VNNI: return cpu && clqi_cpu_has_vnni();
    default: return c->extension == NULL || cl_util_has_extension(c->extension);
  }
}

/* -1: does not build; else the number of wrong words. */
static int wrong_words(const probe_case *c) {
  cl_program program = cl_util_try_build("probe", c->options);
  if (program == NULL) {
    return -1;
  }
  static uint32_t in[CLQI_PROBE_WORDS];
  static uint32_t out[CLQI_PROBE_WORDS];
  static uint32_t expected[CLQI_PROBE_WORDS];
  clqi_probe_input(in);
  clqi_probe_expected(c->trait, in, expected);
  cl_kernel kernel = cl_util_kernel(program, "probe");
  cl_mem in_mem = cl_util_buffer(in, sizeof in);
  cl_mem out_mem = cl_util_buffer(NULL, sizeof out);
  cl_util_args(kernel, 2, in_mem, out_mem);
  cl_util_run(kernel, CLQI_PROBE_ITEMS, CLQI_PROBE_ITEMS);
  cl_util_read(out_mem, out, sizeof out);
  int wrong = 0;
  for (int i = 0; i < CLQI_PROBE_WORDS; ++i) {
    wrong += out[i] != expected[i];
  }
  clReleaseMemObject(in_mem);
  clReleaseMemObject(out_mem);
  clReleaseKernel(kernel);
  clReleaseProgram(program);
  return wrong;
}

Test(probe_kernels, what_builds_is_right) {
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
    const char *name = clqi_trait_name(cases[i].trait);
    if (!may_run(&cases[i])) {
      cr_log_info("%s: not offered", name);
      continue;
    }
    const int wrong = wrong_words(&cases[i]);
    cr_log_info("%s: %d wrong words (-1: does not build)", name, wrong);
    /* Division may honestly be inexact; that is why there is a probe. */
    cr_expect(wrong <= 0 || cases[i].trait == CLQI_TRAIT_EXACT_DIVIDE, "%s: %d words are wrong",
              name, wrong);
    cr_expect(wrong == 0 || cases[i].trait != CLQI_TRAIT_CPU, "the empty probe must run");
  }
}
