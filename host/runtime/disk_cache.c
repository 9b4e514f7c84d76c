#include "runtime/disk_cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "runtime/memory.h"
#include "runtime/replace_file.h"

enum { MAX_PATH = 1024, MAX_BLOB = 256 << 20 };

static const char SUFFIX[] = ".clqk";
static const char MAGIC[8] = "CLQK\0\0\0\1"; /* the last byte is the format's version */

typedef struct blob_header {
  char magic[8];
  uint64_t key[2];
  uint64_t length;
  uint64_t checksum;
} blob_header;

struct clqi_disk_cache {
  char dir[MAX_PATH];
  char why[2 * MAX_PATH]; /* nonempty: off */
  char put_failure[128];  /* nonempty: nothing is written any more */
  bool wanted;            /* off, but nobody asked for that */
  bool is_new;            /* not there yet */
};

static void turn_off(clqi_disk_cache *cache, const char *reason) {
  (void)snprintf(cache->why, sizeof cache->why, "%s", reason);
  clqi_log(CLQ_LOG_CACHE, "disk cache off: %s", cache->why);
}

/* "the cache folder DIR REASON" */
static void refuse_folder(clqi_disk_cache *cache, const char *reason) {
  char text[sizeof cache->why];
  (void)snprintf(text, sizeof text, "the cache folder %s %s", cache->dir, reason);
  turn_off(cache, text);
}

static bool make_folders(const char *dir) {
  char path[MAX_PATH];
  (void)snprintf(path, sizeof path, "%s", dir);
  for (char *p = path + 1; *p != '\0'; ++p) {
    if (*p == '/') {
      *p = '\0';
      if (mkdir(path, 0700) != 0 && errno != EEXIST) {
        return false;
      }
      *p = '/';
    }
  }
  return mkdir(path, 0700) == 0 || errno == EEXIST;
}

static void refuse_creation(clqi_disk_cache *cache, int code) {
  char reason[96];
  (void)snprintf(reason, sizeof reason, "cannot be created (%s)", strerror(code));
  refuse_folder(cache, reason);
}

/* Whether the folder, which is not there, could be made in the nearest one above it that is. */
static void check_future(clqi_disk_cache *cache) {
  char above[MAX_PATH];
  struct stat info;
  (void)snprintf(above, sizeof above, "%s", cache->dir);
  do {
    char *slash = strrchr(above, '/');
    if (slash == NULL) {
      (void)snprintf(above, sizeof above, ".");
    } else {
      slash[slash == above] = '\0';
    }
  } while (stat(above, &info) != 0 && errno == ENOENT);
  if (access(above, W_OK | X_OK) != 0) {
    refuse_creation(cache, errno);
  }
  cache->is_new = true;
}

/* Only a folder that nobody else has access to may hold what we execute. Not even a link to one:
 * who may change the link chooses the folder. */
static void check_folder(clqi_disk_cache *cache, bool create) {
  struct stat info;
  for (size_t n = strlen(cache->dir); n > 1 && cache->dir[n - 1] == '/'; n--) {
    cache->dir[n - 1] = '\0'; /* behind a slash a link would count as what it points to */
  }
  if (create && !make_folders(cache->dir)) {
    refuse_creation(cache, errno);
  } else if (lstat(cache->dir, &info) != 0) {
    if (errno == ENOENT) {
      check_future(cache);
    } else {
      refuse_creation(cache, errno);
    }
  } else if (S_ISLNK(info.st_mode)) {
    refuse_folder(cache, "is a symbolic link, which is refused (name what it points to)");
  } else if (!S_ISDIR(info.st_mode)) {
    refuse_folder(cache, "is not a folder");
  } else if (info.st_uid != geteuid()) {
    refuse_folder(cache, "belongs to another user");
  } else if ((info.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
    refuse_folder(cache,
                  "is open to others (name a folder of your own, or close this one to them, "
                  "mode 700, if nobody else needs it)");
  } else if (access(cache->dir, R_OK | W_OK | X_OK) != 0) {
    refuse_folder(cache, "is not writable");
  }
}

static int default_dir(char path[MAX_PATH]) {
  const char *base = getenv("XDG_CACHE_HOME");
  if (base != NULL && base[0] == '/') {
    return snprintf(path, MAX_PATH, "%s/clquant", base);
  }
  const char *home = getenv("HOME");
  return home == NULL || home[0] != '/' ? -1 : snprintf(path, MAX_PATH, "%s/.cache/clquant", home);
}

clq_status clqi_disk_cache_open(const char *dir, bool create, clqi_disk_cache **cache) {
  clqi_disk_cache *c = clqi_calloc(1, sizeof *c);
  if (c == NULL) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "disk cache: out of memory");
  }
  *cache = c;
  if (dir == NULL) {
    dir = getenv("CLQ_CACHE_DIR");
  }
  if (dir != NULL && strcasecmp(dir, "off") == 0) {
    turn_off(c, "turned off");
    return CLQ_OK;
  }
  c->wanted = true;
  const int n = dir != NULL && dir[0] != '\0' ? snprintf(c->dir, sizeof c->dir, "%s", dir)
                                              : default_dir(c->dir);
  if (n < 0) {
    turn_off(c, "neither CLQ_CACHE_DIR nor HOME is set");
  } else if (n >= MAX_PATH) {
    turn_off(c, "the cache path is too long");
  } else {
    check_folder(c, create);
  }
  return CLQ_OK;
}

