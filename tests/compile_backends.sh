#!/usr/bin/env bash
# compile_backends.sh KERNELS_CL: compiles each back end of the device library
# for the hardware it is meant for, looks for the instruction that it is about,
# and demands that nothing spills. Exit 77 (skipped) without a clang that is new
# enough, 1 if CI=true.
set -euo pipefail
kernels=$1

# file | target | options | texts that the output must hold
# targets: sm_XX (PTX, then machine code by ptxas), gfxXXXX (AMDGCN), spirv,
# ir (LLVM IR, where only the mangled call can be seen), x86 (AVX-512 VNNI).
table='
selftest|sm_90|-DCLQ_SELFTEST_MATH=1|fma.rn.f32 rcp|
selftest|sm_90|-DCLQ_SELFTEST_MATH=1 -DCLQ_DIVIDE_IS_EXACT=1|fma.rn.f32|
selftest|sm_90|-DCLQ_SELFTEST_HALF=1|cvt.rn.f16.f32 cvt.f32.f16|
selftest|sm_90|-DCLQ_SELFTEST_WARP=1|bar.sync st.shared|
selftest|sm_90|-DCLQ_SELFTEST_WARP=1 -DCLQ_HAS_NVIDIA_PTX=1|shfl.sync.bfly.b32 shfl.sync.idx.b32 %laneid|
selftest|sm_90|-DCLQ_SELFTEST_WELFORD=1 -DCLQ_HAS_NVIDIA_PTX=1|shfl.sync.bfly.b32|
selftest|sm_90|-DCLQ_SELFTEST_DOT=1 -DCLQ_HAS_NVIDIA_PTX=1|dp4a.s32.s32 dp4a.u32.s32|
selftest|sm_90|-DCLQ_SELFTEST_QUANTIZE=1|fma.rn.f32|
selftest|sm_75|-DCLQ_SELFTEST_WARP=1 -DCLQ_HAS_NVIDIA_PTX=1|shfl.sync.bfly.b32|
selftest|gfx1100|-DCLQ_SELFTEST_MATH=1|v_fma|
selftest|gfx1100|-DCLQ_SELFTEST_HALF=1|v_cvt_f16_f32 v_cvt_f32_f16|
selftest|gfx1100|-DCLQ_SELFTEST_WARP=1|s_barrier ds_store|
selftest|gfx1100|-DCLQ_SELFTEST_WELFORD=1|s_barrier|
selftest|gfx1100|-DCLQ_SELFTEST_QUANTIZE=1|v_max v_fma|
selftest|gfx1100|-DCLQ_SELFTEST_DOT=1 -DCLQ_HAS_AMD_DOT=1|v_dot4_i32_iu8|
selftest|gfx1030|-DCLQ_SELFTEST_DOT=1 -DCLQ_HAS_AMD_DOT=1|v_dot4|
selftest|gfx906|-DCLQ_SELFTEST_DOT=1 -DCLQ_HAS_AMD_DOT=1|v_dot4_i32_i8|
selftest|gfx906|-DCLQ_SELFTEST_WARP=1|s_barrier ds_write|
selftest|spirv|-DCLQ_SELFTEST_MATH=1|ExtInst|
selftest|spirv|-DCLQ_SELFTEST_WARP=1 -DCLQ_HAS_KHR_SUBGROUPS=1 -cl-std=CL3.0|OpGroupNonUniformShuffleXor OpGroupBroadcast|
selftest|spirv|-DCLQ_SELFTEST_WELFORD=1 -DCLQ_HAS_KHR_SUBGROUPS=1 -cl-std=CL3.0|OpGroupNonUniformShuffleXor|
selftest|spirv|-DCLQ_SELFTEST_WARP=1 -DCLQ_HAS_INTEL_SUBGROUPS=1|OpSubgroupShuffleXorINTEL|
selftest|spirv|-DCLQ_SELFTEST_WELFORD=1 -DCLQ_HAS_INTEL_SUBGROUPS=1|OpSubgroupShuffleXorINTEL|
selftest|spirv|-DCLQ_SELFTEST_DOT=1 -DCLQ_HAS_KHR_INT_DOT=1 -cl-std=CL3.0|OpSDot OpSUDot|
selftest|ir|-DCLQ_SELFTEST_WARP=1 -DCLQ_HAS_QCOM_SUBGROUPS=1 -cl-std=CL2.0|qcom_sub_group_shuffle_xor|
selftest|ir|-DCLQ_SELFTEST_WELFORD=1 -DCLQ_HAS_QCOM_SUBGROUPS=1 -cl-std=CL2.0|qcom_sub_group_shuffle_xor|
selftest|ir|-DCLQ_SELFTEST_DOT=1 -DCLQ_DOT_ARM=1|arm_dot_acc|
selftest|x86|-DCLQ_SELFTEST_DOT=1 -DCLQ_HAS_X86_VNNI=1|vpdpbusd|
selftest|x86|-DCLQ_SELFTEST_DOT=1 -DCLQ_HAS_X86_AVX2=1|vpmaddwd vpmaddubsw|
selftest|x86|-DCLQ_SELFTEST_HALF=1 -DCLQ_HAS_X86_AVX512=1|vcvtph2ps|
probe|sm_90|-DCLQ_PROBE_DIVIDE=1|div.|
probe|sm_90|-DCLQ_PROBE_NVIDIA=1|shfl.sync.bfly.b32 dp4a.s32.s32 dp4a.u32.s32|
probe|sm_90|-DCLQ_PROBE_NVIDIA_MMA=1|mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 s32.s8.u8.s32|
probe|gfx1100|-DCLQ_PROBE_AMD_DOT=1|v_dot4_i32_iu8|
probe|gfx906|-DCLQ_PROBE_AMD_DOT=1|v_dot4_i32_i8|
probe|spirv|-DCLQ_PROBE_KHR_SUBGROUPS=1 -cl-std=CL3.0|OpGroupNonUniformShuffleXor|
probe|spirv|-DCLQ_PROBE_INTEL_SUBGROUPS=1|OpSubgroupShuffleXorINTEL|
probe|spirv|-DCLQ_PROBE_KHR_DOT=1 -cl-std=CL3.0|OpSDot OpSUDot|
probe|ir|-DCLQ_PROBE_QCOM_SUBGROUPS=1 -cl-std=CL2.0|qcom_sub_group_shuffle_xor|
rmsnorm|sm_90|-DCLQ_OUT=4 -DCLQ_HAS_NVIDIA_PTX=1|shfl.sync.bfly.b32 bar.sync st.shared|
rmsnorm|sm_90|-DCLQ_X=2 -DCLQ_OUT=2|cvt.rn.f16.f32 bar.sync|
layernorm|sm_90|-DCLQ_OUT=4 -DCLQ_HAS_NVIDIA_PTX=1|shfl.sync.bfly.b32 bar.sync st.shared|
layernorm|sm_90|-DCLQ_RESIDUAL=1 -DCLQ_GAMMA=1 -DCLQ_BETA=1 -DCLQ_LANES=32 -DCLQ_QUADS=4 -DCLQ_HAS_NVIDIA_PTX=1|shfl.sync.bfly.b32|
layernorm|sm_75|-DCLQ_X=3 -DCLQ_OUT=5 -DCLQ_CODES=1 -DCLQ_LANES=16 -DCLQ_QUADS=1 -DCLQ_HAS_NVIDIA_PTX=1|shfl.sync.bfly.b32|
layernorm|gfx1100|-DCLQ_X=6 -DCLQ_OUT=4 -DCLQ_CODES=2|s_barrier ds_store|
layernorm|spirv|-DCLQ_OUT=4 -DCLQ_SHARE=1 -DCLQ_HAS_KHR_SUBGROUPS=1 -cl-std=CL3.0|OpGroupNonUniformShuffleXor|
layernorm|spirv|-DCLQ_OUT=4 -DCLQ_HAS_INTEL_SUBGROUPS=1|OpSubgroupShuffleXorINTEL|
rmsnorm|gfx1100|-DCLQ_OUT=4|s_barrier ds_store|
rmsnorm|gfx906|-DCLQ_X=2 -DCLQ_OUT=4|s_barrier ds_write|
rmsnorm|spirv|-DCLQ_OUT=4 -DCLQ_HAS_KHR_SUBGROUPS=1 -cl-std=CL3.0|OpGroupNonUniformShuffleXor|
rmsnorm|spirv|-DCLQ_OUT=4 -DCLQ_HAS_INTEL_SUBGROUPS=1|OpSubgroupShuffleXorINTEL|
rmsnorm|ir|-DCLQ_OUT=4 -DCLQ_HAS_QCOM_SUBGROUPS=1 -cl-std=CL2.0|qcom_sub_group_shuffle_xor|
quantize|sm_90|-DCLQ_OUT=4 -DCLQ_HAS_NVIDIA_PTX=1|shfl.sync.bfly.b32|
quantize|sm_75|-DCLQ_X=2 -DCLQ_OUT=4 -DCLQ_HAS_NVIDIA_PTX=1|shfl.sync.bfly.b32 cvt.f32.f16|
quantize|gfx1100|-DCLQ_OUT=4|s_barrier|
quantize|spirv|-DCLQ_OUT=4 -DCLQ_HAS_KHR_SUBGROUPS=1 -cl-std=CL3.0|OpGroupNonUniformShuffleXor|
quantize|spirv|-DCLQ_OUT=4 -DCLQ_HAS_INTEL_SUBGROUPS=1|OpSubgroupShuffleXorINTEL|
activate|sm_90|-DCLQ_OUT=4 -DCLQ_ACTIVATION=2 -DCLQ_HAS_NVIDIA_PTX=1|shfl.sync.bfly.b32 fma.rn.f32|
activate|sm_90|-DCLQ_ACTIVATION=4 -DCLQ_UP=1|fma.rn.f32|
activate|gfx1100|-DCLQ_X=2 -DCLQ_OUT=4 -DCLQ_ACTIVATION=3|s_barrier v_fma|
activate|spirv|-DCLQ_OUT=4 -DCLQ_HAS_KHR_SUBGROUPS=1 -cl-std=CL3.0|OpGroupNonUniformShuffleXor|
dequantize|sm_90|-DCLQ_OUT=2|cvt.rn.f16.f32|
dequantize|gfx1100||v_mul_f32|
dequantize|spirv||OpFMul|
add|sm_90|-DCLQ_A=2 -DCLQ_OUT=2|cvt.rn.f16.f32 cvt.f32.f16|
add|sm_90|-DCLQ_A=4 -DCLQ_B=5 -DCLQ_OUT=4 -DCLQ_HAS_NVIDIA_PTX=1|shfl.sync.bfly.b32|
add|gfx1100||add_f32|
add|gfx1100|-DCLQ_A=4 -DCLQ_B=2 -DCLQ_OUT=5 -DCLQ_CODES=1 -DCLQ_SHARE=1|s_barrier|
add|spirv||OpFAdd|
pool|sm_90|-DCLQ_X=2 -DCLQ_OUT=2 -DCLQ_NORMALIZE=1 -DCLQ_KEEP=4096 -DCLQ_HAS_NVIDIA_PTX=1|shfl.sync.bfly.b32 cvt.rn.f16.f32 atom.|
pool|gfx1100|-DCLQ_NORMALIZE=1 -DCLQ_KEEP=4096|s_barrier ds_store global_atomic_cmpswap|
pool|spirv|-DCLQ_X=3 -DCLQ_NORMALIZE=1|OpControlBarrier OpAtomicCompareExchange|
embedding|sm_90|-DCLQ_W_MIN=1|fma.rn.f32 atom.|
embedding|gfx1100|-DCLQ_W_BITS=8|global_atomic_cmpswap|
embedding|spirv||OpAtomicCompareExchange|
embedding|sm_90|-DCLQ_W_BITS=8 -DCLQ_OUT=4 -DCLQ_HAS_NVIDIA_PTX=1|shfl.sync.bfly.b32 atom.|
embedding|gfx1100|-DCLQ_W_BITS=4 -DCLQ_W_ORDER=1 -DCLQ_OUT=2|global_atomic_cmpswap|
embedding_tables|sm_90|-DCLQ_TABLE0=2 -DCLQ_TABLE1=4 -DCLQ_TABLE2=5 -DCLQ_MAP=1|fma.rn.f32 cvt.f32.f16 atom.|
embedding_tables|gfx1100|-DCLQ_TABLE0=6 -DCLQ_OUT=4|s_barrier v_fma global_atomic_cmpswap|
embedding_tables|spirv|-DCLQ_TABLE0=1 -DCLQ_TABLE1=3 -DCLQ_OUT=2|OpAtomicCompareExchange|
integer_norm|sm_90|-DCLQ_HAS_NVIDIA_PTX=1|shfl.sync.bfly.b32 bar.sync mul.wide.s32|
integer_norm|sm_90|-DCLQ_X=6 -DCLQ_OUT=5|bar.sync st.shared mul.wide.s32|
integer_norm|gfx1100|-DCLQ_X=6|s_barrier ds_store v_mad_i64_i32|
integer_norm|gfx906|-DCLQ_X=5 -DCLQ_OUT=5|s_barrier ds_write v_mad_i64_i32|
integer_norm|spirv|-DCLQ_HAS_KHR_SUBGROUPS=1 -cl-std=CL3.0|OpControlBarrier OpGroupNonUniformShuffleXor|
integer_add|sm_90|-DCLQ_MODE=2 -DCLQ_HAS_NVIDIA_PTX=1|shfl.sync.bfly.b32 mul.wide.s32|
integer_add|gfx1100|-DCLQ_MODE=3 -DCLQ_B=5|s_barrier v_mad_i64_i32|
integer_add|spirv|-DCLQ_OUT=5|OpControlBarrier|
integer_add|x86|-DCLQ_ON_CPU=1 -DCLQ_MODE=2|vpmuldq|
integer_gelu|sm_90|-DCLQ_X=6 -DCLQ_HAS_NVIDIA_PTX=1|shfl.sync.bfly.b32 mul.lo.s64|
integer_gelu|gfx1100|-DCLQ_OUT=5|s_barrier|
integer_gelu|spirv|-DCLQ_X=5|OpControlBarrier|
integer_gelu|x86|-DCLQ_ON_CPU=1|vpmuldq|
lookup|sm_90|-DCLQ_HAS_NVIDIA_PTX=1|shfl.sync.bfly.b32 ld.shared.b8|
lookup|gfx1100|-DCLQ_OUT=2|s_barrier ds_load_u16|
lookup|spirv|-DCLQ_OUT=5|OpControlBarrier|
lookup|x86|-DCLQ_ON_CPU=1 -DCLQ_PERMUTE_X86=1|vpermi2b|
softmax_float|sm_90|-DCLQ_X=1|fma.rn.f32 bar.sync st.shared|
softmax_codes|sm_90|-DCLQ_X=4 -DCLQ_OUT=5|fma.rn.f32 bar.sync|
softmax_float|gfx1100|-DCLQ_X=2 -DCLQ_MASK=2 -DCLQ_OUT=2|s_barrier ds_store v_fma|
softmax_codes|gfx1100|-DCLQ_X=4 -DCLQ_OUT=5 -DCLQ_EXP=5|s_barrier ds_store|
softmax_float|spirv|-DCLQ_X=1 -DCLQ_FINISH=1|OpControlBarrier|
softmax_codes|spirv|-DCLQ_X=5 -DCLQ_MASK=5 -DCLQ_OUT=2 -DCLQ_FINISH=2 -DCLQ_EXP=4|OpControlBarrier|
sample|sm_90||bar.sync st.shared fma.rn.f32|
sample|gfx1100|-DCLQ_WHOLE=1|s_barrier v_fma|
sample|spirv||OpControlBarrier OpAtomicCompareExchange|
rope|sm_90|-DCLQ_HEAD_DIM=128 -DCLQ_LAYOUT=2 -DCLQ_K=2 -DCLQ_V=2|fma.rn.f32 cvt.rn.f16.f32|
rope|sm_90|-DCLQ_HEAD_DIM=64 -DCLQ_LAYOUT=1 -DCLQ_K=1 -DCLQ_V=1|fma.rn.f32|
rope|sm_90|-DCLQ_HEAD_DIM=128 -DCLQ_LAYOUT=2 -DCLQ_K=4 -DCLQ_V=5|fma.rn.f32|
rope|gfx1100|-DCLQ_HEAD_DIM=128 -DCLQ_LAYOUT=2 -DCLQ_K=2 -DCLQ_V=2|v_fma v_cvt_f16_f32|
rope|spirv|-DCLQ_HEAD_DIM=64 -DCLQ_LAYOUT=1 -DCLQ_K=1 -DCLQ_V=1|ExtInst|
attention|sm_90|-DCLQ_HEAD_DIM=128 -DCLQ_K=2 -DCLQ_V=2 -DCLQ_OUT=4 -DCLQ_WORK_ITEMS=64|fma.rn.f32 cvt.f32.f16 bar.sync|
attention|sm_90|-DCLQ_HEAD_DIM=64 -DCLQ_K=1 -DCLQ_V=1 -DCLQ_OUT=1 -DCLQ_WORK_ITEMS=64|fma.rn.f32 bar.sync|
attention|sm_90|-DCLQ_HEAD_DIM=80 -DCLQ_K=1 -DCLQ_V=1 -DCLQ_OUT=2 -DCLQ_WORK_ITEMS=64 -DCLQ_SPLIT=1|fma.rn.f32 bar.sync|
attention|gfx1100|-DCLQ_HEAD_DIM=128 -DCLQ_K=2 -DCLQ_V=2 -DCLQ_OUT=4 -DCLQ_WORK_ITEMS=64|v_fma_mix_f32 s_barrier|
attention|gfx1100|-DCLQ_HEAD_DIM=64 -DCLQ_K=1 -DCLQ_V=1 -DCLQ_OUT=1 -DCLQ_WORK_ITEMS=64|v_fma s_barrier|
attention|spirv|-DCLQ_HEAD_DIM=128 -DCLQ_K=2 -DCLQ_V=2 -DCLQ_OUT=4 -DCLQ_WORK_ITEMS=64|OpControlBarrier|
attention|spirv|-DCLQ_HEAD_DIM=64 -DCLQ_K=1 -DCLQ_V=1 -DCLQ_OUT=1 -DCLQ_WORK_ITEMS=64|OpControlBarrier|
gemm_f32_lane|sm_90|-DCLQ_W_BITS=32 -DCLQ_ROWS=4|fma.rn.f32|
gemm_f32_lane|sm_90|-DCLQ_W_BITS=4 -DCLQ_W_MIN=1 -DCLQ_ROWS=4|fma.rn.f32 cvt.f32.f16|
gemm_f32_lane|sm_90|-DCLQ_W_BITS=16 -DCLQ_OUT=2 -DCLQ_ROWS=4|fma.rn.f32 cvt.rn.f16.f32|
gemm_f32_lane|sm_90|-DCLQ_W_BITS=16 -DCLQ_W_BF16=1 -DCLQ_ROWS=4|fma.rn.f32|
gemm_f32_lane|sm_90|-DCLQ_X=2 -DCLQ_W_BITS=16 -DCLQ_ROWS=4|fma.rn.f32 cvt.f32.f16|
gemm_f32_lane|gfx1100|-DCLQ_X=3 -DCLQ_W_BITS=4 -DCLQ_ROWS=4|v_fma|
gemm_f32_lane|gfx1100|-DCLQ_W_BITS=16 -DCLQ_ROWS=4|v_fma_mix_f32|
gemm_f32_lane|gfx1100|-DCLQ_W_BITS=8 -DCLQ_W_MIN=1 -DCLQ_W_SCALE=1 -DCLQ_ROWS=4|v_fma|
gemm_f32_lane|gfx1100|-DCLQ_W_BITS=4 -DCLQ_W_MIN=1 -DCLQ_ROWS=4|v_fma|
gemm_f32_lane|spirv|-DCLQ_W_BITS=4 -DCLQ_W_ZERO=1 -DCLQ_ROWS=1|ExtInst|
gemm_f32_lane|sm_90|-DCLQ_W_BITS=16 -DCLQ_OUT=3 -DCLQ_BIAS=2 -DCLQ_ACTIVATION=2 -DCLQ_RESIDUAL=3 -DCLQ_ROWS=4|fma.rn.f32|
gemm_f32_lane|gfx1100|-DCLQ_W_BITS=16 -DCLQ_OUT=5 -DCLQ_ACTIVATION=3 -DCLQ_ROWS=4|v_fma global_atomic_add|
gemm_q8_lane|sm_90|-DCLQ_W_BITS=4 -DCLQ_OUT=4 -DCLQ_BIAS=1 -DCLQ_ACTIVATION=4 -DCLQ_GATE=2 -DCLQ_RESIDUAL=3 -DCLQ_X_SUM=1 -DCLQ_X_WORDS=1 -DCLQ_ROWS=4 -DCLQ_HAS_NVIDIA_PTX=1|dp4a.u32.s32 atom.|
gemm_q8_lane|gfx906|-DCLQ_W_BITS=8 -DCLQ_OUT=4 -DCLQ_BIAS=1 -DCLQ_ACTIVATION=4 -DCLQ_GATE=2 -DCLQ_RESIDUAL=3 -DCLQ_X_WORDS=1 -DCLQ_ROWS=4 -DCLQ_HAS_AMD_DOT=1|v_dot4_i32_i8 global_atomic_add|
gemm_q8_lane|spirv|-DCLQ_OUT=4 -DCLQ_ACTIVATION=1 -DCLQ_X_WORDS=1 -DCLQ_ROWS=4|OpAtomicIAdd|
gemm_q8_lane|sm_90|-DCLQ_W_BITS=4 -DCLQ_X_SUM=1 -DCLQ_X_WORDS=1 -DCLQ_ROWS=4 -DCLQ_HAS_NVIDIA_PTX=1|dp4a.u32.s32|
gemm_q8_lane|sm_90|-DCLQ_W_BITS=8 -DCLQ_X_WORDS=1 -DCLQ_ROWS=1 -DCLQ_HAS_NVIDIA_PTX=1|dp4a.s32.s32|
gemm_q8_lane|sm_90|-DCLQ_W_BITS=4 -DCLQ_X=5 -DCLQ_X_ZERO=1 -DCLQ_X_SUM=1 -DCLQ_X_WORDS=1 -DCLQ_ROWS=4 -DCLQ_HAS_NVIDIA_PTX=1|dp4a.u32.s32|
gemm_q8_lane|gfx1100|-DCLQ_W_BITS=8 -DCLQ_X_GROUPED=0 -DCLQ_X_ZERO=1 -DCLQ_X_WORDS=1 -DCLQ_ROWS=4 -DCLQ_HAS_AMD_DOT=1|v_dot4_i32_iu8|
gemm_q8_split|spirv|-DCLQ_W_BITS=4 -DCLQ_X_RATIO=4 -DCLQ_X_ZERO=1 -DCLQ_X_WORDS=1 -DCLQ_HAS_KHR_INT_DOT=1 -cl-std=CL3.0|OpSUDot OpControlBarrier|
gemm_q8_mma|sm_90|-DCLQ_W_BITS=4 -DCLQ_X_ZERO=1 -DCLQ_X_WORDS=1 -DCLQ_HAS_NVIDIA_PTX=1 -DCLQ_HAS_NVIDIA_MMA=1|mma.sync.aligned.m16n8k32.row.col.s32.s8.u8.s32|
gemm_f32_lane|sm_90|-DCLQ_X=4 -DCLQ_X_ZERO=1 -DCLQ_W_BITS=16 -DCLQ_ROWS=4|fma.rn.f32 cvt.f32.f16|
gemm_f32_lane|spirv|-DCLQ_X=5 -DCLQ_W_BITS=16 -DCLQ_ROWS=4|ExtInst|
gemm_q8_lane|sm_90|-DCLQ_W_BITS=4 -DCLQ_OUT=2 -DCLQ_X_WORDS=1 -DCLQ_ROWS=4 -DCLQ_HAS_NVIDIA_PTX=1|dp4a.u32.s32 cvt.rn.f16.f32|
gemm_q8_lane|sm_90|-DCLQ_W_BITS=4 -DCLQ_W_MIN=1 -DCLQ_W_SCALE=1 -DCLQ_X_RATIO=2 -DCLQ_X_WORDS=1 -DCLQ_ROWS=4 -DCLQ_HAS_NVIDIA_PTX=1|dp4a.u32.s32|
gemm_q8_lane|gfx1100|-DCLQ_W_BITS=8 -DCLQ_W_MIN=1 -DCLQ_X_WORDS=1 -DCLQ_ROWS=4 -DCLQ_HAS_AMD_DOT=1|v_dot4_i32_iu8|
gemm_q8_mma|sm_90|-DCLQ_W_BITS=4 -DCLQ_X_SUM=1 -DCLQ_X_WORDS=1 -DCLQ_HAS_NVIDIA_PTX=1 -DCLQ_HAS_NVIDIA_MMA=1|mma.sync.aligned.m16n8k32.row.col.s32.s8.u8.s32|
gemm_q8_mma|sm_90|-DCLQ_W_BITS=4 -DCLQ_OUT=4 -DCLQ_BIAS=1 -DCLQ_ACTIVATION=2 -DCLQ_RESIDUAL=2 -DCLQ_X_SUM=1 -DCLQ_X_WORDS=1 -DCLQ_HAS_NVIDIA_PTX=1 -DCLQ_HAS_NVIDIA_MMA=1|mma.sync.aligned.m16n8k32.row.col.s32.s8.u8.s32 atom.|
gemm_q8_mma|sm_80|-DCLQ_W_BITS=4 -DCLQ_W_ZERO=1 -DCLQ_X_GROUPED=0 -DCLQ_W_SCALE=1 -DCLQ_HAS_NVIDIA_PTX=1 -DCLQ_HAS_NVIDIA_MMA=1|mma.sync.aligned.m16n8k32.row.col.s32.s8.u8.s32|
gemm_q8_mma|sm_90|-DCLQ_W_BITS=8 -DCLQ_X_WORDS=1 -DCLQ_HAS_NVIDIA_PTX=1 -DCLQ_HAS_NVIDIA_MMA=1|mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32|
gemm_q8_lane|gfx1100|-DCLQ_W_BITS=4 -DCLQ_X_SUM=1 -DCLQ_X_WORDS=1 -DCLQ_ROWS=4 -DCLQ_HAS_AMD_DOT=1|v_dot4_i32_iu8|
gemm_q8_lane|gfx906|-DCLQ_W_BITS=4 -DCLQ_X_SUM=1 -DCLQ_X_WORDS=1 -DCLQ_ROWS=4 -DCLQ_HAS_AMD_DOT=1|v_dot4_i32_i8|
gemm_q8_lane|spirv|-DCLQ_W_BITS=4 -DCLQ_X_SUM=1 -DCLQ_X_WORDS=1 -DCLQ_ROWS=4 -DCLQ_HAS_KHR_INT_DOT=1 -cl-std=CL3.0|OpSUDot|
gemm_q8_lane|spirv|-DCLQ_W_BITS=8 -DCLQ_ROWS=1 -DCLQ_HAS_KHR_INT_DOT=1 -cl-std=CL3.0|OpSDot|
gemm_q8_lane|ir|-DCLQ_W_BITS=8 -DCLQ_X_WORDS=1 -DCLQ_ROWS=4 -DCLQ_DOT_ARM=1|arm_dot_acc|
gemm_q8_lane|sm_90|-DCLQ_W_BITS=4 -DCLQ_W_ZERO=1 -DCLQ_X_WORDS=1 -DCLQ_ROWS=4|fma.rn.f32|
gemm_q8_lane|sm_90|-DCLQ_W_BITS=8 -DCLQ_OUTLIERS=2 -DCLQ_OUT=2 -DCLQ_X_GROUPED=0 -DCLQ_X_WORDS=1 -DCLQ_ROWS=4 -DCLQ_HAS_NVIDIA_PTX=1|dp4a.s32.s32 cvt.rn.f16.f32|
gemm_q8_mma|sm_90|-DCLQ_W_BITS=8 -DCLQ_OUTLIERS=1 -DCLQ_X_GROUPED=0 -DCLQ_X_WORDS=1 -DCLQ_HAS_NVIDIA_PTX=1 -DCLQ_HAS_NVIDIA_MMA=1|mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32|
gemm_q8_split|gfx1100|-DCLQ_W_BITS=8 -DCLQ_OUTLIERS=1 -DCLQ_HAS_AMD_DOT=1|v_dot4_i32_iu8|
quantize|sm_90|-DCLQ_X=2 -DCLQ_OUT=4 -DCLQ_OUTLIERS=2 -DCLQ_HAS_NVIDIA_PTX=1|shfl.sync.bfly.b32|
quantize|gfx1100|-DCLQ_OUT=4 -DCLQ_OUTLIERS=1|s_barrier|
quantize|spirv|-DCLQ_OUT=4 -DCLQ_OUTLIERS=3|OpControlBarrier|
gemm_q8_lane|sm_90|-DCLQ_W_BITS=4 -DCLQ_W_ORDER=1 -DCLQ_X_GROUPED=0 -DCLQ_W_ZERO=1 -DCLQ_X_WORDS=1 -DCLQ_ROWS=4 -DCLQ_HAS_NVIDIA_PTX=1|dp4a.u32.s32|
gemm_q8_split|gfx1100|-DCLQ_W_BITS=4 -DCLQ_W_ORDER=1 -DCLQ_X_GROUPED=0 -DCLQ_W_ZERO=1 -DCLQ_HAS_AMD_DOT=1|v_dot4_i32_iu8|
gemm_q8_mma|sm_90|-DCLQ_W_BITS=4 -DCLQ_W_ORDER=1 -DCLQ_X_GROUPED=0 -DCLQ_W_ZERO=1 -DCLQ_W_SCALE=1 -DCLQ_HAS_NVIDIA_PTX=1 -DCLQ_HAS_NVIDIA_MMA=1|mma.sync.aligned.m16n8k32.row.col.s32.s8.u8.s32|
gemm_f32_lane|spirv|-DCLQ_W_BITS=4 -DCLQ_W_ORDER=1 -DCLQ_ROWS=4|ExtInst|
gemm_q8_lane|sm_90|-DCLQ_W_BITS=6 -DCLQ_W_SCALE=4 -DCLQ_W_SUPER=16 -DCLQ_X_RATIO=2 -DCLQ_X_WORDS=1 -DCLQ_ROWS=4 -DCLQ_HAS_NVIDIA_PTX=1|dp4a.u32.s32|
gemm_q8_lane|gfx1100|-DCLQ_W_BITS=2 -DCLQ_W_MIN=1 -DCLQ_W_SCALE=4 -DCLQ_W_SUPER=16 -DCLQ_X_RATIO=2 -DCLQ_X_WORDS=1 -DCLQ_ROWS=4 -DCLQ_HAS_AMD_DOT=1|v_dot4_i32_iu8|
gemm_q8_mma|sm_90|-DCLQ_W_BITS=5 -DCLQ_W_MIN=1 -DCLQ_W_SCALE=4 -DCLQ_W_SUPER=8 -DCLQ_X_SUM=1 -DCLQ_X_WORDS=1 -DCLQ_HAS_NVIDIA_PTX=1 -DCLQ_HAS_NVIDIA_MMA=1|mma.sync.aligned.m16n8k32.row.col.s32.s8.u8.s32|
gemm_q8_split|sm_90|-DCLQ_W_BITS=3 -DCLQ_W_ZERO=1 -DCLQ_X_WORDS=1 -DCLQ_HAS_NVIDIA_PTX=1|dp4a.u32.s32 bar.sync|
gemm_f32_lane|sm_90|-DCLQ_W_BITS=5 -DCLQ_W_MIN=1 -DCLQ_W_SCALE=4 -DCLQ_W_SUPER=8 -DCLQ_ROWS=4|fma.rn.f32|
embedding|sm_90|-DCLQ_W_BITS=3 -DCLQ_W_MIN=1 -DCLQ_W_SCALE=3|fma.rn.f32 atom.|
gemm_q8_split|sm_90|-DCLQ_W_BITS=4 -DCLQ_W_TABLE=1 -DCLQ_X_WORDS=1 -DCLQ_HAS_NVIDIA_PTX=1|prmt.b32 dp4a.s32.s32|
gemm_q8_mma|sm_90|-DCLQ_W_BITS=4 -DCLQ_W_TABLE=2 -DCLQ_W_SCALE=3 -DCLQ_X_WORDS=1 -DCLQ_HAS_NVIDIA_PTX=1 -DCLQ_HAS_NVIDIA_MMA=1|prmt.b32 mma.sync.aligned.m16n8k32.row.col.s32.s8.u8.s32|
gemm_q8_lane|gfx1100|-DCLQ_W_BITS=4 -DCLQ_W_TABLE=1 -DCLQ_X_WORDS=1 -DCLQ_ROWS=4 -DCLQ_HAS_AMD_DOT=1|v_perm_b32 v_dot4_i32_iu8|
gemm_f32_lane|spirv|-DCLQ_W_BITS=4 -DCLQ_W_TABLE=2 -DCLQ_W_SCALE=3 -DCLQ_ROWS=4|OpBitwise ExtInst|
gemm_q8_row|x86|-DCLQ_W_BITS=4 -DCLQ_W_TABLE=1 -DCLQ_ON_CPU=1 -DCLQ_HAS_X86_AVX2=1 -DCLQ_HAS_X86_VNNI=1|vpshufb vpdpbusd|
gemm_q8_row|x86|-DCLQ_W_BITS=4 -DCLQ_W_TABLE=2 -DCLQ_W_SCALE=3 -DCLQ_ON_CPU=1 -DCLQ_HAS_X86_AVX2=1|vpshufb vpmaddubsw|
gemm_q8_split|sm_90|-DCLQ_W_BITS=4 -DCLQ_OUT=5 -DCLQ_ACTIVATION=2 -DCLQ_GATE=3 -DCLQ_X_SUM=1 -DCLQ_X_WORDS=1 -DCLQ_HAS_NVIDIA_PTX=1|dp4a.u32.s32 bar.sync atom.|
gemm_q8_split|sm_90|-DCLQ_W_BITS=4 -DCLQ_X_SUM=1 -DCLQ_X_WORDS=1 -DCLQ_HAS_NVIDIA_PTX=1|dp4a.u32.s32 bar.sync st.shared|
gemm_q8_split|sm_90|-DCLQ_W_BITS=4 -DCLQ_W_MIN=1 -DCLQ_X_SUM=1 -DCLQ_X_WORDS=1 -DCLQ_HAS_NVIDIA_PTX=1|dp4a.u32.s32 bar.sync|
gemm_q8_split|sm_90|-DCLQ_W_BITS=8 -DCLQ_W_SCALE=1 -DCLQ_X_RATIO=2 -DCLQ_X_WORDS=1 -DCLQ_HAS_NVIDIA_PTX=1|dp4a.s32.s32 bar.sync|
gemm_q8_split|gfx1100|-DCLQ_W_BITS=4 -DCLQ_X_SUM=1 -DCLQ_X_WORDS=1 -DCLQ_HAS_AMD_DOT=1|v_dot4_i32_iu8 s_barrier|
gemm_q8_split|sm_90|-DCLQ_W_BITS=4 -DCLQ_OUT=2 -DCLQ_X_SUM=1 -DCLQ_X_WORDS=1 -DCLQ_HAS_NVIDIA_PTX=1|dp4a.u32.s32 cvt.rn.f16.f32|
gemm_q8_split|gfx906|-DCLQ_W_BITS=8 -DCLQ_X_WORDS=1 -DCLQ_HAS_AMD_DOT=1|v_dot4_i32_i8 s_barrier|
gemm_q8_split|spirv|-DCLQ_W_BITS=4 -DCLQ_X_SUM=1 -DCLQ_X_WORDS=1 -DCLQ_HAS_KHR_INT_DOT=1 -cl-std=CL3.0|OpSUDot OpControlBarrier|
gemm_f32_weights|sm_90|-DCLQ_W_BITS=4 -DCLQ_W_ZERO=1 -DCLQ_W_ORDER=1|st.global|
gemm_f32_weights|gfx1100|-DCLQ_W_BITS=6 -DCLQ_W_SCALE=4 -DCLQ_W_SUPER=16|v_fma|
gemm_f32_weights|spirv|-DCLQ_W_BITS=16|OpStore|
gemm_f32_x|sm_90|-DCLQ_X=2|cvt.f32.f16|
gemm_f32_x|spirv|-DCLQ_X=4 -DCLQ_X_ZERO=1|OpStore|
gemm_f32_end|sm_90|-DCLQ_OUT=2 -DCLQ_BIAS=1 -DCLQ_ACTIVATION=2 -DCLQ_RESIDUAL=1|cvt.rn.f16.f32|
gemm_f32_end|gfx1100|-DCLQ_OUT=4 -DCLQ_GATE=2 -DCLQ_ACTIVATION=4|global_atomic_add|
gemm_sum|sm_90||st.global|
'

