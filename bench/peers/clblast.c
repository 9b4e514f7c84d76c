#include "peers/clblast.h"

#include <stddef.h>

#if CLQ_WITH_CLBLAST

#include <clblast_c.h>
#include <dlfcn.h>

#define TEXT_OF(x) #x
#define TEXT(x)    TEXT_OF(x)

static struct {
  CLBlastStatusCode (*gemv)(CLBlastLayout, CLBlastTranspose, size_t, size_t, float, cl_mem, size_t,
                            size_t, cl_mem, size_t, size_t, float, cl_mem, size_t, size_t,
                            cl_command_queue *, cl_event *);
  CLBlastStatusCode (*gemm)(CLBlastLayout, CLBlastTranspose, CLBlastTranspose, size_t, size_t,
                            size_t, float, cl_mem, size_t, size_t, cl_mem, size_t, size_t, float,
                            cl_mem, size_t, size_t, cl_command_queue *, cl_event *);
  CLBlastStatusCode (*clear)(void);
} clblast;

const char *bench_clblast_open(void) {
  void *library = dlopen("libclblast.so." TEXT(CLBLAST_VERSION_MAJOR), RTLD_NOW);
  if (library == NULL) {
    return dlerror();
  }
  /* As POSIX has it; C knows no conversion of one into the other. */
  *(void **)&clblast.gemv = dlsym(library, "CLBlastSgemv");
  *(void **)&clblast.gemm = dlsym(library, "CLBlastSgemm");
  *(void **)&clblast.clear = dlsym(library, "CLBlastClearCache");
  return clblast.gemv != NULL && clblast.gemm != NULL && clblast.clear != NULL
             ? NULL
             : "the library lacks CLBlastSgemv, CLBlastSgemm or CLBlastClearCache";
}

const char *bench_clblast_version(void) {
  return "CLBlast " TEXT(CLBLAST_VERSION_MAJOR) "." TEXT(CLBLAST_VERSION_MINOR) "." TEXT(
      CLBLAST_VERSION_PATCH);
}

int bench_clblast_product(cl_command_queue queue, int64_t m, int64_t n, int64_t k, cl_mem x,
                          cl_mem w, cl_mem out) {
  const size_t rows = (size_t)m;
  const size_t cols = (size_t)n;
  const size_t depth = (size_t)k;
  return rows == 1 ? (int)clblast.gemv(CLBlastLayoutRowMajor, CLBlastTransposeNo, cols, depth, 1.0f,
                                       w, 0, depth, x, 0, 1, 0.0f, out, 0, 1, &queue, NULL)
                   : (int)clblast.gemm(CLBlastLayoutRowMajor, CLBlastTransposeNo,
                                       CLBlastTransposeYes, rows, cols, depth, 1.0f, x, 0, depth, w,
                                       0, depth, 0.0f, out, 0, cols, &queue, NULL);
}

void bench_clblast_close(void) { (void)clblast.clear(); }

#else

const char *bench_clblast_open(void) {
  return "this clq was built without its headers (Debian: libclblast-dev)";
}

const char *bench_clblast_version(void) { return "CLBlast"; }

int bench_clblast_product(cl_command_queue queue, int64_t m, int64_t n, int64_t k, cl_mem x,
                          cl_mem w, cl_mem out) {
  (void)queue, (void)m, (void)n, (void)k, (void)x, (void)w, (void)out;
  return -1;
}

void bench_clblast_close(void) {}

#endif
