/* Either norm by one struct of arguments. */
#ifndef CLQ_TESTS_NORM_CALL_H
#define CLQ_TESTS_NORM_CALL_H

#include "device.h"

/* clq_layernorm, or clq_rmsnorm with those of the arguments that it has, and `cast`; succeeds. */
void test_norm(const test_device *device, bool centered, clq_norm_cast cast,
               const clq_layernorm_args *args);

#endif
