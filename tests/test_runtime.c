/* Devices, contexts, streams, and the program cache in memory and on disk. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "counting.h"
#include "device.h"
#include "opencl.h"
#include "runtime/buffer.h"
#include "runtime/context.h"
#include "runtime/cpu.h"
#include "runtime/device_missing.h"
#include "runtime/program_cache.h"
#include "runtime/status.h"

TestSuite(runtime, .fini = opencl_none_live);

static bool is_pocl(const clq_device_info *info) {
  return strstr(info->platform, "Portable Computing Language") != NULL;
}

/* A new folder of mode 0700. */
static const char *new_folder(char path[64]) {
  (void)snprintf(path, 64, "/tmp/clq-test-XXXXXX");
  cr_assert_not_null(mkdtemp(path));
  return path;
}

static void remove_folder(const char *path) {
  DIR *dir = opendir(path);
  for (struct dirent *e = dir == NULL ? NULL : readdir(dir); e != NULL; e = readdir(dir)) {
    (void)unlinkat(dirfd(dir), e->d_name, 0);
  }
  if (dir != NULL) {
    (void)closedir(dir);
  }
  (void)rmdir(path);
}

/* One small operator, so that a program must be there; returns a checksum of its result. */
static int32_t run_something(clq_context *context) {
  test_device d = {context, NULL};
  test_ok(clq_stream_create(context, NULL, &d.stream));
  float x[32];
  int32_t sum = 0;
  for (int i = 0; i < 32; ++i) {
    x[i] = (float)(i * i % 11);
  }
  test_buffer xb = test_buffer_new(&d, x, sizeof x);
  test_buffer ob = test_buffer_new(&d, NULL, 32);
  test_buffer sb = test_buffer_new(&d, NULL, 4);
  test_buffer ub = test_buffer_new(&d, NULL, 4);
  test_ok(clq_quantize(
      d.stream,
      &(clq_quantize_args){{xb.mem, CLQ_F32, {1, 32}},
                           {ob.mem,
                            CLQ_I8,
                            {1, 32},
                            .quant = {.per = CLQ_PER_TOKEN, .scale = sb.mem, .sum = ub.mem}}}));
  test_buffer_read(&d, &ub, &sum);
  test_buffer_free(&xb);
  test_buffer_free(&ob);
  test_buffer_free(&sb);
  test_buffer_free(&ub);
  clq_stream_destroy(d.stream);
  return sum;
}

static clq_cache_stats run_with_cache(const char *dir) {
  clq_context *context = NULL;
  clq_cache_stats stats;
  test_ok(clq_context_create(&(clq_context_desc){.cache_dir = dir}, &context));
  cr_assert_gt(run_something(context), 0);
  clq_context_cache_stats(context, &stats);
  clq_context_destroy(context);
  return stats;
}

Test(runtime, devices_are_listed_and_chosen) {
  clq_device_info infos[8];
  int32_t count = 0;
  test_ok(clq_devices(infos, 8, &count));
  cr_assert_geq(count, 1);
  cr_assert_eq(infos[0].index, 0);
  cr_assert_gt(infos[0].compute_units, 0);
  clq_context *c = NULL;
  test_ok(clq_context_create(&(clq_context_desc){.device_name = "0"}, &c));
  cr_assert_str_eq(clq_context_info(c)->name, infos[0].name);
  clq_context_destroy(c);
  char part[8] = {0};
  for (int i = 0; i < 7 && infos[0].name[i] != '\0'; ++i) {
    part[i] = infos[0].name[i] >= 'a' && infos[0].name[i] <= 'z' ? (char)(infos[0].name[i] - 32)
                                                                 : infos[0].name[i];
  }
  test_ok(clq_context_create(&(clq_context_desc){.device_name = part}, &c));
  clq_context_destroy(c);
  test_fails(clq_context_create(&(clq_context_desc){.device_name = "no such thing"}, &c),
             CLQ_NO_DEVICE, "no device 'no such thing'");
  test_fails(clq_context_create(&(clq_context_desc){.device_name = "99"}, &c), CLQ_NO_DEVICE,
             "clq devices");
}

/* pocl shows two; where there is one only, its failure is the answer. */
Test(runtime, a_device_that_does_not_answer_is_left_out) {
  (void)setenv("POCL_DEVICES", "basic pthread", 1);
  clq_device_info all[8];
  clq_device_info left[8];
  int32_t count = 0;
  int32_t after = 0;
  test_ok(clq_devices(all, 8, &count));
  opencl_fail(OPENCL_DEVICE_INFO, 0);
  if (count == 1) {
    test_fails(clq_devices(left, 8, &after), CLQ_DEVICE_ERROR, "clGetDeviceInfo");
    return;
  }
  test_ok(clq_devices(left, 8, &after));
  cr_assert_eq(after, count - 1);
  for (int32_t i = 0; i < after; ++i) {
    cr_assert_eq(left[i].id, all[i + 1].id);
    cr_assert_eq(left[i].index, i);
  }
  opencl_fail(OPENCL_DEVICE_INFO, 0);
  test_ok(clq_devices(NULL, 0, &after)); /* the number does not depend on the room for them */
  cr_assert_eq(after, count - 1);
}

