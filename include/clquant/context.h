/** @file context.h
 *  Devices, contexts and streams.
 *
 *  A context is one device with its compiled kernels; threads may share it. A
 *  stream is one in-order queue with what launching on it needs; one thread at
 *  a time may use it. Both can adopt the caller's OpenCL objects, which they
 *  retain:
 *
 *      clq_context *ctx;
 *      clq_context_create(&(clq_context_desc){ .cl_context = mine, .device = dev }, &ctx);
 *      clq_stream *st;
 *      clq_stream_create(ctx, my_queue, &st);
 *
 *  or make their own: clq_context_create(NULL, &ctx), clq_stream_create(ctx, NULL, &st). */
#ifndef CLQUANT_CONTEXT_H
#define CLQUANT_CONTEXT_H

#include <clquant/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct clq_context clq_context;
typedef struct clq_stream clq_stream;

/** One OpenCL device, as the driver describes it. */
typedef struct clq_device_info {
  int32_t index; /**< over all platforms, in the loader's order */
  char name[128];
  char platform[128];
  char version[128];
  char driver[128];
  char type[16]; /**< "cpu", "gpu", "accelerator" or "other" */
  uint64_t global_bytes;
  uint64_t local_bytes;
  uint32_t compute_units;
  cl_device_id id;
} clq_device_info;

/** Writes up to @p capacity devices to @p infos and their number to @p count
 *  (which may exceed capacity). CLQ_NO_DEVICE, with what to install or to
 *  mend, if there is no platform or no device; CLQ_OUT_OF_HOST_MEMORY where that is the likely
 *  reason. A device whose driver does not describe it is left out; if there is no other, what the
 *  driver answered is the failure. */
CLQ_API CLQ_NODISCARD clq_status clq_devices(clq_device_info *infos, int32_t capacity,
                                             int32_t *count);

/** All zero: an own context on the device that CLQ_DEVICE names, else the first. */
typedef struct clq_context_desc {
  struct _cl_context *cl_context; /**< a cl_context (spelled so that C++ takes the name), adopted
                                       and retained; then `device` is required */
  cl_device_id device;            /**< adopted */
  const char *device_name;        /**< index or part of a name; overrides CLQ_DEVICE */
  const char *cache_dir;          /**< folder of compiled kernels, "off", or NULL: CLQ_CACHE_DIR,
                                       else $XDG_CACHE_HOME/clquant, else ~/.cache/clquant */
  const char *disable;            /**< traits to ignore, comma-separated; NULL: CLQ_DISABLE */
  const char *tuning;             /**< file of a tuned table (tuning.h), "off", or NULL: CLQ_TUNING,
                                       else the one of the device in the cache folder */
} clq_context_desc;

/** Creates a context and probes what its device can really do. @p desc may be NULL.
 *  CLQ_NO_DEVICE; CLQ_INVALID_ARGUMENT also for a trait to disable that there is not. */
CLQ_API CLQ_NODISCARD clq_status clq_context_create(const clq_context_desc *desc,
                                                    clq_context **context);
/** Releases it; NULL is ignored. Its streams must be gone. */
CLQ_API void clq_context_destroy(clq_context *context);

/** The OpenCL objects behind it, not retained for the caller. */
CLQ_API cl_context clq_context_cl(const clq_context *context);
CLQ_API cl_device_id clq_context_device(const clq_context *context);
/** What the driver says of the context's device. */
CLQ_API const clq_device_info *clq_context_info(const clq_context *context);
/** Name of the @p i-th trait that the device was seen to have (a kernel built,
 *  ran and was right), or NULL past the last. */
CLQ_API const char *clq_context_trait(const clq_context *context, int32_t i);

/** A buffer of @p bytes > 0 that kernels read and write, where the device streams it fastest: on
 * CPUs in huge pages (64 KiB and more, if the system has them), which a driver's own buffers are
 * not. Operators take any cl_mem of the context. Released with clReleaseMemObject.
 * CLQ_OUT_OF_DEVICE_MEMORY. */
CLQ_API CLQ_NODISCARD clq_status clq_buffer_create(clq_context *context, uint64_t bytes,
                                                   cl_mem *buffer);

/** Where this context's kernels came from. */
typedef struct clq_cache_stats {
  uint32_t built;       /**< programs compiled from source */
  uint32_t loaded;      /**< programs taken from the disk cache */
  double build_seconds; /**< wall time spent in both */
  uint32_t disk;        /**< nonzero: a disk cache is in use */
} clq_cache_stats;
CLQ_API void clq_context_cache_stats(clq_context *context, clq_cache_stats *stats);

/** The folder that the disk cache uses, or NULL with the reason in @p why. */
CLQ_API const char *clq_context_cache_dir(const clq_context *context, const char **why);

/** Writes what was compiled to the disk cache now. clq_context_destroy() does so too, but cannot
 * say that it failed; worth calling in a process that lives long. CLQ_IO_ERROR where the folder
 * takes no more (a full disk), CLQ_OUT_OF_HOST_MEMORY where memory is short or the driver could
 * need more for it than the process may have, or what the driver fails with; what was not written
 * is tried again by the next call, and nothing is lost but the speed of the next start. CLQ_OK
 * where the cache is off. */
CLQ_API CLQ_NODISCARD clq_status clq_context_cache_save(clq_context *context);

/** What a cache folder holds. */
typedef struct clq_cache_contents {
  char dir[1024]; /**< "" if no folder is in use */
  char why[2048]; /**< then the reason; also that the folder is not there yet */
  uint64_t files;
  uint64_t bytes;
} clq_cache_contents;
/** Looks into the disk cache that a context with this @p cache_dir would use, without a device
 *  and without making it; with @p clear nonzero also empties it. CLQ_IO_ERROR. */
CLQ_API CLQ_NODISCARD clq_status clq_cache_scan(const char *cache_dir, int32_t clear,
                                                clq_cache_contents *contents);

/** @p queue: an in-order queue of the context's device, adopted and retained; NULL makes one.
 *  CLQ_UNSUPPORTED for an out-of-order queue. */
CLQ_API CLQ_NODISCARD clq_status clq_stream_create(clq_context *context, cl_command_queue queue,
                                                   clq_stream **stream);
/** Waits for its work and releases it; NULL is ignored. */
CLQ_API void clq_stream_destroy(clq_stream *stream);
/** What is behind it, not retained for the caller. */
CLQ_API cl_command_queue clq_stream_queue(const clq_stream *stream);
CLQ_API clq_context *clq_stream_context(const clq_stream *stream);

/** Waits until all work is done; reports a failure to get there, and what kernels found in their
 *  data since the last call (an id out of range), once. A command that failed after it was
 *  enqueued is CLQ_DEVICE_ERROR (or _LOST, _OUT_OF_DEVICE_MEMORY), once, if it was the last or if
 *  the driver lets what is behind it in the queue fail with it (pocl does, Intel's CPU runtime does
 *  not); what was written since the last call is then unspecified. */
CLQ_API CLQ_NODISCARD clq_status clq_stream_finish(clq_stream *stream);
/** Work enqueued from now on waits for @p event, which may be of another queue. */
CLQ_API CLQ_NODISCARD clq_status clq_stream_wait(clq_stream *stream, cl_event event);
/** An event that completes with all work enqueued so far; the caller releases it. */
CLQ_API CLQ_NODISCARD clq_status clq_stream_record(clq_stream *stream, cl_event *event);

#ifdef __cplusplus
}
#endif
#endif
