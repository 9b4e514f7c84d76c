#include "io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/memory.h"

bool clqi_is_folder(const char *path) {
  struct stat info;
  return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static clq_status fail_errno(const char *path, int code) {
  switch (code) {
    case ENOENT:
    case ENOTDIR: return clqi_fail(CLQ_IO_ERROR, "%s: no such file", path);
    case EACCES:
    case EPERM: return clqi_fail(CLQ_IO_ERROR, "%s: no permission to read it", path);
    case ENOMEM: return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "%s: no memory to read it", path);
    default: return clqi_fail(CLQ_IO_ERROR, "%s: cannot be read: %s", path, strerror(code));
  }
}

/* What is at the descriptor must be a regular file that fits the address space. */
static clq_status check_kind(const char *path, const struct stat *info) {
  if (S_ISDIR(info->st_mode)) {
    return clqi_fail(CLQ_IO_ERROR, "%s: is a directory, expected a file", path);
  }
  if (!S_ISREG(info->st_mode)) {
    return clqi_fail(CLQ_IO_ERROR, "%s: is a device, pipe or socket, expected a regular file",
                     path);
  }
  if (info->st_size <= 0) {
    return clqi_fail(CLQ_BAD_FILE, "%s: the file is empty", path);
  }
  if ((uintmax_t)info->st_size > SIZE_MAX / 2) {
    return clqi_fail(CLQ_IO_ERROR, "%s: %jd bytes do not fit the address space", path,
                     (intmax_t)info->st_size);
  }
  return CLQ_OK;
}

clq_status clqi_file_open(const char *path, clqi_file *file) {
  clq_status status = CLQ_OK;
  struct stat info;
  /* O_NONBLOCK so that a pipe is refused below instead of waited for. */
  const int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) {
    return fail_errno(path, errno);
  }
  if (fstat(descriptor, &info) != 0) {
    status = fail_errno(path, errno);
    goto cleanup;
  }
  CLQI_TRY_CLEAN(check_kind(path, &info));
  *file =
      (clqi_file){.size = (size_t)info.st_size, .changed = info.st_mtim, .descriptor = descriptor};
cleanup:
  if (status != CLQ_OK) {
    (void)close(descriptor);
  }
  return status;
}

static clq_status changed(const char *path) {
  return clqi_fail(CLQ_IO_ERROR,
                   "%s: the file has changed while it was read: wait until nothing writes to it, "
                   "then open it again",
                   path);
}

static clq_status check_unchanged(const clqi_file *file, const char *path) {
  struct stat info;
  if (fstat(file->descriptor, &info) != 0) {
    return fail_errno(path, errno);
  }
  if ((uintmax_t)info.st_size != file->size) {
    return clqi_fail(CLQ_IO_ERROR,
                     "%s: the file had %zu bytes when it was opened and has %jd now: wait until "
                     "nothing writes to it, then open it again",
                     path, file->size, (intmax_t)info.st_size);
  }
  const bool same =
      info.st_mtim.tv_sec == file->changed.tv_sec && info.st_mtim.tv_nsec == file->changed.tv_nsec;
  return same ? CLQ_OK : changed(path);
}

clq_status clqi_file_read(const clqi_file *file, const char *path, size_t offset, size_t bytes,
                          void *out) {
  size_t done = 0;
  while (done < bytes) {
    const ssize_t n =
        pread(file->descriptor, (char *)out + done, bytes - done, (off_t)(offset + done));
    if (n > 0) {
      done += (size_t)n;
    } else if (n == 0) {
      break;
    } else if (errno != EINTR) {
      return fail_errno(path, errno);
    }
  }
  CLQI_TRY(
      check_unchanged(file, path)); /* afterwards: what was read may be what is being replaced */
  return done == bytes ? CLQ_OK : changed(path);
}

void clqi_file_close(clqi_file *file) {
  if (file->descriptor >= 0) {
    (void)close(file->descriptor);
  }
  *file = (clqi_file){.descriptor = -1};
}

clq_status clqi_file_load(const char *path, size_t most, char **bytes, size_t *size) {
  clq_status status = CLQ_OK;
  clqi_file file = {.descriptor = -1};
  char *content = NULL;
  *bytes = NULL;
  CLQI_TRY(clqi_file_open(path, &file));
  if (file.size > most) {
    status = clqi_fail(CLQ_BAD_FILE, "%s: the file has %zu bytes, more than the %zu allowed", path,
                       file.size, most);
    goto cleanup;
  }
  content = clqi_malloc(file.size);
  if (content == NULL) {
    status = clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "%s: no memory for its %zu bytes", path, file.size);
    goto cleanup;
  }
  CLQI_TRY_CLEAN(clqi_file_read(&file, path, 0, file.size, content));
  *bytes = content;
  *size = file.size;
  content = NULL;
cleanup:
  clqi_free(content);
  clqi_file_close(&file);
  return status;
}
