#include "runtime/tuning.h"

#include <clquant/tuning.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "runtime/clblast.h"
#include "runtime/context.h"
#include "runtime/program_cache.h"
#include "runtime/replace_file.h"

/* A table of all values takes less than half of this. */
enum { TEXT_BYTES = 8192, MOST_ALLOWED = 8, TUNED = CLQI_TUNED_COUNT };

typedef enum place { ON_CPU, ON_LANES, ON_ANY, ON_CLBLAST } place;

static const struct parameter {
  const char *name;
  place where;
  int32_t standard;
  int32_t small;
  int32_t allowed_count;
  int32_t allowed[MOST_ALLOWED];
} parameters[] = {
#define CLQ_TUNED(set, name, where, standard, small, ...)    \
  {#set "." #name,                                           \
   ON_##where,                                               \
   standard,                                                 \
   small,                                                    \
   sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t), \
   {__VA_ARGS__}},
#include "runtime/tuning.def"
#undef CLQ_TUNED
};

static bool is_allowed(const struct parameter *p, int64_t value) {
  for (int32_t i = 0; i < p->allowed_count; ++i) {
    if (p->allowed[i] == value) {
      return true;
    }
  }
  return false;
}

/* --- text: a fixed room, which cannot be too small unless the device's words are very long --- */

typedef struct text {
  char bytes[TEXT_BYTES];
  size_t length;
} text;

static void put(text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(text *t, const char *format, ...) {
  va_list args;
  va_start(args, format);
  const int n = vsnprintf(t->bytes + t->length, sizeof t->bytes - t->length, format, args);
  va_end(args);
  const size_t wanted = n < 0 ? 0 : (size_t)n;
  const size_t room = sizeof t->bytes - t->length - 1;
  t->length += wanted < room ? wanted : room;
}

/* "key value", in one line whatever a driver says. */
static void put_line(text *t, const char *key, const char *value) {
  const size_t begin = t->length;
  put(t, "%s %s", key, value);
  for (size_t i = begin; i < t->length; ++i) {
    if (t->bytes[i] == '\n' || t->bytes[i] == '\r') {
      t->bytes[i] = ' ';
    }
  }
  put(t, "\n");
}

/* What the times depend on: a table holds where all these lines are the same. */
static void put_identity(text *t, const clq_context *context) {
  const clq_device_info *info = &context->info;
  char units[16];
  text traits = {.length = 0};
  (void)snprintf(units, sizeof units, "%" PRIu32, info->compute_units);
  for (int i = 0; i < CLQI_TRAIT_COUNT; ++i) {
    if (clqi_has(context, (clqi_trait)i)) {
      put(&traits, "%s%s", traits.length == 0 ? "" : " ", clqi_trait_name((clqi_trait)i));
    }
  }
  put_line(t, "clquant-tuning", "1");
  put_line(t, "library", clq_version());
  put_line(t, "platform", info->platform);
  put_line(t, "device", info->name);
  put_line(t, "version", info->version);
  put_line(t, "driver", info->driver);
  put_line(t, "units", units);
  put_line(t, "traits", traits.bytes);
}

/* --- where it lies --- */

/* In the cache folder; false and `why` where that is not in use. */
static bool path_in_cache(const clq_context *context, char path[CLQI_TUNING_PATH_BYTES],
                          const char **why) {
  const char *dir = clqi_disk_cache_dir(clqi_program_cache_disk(context->programs), why);
  if (dir == NULL) {
    return false;
  }
  text identity = {.length = 0};
  put_identity(&identity, context);
  const XXH128_hash_t hash = XXH3_128bits(identity.bytes, identity.length);
  (void)snprintf(path, CLQI_TUNING_PATH_BYTES, "%s/%016" PRIx64 "%016" PRIx64 CLQI_TUNING_SUFFIX,
                 dir, hash.high64, hash.low64);
  return true;
}

/* --- read --- */

static void refuse(clqi_tuning *tuning, const char *file, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void refuse(clqi_tuning *tuning, const char *file, const char *format, ...) {
  char reason[256];
  va_list args;
  va_start(args, format);
  (void)vsnprintf(reason, sizeof reason, format, args);
  va_end(args);
  (void)snprintf(tuning->why, sizeof tuning->why, "the table %s is not used: %s", file, reason);
  clqi_log(CLQ_LOG_DISPATCH, "tuning: %s", tuning->why);
}

/* The content, terminated, or a reason. own: only a file of this user's, and no link. */
static const char *read_text(const char *path, bool own, text *t) {
  const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | (own ? O_NOFOLLOW : 0));
  if (fd < 0) {
    return strerror(errno);
  }
  struct stat info;
  const char *bad = NULL;
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    bad = "it is not a file";
  } else if (own && info.st_uid != geteuid()) {
    bad = "it belongs to another user";
  }
  ssize_t n = 1;
  while (bad == NULL && n > 0 && t->length < sizeof t->bytes) {
    n = read(fd, t->bytes + t->length, sizeof t->bytes - t->length);
    t->length += n > 0 ? (size_t)n : 0;
  }
  if (bad == NULL && n < 0) {
    bad = strerror(errno);
  } else if (bad == NULL && t->length == sizeof t->bytes) {
    bad = "it is too long for a table";
  } else if (bad == NULL) {
    t->bytes[t->length] = '\0';
    bad = strlen(t->bytes) == t->length ? NULL : "it is no text";
  }
  (void)close(fd);
  return bad;
}

