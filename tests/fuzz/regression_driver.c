/* Runs a fuzz target over files and folders of files given as arguments, for
 * builds without libFuzzer. Each input lies at the end of its own allocation,
 * so that a sanitizer sees reads beyond it. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PATH_BYTES = 4096 };

static int run_file(const char *path, size_t size) {
  FILE *stream = fopen(path, "rb");
  uint8_t *data = malloc(size == 0 ? 1 : size);
  int failed = 1;
  if (stream != NULL && data != NULL && fread(data, 1, size, stream) == size) {
    (void)LLVMFuzzerTestOneInput(data, size);
    failed = 0;
  } else {
    (void)fprintf(stderr, "%s: cannot be read\n", path);
  }
  free(data);
  if (stream != NULL) {
    (void)fclose(stream);
  }
  return failed;
}

static int run_path(const char *path, size_t *count);

static int run_folder(const char *path, size_t *count) {
  DIR *folder = opendir(path);
  int failed = 0;
  if (folder == NULL) {
    (void)fprintf(stderr, "%s: cannot be read\n", path);
    return 1;
  }
  for (const struct dirent *item = readdir(folder); item != NULL; item = readdir(folder)) {
    char inner[PATH_BYTES];
    if (item->d_name[0] == '.') {
      continue;
    }
    const int length = snprintf(inner, sizeof inner, "%s/%s", path, item->d_name);
    failed |= length < 0 || (size_t)length >= sizeof inner || run_path(inner, count) != 0;
  }
  (void)closedir(folder);
  return failed;
}

static int run_path(const char *path, size_t *count) {
  struct stat info;
  if (stat(path, &info) != 0) {
    (void)fprintf(stderr, "%s: no such file\n", path);
    return 1;
  }
  if (S_ISDIR(info.st_mode)) {
    return run_folder(path, count);
  }
  ++*count;
  return run_file(path, (size_t)info.st_size);
}

int main(int argc, char **argv) {
  size_t count = 0;
  int failed = 0;
  for (int i = 1; i < argc; ++i) {
    failed |= run_path(argv[i], &count);
  }
  (void)printf("%zu inputs\n", count);
  return failed != 0 || count == 0;
}
