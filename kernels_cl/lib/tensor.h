// How kernels receive tensors: a buffer and where the tensor starts in it.
//
//   __kernel void f(CLQ_TENSOR(const float, x), CLQ_TENSOR(float, y), const long cols) {
//     CLQ_AT(const float, x);   // __global const float *x
//     CLQ_AT(float, y);
#ifndef CLQ_LIB_TENSOR_H
#define CLQ_LIB_TENSOR_H

#define CLQ_TENSOR(type, name) __global type *name##_base, const long name##_start
#define CLQ_AT(type, name) __global type *name = name##_base + name##_start
// The same of one that may be absent: NULL then.
#define CLQ_PLANE(name, at) (name##_base == 0 ? 0 : name##_base + name##_start + (at))

#endif
