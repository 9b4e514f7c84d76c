#include "runtime/program_cache.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "runtime/clock.h"
#include "runtime/cpu.h"
#include "runtime/host_memory.h"
#include "runtime/memory.h"
#include "runtime/source.h"

enum {
  MAX_OPTIONS = 1024,
  MAX_FAILURE = 1024,
  /* pocl 3.1 takes a block of 256 MiB for a binary and writes to it whether it got it or not; the
   * rest is for its compiler. */
  BINARY_ROOM_MIB = 384,
  /* Its compiler throws through C where it gets none, which ends the process: the first build was
   * seen to take 122 MiB, later ones up to 4. */
  FIRST_BUILD_ROOM_MIB = 128,
  BUILD_ROOM_MIB = 8
};

typedef enum slot_state { BUILDING, READY, FAILED } slot_state;

typedef struct slot {
  struct slot *next;
  char *file;
  char *options;
  slot_state state;
  cl_program program;
  clqi_disk_key key;
  bool unsaved; /* built from source and not on disk yet */
  clq_status failure;
  char failure_text[MAX_FAILURE];
} slot;

struct clqi_program_cache {
  clq_context *context;
  clqi_disk_cache *disk;
  uint64_t device_hash;
  bool is_pocl;
  pthread_mutex_t lock;
  pthread_cond_t built; /* a slot left BUILDING */
  slot *slots;
  clq_cache_stats stats;
  atomic_bool has_built;  /* from source: the driver's compiler is there */
  pthread_mutex_t saving; /* one save at a time; taken before `lock` */
};

static uint64_t hash_device(const clq_context *context) {
  char cpu[256] = "";
  if (strcmp(context->info.type, "cpu") == 0) {
    clqi_cpu_features(cpu, sizeof cpu);
  }
  const clq_device_info *info = &context->info;
  const char *parts[] = {info->name, info->platform, info->version, info->driver, info->type,
                         cpu,        clq_version()};
  uint64_t hash = 0;
  for (size_t i = 0; i < sizeof parts / sizeof parts[0]; ++i) {
    hash = XXH3_64bits_withSeed(parts[i], strlen(parts[i]), hash); /* takes no memory */
  }
  return hash;
}

clq_status clqi_program_cache_create(clq_context *context, const char *dir,
                                     clqi_program_cache **cache) {
  clqi_program_cache *c = clqi_calloc(1, sizeof *c);
  if (c == NULL) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "program cache: out of memory");
  }
  const clq_status status = clqi_disk_cache_open(dir, true, &c->disk);
  if (status != CLQ_OK) {
    clqi_free(c);
    return status;
  }
  c->context = context;
  c->device_hash = hash_device(context);
  c->is_pocl = strcmp(context->info.platform, "Portable Computing Language") == 0;
  (void)pthread_mutex_init(&c->lock, NULL);
  (void)pthread_mutex_init(&c->saving, NULL);
  (void)pthread_cond_init(&c->built, NULL);
  *cache = c;
  return CLQ_OK;
}

static void free_slot(slot *s) {
  if (s->program != NULL) {
    (void)clReleaseProgram(s->program);
  }
  clqi_free(s->file);
  clqi_free(s->options);
  clqi_free(s);
}

/* Whether the driver has the room that it is known to need. */
static bool has_room(const clqi_program_cache *cache, int mib) {
  return !cache->is_pocl || clqi_host_has_room(mib);
}

/* Asking for a binary can cost as much as the build (pocl then compiles more), so it is done when
 * the context goes, not before the first result. *binary is the caller's; NULL: the driver has
 * none to give. */