Test(runtime, a_missing_platform_is_a_sentence) {
  (void)setenv("OCL_ICD_VENDORS", "/nonexistent/", 1);
  int32_t count = 0;
  test_fails(clq_devices(NULL, 0, &count), CLQ_NO_DEVICE, "pocl-opencl-icd");
}

static rlim_t address_space(void) {
  unsigned long pages = 0;
  FILE *file = fopen("/proc/self/statm", "r");
  cr_assert(file != NULL && fscanf(file, "%lu", &pages) == 1);
  (void)fclose(file);
  return (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE);
}

/* A driver that is there and starts but for want of memory. */
Test(runtime, missing_memory_is_told_from_a_missing_device) {
  int32_t count = 0;
  struct rlimit usual;
  test_ok(clq_devices(NULL, 0, &count)); /* the driver is loaded from now on */
  test_fails(clqi_device_missing(true), CLQ_OUT_OF_HOST_MEMORY, "no OpenCL device: out of memory");
  test_fails(clqi_device_missing(false), CLQ_NO_DEVICE, "none of them offers a device");
  cr_assert_eq(getrlimit(RLIMIT_AS, &usual), 0);
  struct rlimit tight = {.rlim_cur = address_space() + ((rlim_t)100 << 20),
                         .rlim_max = usual.rlim_max};
  cr_assert_eq(setrlimit(RLIMIT_AS, &tight), 0);
  const clq_status status = clqi_device_missing(false);
  cr_assert_eq(setrlimit(RLIMIT_AS, &usual), 0);
  cr_assert_eq(status, CLQ_OUT_OF_HOST_MEMORY, "%s", clq_last_error());
}

Test(runtime, adopts_the_callers_objects) {
  clq_device_info info;
  int32_t count = 0;
  test_ok(clq_devices(&info, 1, &count));
  cl_context mine = clCreateContext(NULL, 1, &info.id, NULL, NULL, NULL);
  cl_command_queue queue = clCreateCommandQueueWithProperties(mine, info.id, NULL, NULL);
  clq_context *c = NULL;
  clq_stream *s = NULL;
  test_fails(clq_context_create(&(clq_context_desc){.cl_context = mine}, &c), CLQ_INVALID_ARGUMENT,
             "device must be given");
  test_fails(clq_context_create(
                 &(clq_context_desc){.cl_context = mine, .device = (cl_device_id)(void *)mine}, &c),
             CLQ_INVALID_ARGUMENT, "does not hold the given device");
  test_ok(clq_context_create(&(clq_context_desc){.cl_context = mine, .device = info.id}, &c));
  cr_assert_eq(clq_context_cl(c), mine);
  test_ok(clq_stream_create(c, queue, &s));
  cr_assert_eq(clq_stream_queue(s), queue);
  (void)clReleaseCommandQueue(queue); /* the stream holds its own reference */
  (void)clReleaseContext(mine);
  cr_assert_gt(run_something(c), 0);
  test_ok(clq_stream_finish(s));
  clq_stream_destroy(s);
  clq_context_destroy(c);
}

Test(runtime, refuses_foreign_and_unordered_queues) {
  test_device d = test_device_open(NULL);
  const cl_queue_properties unordered[] = {CL_QUEUE_PROPERTIES,
                                           CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE, 0};
  clq_stream *s = NULL;
  cl_int code = CL_SUCCESS;
  cl_command_queue queue = clCreateCommandQueueWithProperties(
      clq_context_cl(d.context), clq_context_device(d.context), unordered, &code);
  if (code == CL_SUCCESS) {
    test_fails(clq_stream_create(d.context, queue, &s), CLQ_UNSUPPORTED, "out-of-order");
    (void)clReleaseCommandQueue(queue);
  }
  clq_context *other = NULL;
  test_ok(clq_context_create(NULL, &other));
  test_fails(clq_stream_create(other, clq_stream_queue(d.stream), &s), CLQ_INVALID_ARGUMENT,
             "another device or context");
  clq_context_destroy(other);
  test_device_close(&d);
}

