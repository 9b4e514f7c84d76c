#include "runtime/clblast.h"

#if CLQ_WITH_CLBLAST

#include <clblast_c.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>

#define TEXT_OF(x) #x
#define TEXT(x)    TEXT_OF(x)

static pthread_once_t loaded = PTHREAD_ONCE_INIT;
static struct {
  __typeof__(CLBlastSgemm) *sgemm;
  __typeof__(CLBlastClearCache) *clear;
  char missing[256]; /* "" if all is there */
} clblast;

/* It stays loaded: what it leaves to the end of the process would have no code. */
static void load(void) {
  void *library = dlopen("libclblast.so." TEXT(CLBLAST_VERSION_MAJOR), RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) {
    (void)snprintf(clblast.missing, sizeof clblast.missing, "CLBlast: %s", dlerror());
    return;
  }
  /* As POSIX has it; C knows no conversion of one into the other. */
  *(void **)&clblast.sgemm = dlsym(library, "CLBlastSgemm");
  *(void **)&clblast.clear = dlsym(library, "CLBlastClearCache");
  if (clblast.sgemm == NULL || clblast.clear == NULL) {
    (void)snprintf(clblast.missing, sizeof clblast.missing,
                   "CLBlast with CLBlastSgemm and CLBlastClearCache");
  }
}

const char *clqi_clblast_missing(void) {
  (void)pthread_once(&loaded, load);
  return clblast.missing[0] == '\0' ? NULL : clblast.missing;
}

cl_int clqi_clblast_sgemm(const clqi_sgemm *p, cl_command_queue queue, cl_event *event) {
  return clqi_clblast_missing() != NULL
             ? CL_INVALID_OPERATION
             : (cl_int)clblast.sgemm(CLBlastLayoutRowMajor, CLBlastTransposeNo, CLBlastTransposeNo,
                                     (size_t)p->rows, (size_t)p->cols, (size_t)p->depth, 1.0f,
                                     p->x.mem, (size_t)p->x.offset, (size_t)p->x.stride, p->w.mem,
                                     (size_t)p->w.offset, (size_t)p->w.stride, 0.0f, p->out.mem,
                                     (size_t)p->out.offset, (size_t)p->out.stride, &queue, event);
}

void clqi_clblast_clear(void) {
  if (clqi_clblast_missing() == NULL) {
    (void)clblast.clear();
  }
}

#else

const char *clqi_clblast_missing(void) {
  return "CLBlast, without whose headers this library was built";
}

cl_int clqi_clblast_sgemm(const clqi_sgemm *p, cl_command_queue queue, cl_event *event) {
  (void)p, (void)queue, (void)event;
  return CL_INVALID_OPERATION;
}

void clqi_clblast_clear(void) {}

#endif