clang=${CLQ_CLANG-}
for candidate in clang-22 clang-21 clang-20; do
  [[ -n $clang ]] || clang=$(command -v "$candidate" || true)
done
libclc=${CLQ_LIBCLC-/usr/lib/clc}
if [[ -z $clang || ! -f $libclc/nvptx64--nvidiacl.bc ]]; then
  echo "no clang with libclc: install clang-22 and libclc-22"
  [[ ${CI-} == true ]] && exit 1
  exit 77
fi
ptxas=${CLQ_PTXAS-$(command -v ptxas || true)}
[[ -n $ptxas || ! -x /usr/local/cuda/bin/ptxas ]] || ptxas=/usr/local/cuda/bin/ptxas
libdevice=
if [[ -n $ptxas ]]; then
  folder=$(dirname "$(readlink -f "$ptxas")")
  for candidate in "$folder/libdevice.10.bc" "$folder/../nvvm/libdevice/libdevice.10.bc"; do
    [[ ! -f $candidate ]] || libdevice=$candidate
  done
fi

scratch=$(mktemp -d)
trap 'rm -rf -- "$scratch"' EXIT

# What clang's own headers do not declare.
cat > "$scratch/declare.h" << 'TEXT'
#define CLK_SUB_GROUP_SHUFFLE_WIDTH_WAVE_SIZE_QCOM 0
float __attribute__((overloadable)) qcom_sub_group_shuffle_xor(float, uint, uint, float);
int __attribute__((overloadable)) qcom_sub_group_shuffle_xor(int, uint, uint, int);
int __attribute__((overloadable)) arm_dot_acc(char4, char4, int);
TEXT

