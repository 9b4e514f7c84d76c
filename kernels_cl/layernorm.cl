/* LayerNorm, fused with the residual before it and the quantization after it; what the
 * kernels do stands in lib/norm.h. */
#define CLQ_CENTERED 1
#define CLQ_NORM_KERNEL(form) layernorm_##form

#include "lib/norm.h"

#if CLQ_ON_CPU
#include "lib/norm_rows.h"
#else
#include "lib/norm_quads.h" /* here, for a file's text stands where it is first named */
#if CLQ_FORM == 0 || CLQ_FORM == 3
#include "lib/norm_stream.h"
#endif
#if CLQ_FORM != 3
#include "lib/norm_warp.h"
#endif
#endif
