#include "runtime/device_missing.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/host_memory.h"

enum {
  NAME_BYTES = 512,
  LIST_BYTES = 768,
  SHOWN = 2,       /* drivers that cannot be loaded, of each a line long */
  NEEDED_MIB = 256 /* what a driver with a compiler in it takes at least */
};

/* What is registered with the OpenCL loader, and what became of it. */
typedef struct survey {
  char names[LIST_BYTES];  /* "a.icd, b.icd" */
  char broken[LIST_BYTES]; /* "PLACE names LIBRARY, which cannot be loaded (WHY)" */
  char unread[NAME_BYTES]; /* one of OCL_ICD_FILENAMES that loads */
  int loaded_count;        /* of the others */
  int broken_count;
  int missing_count; /* of the broken ones, those whose file is not there */
} survey;

static void append(char list[LIST_BYTES], const char *separator, const char *text) {
  const size_t at = strlen(list);
  (void)snprintf(list + at, LIST_BYTES - at, "%s%s", at == 0 ? "" : separator, text);
}

/* Loads the library as the loader does; false with why that fails. */
static bool try_library(survey *found, const char *place, const char *library) {
  void *handle = dlopen(library, RTLD_LAZY | RTLD_LOCAL);
  if (handle != NULL) {
    (void)dlclose(handle);
    return true;
  }
  const char *why = dlerror();
  why = why == NULL ? "no reason given" : why;
  found->missing_count += strstr(why, strerror(ENOENT)) != NULL;
  if (found->broken_count++ < SHOWN) {
    char text[LIST_BYTES];
    (void)snprintf(text, sizeof text, "%s names %s, which cannot be loaded (%s)", place, library,
                   why);
    append(found->broken, "; ", text);
  }
  return false;
}

static void try_registration(survey *found, const char *path) {
  char library[NAME_BYTES] = "";
  FILE *file = fopen(path, "r");
  if (file != NULL) {
    if (fgets(library, sizeof library, file) != NULL) {
      library[strcspn(library, "\r\n")] = '\0';
    }
    (void)fclose(file);
  }
  if (library[0] != '\0') {
    found->loaded_count += try_library(found, path, library);
    return;
  }
  ++found->missing_count;
  if (found->broken_count++ < SHOWN) {
    char text[LIST_BYTES];
    (void)snprintf(text, sizeof text, "%s %s", path,
                   file == NULL ? "cannot be read" : "names no library");
    append(found->broken, "; ", text);
  }
}

static bool is_registration(const char *name) {
  const size_t length = strlen(name);
  return length > 4 && strcmp(name + length - 4, ".icd") == 0;
}

static void try_folder(survey *found, const char *folder) {
  DIR *dir = opendir(folder);
  if (dir == NULL) {
    return;
  }
  for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
    char path[NAME_BYTES];
    if (is_registration(entry->d_name) &&
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name) < NAME_BYTES) {
      append(found->names, ", ", entry->d_name);
      try_registration(found, path);
    }
  }
  (void)closedir(dir);
}

static const char *variable(const char *name) {
  const char *value = getenv(name);
  return value == NULL || value[0] == '\0' ? NULL : value;
}

/* A folder of .icd files; loaders also take one such file, or the name of a library. */
static void try_vendors(survey *found, const char *chosen, const char *standard) {
  char path[NAME_BYTES];
  struct stat info;
  if (stat(chosen, &info) == 0 && S_ISDIR(info.st_mode)) {
    try_folder(found, chosen);
  } else if (is_registration(chosen)) {
    (void)snprintf(path, sizeof path, "%s/%s", standard, chosen);
    append(found->names, ", ", chosen);
    try_registration(found, strchr(chosen, '/') == NULL && access(path, R_OK) == 0 ? path : chosen);
  } else if (strchr(chosen, '/') == NULL || access(chosen, F_OK) == 0) {
    append(found->names, ", ", chosen);
    found->loaded_count += try_library(found, "OCL_ICD_VENDORS", chosen);
  }
}

/* Libraries separated by colons, which Khronos's loader takes beside the others and ocl-icd does
 * not. */
static void try_filenames(survey *found, const char *list) {
  while (*list != '\0') {
    char library[NAME_BYTES];
    const size_t length = strcspn(list, ":");
    (void)snprintf(library, sizeof library, "%.*s", (int)length, list);
    if (length > 0) {
      if (try_library(found, "OCL_ICD_FILENAMES", library)) {
        (void)snprintf(found->unread, sizeof found->unread, "%s", library);
      }
    }
    list += length + (list[length] == ':');
  }
}

static survey look(void) {
  survey found = {.loaded_count = 0};
  const char *path = variable("OPENCL_VENDOR_PATH");
  const char *standard = path == NULL ? "/etc/OpenCL/vendors" : path;
  const char *chosen = variable("OCL_ICD_VENDORS");
  const char *more = variable("OCL_ICD_FILENAMES");
  try_vendors(&found, chosen == NULL ? standard : chosen, standard);
  if (more != NULL) {
    try_filenames(&found, more);
  }
  return found;
}

static clq_status fail_unregistered(void) {
  static const char advice[] =
      "install a driver for your GPU, or pocl for the CPU (Debian: apt-get install "
      "pocl-opencl-icd)";
  const char *chosen = variable("OCL_ICD_VENDORS");
  return chosen == NULL
             ? clqi_fail(CLQ_NO_DEVICE, "no OpenCL device: %s", advice)
             : clqi_fail(CLQ_NO_DEVICE,
                         "no OpenCL device: OCL_ICD_VENDORS is %s, where no driver is registered; "
                         "unset it, or %s",
                         chosen, advice);
}

static clq_status fail_broken(const survey *found) {
  char more[32] = "";
  if (found->broken_count > SHOWN) {
    (void)snprintf(more, sizeof more, "; and %d more", found->broken_count - SHOWN);
  }
  return clqi_fail(CLQ_NO_DEVICE,
                   "no OpenCL device: %s%s; install that driver again, or change what names it",
                   found->broken, more);
}

clq_status clqi_device_missing(bool out_of_memory) {
  /* A driver that had no memory left is better not loaded once more. */
  const survey found = out_of_memory ? (survey){.loaded_count = 1} : look();
  if (out_of_memory || (found.loaded_count + found.broken_count > found.missing_count &&
                        !clqi_host_has_room(NEEDED_MIB))) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY,
                     "no OpenCL device: out of memory: a driver is there, but what is left is too "
                     "little for it; free some, or allow the process more (ulimit -v)");
  }
  if (found.loaded_count > 0) {
    return clqi_fail(CLQ_NO_DEVICE,
                     "no OpenCL device: drivers are registered (%s), but none of them offers a "
                     "device; for pocl %s, for a GPU let this user open its device files%s%s",
                     found.names,
                     getenv("POCL_DEVICES") != NULL
                         ? "unset POCL_DEVICES"
                         : "set POCL_CACHE_DIR (or HOME) to a folder that can be written to",
                     found.broken_count > 0 ? "; and " : "", found.broken);
  }
  if (found.unread[0] != '\0') {
    return clqi_fail(CLQ_NO_DEVICE,
                     "no OpenCL device: OCL_ICD_FILENAMES names %s, but either it has none or the "
                     "OpenCL loader does not read that variable; name it in OCL_ICD_VENDORS",
                     found.unread);
  }
  return found.broken_count > 0 ? fail_broken(&found) : fail_unregistered();
}