# compile FILE TARGET OPTION...: writes $scratch/out and $scratch/log.
compile() {
  local file=$1 target=$2
  shift 2
  local flags=(-x cl -I "$kernels" -O3 -w -S -o "$scratch/out")
  [[ $* == *-cl-std=* ]] || flags+=(-cl-std=CL1.2)
  case $target in
    sm_*)
      flags+=(-target nvptx64-nvidia-nvcl -Xclang -target-cpu -Xclang "$target"
        -Xclang -target-feature -Xclang +ptx80
        -Xclang -mlink-builtin-bitcode -Xclang "$libclc/nvptx64--nvidiacl.bc")
      [[ -z $libdevice ]] || flags+=(-Xclang -mlink-builtin-bitcode -Xclang "$libdevice")
      ;;
    gfx*)
      flags+=(-target amdgcn-amd-amdhsa "-mcpu=$target" -nogpulib
        -Xclang -mlink-builtin-bitcode -Xclang "$libclc/amdgcn-amd-amdhsa.bc"
        -Rpass-analysis=kernel-resource-usage)
      ;;
    spirv)
      flags+=(-target spirv64 -cl-no-stdinc -include opencl-c.h
        -mllvm '--spirv-ext=+SPV_INTEL_subgroups,+SPV_KHR_integer_dot_product')
      [[ $* != *INTEL* ]] || flags+=(-Xclang -cl-ext=+cl_intel_subgroups)
      ;;
    ir) flags+=(-target spir64 -emit-llvm -include "$scratch/declare.h") ;;
    x86) flags+=(-target x86_64-linux-gnu -march=x86-64-v4 -mavx512vnni -mavx512vbmi) ;;
  esac
  "$clang" "${flags[@]}" "$@" "$kernels/$file.cl" > "$scratch/log" 2>&1
}

