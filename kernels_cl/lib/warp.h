/* Warps: the work-items of a 1-D work-group that exchange values directly.
 * NVIDIA calls them warps, OpenCL sub-groups, AMD wavefronts. A width is never
 * assumed: clq_warp_size() says it.
 *
 * Back end, from the device's traits unless the host says otherwise; the first
 * that is 1 counts:
 *   CLQ_WARP_NVIDIA  inline PTX: laneid, shfl.sync
 *   CLQ_WARP_INTEL   cl_intel_subgroups
 *   CLQ_WARP_KHR     cl_khr_subgroups and cl_khr_subgroup_shuffle
 *   CLQ_WARP_QCOM    cl_khr_subgroups and cl_qcom_subgroup_shuffle
 *   none             local memory and barriers; the whole work-group is one warp
 *
 * Vocabulary (T: float, int; lib/welford.h adds its state):
 *   clq_warp_size, _lane, _index, _count      where this work-item stands
 *   clq_warp_broadcast(x, lane, scratch)      x of that lane, to every lane
 *   clq_warp_reduce_add|max(x, scratch)       over the warp, to every lane
 *   clq_warp_reduce_addi|maxi|mini(x, scratch)  the same for int
 *   clq_group_reduce_…(x, scratch)            over the work-group, to everyone
 *   clq_segment_reduce_add|addi|maxi|mini(x, n, scratch)  over each n neighbouring
 *                                             work-items, to those; n a power of
 *                                             two that divides the local size
 *
 * Contract. Every work-item of the group makes the call, at uniform top level.
 * Warps are full: the local size is a multiple of the warp's, or one warp is
 * the whole group. scratch: one T per work-item, in local memory; the back ends
 * with shuffles use less of it or none. A call may have one barrier only, so
 * two calls in a row take two scratch areas in turn.
 *
 * Order. Float sums are folded by the tree of lib/fold.h, neighbours first, over
 * the lanes in order. The tree does not depend on the warp's width, so a sum
 * over the same number of work-items has the same bits on every back end. */
#ifndef CLQ_LIB_WARP_H
#define CLQ_LIB_WARP_H

#include "lib/traits.h"

#pragma OPENCL FP_CONTRACT OFF

#ifndef CLQ_WARP_NVIDIA
#define CLQ_WARP_NVIDIA CLQ_HAS_NVIDIA_PTX
#endif
#ifndef CLQ_WARP_INTEL
#define CLQ_WARP_INTEL CLQ_HAS_INTEL_SUBGROUPS
#endif
#ifndef CLQ_WARP_KHR
#define CLQ_WARP_KHR CLQ_HAS_KHR_SUBGROUPS
#endif
#ifndef CLQ_WARP_QCOM
#define CLQ_WARP_QCOM CLQ_HAS_QCOM_SUBGROUPS
#endif
#define CLQ_WARP_LOCAL (!CLQ_WARP_NVIDIA && !CLQ_WARP_INTEL && !CLQ_WARP_KHR && !CLQ_WARP_QCOM)

#if CLQ_WARP_NVIDIA

static inline uint clq_warp_size(void) { return 32; } /* PTX fixes WARP_SZ */

static inline uint clq_warp_lane(void) {
  uint lane;
  __asm__("mov.u32 %0, %%laneid;" : "=r"(lane));
  return lane;
}

static inline uint clq_warp_index(void) { return (uint)get_local_id(0) / 32; }

static inline uint clq_warp_count(void) { return ((uint)get_local_size(0) + 31) / 32; }

/* Lanes of this warp that exist, as shfl.sync wants them. */
static inline uint clq_warp_members(void) {
  uint rest = (uint)get_local_size(0) - 32 * clq_warp_index();
  return rest >= 32 ? 0xffffffffu : (1u << rest) - 1;
}

static inline int clq_warp_xori(int x, uint mask) {
  int y;
  __asm__ volatile("shfl.sync.bfly.b32 %0, %1, %2, 31, %3;"
                   : "=r"(y)
                   : "r"(x), "r"(mask), "r"(clq_warp_members()));
  return y;
}

static inline int clq_warp_fromi(int x, uint lane) {
  int y;
  __asm__ volatile("shfl.sync.idx.b32 %0, %1, %2, 31, %3;"
                   : "=r"(y)
                   : "r"(x), "r"(lane), "r"(clq_warp_members()));
  return y;
}

static inline float clq_warp_xor(float x, uint mask) {
  return as_float(clq_warp_xori(as_int(x), mask));
}

static inline float clq_warp_from(float x, uint lane) {
  return as_float(clq_warp_fromi(as_int(x), lane));
}

#elif !CLQ_WARP_LOCAL

