// Tries what a device is said to do. The host builds this file with one macro
// CLQ_PROBE_<X>=1, runs it as one work-group of CLQ_PROBE_ITEMS work-items and
// compares every word of out with host/runtime/probe_expect.c. in holds
// CLQ_PROBE_WORDS random words; out, of the same size, starts as zeros.

#define CLQ_PROBE_ITEMS 64
#define CLQ_PROBE_WORDS 1024

#ifndef CLQ_PROBE_DIVIDE
#define CLQ_PROBE_DIVIDE 0 // '/' and sqrt() round correctly, scalar and vector
#endif
#ifndef CLQ_PROBE_KHR_SUBGROUPS
#define CLQ_PROBE_KHR_SUBGROUPS 0
#endif
#ifndef CLQ_PROBE_INTEL_SUBGROUPS
#define CLQ_PROBE_INTEL_SUBGROUPS 0
#endif
#ifndef CLQ_PROBE_QCOM_SUBGROUPS
#define CLQ_PROBE_QCOM_SUBGROUPS 0
#endif
#ifndef CLQ_PROBE_KHR_DOT
#define CLQ_PROBE_KHR_DOT 0
#endif
#ifndef CLQ_PROBE_NVIDIA
#define CLQ_PROBE_NVIDIA 0 // shfl.sync and dp4a by inline PTX
#endif
#ifndef CLQ_PROBE_NVIDIA_MMA
#define CLQ_PROBE_NVIDIA_MMA 0 // mma.m16n8k32 of int8 by inline PTX
#endif
#ifndef CLQ_PROBE_AMD_DOT
#define CLQ_PROBE_AMD_DOT 0
#endif
// Only on a CPU that has the instructions: a compiler may accept what the
// processor refuses.
#ifndef CLQ_PROBE_AVX2
#define CLQ_PROBE_AVX2 0
#endif
#ifndef CLQ_PROBE_VNNI
#define CLQ_PROBE_VNNI 0
#endif
#ifndef CLQ_PROBE_F16C
#define CLQ_PROBE_F16C 0 // vcvtph2ps, 8 lanes
#endif
#ifndef CLQ_PROBE_HALF_X86
#define CLQ_PROBE_HALF_X86 0 // AVX-512 F, BW, VL, with vcvtph2ps of 16 lanes
#endif
#ifndef CLQ_PROBE_VBMI
#define CLQ_PROBE_VBMI 0 // vpermi2b of 64 bytes
#endif

// The back ends under test, whatever the host knows so far.
#define CLQ_WARP_NVIDIA CLQ_PROBE_NVIDIA
#define CLQ_WARP_INTEL CLQ_PROBE_INTEL_SUBGROUPS
#define CLQ_WARP_KHR CLQ_PROBE_KHR_SUBGROUPS
#define CLQ_WARP_QCOM CLQ_PROBE_QCOM_SUBGROUPS
#define CLQ_DOT_KHR CLQ_PROBE_KHR_DOT
#define CLQ_DOT_NVIDIA CLQ_PROBE_NVIDIA
#ifndef CLQ_MMA_NVIDIA // a test has 0: what is expected is what the plain form does
#define CLQ_MMA_NVIDIA CLQ_PROBE_NVIDIA_MMA
#endif
#if CLQ_PROBE_AMD_DOT
#define CLQ_HAS_AMD_DOT 1
#endif
#define CLQ_DOT_VNNI CLQ_PROBE_VNNI
#define CLQ_DOT_AVX2 CLQ_PROBE_AVX2
#define CLQ_PERMUTE_X86 CLQ_PROBE_VBMI
#define CLQ_HALF_X86 (CLQ_PROBE_HALF_X86 ? 2 : CLQ_PROBE_F16C)

#include "lib/dot.h"
#include "lib/half.h"
#include "lib/mma.h"
#include "lib/permute.h"
#include "lib/warp.h"

#pragma OPENCL FP_CONTRACT OFF

#define CLQ_PROBE_KERNEL __kernel void probe(__global const uint *in, __global uint *out)

#if CLQ_PROBE_DIVIDE

// A float of exponent -31 .. 32 from random bits.
#define CLQ_PROBE_OPERAND(F, U, bits) \
  as_##F(((bits) & (U)0x007fffffu) | (((((bits) >> 23) & (U)63u) + (U)96u) << 23))

// 256 quotients and roots, mixed into one word per lane.
#define CLQ_DEFINE_PROBE_DIVIDE(F, U, S)                  \
  static inline U clq_probe_divide##S(U r) {              \
    U mix = (U)0u;                                        \
    for (int i = 0; i < 256; i++) {                       \
      r = r * (U)1664525u + (U)1013904223u;               \
      const F a = CLQ_PROBE_OPERAND(F, U, r ^ (r >> 15)); \
      r = r * (U)1664525u + (U)1013904223u;               \
      const F b = CLQ_PROBE_OPERAND(F, U, r ^ (r >> 15)); \
      mix = mix * (U)0x9e3779b1u + as_##U(a / b);         \
      mix = mix * (U)0x9e3779b1u + as_##U(sqrt(a));       \
    }                                                     \
    return mix;                                           \
  }
CLQ_DEFINE_PROBE_DIVIDE(float, uint, )
CLQ_DEFINE_PROBE_DIVIDE(float16, uint16, 16)