/* The next line of *at, without its end; NULL behind the last, and for one that has no end. */
static char *next_line(char **at) {
  char *line = *at;
  char *end = strchr(line, '\n');
  if (end == NULL) {
    return NULL;
  }
  *end = '\0';
  *at = end + 1;
  return line;
}

static int find(const char *name, size_t length) {
  for (int i = 0; i < TUNED; ++i) {
    if (strlen(parameters[i].name) == length && strncmp(parameters[i].name, name, length) == 0) {
      return i;
    }
  }
  return -1;
}

/* Lines "name value" to "end"; false after a refusal. */
static bool read_values(clqi_tuning *tuning, const char *file, char *at, int number,
                        int32_t value[TUNED]) {
  bool seen[TUNED] = {false};
  for (char *line = next_line(&at); line != NULL; line = next_line(&at), ++number) {
    if (strcmp(line, "end") == 0) {
      if (*at != '\0') {
        refuse(tuning, file, "line %d: there is more behind the end", number + 1);
      }
      return *at == '\0';
    }
    const size_t length = strcspn(line, " ");
    const int i = find(line, length);
    char *rest = NULL;
    const char *digits = line[length] == ' ' ? line + length + 1 : "";
    const long long parsed = strtoll(digits, &rest, 10);
    if (i < 0) {
      refuse(tuning, file, "line %d: there is no value '%.*s'", number, (int)length, line);
      return false;
    }
    if (digits[0] < '0' || digits[0] > '9' || *rest != '\0' ||
        !is_allowed(&parameters[i], parsed)) {
      refuse(tuning, file, "line %d: %s cannot be '%.40s'", number, parameters[i].name, digits);
      return false;
    }
    if (seen[i]) {
      refuse(tuning, file, "line %d: %s is there twice", number, parameters[i].name);
      return false;
    }
    seen[i] = true;
    value[i] = (int32_t)parsed;
  }
  refuse(tuning, file, "it is cut off: the last line is to be 'end'");
  return false;
}

/* Whether the table is of this very device. *at is then behind its lines. */
static bool read_identity(clqi_tuning *tuning, const clq_context *context, const char *file,
                          char **at, int *number) {
  text expected = {.length = 0};
  put_identity(&expected, context);
  char *wanted = expected.bytes;
  *number = 1;
  for (const char *want = next_line(&wanted); want != NULL; want = next_line(&wanted), ++*number) {
    const char *line = next_line(at);
    if (line == NULL || (*number == 1 && strcmp(line, want) != 0)) {
      refuse(tuning, file, line == NULL ? "it is cut off" : "it is no table of this version");
      return false;
    }
    if (strcmp(line, want) != 0) {
      refuse(tuning, file, "line %d: it is for '%.100s', here is '%.100s'", *number, line, want);
      return false;
    }
  }
  return true;
}

static void read_table(clq_context *context, const char *file, bool own) {
  clqi_tuning *tuning = &context->tuning;
  text t = {.length = 0};
  const char *bad = read_text(file, own, &t);
  if (bad != NULL) {
    refuse(tuning, file, "%s", bad);
    return;
  }
  int32_t value[TUNED];
  memcpy(value, tuning->value, sizeof value);
  char *at = t.bytes;
  int number = 0;
  if (read_identity(tuning, context, file, &at, &number) &&
      read_values(tuning, file, at, number, value)) {
    memcpy(tuning->value, value, sizeof value);
    (void)snprintf(tuning->file, sizeof tuning->file, "%s", file);
    clqi_log(CLQ_LOG_DISPATCH, "tuning: values of %s", file);
  }
}