static clq_status binary_of(clq_context *context, cl_program program, unsigned char **binary,
                            size_t *length) {
  *binary = NULL;
  *length = 0;
  CLQI_TRY(clqi_context_cl(
      context, clGetProgramInfo(program, CL_PROGRAM_BINARY_SIZES, sizeof *length, length, NULL),
      "clGetProgramInfo"));
  if (*length == 0) {
    return CLQ_OK;
  }
  unsigned char *bytes = clqi_malloc(*length);
  if (bytes == NULL) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "out of memory");
  }
  const clq_status status = clqi_context_cl(
      context, clGetProgramInfo(program, CL_PROGRAM_BINARIES, sizeof bytes, &bytes, NULL),
      "clGetProgramInfo");
  if (status != CLQ_OK) {
    clqi_free(bytes);
    return status;
  }
  *binary = bytes;
  return CLQ_OK;
}

static clq_status program_to_disk(clqi_program_cache *cache, const slot *s) {
  unsigned char *binary;
  size_t length;
  clq_status status = binary_of(cache->context, s->program, &binary, &length);
  if (status != CLQ_OK) {
    return clqi_fail_prefix(status, "the compiled kernel %s.cl is not kept", s->file);
  }
  if (binary != NULL) {
    status = clqi_disk_cache_put(cache->disk, s->key, binary, length);
  }
  clqi_free(binary);
  return status;
}

static bool is_unsaved(clqi_program_cache *cache, const slot *s) {
  (void)pthread_mutex_lock(&cache->lock);
  const bool unsaved = s->state == READY && s->unsaved;
  (void)pthread_mutex_unlock(&cache->lock);
  return unsaved;
}

/* The slot's program onto the disk, if it is there and not yet saved; else it stays unsaved. */
static clq_status save_slot(clqi_program_cache *cache, slot *s) {
  if (!is_unsaved(cache, s)) {
    return CLQ_OK;
  }
  CLQI_TRY(clqi_disk_cache_takes(cache->disk));
  if (!has_room(cache, BINARY_ROOM_MIB)) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY,
                     "the compiled kernels are not kept, because the driver may need %d MiB of "
                     "address space for that and less is left: they are compiled again next time, "
                     "unless the process is allowed more (ulimit -v)",
                     BINARY_ROOM_MIB);
  }
  CLQI_TRY(program_to_disk(cache, s));
  (void)pthread_mutex_lock(&cache->lock);
  s->unsaved = false;
  (void)pthread_mutex_unlock(&cache->lock);
  return CLQ_OK;
}

/* All that can be, whatever becomes of one; the first failure. */
clq_status clqi_program_cache_save(clqi_program_cache *cache) {
  if (clqi_disk_cache_dir(cache->disk, NULL) == NULL) {
    return CLQ_OK;
  }
  (void)pthread_mutex_lock(&cache->saving);
  (void)pthread_mutex_lock(&cache->lock);
  slot *s = cache->slots; /* others are put before it, and none goes before the cache does */
  (void)pthread_mutex_unlock(&cache->lock);
  clq_status status = clqi_disk_cache_takes(cache->disk);
  for (; s != NULL; s = s->next) {
    CLQI_ALSO(status, save_slot(cache, s));
  }
  (void)pthread_mutex_unlock(&cache->saving);
  return status;
}

/* For who cannot say that it failed: the thread's last sentence stays. */
static void save_silently(clqi_program_cache *cache) {
  clqi_failure earlier;
  clqi_failure_keep(&earlier, CLQ_IO_ERROR);
  if (clqi_program_cache_save(cache) != CLQ_OK) {
    clqi_log(CLQ_LOG_CACHE, "%s", clq_last_error());
  }
  (void)clqi_failure_or(&earlier, CLQ_OK);
}

void clqi_program_cache_destroy(clqi_program_cache *cache) {
  if (cache == NULL) {
    return;
  }
  save_silently(cache);
  for (slot *s = cache->slots; s != NULL;) {
    slot *next = s->next;
    free_slot(s);
    s = next;
  }
  clqi_disk_cache_close(cache->disk);
  (void)pthread_cond_destroy(&cache->built);
  (void)pthread_mutex_destroy(&cache->saving);
  (void)pthread_mutex_destroy(&cache->lock);
  clqi_free(cache);
}