Test(runtime, streams_join_by_events) {
  test_device d = test_device_open(NULL);
  clq_stream *second = NULL;
  cl_event event = NULL;
  test_ok(clq_stream_create(d.context, NULL, &second));
  float x[16] = {0};
  for (int i = 0; i < 16; ++i) {
    x[i] = (float)i;
  }
  test_buffer a = test_buffer_new(&d, x, sizeof x);
  test_buffer b = test_buffer_new(&d, x, sizeof x);
  const clq_tensor at = {a.mem, CLQ_F32, {1, 16}};
  const clq_tensor bt = {b.mem, CLQ_F32, {1, 16}};
  for (int i = 0; i < 50; ++i) { /* b = a + b on one queue, a = a + b on the other, in turn */
    test_ok(clq_add(d.stream, &(clq_add_args){at, bt, bt}));
    test_ok(clq_stream_record(d.stream, &event));
    test_ok(clq_stream_wait(second, event));
    (void)clReleaseEvent(event);
    test_ok(clq_add(second, &(clq_add_args){at, bt, at}));
    test_ok(clq_stream_record(second, &event));
    test_ok(clq_stream_wait(d.stream, event));
    (void)clReleaseEvent(event);
  }
  float got[16];
  float ea = 1.0f;
  float eb = 1.0f;
  for (int i = 0; i < 50; ++i) {
    eb = ea + eb;
    ea = ea + eb;
  }
  test_ok(clq_stream_finish(second));
  test_buffer_read(&d, &a, got);
  cr_assert(got[1] == ea && got[0] == 0.0f, "%g, expected %g", (double)got[1], (double)ea);
  test_buffer_free(&a);
  test_buffer_free(&b);
  clq_stream_destroy(second);
  test_device_close(&d);
}

static void keep_line(void *user, clq_log_topic topic, const char *text) {
  cr_assert_eq(topic, CLQ_LOG_EXEC);
  (void)snprintf(user, 256, "%s", text);
}

Test(runtime, launches_are_logged) {
  test_device d = test_device_open(NULL);
  char line[256] = "";
  test_buffer b = test_buffer_new(&d, NULL, 64);
  const clq_tensor t = {b.mem, CLQ_F32, {1, 16}};
  test_ok(clq_add(d.stream, &(clq_add_args){t, t, t}));
  cr_assert_str_empty(line);
  clq_set_log(keep_line, line, CLQ_LOG_EXEC);
  test_ok(clq_add(d.stream, &(clq_add_args){t, t, t}));
  clq_set_log(NULL, NULL, 0);
  cr_assert(strncmp(line, "add_", 4) == 0 && strstr(line, " work-items in groups of ") != NULL,
            "'%s'", line);
  test_ok(clq_stream_finish(d.stream));
  test_buffer_free(&b);
  test_device_close(&d);
}

/* A command that fails after it was enqueued takes those behind it along, as the event of the last
 * tells, or (Intel's CPU runtime) leaves no trace: then there is nothing to report. The commands
 * are no kernels and their events are kept, because pocl 3.1 aborts otherwise. */
Test(runtime, a_command_that_failed_is_reported_once) {
  test_device d = test_device_open(NULL);
  const cl_command_queue queue = clq_stream_queue(d.stream);
  cl_int code = CL_SUCCESS;
  cl_event events[4] = {clCreateUserEvent(clq_context_cl(d.context), &code)};
  cr_assert_eq(code, CL_SUCCESS);
  static const float one = 1.0f;
  test_buffer b = test_buffer_new(&d, NULL, 64);
  cr_assert_eq(clEnqueueBarrierWithWaitList(queue, 1, &events[0], &events[1]), CL_SUCCESS);
  cr_assert_eq(clEnqueueFillBuffer(queue, b.mem, &one, sizeof one, 0, 64, 0, NULL, &events[2]),
               CL_SUCCESS);
  test_ok(clq_stream_record(d.stream, &events[3]));
  cr_assert_eq(clSetUserEventStatus(events[0], CL_OUT_OF_RESOURCES), CL_SUCCESS);
  const clq_status finished = clq_stream_finish(d.stream);
  cl_int state = CL_QUEUED;
  cr_assert_eq(
      clGetEventInfo(events[3], CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof state, &state, NULL),
      CL_SUCCESS);
  if (state < 0) {
    test_fails(finished, CLQ_DEVICE_ERROR, "a command of the stream failed");
  } else {
    test_ok(finished);
  }
  const clq_tensor t = {b.mem, CLQ_F32, {1, 16}};
  test_ok(clq_add(d.stream, &(clq_add_args){t, t, t}));
  test_ok(clq_stream_finish(d.stream));
  for (int i = 0; i < 4; ++i) {
    (void)clReleaseEvent(events[i]);
  }
  test_buffer_free(&b);
  test_device_close(&d);
}

/* What a kernel finds in its data is reported by its own stream, once. */
Test(runtime, device_errors_belong_to_their_stream) {
  test_device d = test_device_open(NULL);
  clq_stream *second = NULL;
  test_ok(clq_stream_create(d.context, NULL, &second));
  static const float values[16 * 4];
  const clq_weights_part part = {.data = values, .rows = 16};
  clq_weights *table = NULL;
  test_ok(clq_weights_pack(
      d.context, &(clq_weights_desc){CLQ_FORMAT_F32, 4, .parts = &part, .part_count = 1}, &table));
  const int32_t id = 99;
  test_buffer ids = test_buffer_new(&d, &id, sizeof id);
  test_buffer out = test_buffer_new(&d, NULL, 4 * sizeof(float));
  test_ok(clq_embedding(
      second, &(clq_embedding_args){{ids.mem, CLQ_I32, {1}}, table, {out.mem, CLQ_F32, {1, 4}}}));
  test_ok(clq_stream_finish(d.stream));
  test_fails(clq_stream_finish(second), CLQ_INVALID_ARGUMENT, "embedding: id 99");
  test_ok(clq_stream_finish(second));
  test_buffer_free(&ids);
  test_buffer_free(&out);
  clq_weights_destroy(table);
  clq_stream_destroy(second);
  test_device_close(&d);
}