# spills TARGET: says what is wrong with the machine code; nothing if it is well.
spills() {
  case $1 in
    gfx*) grep -E '(Spill|ScratchSize[^:]*): [1-9]' "$scratch/log" || true ;;
    sm_*)
      [[ -n $libdevice ]] || return 0
      if ! "$ptxas" -v "-arch=$1" "$scratch/out" -o "$scratch/cubin" > "$scratch/log" 2>&1; then
        cat "$scratch/log"
      else
        grep -E '[1-9][0-9]* bytes (stack frame|spill)' "$scratch/log" || true
      fi
      ;;
  esac
}

checks=0 failures=0
while IFS='|' read -r file target options texts _; do
  [[ -n $file ]] || continue
  checks=$((checks + 1))
  problem=
  # shellcheck disable=SC2086 # options and texts are words
  if ! compile "$file" "$target" $options; then
    problem="does not compile"$'\n'$(grep -m 4 error "$scratch/log" || head -n 4 "$scratch/log")
  else
    for text in $texts; do
      grep -qF -- "$text" "$scratch/out" || problem+="no $text in the output; "
    done
    [[ -n $problem ]] || problem=$(spills "$target")
  fi
  if [[ -n $problem ]]; then
    failures=$((failures + 1))
    echo "FAILED $file for $target, $options: $problem"
  else
    echo "ok     $file for $target, $options: $texts"
  fi
done <<< "$table"
[[ -n $libdevice ]] || echo "no ptxas with libdevice: NVIDIA code was compiled to PTX only"
echo "$checks compilations with $("$clang" --version | head -n 1): $failures failures"
((failures == 0))
