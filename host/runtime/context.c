#include "runtime/context.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/clblast.h"
#include "runtime/device.h"
#include "runtime/launch.h"
#include "runtime/memory.h"
#include "runtime/probe.h"
#include "runtime/program_cache.h"

static const struct {
  const char *name;
  const char *macro;
} traits[] = {
#define CLQ_TRAIT(id, name, macro) {name, macro},
#include "runtime/trait.def"
#undef CLQ_TRAIT
};

static const struct {
  const char *name;
  const char *file;
} kernels[] = {
#define CLQ_KERNEL(kernel, file) {#kernel, #file},
#include "kernels.def"
#undef CLQ_KERNEL
    [CLQI_KERNEL_SGEMM] = {"CLBlastSgemm", ""},
};

const char *clqi_trait_name(clqi_trait trait) { return traits[trait].name; }
const char *clqi_trait_macro(clqi_trait trait) { return traits[trait].macro; }
const char *clqi_kernel_name(clqi_kernel_id id) { return kernels[id].name; }
const char *clqi_kernel_file(clqi_kernel_id id) { return kernels[id].file; }

static void context_platform_error(const char *text, const void *data, size_t bytes, void *user) {
  (void)data;
  (void)bytes;
  (void)user;
  clqi_log(CLQ_LOG_EXEC, "driver: %s", text);
}

static clq_status check_device_of(cl_context adopted, cl_device_id device) {
  cl_device_id devices[CLQI_MAX_DEVICES];
  size_t bytes = 0;
  CLQI_TRY(clqi_cl(clGetContextInfo(adopted, CL_CONTEXT_DEVICES, sizeof devices, devices, &bytes),
                   "clGetContextInfo"));
  for (size_t i = 0; i < bytes / sizeof devices[0]; ++i) {
    if (devices[i] == device) {
      return CLQ_OK;
    }
  }
  return clqi_fail(CLQ_INVALID_ARGUMENT, "context: cl_context does not hold the given device");
}

static clq_status adopt_or_create(clq_context *context, const clq_context_desc *desc) {
  if (desc->cl_context != NULL) {
    CLQI_REQUIRE(desc->device != NULL, "context: device must be given with cl_context");
    CLQI_TRY(check_device_of(desc->cl_context, desc->device));
  }
  if (desc->device != NULL) {
    CLQI_TRY(clqi_device_describe(desc->device, &context->info));
    context->info.index = -1;
  } else {
    CLQI_TRY(clqi_device_select(desc->device_name, &context->info));
  }
  context->device = context->info.id;
  if (desc->cl_context != NULL) {
    CLQI_TRY(clqi_cl(clRetainContext(desc->cl_context), "clRetainContext"));
    context->cl = desc->cl_context;
    return CLQ_OK;
  }
  cl_int code = CL_SUCCESS;
  context->cl = clCreateContext(NULL, 1, &context->device, context_platform_error, NULL, &code);
  return clqi_cl(code, "clCreateContext");
}

static bool offers_rounded_division(cl_device_id device) {
  cl_device_fp_config config = 0;
  return clGetDeviceInfo(device, CL_DEVICE_SINGLE_FP_CONFIG, sizeof config, &config, NULL) ==
             CL_SUCCESS &&
         (config & CL_FP_CORRECTLY_ROUNDED_DIVIDE_SQRT) != 0;
}

static uint64_t cache_bytes(cl_device_id device) {
  const cl_ulong common = 16U << 20; /* some name their second cache, or none */
  cl_ulong bytes = 0;
  const bool said = clGetDeviceInfo(device, CL_DEVICE_GLOBAL_MEM_CACHE_SIZE, sizeof bytes, &bytes,
                                    NULL) == CL_SUCCESS;
  return said && bytes > common ? bytes : common;
}

static clq_status unknown_trait(const char *name, size_t length) {
  char known[512];
  size_t at = 0;
  for (int t = 0; t < CLQI_TRAIT_COUNT && at < sizeof known; ++t) {
    at +=
        (size_t)snprintf(known + at, sizeof known - at, "%s%s", t == 0 ? "" : ",", traits[t].name);
  }
  return clqi_fail(CLQ_INVALID_ARGUMENT,
                   "there is no trait '%.*s' to ignore (CLQ_DISABLE); expected some of %s",
                   (int)length, name, known);
}