clqi_disk_cache *clqi_program_cache_disk(clqi_program_cache *cache) { return cache->disk; }

uint64_t clqi_program_cache_device_hash(const clqi_program_cache *cache) {
  return cache->device_hash;
}

void clqi_program_cache_stats(clqi_program_cache *cache, clq_cache_stats *stats) {
  (void)pthread_mutex_lock(&cache->lock);
  *stats = cache->stats;
  stats->disk = clqi_disk_cache_dir(cache->disk, NULL) != NULL;
  (void)pthread_mutex_unlock(&cache->lock);
}

/* OpenCL C 1.2, or what a trait's built-ins need. */
static const char *language(const clq_context *context) {
  if ((context->traits & (CLQI_BIT(KHR_SUBGROUPS) | CLQI_BIT(KHR_INT_DOT))) != 0) {
    return "CL3.0";
  }
  return clqi_has(context, CLQI_TRAIT_QCOM_SUBGROUPS) ? "CL2.0" : "CL1.2";
}

/* Traits become macros. */
static clq_status compose_options(const clq_context *context, const char *options,
                                  char out[MAX_OPTIONS]) {
  size_t n = 0;
  const bool has_std = options != NULL && strstr(options, "-cl-std=") != NULL;
  if (!has_std) {
    n += (size_t)snprintf(out, MAX_OPTIONS, "-cl-std=%s ", language(context));
  }
  if (context->rounded_division_option) {
    n += (size_t)snprintf(out + n, MAX_OPTIONS - n, "-cl-fp32-correctly-rounded-divide-sqrt ");
  }
  for (int t = 0; t < CLQI_TRAIT_COUNT && n < MAX_OPTIONS; ++t) {
    if (clqi_has(context, (clqi_trait)t)) {
      n += (size_t)snprintf(out + n, MAX_OPTIONS - n, "-D%s=1 ", clqi_trait_macro((clqi_trait)t));
    }
  }
  if (n < MAX_OPTIONS) {
    n += (size_t)snprintf(out + n, MAX_OPTIONS - n, "%s", options == NULL ? "" : options);
  }
  return n < MAX_OPTIONS ? CLQ_OK : clqi_fail(CLQ_BUILD_FAILED, "build options too long");
}

static clqi_disk_key program_key(const clqi_program_cache *cache, const char *source, size_t length,
                                 const char *options) {
  const XXH128_hash_t text = XXH3_128bits_withSeed(source, length, cache->device_hash);
  const uint64_t more = XXH3_64bits_withSeed(options, strlen(options), cache->device_hash);
  return (clqi_disk_key){{text.low64 ^ more, text.high64 + (more << 1)}};
}

static cl_program program_from_disk(clqi_program_cache *cache, clqi_disk_key key,
                                    const char *options) {
  void *blob = NULL;
  size_t length = 0;
  if (!clqi_disk_cache_get(cache->disk, key, &blob, &length)) {
    return NULL;
  }
  const unsigned char *binary = blob;
  cl_int status = CL_SUCCESS;
  cl_int code = CL_SUCCESS;
  cl_program program = clCreateProgramWithBinary(cache->context->cl, 1, &cache->context->device,
                                                 &length, &binary, &status, &code);
  clqi_free(blob);
  if (program == NULL || code != CL_SUCCESS || status != CL_SUCCESS ||
      clBuildProgram(program, 1, &cache->context->device, options, NULL, NULL) != CL_SUCCESS) {
    clqi_log(CLQ_LOG_CACHE, "the driver refused a cached binary; building from source");
    if (program != NULL) {
      (void)clReleaseProgram(program);
    }
    return NULL;
  }
  return program;
}