Test(runtime, traits_can_be_disabled_by_name_only) {
  clq_context *c = NULL;
  test_fails(clq_context_create(&(clq_context_desc){.disable = "cpu,nonsense"}, &c),
             CLQ_INVALID_ARGUMENT,
             "there is no trait 'nonsense' to ignore (CLQ_DISABLE); expected some of cpu,");
  test_ok(clq_context_create(&(clq_context_desc){.disable = "exact_divide"}, &c));
  cr_assert(!test_has_trait(c, "exact_divide"));
  clq_context_destroy(c);
}

/* pocl compiles inline assembly for the host's processor, so a trait that is missing there is a
 * broken probe, and tests that skip without it would hide that. With the cache that all tests
 * share, and without any. */
Test(runtime, pocl_has_what_the_processor_has) {
  const char *dirs[] = {NULL, "off"};
  for (int i = 0; i < 2; ++i) {
    clq_context *c = NULL;
    test_ok(clq_context_create(&(clq_context_desc){.cache_dir = dirs[i]}, &c));
    if (is_pocl(clq_context_info(c))) {
      cr_assert(test_has_trait(c, "exact_divide"));
      cr_assert_eq(test_has_trait(c, "x86_avx2"), clqi_cpu_has_avx2());
      cr_assert_eq(test_has_trait(c, "x86_f16c"), clqi_cpu_has_f16c());
      cr_assert_eq(test_has_trait(c, "x86_avx512"), clqi_cpu_has_avx512());
      cr_assert_eq(test_has_trait(c, "x86_vnni"), clqi_cpu_has_vnni());
    }
    if (strstr(clq_context_info(c)->platform, "Intel(R) OpenCL") != NULL) {
      cr_assert(test_has_trait(c, "khr_subgroups") && test_has_trait(c, "intel_subgroups"));
      cr_assert(test_has_trait(c, "khr_int_dot"));
    }
    clq_context_destroy(c);
  }
}

/* ---------------------------------------------------------------- disk cache */

Test(runtime, second_context_loads_from_disk) {
  char dir[64];
  new_folder(dir);
  const clq_cache_stats cold = run_with_cache(dir);
  const clq_cache_stats warm = run_with_cache(dir);
  cr_assert(cold.built >= 1 && cold.loaded == 0 && cold.disk == 1);
  cr_assert(warm.built == 0 && warm.loaded == 1, "built %u, loaded %u", warm.built, warm.loaded);
  clq_cache_contents contents;
  test_ok(clq_cache_scan(dir, 0, &contents));
  cr_assert(contents.files >= 2 && contents.bytes > 100); /* traits and a program */
  test_ok(clq_cache_scan(dir, 1, &contents));
  test_ok(clq_cache_scan(dir, 0, &contents));
  cr_assert_eq(contents.files, 0);
  remove_folder(dir);
}

Test(runtime, cache_can_be_off) {
  const clq_cache_stats stats = run_with_cache("off");
  cr_assert(stats.built >= 1 && stats.disk == 0);
}

/* Applies `spoil` to every file of the folder. */
static void for_each_file(const char *dir, void (*spoil)(int fd, off_t size)) {
  DIR *d = opendir(dir);
  cr_assert_not_null(d);
  for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
    const int fd = openat(dirfd(d), e->d_name, O_RDWR);
    struct stat info;
    if (fd >= 0 && fstat(fd, &info) == 0 && S_ISREG(info.st_mode)) {
      spoil(fd, info.st_size);
    }
    if (fd >= 0) {
      (void)close(fd);
    }
  }
  (void)closedir(d);
}

static void flip_payload(int fd, off_t size) {
  unsigned char byte = 0;
  cr_assert_eq(pread(fd, &byte, 1, size - 3), 1);
  byte ^= 0x40;
  cr_assert_eq(pwrite(fd, &byte, 1, size - 3), 1);
}
static void flip_magic(int fd, off_t size) {
  (void)size;
  cr_assert_eq(pwrite(fd, "JUNK", 4, 0), 4);
}
static void cut(int fd, off_t size) { cr_assert_eq(ftruncate(fd, size / 2), 0); }
static void cut_to_nothing(int fd, off_t size) {
  (void)size;
  cr_assert_eq(ftruncate(fd, 0), 0);
}
static void lie_about_length(int fd, off_t size) {
  (void)size;
  const uint64_t huge = UINT64_MAX - 8;
  cr_assert_eq(pwrite(fd, &huge, 8, 24), 8);
}

