#include <clquant/tensor.h>

size_t clq_dtype_bytes(clq_dtype dtype) {
  switch (dtype) {
    case CLQ_F32:
    case CLQ_I32: return 4;
    case CLQ_F16:
    case CLQ_BF16:
    case CLQ_U16: return 2;
    case CLQ_I8:
    case CLQ_U8: return 1;
  }
  return 0;
}

const char *clq_dtype_name(clq_dtype dtype) {
  switch (dtype) {
    case CLQ_F32: return "f32";
    case CLQ_F16: return "f16";
    case CLQ_BF16: return "bf16";
    case CLQ_I8: return "i8";
    case CLQ_U8: return "u8";
    case CLQ_I32: return "i32";
    case CLQ_U16: return "u16";
  }
  return "?";
}