/* Whether the compiler builds anything: a plain kernel, and one that no cache of the driver has. */
static bool compiler_works(const clqi_program_cache *cache) {
  static atomic_uint counter;
  char text[128];
  const int length =
      snprintf(text, sizeof text, "__kernel void control_%llx_%lx_%u(__global int *x) { *x = 1; }",
               (unsigned long long)(clqi_now_seconds() * 1e9), (unsigned long)getpid(),
               atomic_fetch_add(&counter, 1U));
  const char *source = text;
  const size_t bytes = (size_t)length;
  cl_int code = CL_SUCCESS;
  cl_program p = clCreateProgramWithSource(cache->context->cl, 1, &source, &bytes, &code);
  if (code != CL_SUCCESS) {
    return true; /* there is no saying */
  }
  code = clBuildProgram(p, 1, &cache->context->device, "", NULL, NULL);
  (void)clReleaseProgram(p);
  return code != CL_BUILD_PROGRAM_FAILURE;
}

/* That says nothing of the source, either. */
static clq_status compiler_failure(const clqi_program_cache *cache) {
  return clqi_fail(
      CLQ_DEVICE_ERROR,
      "the driver's compiler builds nothing for %s, not even an empty kernel; see that "
      "the driver is whole and can write what it keeps and its temporary files (pocl: "
      "POCL_CACHE_DIR, else ~/.cache/pocl), and that the disk is not full",
      cache->context->info.name);
}

/* Fails with the beginning of the compiler's log; sends all of it to the log topic "build". */
static clq_status build_failure(clqi_program_cache *cache, const char *file, cl_program program,
                                cl_int code) {
  size_t length = 0;
  char *log = NULL;
  (void)clGetProgramBuildInfo(program, cache->context->device, CL_PROGRAM_BUILD_LOG, 0, NULL,
                              &length);
  log = clqi_calloc(length + 1, 1);
  if (log != NULL && length > 0) {
    (void)clGetProgramBuildInfo(program, cache->context->device, CL_PROGRAM_BUILD_LOG, length, log,
                                NULL);
  }
  const char *text = log == NULL ? "" : log;
  clqi_log(CLQ_LOG_BUILD, "%s.cl: %s\n%s", file, clqi_cl_name(code), text);
  const clq_status status = clqi_fail(CLQ_BUILD_FAILED, "kernel %s.cl does not build on %s: %.600s",
                                      file, cache->context->info.name, text);
  clqi_free(log);
  return status;
}

static clq_status build_from_source(clqi_program_cache *cache, const char *file, const char *source,
                                    size_t length, const char *options, cl_program *program) {
  cl_int code = CL_SUCCESS;
  const int mib = atomic_load(&cache->has_built) ? BUILD_ROOM_MIB : FIRST_BUILD_ROOM_MIB;
  if (!has_room(cache, mib)) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY,
                     "kernel %s.cl cannot be built: the driver's compiler may need %d MiB of "
                     "address space, and less is left",
                     file, mib);
  }
  cl_program p = clCreateProgramWithSource(cache->context->cl, 1, &source, &length, &code);
  CLQI_TRY(clqi_cl(code, "clCreateProgramWithSource"));
  code = clBuildProgram(p, 1, &cache->context->device, options, NULL, NULL);
  if (code != CL_SUCCESS) {
    /* A want of memory says nothing of the source, and the next try may succeed. */
    const bool passing = code == CL_OUT_OF_HOST_MEMORY || code == CL_OUT_OF_RESOURCES;
    clq_status status =
        passing ? clqi_cl(code, "clBuildProgram") : build_failure(cache, file, p, code);
    if (status == CLQ_BUILD_FAILED && !compiler_works(cache)) {
      status = compiler_failure(cache);
    }
    (void)clReleaseProgram(p);
    return status;
  }
  atomic_store(&cache->has_built, true);
  *program = p;
  return CLQ_OK;
}