CLQ_PROBE_KERNEL {
  const uint i = (uint)get_local_id(0);
  out[i] = clq_probe_divide(in[i]);
  if (i < 4) vstore16(clq_probe_divide16(vload16(4 + i, in)), 4 + i, out);
}

#elif CLQ_WARP_KHR || CLQ_WARP_INTEL || CLQ_WARP_QCOM || CLQ_WARP_NVIDIA

// Warps differ in size; these results do not.
CLQ_PROBE_KERNEL {
  __local int scratch[2 * CLQ_PROBE_ITEMS];
  __local float scratch_f[2 * CLQ_PROBE_ITEMS];
  const uint i = (uint)get_local_id(0);
  const int x = (int)(in[i] & 0xffffu);
  const int first = (int)(i - clq_warp_lane());
  out[i] = (uint)clq_warp_xori((int)i, 1);
  out[64 + i] = clq_warp_index() * clq_warp_size() + clq_warp_lane();
  out[128 + i] = (uint)(clq_warp_broadcasti((int)i, 1, scratch) - first);
  out[192 + i] = (uint)clq_group_reduce_addi(x, scratch);
  out[256 + i] = (uint)clq_group_reduce_maxi(x, scratch + CLQ_PROBE_ITEMS);
  out[320 + i] = as_uint(clq_group_reduce_add((float)x + 0.1f, scratch_f));
  out[384 + i] = as_uint(clq_group_reduce_max((float)x, scratch_f + CLQ_PROBE_ITEMS));
#if CLQ_DOT_NVIDIA
  out[512 + i] = (uint)clq_dot4_i8(in[i], in[64 + i], (int)in[128 + i]);
  out[576 + i] = (uint)clq_dot4_u8s8(in[i], in[64 + i], (int)in[128 + i]);
#endif
}

#elif CLQ_PROBE_NVIDIA_MMA

// Each warp its own matrices, as the fragments of lib/mma.h.
CLQ_PROBE_KERNEL {
  __local uint scratch[CLQ_PROBE_ITEMS / 32][CLQ_MMA_SCRATCH];
  const uint i = (uint)get_local_id(0);
  uint a[4], b[2];
  int c[4], d[4];
  for (uint j = 0; j < 4; j++) {
    a[j] = in[64 * j + i];
    c[j] = d[j] = (int)in[384 + 64 * j + i];
  }
  for (uint j = 0; j < 2; j++) {
    b[j] = in[256 + 64 * j + i];
  }
  clq_mma_s8(c, a, b, scratch[i / 32]);
  clq_mma_u8(d, a, b, scratch[i / 32]);
  for (uint j = 0; j < 4; j++) {
    out[64 * j + i] = (uint)c[j];
    out[256 + 64 * j + i] = (uint)d[j];
  }
}

#elif CLQ_DOT_KHR || CLQ_PROBE_AMD_DOT

CLQ_PROBE_KERNEL {
  const uint i = (uint)get_local_id(0);
  out[512 + i] = (uint)clq_dot4_i8(in[i], in[64 + i], (int)in[128 + i]);
  out[576 + i] = (uint)clq_dot4_u8s8(in[i], in[64 + i], (int)in[128 + i]);
}

#elif CLQ_DOT_AVX2 || CLQ_DOT_VNNI

CLQ_PROBE_KERNEL {
  const uint i = (uint)get_local_id(0);
  const uint16 w = vload16(32 + i % 32, in);
  int16 acc = as_int16(vload16(i % 32, in));
  acc = clq_dot4x16_u8s8(acc, w, (int)in[i]);
  acc = clq_dot4x16_s8s8(acc, w, (int)in[64 + i]);
  acc = clq_dot4x16_u7s8(acc, w & 0x7f7f7f7fu, (int)in[128 + i]);
  vstore16(as_uint16(acc), i, out);
}

#elif CLQ_PROBE_F16C || CLQ_PROBE_HALF_X86

// Halves without Inf and NaN are staged in out[512 ..], then read back.
CLQ_PROBE_KERNEL {
  const uint i = (uint)get_local_id(0);
  __global const half *halves = (__global const half *)(out + 512);
  if (i < 32) {
    vstore8(vload8(i, in) & 0xbfffbfffu, i, out + 512);
    float16 x = clq_load_half16(i, halves);
    if (i & 1) x.lo = clq_load_half8(2 * i, halves);
    vstore16(as_uint16(x), i, out);
  }
#if CLQ_PROBE_HALF_X86
  if (i < 8) { // BW on 512 bits, VL on 256
    uint16 wide = vload16(i, in);
    uint8 low = wide.lo;
    __asm__("vpminuq %1, %0, %0" : "+v"(low) : "v"(wide.hi));
    __asm__("vpaddb %0, %0, %0" : "+v"(wide));
    vstore16(wide, i, out + 768);
    vstore8(low, i, out + 896);
  }
#endif
}

#elif CLQ_PROBE_VBMI

CLQ_PROBE_KERNEL {
  const uint i = (uint)get_local_id(0);
  const clq_bytes256 table = clq_load_bytes256((const __global uchar *)in);
  vstore16(clq_permute64(&table, vload16(i, in)), i, out);
}

#else

// No probe asked for: whether the device runs anything at all.
CLQ_PROBE_KERNEL {
  const uint i = (uint)get_local_id(0);
  out[i] = in[i];
}

#endif
