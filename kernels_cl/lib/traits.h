/* Traits of the device, which the host defines as 1 after its probes ran; a
 * missing one is 0. Every other header takes its back end's default from here,
 * so a kernel that includes it needs no macro of its own. */
#ifndef CLQ_LIB_TRAITS_H
#define CLQ_LIB_TRAITS_H

#ifndef CLQ_ON_CPU
#define CLQ_ON_CPU 0
#endif
#ifndef CLQ_DIVIDE_IS_EXACT
#define CLQ_DIVIDE_IS_EXACT 0
#endif
#ifndef CLQ_HAS_KHR_SUBGROUPS
#define CLQ_HAS_KHR_SUBGROUPS 0
#endif
#ifndef CLQ_HAS_INTEL_SUBGROUPS
#define CLQ_HAS_INTEL_SUBGROUPS 0
#endif
#ifndef CLQ_HAS_QCOM_SUBGROUPS
#define CLQ_HAS_QCOM_SUBGROUPS 0
#endif
#ifndef CLQ_HAS_KHR_INT_DOT
#define CLQ_HAS_KHR_INT_DOT 0
#endif
#ifndef CLQ_HAS_NVIDIA_PTX
#define CLQ_HAS_NVIDIA_PTX 0
#endif
#ifndef CLQ_HAS_NVIDIA_MMA
#define CLQ_HAS_NVIDIA_MMA 0
#endif
#ifndef CLQ_HAS_AMD_DOT
#define CLQ_HAS_AMD_DOT 0
#endif
#ifndef CLQ_HAS_X86_AVX2
#define CLQ_HAS_X86_AVX2 0
#endif
#ifndef CLQ_HAS_X86_F16C
#define CLQ_HAS_X86_F16C 0
#endif
#ifndef CLQ_HAS_X86_AVX512
#define CLQ_HAS_X86_AVX512 0
#endif
#ifndef CLQ_HAS_X86_VNNI
#define CLQ_HAS_X86_VNNI 0
#endif
#ifndef CLQ_HAS_X86_VBMI
#define CLQ_HAS_X86_VBMI 0
#endif

/* For what inner loops are made of: left to itself a compiler may call it, and pass wide vectors
 * through memory. */
#define CLQ_INLINE static inline __attribute__((always_inline))

#endif