Test(runtime, damaged_cache_files_are_rebuilt) {
  void (*const spoils[])(int, off_t) = {flip_payload, flip_magic, cut, cut_to_nothing,
                                        lie_about_length};
  char dir[64];
  new_folder(dir);
  (void)run_with_cache(dir);
  for (size_t i = 0; i < sizeof spoils / sizeof spoils[0]; ++i) {
    for_each_file(dir, spoils[i]);
    const clq_cache_stats rebuilt = run_with_cache(dir);
    cr_assert(rebuilt.loaded == 0 && rebuilt.built >= 1, "spoil %zu: loaded %u", i, rebuilt.loaded);
    const clq_cache_stats again = run_with_cache(dir);
    cr_assert(again.built == 0 && again.loaded == 1, "spoil %zu", i);
  }
  remove_folder(dir);
}

Test(runtime, untrustworthy_folders_are_not_used) {
  char dir[64];
  char path[96];
  clq_cache_contents contents;
  new_folder(dir);
  for (mode_t open_to = 1; open_to <= 077; open_to = open_to * 2 + (open_to == 1)) {
    cr_assert_eq(chmod(dir, 0700 | open_to), 0);
    test_ok(clq_cache_scan(dir, 0, &contents));
    cr_assert_str_empty(contents.dir);
    cr_assert_not_null(strstr(contents.why, "is open to others (name a folder of your own"),
                       "%o: %s", (unsigned)open_to, contents.why);
  }
  cr_assert_eq(chmod(dir, 0700), 0);
  (void)snprintf(path, sizeof path, "%s/link", dir);
  cr_assert_eq(symlink("/tmp", path), 0);
  test_ok(clq_cache_scan(path, 0, &contents));
  cr_assert_not_null(strstr(contents.why, "is a symbolic link"), "%s", contents.why);
  (void)snprintf(path, sizeof path, "%s/file", dir);
  (void)close(open(path, O_CREAT | O_WRONLY, 0600));
  test_ok(clq_cache_scan(path, 0, &contents));
  cr_assert_not_null(strstr(contents.why, "not a folder"), "%s", contents.why);
  (void)snprintf(path, sizeof path, "%s/file/below", dir);
  test_ok(clq_cache_scan(path, 0, &contents));
  cr_assert_not_null(strstr(contents.why, "cannot be created (Not a directory)"), "%s",
                     contents.why);
  test_fails(clq_cache_scan(path, 1, &contents), CLQ_IO_ERROR, "nothing was removed: ");
  test_ok(clq_cache_scan("off", 1, &contents));
  cr_assert_eq(run_with_cache(path).disk, 0); /* and work goes on without it */
  remove_folder(dir);
}

Test(runtime, a_new_folder_is_private) {
  char dir[64];
  char path[96];
  struct stat info;
  new_folder(dir);
  (void)snprintf(path, sizeof path, "%s/clq", dir);
  clq_cache_contents contents;
  test_ok(clq_cache_scan(path, 0, &contents));
  cr_assert_str_eq(contents.dir, path);
  cr_assert_not_null(strstr(contents.why, "there is none yet"), "%s", contents.why);
  cr_assert_neq(stat(path, &info), 0);
  const mode_t usual = umask(0);
  cr_assert_eq(run_with_cache(path).disk, 1);
  (void)umask(usual);
  cr_assert_eq(stat(path, &info), 0);
  cr_assert_eq(info.st_mode & 0777, 0700);
  test_ok(clq_cache_scan(path, 0, &contents));
  cr_assert(contents.files > 0 && contents.why[0] == '\0', "%s", contents.why);
  remove_folder(path);
  remove_folder(dir);
}

/* What is compiled can be kept before the context goes, and is kept once. */
Test(runtime, programs_are_saved_when_asked) {
  char dir[64];
  new_folder(dir);
  clq_context *context = NULL;
  clq_cache_contents before;
  clq_cache_contents after;
  test_ok(clq_context_create(&(clq_context_desc){.cache_dir = dir}, &context));
  (void)run_something(context);
  test_ok(clq_cache_scan(dir, 0, &before));
  test_ok(clq_context_cache_save(context));
  test_ok(clq_cache_scan(dir, 0, &after));
  cr_assert_gt(after.files, before.files);
  test_ok(clq_cache_scan(dir, 1, &after));
  test_ok(clq_context_cache_save(context));
  clq_context_destroy(context);
  test_ok(clq_cache_scan(dir, 0, &after));
  cr_assert_eq(after.files, 0);
  remove_folder(dir);
  test_fails(clq_context_cache_save(NULL), CLQ_INVALID_ARGUMENT, "context is NULL");
}

/* What the driver does not hand out is told, keeps nothing else off the disk, and is tried again.
 */