/* One build or load, without the slots. *built: from source, under *key. */
static clq_status obtain(clqi_program_cache *cache, const char *file, const char *options,
                         cl_program *program, clqi_disk_key *key, bool *built) {
  char all_options[MAX_OPTIONS];
  CLQI_TRY(compose_options(cache->context, options, all_options));
  char *source = NULL;
  size_t length = 0;
  CLQI_TRY(clqi_source_load(file, &source, &length));
  const double start = clqi_now_seconds();
  *key = program_key(cache, source, length, all_options);
  clq_status status = CLQ_OK;
  cl_program p = program_from_disk(cache, *key, all_options);
  const bool loaded = p != NULL;
  if (!loaded) {
    status = build_from_source(cache, file, source, length, all_options, &p);
  }
  *built = status == CLQ_OK && !loaded;
  clqi_free(source);
  const double seconds = clqi_now_seconds() - start;
  clqi_log(CLQ_LOG_BUILD, "%s.cl %s in %.1f ms (%s)", file,
           status != CLQ_OK ? "failed"
           : loaded         ? "loaded"
                            : "built",
           1e3 * seconds, all_options);
  (void)pthread_mutex_lock(&cache->lock);
  cache->stats.built += *built;
  cache->stats.loaded += loaded;
  cache->stats.build_seconds += seconds;
  (void)pthread_mutex_unlock(&cache->lock);
  *program = p;
  return status;
}

clq_status clqi_program_try(clqi_program_cache *cache, const char *file, const char *options,
                            cl_program *program) {
  clqi_disk_key key;
  bool built;
  return obtain(cache, file, options, program, &key, &built);
}

static slot *find_slot(clqi_program_cache *cache, const char *file, const char *options) {
  for (slot *s = cache->slots; s != NULL; s = s->next) {
    if (strcmp(s->file, file) == 0 && strcmp(s->options, options) == 0) {
      return s;
    }
  }
  return NULL;
}

static slot *add_slot(clqi_program_cache *cache, const char *file, const char *options) {
  slot *s = clqi_calloc(1, sizeof *s);
  if (s == NULL) {
    return NULL;
  }
  s->state = BUILDING;
  s->file = clqi_strdup(file);
  s->options = clqi_strdup(options);
  if (s->file == NULL || s->options == NULL) {
    free_slot(s);
    return NULL;
  }
  s->next = cache->slots;
  cache->slots = s;
  return s;
}

/* A program that does not compile never will; any other failure is tried again. */
static bool is_final(const slot *s) { return s->state == READY || s->failure == CLQ_BUILD_FAILED; }

static clq_status answer(const slot *s, cl_program *program) {
  *program = s->program;
  return s->state == READY ? CLQ_OK : clqi_fail(s->failure, "%s", s->failure_text);
}

clq_status clqi_program_get(clqi_program_cache *cache, const char *file, const char *options,
                            cl_program *program) {
  if (options == NULL) {
    options = "";
  }
  (void)pthread_mutex_lock(&cache->lock);
  slot *s = find_slot(cache, file, options);
  while (s != NULL && s->state == BUILDING) {
    (void)pthread_cond_wait(&cache->built, &cache->lock);
  }
  if (s != NULL && is_final(s)) {
    const clq_status status = answer(s, program);
    (void)pthread_mutex_unlock(&cache->lock);
    return status;
  }
  if (s == NULL) {
    s = add_slot(cache, file, options);
  } else {
    s->state = BUILDING;
  }
  (void)pthread_mutex_unlock(&cache->lock);
  if (s == NULL) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "program cache: out of memory");
  }
  cl_program built = NULL;
  clqi_disk_key key = {{0, 0}};
  bool unsaved = false;
  const clq_status status = obtain(cache, file, options, &built, &key, &unsaved);
  (void)pthread_mutex_lock(&cache->lock);
  s->program = built;
  s->key = key;
  s->unsaved = unsaved;
  s->failure = status;
  s->state = status == CLQ_OK ? READY : FAILED;
  if (status != CLQ_OK) {
    (void)snprintf(s->failure_text, sizeof s->failure_text, "%s", clq_last_error());
  }
  *program = built;
  (void)pthread_cond_broadcast(&cache->built);
  (void)pthread_mutex_unlock(&cache->lock);
  return status;
}