void clqi_disk_cache_close(clqi_disk_cache *cache) { clqi_free(cache); }

const char *clqi_disk_cache_dir(const clqi_disk_cache *cache, const char **why) {
  if (cache->why[0] == '\0') {
    return cache->dir;
  }
  if (why != NULL) {
    *why = cache->why;
  }
  return NULL;
}

bool clqi_disk_cache_is_new(const clqi_disk_cache *cache) { return cache->is_new; }

clq_status clqi_disk_cache_takes(const clqi_disk_cache *cache) {
  return cache->put_failure[0] == '\0'
             ? CLQ_OK
             : clqi_fail(CLQ_IO_ERROR,
                         "the cache folder %s takes no more compiled kernels (%s): those that are "
                         "not in it are compiled again next time; free some space, or set "
                         "CLQ_CACHE_DIR to another folder, or to off",
                         cache->dir, cache->put_failure);
}

static void blob_path(const clqi_disk_cache *cache, clqi_disk_key key, char path[MAX_PATH + 64]) {
  (void)snprintf(path, MAX_PATH + 64, "%s/%016" PRIx64 "%016" PRIx64 "%s", cache->dir, key.word[0],
                 key.word[1], SUFFIX);
}

static bool read_all(int fd, void *data, size_t length) {
  char *p = data;
  while (length > 0) {
    const ssize_t n = read(fd, p, length);
    if (n <= 0) {
      return false;
    }
    p += n;
    length -= (size_t)n;
  }
  return true;
}

static const char *read_blob(int fd, clqi_disk_key key, void **blob, size_t *length) {
  struct stat info;
  blob_header header;
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode) || info.st_uid != geteuid()) {
    return "not a file of this user";
  }
  if (!read_all(fd, &header, sizeof header) || memcmp(header.magic, MAGIC, sizeof MAGIC) != 0) {
    return "not a cache file";
  }
  if (header.key[0] != key.word[0] || header.key[1] != key.word[1]) {
    return "another key";
  }
  if (header.length == 0 || header.length > MAX_BLOB ||
      (uint64_t)info.st_size != header.length + sizeof header) {
    return "wrong length";
  }
  void *data = clqi_malloc((size_t)header.length);
  if (data == NULL) {
    return "out of memory";
  }
  if (!read_all(fd, data, (size_t)header.length) ||
      XXH3_64bits(data, (size_t)header.length) != header.checksum) {
    clqi_free(data);
    return "wrong checksum";
  }
  *blob = data;
  *length = (size_t)header.length;
  return NULL;
}

bool clqi_disk_cache_get(clqi_disk_cache *cache, clqi_disk_key key, void **blob, size_t *length) {
  if (cache->why[0] != '\0') {
    return false;
  }
  char path[MAX_PATH + 64];
  blob_path(cache, key, path);
  const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK); /* a FIFO */
  if (fd < 0) {
    clqi_log(CLQ_LOG_CACHE, "miss %016" PRIx64, key.word[0]);
    return false;
  }
  const char *bad = read_blob(fd, key, blob, length);
  (void)close(fd);
  clqi_log(CLQ_LOG_CACHE, "%s %016" PRIx64 "%s%s", bad == NULL ? "hit" : "refused", key.word[0],
           bad == NULL ? "" : ": ", bad == NULL ? "" : bad);
  return bad == NULL;
}

