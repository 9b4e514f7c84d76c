/* What kernels_cl/probe.cl must answer. Its kernel is
 *   __kernel void probe(__global const uint *in, __global uint *out)
 * run as one work-group of CLQI_PROBE_ITEMS; both buffers hold
 * CLQI_PROBE_WORDS words, out starting as zeros. */
#ifndef CLQI_RUNTIME_PROBE_EXPECT_H
#define CLQI_RUNTIME_PROBE_EXPECT_H

#include <stdint.h>

#include "runtime/context.h"

enum { CLQI_PROBE_ITEMS = 64, CLQI_PROBE_WORDS = 1024 };

void clqi_probe_input(uint32_t in[CLQI_PROBE_WORDS]);

/* All of out, bit for bit, for the probe of that trait; CPU, which has no
 * probe of its own, stands for the build without a CLQ_PROBE macro. */
void clqi_probe_expected(clqi_trait trait, const uint32_t in[CLQI_PROBE_WORDS],
                         uint32_t out[CLQI_PROBE_WORDS]);

#endif
