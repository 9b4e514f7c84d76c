#include "kernel_label.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <clquant/tensor.h>

/* Names are "kernel -DCLQ_KEY=value ...". */
static const char prefix[] = " -DCLQ_";
enum { PREFIX = sizeof prefix - 1 };

/* What follows "key=", or NULL. */
static const char *find(const char *name, const char *key, size_t length) {
  for (const char *at = strstr(name, prefix); at != NULL; at = strstr(at + PREFIX, prefix)) {
    if (strncmp(at + PREFIX, key, length) == 0 && at[PREFIX + length] == '=') {
      return at + PREFIX + length + 1;
    }
  }
  return NULL;
}

static int value_of(const char *name, const char *key) {
  const char *value = find(name, key, strlen(key));
  return value == NULL ? 0 : (int)strtol(value, NULL, 10);
}

static void add(char label[CLI_LABEL_BYTES], const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void add(char label[CLI_LABEL_BYTES], const char *format, ...) {
  const size_t used = strlen(label);
  va_list arguments;
  va_start(arguments, format);
  (void)vsnprintf(label + used, CLI_LABEL_BYTES - used, format, arguments);
  va_end(arguments);
}

static const char *dtype_word(int dtype) {
  return dtype == CLQ_I8 ? "q8" : clq_dtype_name((clq_dtype)dtype);
}

static void add_weights(char label[CLI_LABEL_BYTES], const char *name) {
  const int bits = value_of(name, "W_BITS");
  const bool has_zero = value_of(name, "W_ZERO") != 0;
  const bool has_min = value_of(name, "W_MIN") != 0;
  if (bits >= 16) {
    add(label, " %s%d", value_of(name, "W_BF16") != 0 ? "bf" : "f", bits);
  } else if (value_of(name, "W_SUPER") != 0) {
    add(label, " q%d_k", bits);
  } else if (bits != 0 && (has_zero || value_of(name, "W_SCALE") != CLQ_F16)) {
    add(label, " w%d%s", bits, has_zero ? "z" : has_min ? "m" : "");
  } else if (bits != 0) {
    add(label, " q%d_%d", bits, has_min);
  }
}

/* What these say stands in the label as words. */
static const char *const worded[] = {"W_BITS",  "W_ZERO",   "W_MIN", "W_SCALE",
                                     "W_SUPER", "W_BF16",   "OUT",   "X_GROUPED",
                                     "X",       "RESIDUAL", "CACHE"};

static void add_words(char label[CLI_LABEL_BYTES], const char *name) {
  add_weights(label, name);
  const int group = value_of(name, "X_GROUPED");
  if (strncmp(name, "gemm_q8", 7) == 0) {
    add(label, " x %s%s", value_of(name, "X") == CLQ_U8 ? "u8" : "q8",
        value_of(name, "X_ZERO") != 0 ? "a" : "");
    if (group != 0) {
      add(label, "g%d", group);
    }
  } else if (strncmp(name, "gemm_f32", 8) == 0) {
    add(label, " x %s", dtype_word(value_of(name, "X")));
  } else if (value_of(name, "X") != 0) {
    add(label, " %s", dtype_word(value_of(name, "X")));
  }
  if (value_of(name, "RESIDUAL") != 0) {
    add(label, " + residual");
  }
  if (value_of(name, "CACHE") != 0) {
    add(label, " cache %s", dtype_word(value_of(name, "CACHE")));
  }
  if (value_of(name, "OUT") != 0) {
    add(label, " -> %s", dtype_word(value_of(name, "OUT")));
  }
}

static void word_label(char label[CLI_LABEL_BYTES], const char *name) {
  (void)snprintf(label, CLI_LABEL_BYTES, "%.*s", (int)strcspn(name, " "), name);
  add_words(label, name);
}

static bool is_worded(const char *key, size_t length) {
  for (size_t i = 0; i < sizeof worded / sizeof worded[0]; ++i) {
    if (strlen(worded[i]) == length && strncmp(worded[i], key, length) == 0) {
      return true;
    }
  }
  return false;
}

/* Another kernel, the same but for this option. */
static bool tells_apart(const clq_kernel_time *kernels, int32_t count, const char *label,
                        const char *key, size_t length) {
  const size_t whole = strcspn(key, " ");
  for (int32_t i = 0; i < count; ++i) {
    char other[CLI_LABEL_BYTES];
    word_label(other, kernels[i].name);
    const char *value = find(kernels[i].name, key, length);
    const bool same = value != NULL && strcspn(value, " ") == whole - length - 1 &&
                      strncmp(value, key + length + 1, whole - length - 1) == 0;
    if (!same && strcmp(other, label) == 0) {
      return true;
    }
  }
  return false;
}

static void add_lower(char label[CLI_LABEL_BYTES], const char *text, size_t length) {
  size_t at = strlen(label);
  for (size_t i = 0; i < length && at + 1 < CLI_LABEL_BYTES; ++i) {
    label[at++] = (char)tolower((unsigned char)text[i]);
  }
  label[at] = '\0';
}

void cli_kernel_label(const clq_kernel_time *kernels, int32_t count, int32_t i,
                      char label[CLI_LABEL_BYTES]) {
  const char *name = kernels[i].name;
  char words[CLI_LABEL_BYTES];
  word_label(words, name);
  memcpy(label, words, sizeof words);
  for (const char *at = strstr(name, prefix); at != NULL; at = strstr(at + PREFIX, prefix)) {
    const char *key = at + PREFIX;
    const size_t length = strcspn(key, "= ");
    if (key[length] == '=' && !is_worded(key, length) &&
        tells_apart(kernels, count, words, key, length)) {
      add(label, " ");
      add_lower(label, key, strcspn(key, " "));
    }
  }
}