Test(runtime, programs_that_cannot_be_had_are_saved_later) {
  char dir[64];
  new_folder(dir);
  clq_context *context = NULL;
  cl_program program = NULL;
  clq_cache_contents before;
  clq_cache_contents after;
  test_ok(clq_context_create(&(clq_context_desc){.cache_dir = dir}, &context));
  test_ok(clqi_program_get(context->programs, "add", NULL, &program));
  test_ok(clqi_program_get(context->programs, "add", "-DCLQ_ANOTHER=1", &program));
  test_ok(clq_cache_scan(dir, 0, &before));
  opencl_fail(OPENCL_PROGRAM_INFO, 0); /* the size, then the binary itself */
  test_fails(clq_context_cache_save(context), CLQ_DEVICE_ERROR,
             "the compiled kernel add.cl is not kept: clGetProgramInfo");
  test_ok(clq_cache_scan(dir, 0, &after));
  cr_assert_eq(after.files, before.files + 1);
  opencl_fail(OPENCL_PROGRAM_INFO, 1);
  test_fails(clq_context_cache_save(context), CLQ_DEVICE_ERROR, "add.cl is not kept");
  test_ok(clq_context_cache_save(context));
  test_ok(clq_cache_scan(dir, 0, &after));
  cr_assert_eq(after.files, before.files + 2);
  clq_context_destroy(context);
  remove_folder(dir);
}

static void make_folder_of(const char *dir) {
  char path[512];
  DIR *d = opendir(dir);
  cr_assert_not_null(d);
  for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
    (void)snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
    if (e->d_name[0] != '.') {
      cr_assert_eq(unlink(path), 0);
      cr_assert_eq(mkdir(path, 0700), 0);
    }
  }
  (void)closedir(d);
}

/* A write that fails is told when asked, leaves no part of a file, and spoils no other sentence.
 * Here folders have the names of the files. */
Test(runtime, a_folder_that_takes_no_more_is_reported) {
  char dir[64];
  new_folder(dir);
  clq_context *context = NULL;
  clq_cache_contents contents;
  (void)run_with_cache(dir);
  test_ok(clq_cache_scan(dir, 0, &contents));
  const uint64_t files = contents.files;
  make_folder_of(dir);
  test_ok(clq_context_create(&(clq_context_desc){.cache_dir = dir}, &context));
  (void)run_something(context);
  test_fails(clq_context_cache_save(context), CLQ_IO_ERROR,
             "takes no more compiled kernels (Is a directory): those that are not in it are "
             "compiled again next time; free some space, or set CLQ_CACHE_DIR");
  (void)clqi_fail(CLQ_BAD_FILE, "an earlier sentence");
  clq_context_destroy(context);
  cr_assert_str_eq(clq_last_error(), "an earlier sentence");
  test_ok(clq_cache_scan(dir, 0, &contents));
  cr_assert_eq(contents.files, files);
  DIR *d = opendir(dir);
  for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
    (void)unlinkat(dirfd(d), e->d_name, AT_REMOVEDIR);
  }
  (void)closedir(d);
  remove_folder(dir);
}

/* Nor are kernels built there (pocl's compiler ends the process). A context comes about, with the
 * traits that can be had; what needs a kernel says why there is none. */
Test(runtime, nothing_is_built_where_memory_is_short) {
  int32_t count = 0;
  struct rlimit usual;
  clq_context *context = NULL;
  cl_program program = NULL;
  clq_device_info info;
  test_ok(clq_devices(&info, 1, &count)); /* the driver is loaded from now on */
  if (!is_pocl(&info)) {
    cr_skip_test("what the compiler needs is known of pocl only");
  }
  cr_assert_eq(getrlimit(RLIMIT_AS, &usual), 0);
  struct rlimit tight = {.rlim_cur = address_space() + ((rlim_t)100 << 20),
                         .rlim_max = usual.rlim_max};
  cr_assert_eq(setrlimit(RLIMIT_AS, &tight), 0);
  test_ok(clq_context_create(&(clq_context_desc){.cache_dir = "off"}, &context));
  const clq_status status = clqi_program_get(context->programs, "add", NULL, &program);
  cr_assert_eq(setrlimit(RLIMIT_AS, &usual), 0);
  cr_assert_eq(status, CLQ_OUT_OF_HOST_MEMORY, "%s", clq_last_error());
  cr_assert_not_null(strstr(clq_last_error(),
                            "kernel add.cl cannot be built: the driver's compiler "
                            "may need 128 MiB of address space"),
                     "%s", clq_last_error());
  test_ok(clqi_program_get(context->programs, "add", NULL, &program)); /* it was no final answer */
  clq_context_destroy(context);
}

/* pocl 3.1 crashes in clGetProgramInfo, because it writes to memory that it did not get. What it
 * needs is not asked of other drivers. */
