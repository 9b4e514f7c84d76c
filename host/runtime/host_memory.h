/* What the machine could still give out. */
#ifndef CLQI_RUNTIME_HOST_MEMORY_H
#define CLQI_RUNTIME_HOST_MEMORY_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The KiB of a line of /proc/meminfo if it is about `what`, else 0. */
static inline uint64_t clqi_meminfo_kib(const char *line, const char *what) {
  const size_t length = strlen(what);
  return strncmp(line, what, length) == 0 ? strtoull(line + length, NULL, 10) : 0;
}

/* Bytes that the system says are free or can be made so, swap included; UINT64_MAX where it does
 * not say (/proc/meminfo is Linux's). */
static inline uint64_t clqi_host_available_bytes(void) {
  FILE *file = fopen("/proc/meminfo", "r");
  uint64_t available = 0;
  uint64_t swap = 0;
  char line[128];
  while (file != NULL && fgets(line, sizeof line, file) != NULL) {
    available += clqi_meminfo_kib(line, "MemAvailable:");
    swap += clqi_meminfo_kib(line, "SwapFree:");
  }
  if (file != NULL) {
    (void)fclose(file);
  }
  return available != 0 ? (available + swap) << 10 : UINT64_MAX;
}

#endif