#if CLQ_WARP_INTEL
#pragma OPENCL EXTENSION cl_intel_subgroups : enable
#define CLQ_SHUFFLE_XOR(x, mask) intel_sub_group_shuffle_xor((x), (mask))
#elif CLQ_WARP_KHR
#pragma OPENCL EXTENSION cl_khr_subgroups : enable
#pragma OPENCL EXTENSION cl_khr_subgroup_shuffle : enable
#define CLQ_SHUFFLE_XOR(x, mask) sub_group_shuffle_xor((x), (mask))
#else
#pragma OPENCL EXTENSION cl_khr_subgroups : enable
#pragma OPENCL EXTENSION cl_qcom_subgroup_shuffle : enable
#define CLQ_SHUFFLE_XOR(x, mask) \
  qcom_sub_group_shuffle_xor((x), (mask), CLK_SUB_GROUP_SHUFFLE_WIDTH_WAVE_SIZE_QCOM, (x))
#endif

static inline uint clq_warp_size(void) { return get_sub_group_size(); }
static inline uint clq_warp_lane(void) { return get_sub_group_local_id(); }
static inline uint clq_warp_index(void) { return get_sub_group_id(); }
static inline uint clq_warp_count(void) { return get_num_sub_groups(); }

/* x of lane (own lane ^ mask); undefined where there is no such lane. */
static inline float clq_warp_xor(float x, uint mask) { return CLQ_SHUFFLE_XOR(x, mask); }
static inline int clq_warp_xori(int x, uint mask) { return CLQ_SHUFFLE_XOR(x, mask); }

/* x of a lane that is the same for all. */
static inline float clq_warp_from(float x, uint lane) { return sub_group_broadcast(x, lane); }
static inline int clq_warp_fromi(int x, uint lane) { return sub_group_broadcast(x, lane); }

#else

static inline uint clq_warp_size(void) { return (uint)get_local_size(0); }
static inline uint clq_warp_lane(void) { return (uint)get_local_id(0); }
static inline uint clq_warp_index(void) { return 0; }
static inline uint clq_warp_count(void) { return 1; }

#endif

/* CLQ_DEFINE_TREE(T, TREE, MERGE): the tree in local memory over the first n
 * entries of scratch, which the caller has written without a barrier; MERGE(a, b)
 * is always given the lower lanes as a. Pasted names come in whole: pocl has
 * macros such as max, which an argument on its way would become. */
#define CLQ_DEFINE_TREE(T, TREE, MERGE)                                        \
  static inline T TREE(__local T *scratch, uint n) {                           \
    const uint i = (uint)get_local_id(0);                                      \
    barrier(CLK_LOCAL_MEM_FENCE);                                              \
    for (uint m = 1; m < n; m <<= 1) {                                         \
      if ((i & (2 * m - 1)) == 0 && i + m < n)                                 \
        scratch[i] = MERGE(scratch[i], scratch[i + m]);                        \
      barrier(CLK_LOCAL_MEM_FENCE);                                            \
    }                                                                          \
    return scratch[0];                                                         \
  }

#if CLQ_WARP_LOCAL

/* The tree in every n neighbouring work-items of the group at once. */
#define CLQ_DEFINE_SEGMENT(T, NAME, MERGE, XOR)                                \
  static inline T clq_segment_reduce_##NAME(T x, uint n, __local T *scratch) { \
    const uint i = (uint)get_local_id(0);                                      \
    scratch[i] = x;                                                            \
    barrier(CLK_LOCAL_MEM_FENCE);                                              \
    for (uint m = 1; m < n; m <<= 1) {                                         \
      if ((i & (2 * m - 1)) == 0) scratch[i] = MERGE(scratch[i], scratch[i + m]); \
      barrier(CLK_LOCAL_MEM_FENCE);                                            \
    }                                                                          \
    return scratch[i & ~(n - 1)];                                              \
  }

#define CLQ_DEFINE_REDUCE(T, NAME, MERGE, XOR, FROM)                           \
  CLQ_DEFINE_TREE(T, clq_tree_##NAME, MERGE)                                   \
  static inline T clq_warp_reduce_##NAME(T x, __local T *scratch) {            \
    scratch[get_local_id(0)] = x;                                              \
    return clq_tree_##NAME(scratch, (uint)get_local_size(0));                  \
  }                                                                            \
  static inline T clq_group_reduce_##NAME(T x, __local T *scratch) {           \
    return clq_warp_reduce_##NAME(x, scratch);                                 \
  }

#define CLQ_DEFINE_BROADCAST(T, NAME, FROM)                                    \
  static inline T clq_warp_broadcast##NAME(T x, uint lane, __local T *scratch) { \
    if (get_local_id(0) == lane) scratch[0] = x;                               \
    barrier(CLK_LOCAL_MEM_FENCE);                                              \
    return scratch[0];                                                         \
  }

#else

/* By exchange inside a warp, beyond it through local memory: no round of that where segments are
 * no longer than warps, which have a power of two of lanes. */
#define CLQ_DEFINE_SEGMENT(T, NAME, MERGE, XOR)                                \
  static inline T clq_segment_reduce_##NAME(T x, uint n, __local T *scratch) { \
    const uint i = (uint)get_local_id(0);                                      \
    const uint warp = min(n, clq_warp_size());                                 \
    for (uint m = 1; m < warp; m <<= 1) {                                      \
      const T y = XOR(x, m);                                                   \
      x = MERGE(x, y);                                                         \
    }                                                                          \
    for (uint m = warp; m < n; m <<= 1) {                                      \
      scratch[i] = x;                                                          \
      barrier(CLK_LOCAL_MEM_FENCE);                                            \
      const T y = scratch[i ^ m];                                              \
      x = MERGE(x, y);                                                         \
      barrier(CLK_LOCAL_MEM_FENCE);                                            \
    }                                                                          \
    return x;                                                                  \
  }