Test(runtime, binaries_are_not_asked_for_where_memory_is_short) {
  char dir[64];
  new_folder(dir);
  clq_context *context = NULL;
  clq_cache_contents before;
  clq_cache_contents after;
  struct rlimit usual;
  test_ok(clq_context_create(&(clq_context_desc){.cache_dir = dir}, &context));
  (void)run_something(context);
  test_ok(clq_cache_scan(dir, 0, &before));
  cr_assert_eq(getrlimit(RLIMIT_AS, &usual), 0);
  struct rlimit tight = {.rlim_cur = address_space() + ((rlim_t)200 << 20),
                         .rlim_max = usual.rlim_max};
  cr_assert_eq(setrlimit(RLIMIT_AS, &tight), 0);
  if (is_pocl(clq_context_info(context))) {
    test_fails(clq_context_cache_save(context), CLQ_OUT_OF_HOST_MEMORY,
               "the driver may need 384 MiB of address space for that and less is left");
    test_ok(clq_cache_scan(dir, 0, &after));
    cr_assert_eq(after.files, before.files);
  }
  cr_assert_eq(setrlimit(RLIMIT_AS, &usual), 0);
  test_ok(clq_context_cache_save(context)); /* nothing was lost meanwhile */
  test_ok(clq_cache_scan(dir, 0, &after));
  cr_assert_gt(after.files, before.files);
  clq_context_destroy(context);
  remove_folder(dir);
}

/* Two processes that start with an empty cache at the same time both get right programs. */
Test(runtime, two_processes_share_a_folder) {
  char dir[64];
  new_folder(dir);
  pid_t children[2];
  for (int i = 0; i < 2; ++i) {
    children[i] = fork();
    cr_assert_geq(children[i], 0);
    if (children[i] == 0) {
      char pocl[96]; /* pocl 3.1's own cache is not safe for several processes */
      (void)snprintf(pocl, sizeof pocl, "%s-pocl-%d", dir, i);
      (void)setenv("POCL_CACHE_DIR", pocl, 1);
      (void)run_with_cache(dir);
      _exit(0);
    }
  }
  for (int i = 0; i < 2; ++i) {
    int status = 1;
    cr_assert_eq(waitpid(children[i], &status, 0), children[i]);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "child %d: %d", i, status);
  }
  cr_assert_eq(run_with_cache(dir).built, 0);
  remove_folder(dir);
}

/* ---------------------------------------------------------------- in memory */

typedef struct asker {
  clq_context *context;
  cl_program program;
  clq_status status;
  char text[256];
  const char *options;
} asker;

static void *ask(void *p) {
  asker *a = p;
  a->status = clqi_program_get(a->context->programs, "add", a->options, &a->program);
  (void)snprintf(a->text, sizeof a->text, "%s", a->status == CLQ_OK ? "" : clq_last_error());
  return NULL;
}

static void ask_from_threads(clq_context *context, const char *options, asker askers[8]) {
  pthread_t threads[8];
  for (int i = 0; i < 8; ++i) {
    askers[i] = (asker){.context = context, .options = options};
    cr_assert_eq(pthread_create(&threads[i], NULL, ask, &askers[i]), 0);
  }
  for (int i = 0; i < 8; ++i) {
    (void)pthread_join(threads[i], NULL);
  }
}

Test(runtime, one_thread_builds_and_all_get_it) {
  clq_context *c = NULL;
  clq_cache_stats before;
  clq_cache_stats after;
  asker askers[8];
  test_ok(clq_context_create(&(clq_context_desc){.cache_dir = "off"}, &c));
  clq_context_cache_stats(c, &before);
  ask_from_threads(c, "-DCLQ_OUT=1", askers);
  clq_context_cache_stats(c, &after);
  cr_assert_eq(after.built, before.built + 1);
  for (int i = 0; i < 8; ++i) {
    cr_assert(askers[i].status == CLQ_OK && askers[i].program == askers[0].program);
  }
  clq_context_destroy(c);
}

Test(runtime, a_failed_build_is_remembered_with_its_log) {
  clq_context *c = NULL;
  asker askers[8];
  test_ok(clq_context_create(&(clq_context_desc){.cache_dir = "off"}, &c));
  ask_from_threads(c, "-Dfloat=nonsense", askers);
  for (int i = 0; i < 8; ++i) {
    cr_assert_eq(askers[i].status, CLQ_BUILD_FAILED);
    cr_assert_not_null(strstr(askers[i].text, "add.cl"), "%s", askers[i].text);
  }
  clq_context_destroy(c);
}

Test(runtime, kernel_folder_overrides_the_embedded_source) {
  char dir[64];
  char path[96];
  new_folder(dir);
  (void)snprintf(path, sizeof path, "%s/add.cl", dir);
  FILE *f = fopen(path, "w");
  cr_assert_not_null(f);
  (void)fputs("#include \"lib/missing.h\"\n", f);
  (void)fclose(f);
  clq_context *c = NULL;
  cl_program program = NULL;
  test_ok(clq_context_create(&(clq_context_desc){.cache_dir = "off"}, &c));
  (void)setenv("CLQ_KERNEL_DIR", dir, 1);
  test_fails(clqi_program_get(c->programs, "add", NULL, &program), CLQ_IO_ERROR, "lib/missing.h");
  (void)unsetenv("CLQ_KERNEL_DIR");
  clq_context_destroy(c);
  remove_folder(dir);
}

/* ---------------------------------------------------------------- memory */

