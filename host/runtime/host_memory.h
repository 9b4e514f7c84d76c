/* What the machine could still give out. */
#ifndef CLQI_RUNTIME_HOST_MEMORY_H
#define CLQI_RUNTIME_HOST_MEMORY_H

#include <stdint.h>
#include <stdio.h>

/* Bytes that the system says are free or can be made so, swap included; UINT64_MAX where it does
 * not say (/proc/meminfo is Linux's). */
static inline uint64_t clqi_host_available_bytes(void) {
  FILE *file = fopen("/proc/meminfo", "r");
  unsigned long long kib;
  uint64_t total = 0;
  int found = 0;
  char line[128];
  while (file != NULL && fgets(line, sizeof line, file) != NULL) {
    if (sscanf(line, "MemAvailable: %llu", &kib) == 1) {
      total += kib;
      found = 1;
    } else if (sscanf(line, "SwapFree: %llu", &kib) == 1) {
      total += kib;
    }
  }
  if (file != NULL) {
    (void)fclose(file);
  }
  return found != 0 ? total << 10 : UINT64_MAX;
}

#endif
