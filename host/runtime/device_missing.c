#include "runtime/device_missing.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SHOWN_BYTES = 512 };

static bool is_registration(const char *name) {
  const size_t length = strlen(name);
  return length > 4 && strcmp(name + length - 4, ".icd") == 0;
}

/* "a.icd, b.icd"; "" if there are none. */
static void list_folder(const char *folder, char names[SHOWN_BYTES]) {
  size_t at = 0;
  DIR *dir = opendir(folder);
  names[0] = '\0';
  if (dir == NULL) {
    return;
  }
  for (const struct dirent *entry = readdir(dir); entry != NULL && at < SHOWN_BYTES;
       entry = readdir(dir)) {
    if (is_registration(entry->d_name)) {
      at += (size_t)snprintf(names + at, SHOWN_BYTES - at, "%s%s", at == 0 ? "" : ", ",
                             entry->d_name);
    }
  }
  (void)closedir(dir);
}

/* Loaders also take a file, or the name of a library, in the place of the folder. */
static void list_drivers(char names[SHOWN_BYTES]) {
  static const char standard[] = "/etc/OpenCL/vendors";
  const char *chosen = getenv("OCL_ICD_VENDORS");
  struct stat info;
  if (chosen == NULL || chosen[0] == '\0') {
    list_folder(standard, names);
  } else if (stat(chosen, &info) == 0 && S_ISDIR(info.st_mode)) {
    list_folder(chosen, names);
  } else {
    const bool is_library = strchr(chosen, '/') == NULL || access(chosen, F_OK) == 0;
    (void)snprintf(names, SHOWN_BYTES, "%s", is_library ? chosen : "");
  }
}

clq_status clqi_device_missing(void) {
  char names[SHOWN_BYTES];
  list_drivers(names);
  if (names[0] == '\0') {
    return clqi_fail(CLQ_NO_DEVICE,
                     "no OpenCL device: install a driver for your GPU, or pocl for the CPU "
                     "(Debian: apt-get install pocl-opencl-icd)");
  }
  return clqi_fail(CLQ_NO_DEVICE,
                   "no OpenCL device: drivers are registered (%s), but none of them offers a "
                   "device; for pocl set POCL_CACHE_DIR (or HOME) to a folder that can be written "
                   "to, for a GPU let this user open its device files",
                   names);
}