/* clq_warp_fold: over the first n lanes, to every lane. XOR and FROM exchange
 * a T between lanes. In a full warp of a power of two every lane ends with the
 * same bits; else lane 0 has the result. */
#define CLQ_DEFINE_REDUCE(T, NAME, MERGE, XOR, FROM)                           \
  CLQ_DEFINE_TREE(T, clq_tree_##NAME, MERGE)                                   \
  static inline T clq_warp_fold_##NAME(T x, uint n) {                          \
    const uint lane = clq_warp_lane();                                         \
    for (uint m = 1; m < n; m <<= 1) {                                         \
      const T y = XOR(x, m);                                                   \
      const T merged = (lane & m) ? MERGE(y, x) : MERGE(x, y);                 \
      if ((lane ^ m) < n) x = merged;                                          \
    }                                                                          \
    const bool everywhere = n == clq_warp_size() && (n & (n - 1)) == 0;        \
    return everywhere ? x : FROM(x, 0);                                        \
  }                                                                            \
  static inline T clq_warp_reduce_##NAME(T x, __local T *scratch) {            \
    (void)scratch;                                                             \
    return clq_warp_fold_##NAME(x, clq_warp_size());                           \
  }                                                                            \
  static inline T clq_group_reduce_##NAME(T x, __local T *scratch) {           \
    const uint warp = clq_warp_size();                                         \
    const uint count = clq_warp_count();                                       \
    const uint lane = clq_warp_lane();                                         \
    x = clq_warp_fold_##NAME(x, warp);                                         \
    if (lane == 0) scratch[clq_warp_index()] = x;                              \
    clq_tree_##NAME(scratch, count > warp ? count : 1);                        \
    const uint left = count > warp ? 1 : count;                                \
    return clq_warp_fold_##NAME(scratch[lane < left ? lane : 0], left);        \
  }

#define CLQ_DEFINE_BROADCAST(T, NAME, FROM)                                    \
  static inline T clq_warp_broadcast##NAME(T x, uint lane, __local T *scratch) { \
    (void)scratch;                                                             \
    return FROM(x, lane);                                                      \
  }

#endif

/* clq_lanes_reduce_NAME(x, n): over each n neighbouring lanes, n a power of two that divides the
 * warp's size; by exchange alone, without a barrier. MERGE must not care which is a and which b. */
#if !CLQ_WARP_LOCAL
#define CLQ_DEFINE_LANES(T, NAME, MERGE, XOR)                                  \
  static inline T clq_lanes_reduce_##NAME(T x, uint n) {                       \
    for (uint m = 1; m < n; m <<= 1) {                                         \
      const T y = XOR(x, m);                                                   \
      x = MERGE(x, y);                                                         \
    }                                                                          \
    return x;                                                                  \
  }
#else
#define CLQ_DEFINE_LANES(T, NAME, MERGE, XOR)
#endif

/* A kernel whose warps must have 32 lanes or more, where that can be asked for; the host checks. */
#ifdef cl_intel_required_subgroup_size
#define CLQ_WARPS_OF_32 __attribute__((intel_reqd_sub_group_size(32)))
#else
#define CLQ_WARPS_OF_32
#endif

#define CLQ_MERGE_ADD(a, b) ((a) + (b))

CLQ_DEFINE_BROADCAST(float, , clq_warp_from)
CLQ_DEFINE_BROADCAST(int, i, clq_warp_fromi)
CLQ_DEFINE_REDUCE(float, add, CLQ_MERGE_ADD, clq_warp_xor, clq_warp_from)
CLQ_DEFINE_REDUCE(float, max, fmax, clq_warp_xor, clq_warp_from)
CLQ_DEFINE_REDUCE(int, addi, CLQ_MERGE_ADD, clq_warp_xori, clq_warp_fromi)
CLQ_DEFINE_REDUCE(int, maxi, max, clq_warp_xori, clq_warp_fromi)
CLQ_DEFINE_REDUCE(int, mini, min, clq_warp_xori, clq_warp_fromi)
CLQ_DEFINE_SEGMENT(float, add, CLQ_MERGE_ADD, clq_warp_xor)
CLQ_DEFINE_LANES(float, add, CLQ_MERGE_ADD, clq_warp_xor)
CLQ_DEFINE_LANES(int, addi, CLQ_MERGE_ADD, clq_warp_xori)
CLQ_DEFINE_LANES(int, maxi, max, clq_warp_xori)
CLQ_DEFINE_LANES(int, mini, min, clq_warp_xori)
CLQ_DEFINE_SEGMENT(int, addi, CLQ_MERGE_ADD, clq_warp_xori)
CLQ_DEFINE_SEGMENT(int, maxi, max, clq_warp_xori)
CLQ_DEFINE_SEGMENT(int, mini, min, clq_warp_xori)

#endif
