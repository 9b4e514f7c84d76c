#include "runtime/cpu.h"

#include <stdio.h>

#if defined(__x86_64__) || defined(__i386__)

#include <cpuid.h>

bool clqi_cpu_has_avx2(void) { return __builtin_cpu_supports("avx2") != 0; }

bool clqi_cpu_has_f16c(void) {
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  return clqi_cpu_has_avx2() && __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}

bool clqi_cpu_has_avx512(void) {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl");
}

bool clqi_cpu_has_vnni(void) {
  return clqi_cpu_has_avx512() && __builtin_cpu_supports("avx512vnni");
}

bool clqi_cpu_has_vbmi(void) {
  return clqi_cpu_has_avx512() && __builtin_cpu_supports("avx512vbmi");
}

void clqi_cpu_features(char *out, size_t bytes) {
  unsigned r1[4] = {0};
  unsigned r7[4] = {0};
  (void)__get_cpuid(1, &r1[0], &r1[1], &r1[2], &r1[3]);
  (void)__get_cpuid_count(7, 0, &r7[0], &r7[1], &r7[2], &r7[3]);
  (void)snprintf(out, bytes, "x86 %08x %08x %08x %08x %08x %08x", r1[0], r1[2], r1[3], r7[1], r7[2],
                 r7[3]);
}

#else

bool clqi_cpu_has_avx2(void) { return false; }
bool clqi_cpu_has_f16c(void) { return false; }
bool clqi_cpu_has_avx512(void) { return false; }
bool clqi_cpu_has_vnni(void) { return false; }
bool clqi_cpu_has_vbmi(void) { return false; }
void clqi_cpu_features(char *out, size_t bytes) { (void)snprintf(out, bytes, "not x86"); }

#endif