/* For a folder that was removed while it was in use. Somebody else may have made it again, so it is
 * looked at as in the beginning. */
static bool make_folder_again(const char *dir) {
  struct stat info;
  return make_folders(dir) && lstat(dir, &info) == 0 && S_ISDIR(info.st_mode) &&
         info.st_uid == geteuid() && (info.st_mode & (S_IRWXG | S_IRWXO)) == 0;
}

clq_status clqi_disk_cache_put(clqi_disk_cache *cache, clqi_disk_key key, const void *blob,
                               size_t length) {
  if (cache->why[0] != '\0' || length == 0) {
    return CLQ_OK;
  }
  CLQI_TRY(clqi_disk_cache_takes(cache));
  if (length > MAX_BLOB) {
    return clqi_fail(CLQ_IO_ERROR, "disk cache: %zu bytes are too many, expected at most %d",
                     length, MAX_BLOB);
  }
  char path[MAX_PATH + 64];
  blob_path(cache, key, path);
  blob_header header = {
      .key = {key.word[0], key.word[1]}, .length = length, .checksum = XXH3_64bits(blob, length)};
  memcpy(header.magic, MAGIC, sizeof MAGIC);
  int code = clqi_replace_file(path, &header, sizeof header, blob, length);
  if (code == ENOENT && make_folder_again(cache->dir)) { /* or another process cleared the cache */
    code = clqi_replace_file(path, &header, sizeof header, blob, length);
  }
  if (code != 0) {
    (void)snprintf(cache->put_failure, sizeof cache->put_failure, "%s", strerror(code));
    clqi_log(CLQ_LOG_CACHE, "cannot write %s: %s", path, cache->put_failure);
    return clqi_disk_cache_takes(cache);
  }
  clqi_log(CLQ_LOG_CACHE, "saved %016" PRIx64 ", %zu bytes", key.word[0], length);
  return CLQ_OK;
}

/* Ours: a blob, or a temporary file that a killed process left. A tuned table is none: it took
 * longer to make than what is built again by itself. */
static bool is_cache_file(const char *name) {
  if (strstr(name, CLQI_TUNING_SUFFIX ".") != NULL) {
    return true;
  }
  const char *suffix = strstr(name, SUFFIX);
  return suffix != NULL && (suffix[sizeof SUFFIX - 1] == '\0' || suffix[sizeof SUFFIX - 1] == '.');
}

clq_status clqi_disk_cache_scan(clqi_disk_cache *cache, bool clear, uint64_t *files,
                                uint64_t *bytes) {
  *files = 0;
  *bytes = 0;
  if (cache->why[0] != '\0') {
    return clear && cache->wanted ? clqi_fail(CLQ_IO_ERROR, "nothing was removed: %s", cache->why)
                                  : CLQ_OK;
  }
  if (cache->is_new) {
    return CLQ_OK;
  }
  DIR *dir = opendir(cache->dir);
  if (dir == NULL && errno == ENOENT) {
    return CLQ_OK; /* removed since it was looked at */
  }
  if (dir == NULL) {
    return clqi_fail(CLQ_IO_ERROR, "cannot read the cache folder %s: %s", cache->dir,
                     strerror(errno));
  }
  clq_status status = CLQ_OK;
  for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
    struct stat info;
    if (!is_cache_file(entry->d_name) ||
        fstatat(dirfd(dir), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0) {
      continue;
    }
    const bool left = clear && unlinkat(dirfd(dir), entry->d_name, 0) != 0;
    if (left && errno == ENOENT) {
      continue; /* renamed by who wrote it, or another clears as well */
    }
    if (left) {
      status = clqi_fail(CLQ_IO_ERROR, "cannot remove %s/%s: %s", cache->dir, entry->d_name,
                         strerror(errno));
    }
    ++*files;
    *bytes += (uint64_t)info.st_size;
  }
  (void)closedir(dir);
  return status;
}