Test(runtime, nothing_is_left_allocated) {
  counting_start(0, 0);
  clq_context *c = NULL;
  test_ok(clq_context_create(NULL, &c));
  cr_assert_gt(run_something(c), 0);
  clq_context_destroy(c);
  cr_assert_eq(counting_live(), 0);
  counting_stop();
}

/* Every allocation of a context's life fails once, alone and with all after it. */
Test(runtime, out_of_host_memory_is_reported_and_leaks_nothing) {
  char dir[64];
  new_folder(dir);
  (void)run_with_cache(dir); /* so that most contexts need no probes */
  for (int persistent = 0; persistent < 2; ++persistent) {
    for (size_t k = 1;; ++k) {
      clq_context *c = NULL;
      clq_stream *s = NULL;
      counting_start(k, persistent);
      clq_status status = clq_context_create(&(clq_context_desc){.cache_dir = dir}, &c);
      if (status == CLQ_OK) {
        status = clq_stream_create(c, NULL, &s);
      }
      cr_assert(status == CLQ_OK || status == CLQ_OUT_OF_HOST_MEMORY, "allocation %zu: %s", k,
                clq_last_error());
      clq_stream_destroy(s);
      clq_context_destroy(c);
      const int failed = counting_failed();
      cr_assert_eq(counting_live(), 0, "allocation %zu leaks", k);
      counting_stop();
      if (!failed) {
        break;
      }
    }
  }
  /* Nothing that failed for want of memory was taken for an answer. */
  clq_context *c = NULL;
  test_ok(clq_context_create(&(clq_context_desc){.cache_dir = dir}, &c));
  clq_context *fresh = NULL;
  test_ok(clq_context_create(&(clq_context_desc){.cache_dir = "off"}, &fresh));
  cr_assert_eq(c->traits, fresh->traits);
  clq_context_destroy(fresh);
  clq_context_destroy(c);
  remove_folder(dir);
}

/* What a context's weights and caches take in sum is bounded by its device. */
Test(runtime, memory_is_claimed_up_to_the_devices) {
  test_device d = test_device_open(NULL);
  d.context->info.global_bytes = 1000;
  test_ok(clqi_memory_claim(d.context, 600, "weights"));
  test_fails(clqi_memory_claim(d.context, 401, "cache"), CLQ_OUT_OF_DEVICE_MEMORY,
             "cache: out of device memory");
  test_ok(clqi_memory_claim(d.context, 400, "cache"));
  test_fails(clqi_memory_claim(d.context, 1, "cache"), CLQ_OUT_OF_DEVICE_MEMORY, "");
  clqi_memory_unclaim(d.context, 600);
  test_ok(clqi_memory_claim(d.context, 600, "weights"));
  clqi_memory_unclaim(d.context, 1000);
  cr_assert_eq(atomic_load(&d.context->claimed_bytes), 0);
  test_device_close(&d);
}

/* What the library reads of the system's memory; 0: as it is. */
static int available_kib;

FILE *__real_fopen(const char *path, const char *mode);
FILE *__wrap_fopen(const char *path, const char *mode);
FILE *__wrap_fopen(const char *path, const char *mode) {
  if (available_kib == 0 || strcmp(path, "/proc/meminfo") != 0) {
    return __real_fopen(path, mode);
  }
  FILE *file = tmpfile();
  if (file != NULL) {
    (void)fprintf(file, "MemTotal: 999999999 kB\nMemAvailable: %d kB\n", available_kib);
    rewind(file);
  }
  return file;
}

/* Claims that are small each, as the layers of a model, are held against what the system has left
 * as well. */
Test(runtime, many_small_claims_are_held_against_free_memory) {
  enum { CLAIM = 10 << 20, LARGE = 64 << 20 };
  test_device d = test_device_open(NULL);
  cl_bool unified = CL_FALSE;
  (void)clGetDeviceInfo(d.context->device, CL_DEVICE_HOST_UNIFIED_MEMORY, sizeof unified, &unified,
                        NULL);
  if (unified == CL_FALSE) {
    test_device_close(&d);
    cr_skip_test("the device has memory of its own");
  }
  d.context->info.global_bytes = (uint64_t)1 << 40;
  available_kib = CLAIM / 1024 - 1;
  int claims = 0;
  while (claims < 100 && clqi_memory_claim(d.context, CLAIM, "layer") == CLQ_OK) {
    ++claims;
  }
  cr_assert_eq(claims, LARGE / CLAIM);
  test_fails(clqi_memory_claim(d.context, CLAIM, "layer"), CLQ_OUT_OF_DEVICE_MEMORY,
             "layer: out of device memory");
  available_kib = CLAIM / 1024;
  test_ok(clqi_memory_claim(d.context, CLAIM, "layer"));
  available_kib = 0;
  clqi_memory_unclaim(d.context, (uint64_t)(claims + 1) * CLAIM);
  cr_assert_eq(atomic_load(&d.context->claimed_bytes), 0);
  test_device_close(&d);
}
