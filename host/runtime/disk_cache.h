/* A folder of small blobs, each under a 128-bit key: compiled programs and probe
 * results. A blob is written to a temporary file and renamed, so readers see all
 * of it or nothing; it carries its key, length and checksum, so a damaged or
 * foreign file is a miss. The folder must belong to the user and be writable by
 * nobody else, because what lies in it is executed. */
#ifndef CLQI_RUNTIME_DISK_CACHE_H
#define CLQI_RUNTIME_DISK_CACHE_H

#include <stdint.h>

#include "runtime/status.h"

typedef struct clqi_disk_cache clqi_disk_cache;

typedef struct clqi_disk_key {
  uint64_t word[2];
} clqi_disk_key;

/* dir: a folder, "off", or NULL for CLQ_CACHE_DIR and the defaults. An unusable folder is no
 * error: the cache is then off and says why. Fails only when out of memory. */
clq_status clqi_disk_cache_open(const char *dir, clqi_disk_cache **cache);
void clqi_disk_cache_close(clqi_disk_cache *cache);

/* The folder in use, or NULL with the reason in *why. */
const char *clqi_disk_cache_dir(const clqi_disk_cache *cache, const char **why);

/* True and a blob (clqi_free it) on a hit. */
bool clqi_disk_cache_get(clqi_disk_cache *cache, clqi_disk_key key, void **blob, size_t *length);
/* Best effort: a full disk only means that the next start is cold. */
void clqi_disk_cache_put(clqi_disk_cache *cache, clqi_disk_key key, const void *blob,
                         size_t length);

/* Counts the cache's files and their bytes; removes them if `clear`, which fails where the folder
 * is refused, but not where the cache was turned off. */
clq_status clqi_disk_cache_scan(clqi_disk_cache *cache, bool clear, uint64_t *files,
                                uint64_t *bytes);

#endif