static clq_status disable_traits(clq_context *context, const char *list) {
  if (list == NULL) {
    list = getenv("CLQ_DISABLE");
  }
  while (list != NULL && *list != '\0') {
    const size_t n = strcspn(list, ",");
    int t = 0;
    while (t < CLQI_TRAIT_COUNT &&
           (strlen(traits[t].name) != n || strncmp(traits[t].name, list, n) != 0)) {
      ++t;
    }
    if (t == CLQI_TRAIT_COUNT && n > 0) {
      return unknown_trait(list, n);
    }
    if (n > 0) {
      context->traits &= ~(1U << t);
    }
    list += n + (list[n] == ',');
  }
  return CLQ_OK;
}

clq_status clq_context_create(const clq_context_desc *desc, clq_context **context) {
  CLQI_REQUIRE(context != NULL, "context: the result pointer is NULL");
  *context = NULL;
  static const clq_context_desc defaults;
  if (desc == NULL) {
    desc = &defaults;
  }
  clq_context *c = clqi_calloc(1, sizeof *c);
  if (c == NULL) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "context: out of memory");
  }
  clq_status status = CLQ_OK;
  clqi_host_pages_init(&c->pages);
  CLQI_TRY_CLEAN(adopt_or_create(c, desc));
  c->cache_bytes = cache_bytes(c->device);
  c->rounded_division_option = offers_rounded_division(c->device);
  CLQI_TRY_CLEAN(clqi_program_cache_create(c, desc->cache_dir, &c->programs));
  CLQI_TRY_CLEAN(clqi_probe_all(c));
  CLQI_TRY_CLEAN(disable_traits(c, desc->disable));
  clqi_tuning_load(c, desc->tuning);
  *context = c;
  c = NULL;
cleanup:
  clq_context_destroy(c);
  return status;
}

clq_status clqi_context_note(clq_context *context, clq_status status) {
  if (status == CLQ_DEVICE_LOST) {
    atomic_store(&context->lost, true);
  }
  return status;
}

clq_status clqi_context_cl(clq_context *context, cl_int code, const char *call) {
  return clqi_context_note(context, clqi_cl(code, call));
}

clq_status clqi_context_usable(const clq_context *context) {
  return atomic_load(&context->lost)
             ? clqi_fail(CLQ_DEVICE_LOST, "the device of this context was lost; create a new one")
             : CLQ_OK;
}

void clq_context_destroy(clq_context *context) {
  if (context == NULL) {
    return;
  }
  clqi_program_cache_destroy(context->programs);
  if (atomic_load(&context->used_clblast)) {
    clqi_clblast_clear();
  }
  if (context->cl != NULL) {
    (void)clReleaseContext(context->cl);
  }
  clqi_host_pages_destroy(&context->pages);
  clqi_free(context);
}

cl_context clq_context_cl(const clq_context *context) { return context->cl; }
cl_device_id clq_context_device(const clq_context *context) { return context->device; }
const clq_device_info *clq_context_info(const clq_context *context) { return &context->info; }

const char *clq_context_trait(const clq_context *context, int32_t i) {
  for (int t = 0; t < CLQI_TRAIT_COUNT; ++t) {
    if (clqi_has(context, (clqi_trait)t) && i-- == 0) {
      return traits[t].name;
    }
  }
  return NULL;
}

void clq_context_cache_stats(clq_context *context, clq_cache_stats *stats) {
  clqi_program_cache_stats(context->programs, stats);
}

const char *clq_context_cache_dir(const clq_context *context, const char **why) {
  return clqi_disk_cache_dir(clqi_program_cache_disk(context->programs), why);
}

clq_status clq_context_cache_save(clq_context *context) {
  CLQI_REQUIRE(context != NULL, "cache_save: context is NULL");
  return clqi_program_cache_save(context->programs);
}

clq_status clq_cache_scan(const char *dir, int32_t clear, clq_cache_contents *contents) {
  CLQI_REQUIRE(contents != NULL, "cache: contents is NULL");
  *contents = (clq_cache_contents){.files = 0};
  clqi_disk_cache *cache = NULL;
  CLQI_TRY(clqi_disk_cache_open(dir, false, &cache));
  const char *why = NULL;
  const char *used = clqi_disk_cache_dir(cache, &why);
  (void)snprintf(contents->dir, sizeof contents->dir, "%s", used == NULL ? "" : used);
  if (clqi_disk_cache_is_new(cache) && why == NULL) {
    why = "there is none yet: it is created when kernels are first compiled";
  }
  (void)snprintf(contents->why, sizeof contents->why, "%s", why == NULL ? "" : why);
  const clq_status status =
      clqi_disk_cache_scan(cache, clear != 0, &contents->files, &contents->bytes);
  clqi_disk_cache_close(cache);
  return status;
}