void clqi_tuning_load(clq_context *context, const char *chosen) {
  clqi_tuning *tuning = &context->tuning;
  for (int i = 0; i < TUNED; ++i) {
    tuning->value[i] = parameters[i].standard;
  }
  tuning->file[0] = '\0';
  if (chosen == NULL) {
    chosen = getenv("CLQ_TUNING");
  }
  const char *why = "";
  char path[CLQI_TUNING_PATH_BYTES];
  if (chosen != NULL && strcasecmp(chosen, "off") == 0) {
    (void)snprintf(tuning->why, sizeof tuning->why, "turned off");
  } else if (chosen != NULL && chosen[0] != '\0') {
    if (strlen(chosen) < sizeof tuning->file) {
      read_table(context, chosen, false);
    } else {
      (void)snprintf(tuning->why, sizeof tuning->why, "the name of the table is too long");
    }
  } else if (!path_in_cache(context, path, &why)) {
    (void)snprintf(tuning->why, sizeof tuning->why, "there is no cache folder: %.900s", why);
  } else if (access(path, F_OK) != 0 && errno == ENOENT) {
    (void)snprintf(tuning->why, sizeof tuning->why, "there is none for this device");
  } else {
    read_table(context, path, true);
  }
}

/* --- public --- */

static bool is_used(const clq_context *context, place where) {
  switch (where) {
    case ON_CPU: return clqi_has(context, CLQI_TRAIT_CPU);
    case ON_LANES: return !clqi_has(context, CLQI_TRAIT_CPU);
    case ON_CLBLAST: return clqi_clblast_missing() == NULL;
    default: return true;
  }
}

clq_status clq_tuning_get(const clq_context *context, int32_t index, clq_tuning_value *value) {
  CLQI_REQUIRE(context != NULL && value != NULL, "tuning_get: context or value is NULL");
  CLQI_REQUIRE(index >= 0 && index < TUNED, "tuning_get: index is %d, expected 0 to %d", (int)index,
               TUNED - 1);
  const struct parameter *p = &parameters[index];
  *value = (clq_tuning_value){.name = p->name,
                              .value = context->tuning.value[index],
                              .standard = p->standard,
                              .allowed = p->allowed,
                              .allowed_count = p->allowed_count,
                              .small_count = p->small,
                              .used = is_used(context, p->where),
                              .changes_bits = p->where == ON_CLBLAST};
  return CLQ_OK;
}

clq_status clq_tuning_set(clq_context *context, int32_t index, int32_t value) {
  CLQI_REQUIRE(context != NULL, "tuning_set: context is NULL");
  CLQI_REQUIRE(index >= 0 && index < TUNED, "tuning_set: index is %d, expected 0 to %d", (int)index,
               TUNED - 1);
  CLQI_REQUIRE(is_allowed(&parameters[index], value), "tuning_set: %s cannot be %d",
               parameters[index].name, (int)value);
  context->tuning.value[index] = value;
  return CLQ_OK;
}

clq_status clq_tuning_save(clq_context *context, const char *file) {
  CLQI_REQUIRE(context != NULL, "tuning_save: context is NULL");
  char path[CLQI_TUNING_PATH_BYTES];
  const char *why = "";
  if (file == NULL) {
    if (!path_in_cache(context, path, &why)) {
      return clqi_fail(CLQ_IO_ERROR, "the tuned table is not kept: there is no cache folder: %s",
                       why);
    }
  } else {
    CLQI_REQUIRE(strlen(file) < sizeof path, "tuning_save: the file's name is too long");
    (void)snprintf(path, sizeof path, "%s", file);
  }
  text head = {.length = 0};
  text body = {.length = 0};
  put_identity(&head, context);
  for (int i = 0; i < TUNED; ++i) {
    put(&body, "%s %" PRId32 "\n", parameters[i].name, context->tuning.value[i]);
  }
  put(&body, "end\n");
  const int code = clqi_replace_file(path, head.bytes, head.length, body.bytes, body.length);
  if (code != 0) {
    return clqi_fail(CLQ_IO_ERROR, "the tuned table cannot be written to %s: %s", path,
                     strerror(code));
  }
  (void)snprintf(context->tuning.file, sizeof context->tuning.file, "%s", path);
  return CLQ_OK;
}

const char *clq_context_tuning(const clq_context *context, const char **why) {
  if (context->tuning.file[0] != '\0') {
    return context->tuning.file;
  }
  if (why != NULL) {
    *why = context->tuning.why;
  }
  return NULL;
}
