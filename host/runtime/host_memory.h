/* What the machine could still give out. */
#ifndef CLQI_RUNTIME_HOST_MEMORY_H
#define CLQI_RUNTIME_HOST_MEMORY_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

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

/* Whether the address space has so much room, by the limits of the process and of the system. */
static inline bool clqi_host_has_room(int mib) {
  const size_t bytes = (size_t)mib << 20;
  void *room = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (room == MAP_FAILED) {
    return false;
  }
  (void)munmap(room, bytes);
  return true;
}

#endif
