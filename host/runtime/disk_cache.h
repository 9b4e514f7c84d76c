/* A folder of small blobs, each under a 128-bit key: compiled programs and probe
 * results. A blob is written to a temporary file and renamed, so readers see all
 * of it or nothing; it carries its key, length and checksum, so a damaged or
 * foreign file is a miss. The folder must belong to the user and be open to
 * nobody else, because what lies in it is executed. */
#ifndef CLQI_RUNTIME_DISK_CACHE_H
#define CLQI_RUNTIME_DISK_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/status.h"

/* Of tuned tables, which lie in the folder as well (runtime/tuning.h). */
#define CLQI_TUNING_SUFFIX ".clqt"

typedef struct clqi_disk_cache clqi_disk_cache;

typedef struct clqi_disk_key {
  uint64_t word[2];
} clqi_disk_key;

/* dir: a folder, "off", or NULL for CLQ_CACHE_DIR and the defaults; made if it is not there and
 * `create`. An unusable folder is no error: the cache is then off and says why. Fails only when out
 * of memory. */
clq_status clqi_disk_cache_open(const char *dir, bool create, clqi_disk_cache **cache);
void clqi_disk_cache_close(clqi_disk_cache *cache);

/* The folder in use, or NULL with the reason in *why. */
const char *clqi_disk_cache_dir(const clqi_disk_cache *cache, const char **why);

/* True where the folder is not there and was not to be made: the cache is empty. */
bool clqi_disk_cache_is_new(const clqi_disk_cache *cache);

/* True and a blob (clqi_free it) on a hit. */
bool clqi_disk_cache_get(clqi_disk_cache *cache, clqi_disk_key key, void **blob, size_t *length);
/* CLQ_IO_ERROR where the folder takes no more, which only means that the next start is cold:
 * nothing more is written from then on. A folder that was removed meanwhile is made again. CLQ_OK
 * where the cache is off. To be called by one thread at a time. */
clq_status clqi_disk_cache_put(clqi_disk_cache *cache, clqi_disk_key key, const void *blob,
                               size_t length);
/* The failure of an earlier put, or CLQ_OK. Not while another thread is in put. */
clq_status clqi_disk_cache_takes(const clqi_disk_cache *cache);

/* Counts the cache's files and their bytes; removes them if `clear`, which fails where the folder
 * is refused, but not where the cache was turned off. Others may write and clear meanwhile. */
clq_status clqi_disk_cache_scan(clqi_disk_cache *cache, bool clear, uint64_t *files,
                                uint64_t *bytes);

#endif
