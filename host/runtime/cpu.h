/* What the host's processor offers, for CPU devices: a compiler there may accept
 * an instruction that the processor lacks. */
#ifndef CLQI_RUNTIME_CPU_H
#define CLQI_RUNTIME_CPU_H

#include <stdbool.h>
#include <stddef.h>

bool clqi_cpu_has_avx2(void);
bool clqi_cpu_has_f16c(void);
bool clqi_cpu_has_avx512(void); /* F, BW and VL */
bool clqi_cpu_has_vnni(void);   /* AVX-512 VNNI */
bool clqi_cpu_has_vbmi(void);   /* AVX-512 VBMI */

/* A text that differs where code for one processor may fail on the other. */
void clqi_cpu_features(char *out, size_t bytes);

#endif
