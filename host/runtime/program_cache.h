/* Compiled programs of a context, in memory and on disk. */
#ifndef CLQI_RUNTIME_PROGRAM_CACHE_H
#define CLQI_RUNTIME_PROGRAM_CACHE_H

#include "runtime/context.h"
#include "runtime/disk_cache.h"

/* dir: as clqi_disk_cache_open. */
clq_status clqi_program_cache_create(clq_context *context, const char *dir,
                                     clqi_program_cache **cache);
/* Writes what was built from source and is not on disk yet. CLQ_IO_ERROR where the folder takes no
 * more, CLQ_OUT_OF_HOST_MEMORY where the driver could need more than there is; each a sentence for
 * the user. */
clq_status clqi_program_cache_save(clqi_program_cache *cache);
/* Saves, and releases all. */
void clqi_program_cache_destroy(clqi_program_cache *cache);

/* The program of kernels_cl/<file>.cl with these options (NULL: none), built at most once however
 * many threads ask; a failed build is remembered and fails again without a build. The cache keeps
 * the program. */
clq_status clqi_program_get(clqi_program_cache *cache, const char *file, const char *options,
                            cl_program *program);

/* Builds without remembering, in memory or on disk. For probes: what they answer is kept, not they.
 */
clq_status clqi_program_try(clqi_program_cache *cache, const char *file, const char *options,
                            cl_program *program);

clqi_disk_cache *clqi_program_cache_disk(clqi_program_cache *cache);
/* Hash over everything that makes a binary valid: device, driver, CPU, library. */
uint64_t clqi_program_cache_device_hash(const clqi_program_cache *cache);
void clqi_program_cache_stats(clqi_program_cache *cache, clq_cache_stats *stats);

#endif
