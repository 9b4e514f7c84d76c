/* LayerNorm, fused with the residual before it and the quantization after it; what the
 * kernels do stands in lib/norm.h. */
#define CLQ_CENTERED 1
#define CLQ_NORM_KERNEL(form) layernorm_##form

#include "lib/norm.h"
