#include "io/quant_config.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "io/file.h"
#include "io/json.h"
#include "io/text.h"
#include "runtime/memory.h"

enum { PATH_BYTES = 4096 };

typedef enum flag { ABSENT = 0, FALSE, TRUE } flag;

/* What is written, before it is understood. Texts are NULL where absent. */
typedef struct fields {
  const char *quant_method;
  const char *checkpoint_format;
  const char *format; /* a later name of checkpoint_format */
  const char *version;
  const char *pack_dtype;
  int64_t bits;         /* 0: absent */
  int64_t w_bit;        /* an earlier name of bits */
  int64_t group_size;   /* 0: absent */
  int64_t q_group_size; /* an earlier name of group_size */
  flag desc_act;
  flag sym;
  flag zero_point;
  flag is_marlin_format;
  bool dynamic; /* rules for single layers */
  bool any;     /* there is a configuration */
} fields;

typedef enum kind { TEXT, INTEGER, FLAG } kind;

static const struct {
  const char *key;
  kind kind;
  size_t offset;
} known[] = {
    {"quant_method", TEXT, offsetof(fields, quant_method)},
    {"checkpoint_format", TEXT, offsetof(fields, checkpoint_format)},
    {"format", TEXT, offsetof(fields, format)},
    {"version", TEXT, offsetof(fields, version)},
    {"pack_dtype", TEXT, offsetof(fields, pack_dtype)},
    {"bits", INTEGER, offsetof(fields, bits)},
    {"w_bit", INTEGER, offsetof(fields, w_bit)},
    {"group_size", INTEGER, offsetof(fields, group_size)},
    {"q_group_size", INTEGER, offsetof(fields, q_group_size)},
    {"desc_act", FLAG, offsetof(fields, desc_act)},
    {"sym", FLAG, offsetof(fields, sym)},
    {"zero_point", FLAG, offsetof(fields, zero_point)},
    {"is_marlin_format", FLAG, offsetof(fields, is_marlin_format)},
};

/* --- Reading. ------------------------------------------------------------- */

/* 0, which stands for absent, is no bits and no group size. */
static clq_status read_integer(clqi_json *json, int64_t *out) {
  CLQI_TRY(clqi_json_integer(json, -1, INT32_MAX, out));
  return *out != 0 ? CLQ_OK : clqi_json_refuse(json, "%s is 0", json->what);
}

static clq_status read_flag(clqi_json *json, flag *out) {
  bool value = false;
  CLQI_TRY(clqi_json_bool(json, &value));
  *out = value ? TRUE : FALSE;
  return CLQ_OK;
}

static clq_status read_known(clqi_json *json, size_t index, fields *f) {
  char *field = (char *)f + known[index].offset;
  clqi_json_kind is = CLQI_JSON_NULL;
  CLQI_TRY(clqi_json_peek(json, &is));
  if (is == CLQI_JSON_NULL) {
    return clqi_json_skip(json);
  }
  (void)snprintf(json->what, sizeof json->what, "%s", known[index].key);
  switch (known[index].kind) {
    case TEXT: return clqi_json_string(json, (const char **)(void *)field);
    case INTEGER: return read_integer(json, (int64_t *)(void *)field);
    case FLAG: return read_flag(json, (flag *)(void *)field);
  }
  return CLQ_OK;
}

/* An object, which may be empty or null. */
static clq_status read_dynamic(clqi_json *json, bool *any) {
  clqi_json_kind is = CLQI_JSON_NULL;
  const char *key = NULL;
  CLQI_TRY(clqi_json_peek(json, &is));
  if (is == CLQI_JSON_NULL) {
    return clqi_json_skip(json);
  }
  (void)snprintf(json->what, sizeof json->what, "dynamic");
  CLQI_TRY(clqi_json_enter_object(json));
  for (;;) {
    CLQI_TRY(clqi_json_next_key(json, &key));
    if (key == NULL) {
      return CLQ_OK;
    }
    *any = true;
    CLQI_TRY(clqi_json_skip(json));
  }
}

static clq_status read_field(clqi_json *json, const char *key, fields *f) {
  for (size_t i = 0; i < sizeof known / sizeof *known; ++i) {
    if (strcmp(key, known[i].key) == 0) {
      return read_known(json, i, f);
    }
  }
  return strcmp(key, "dynamic") == 0 ? read_dynamic(json, &f->dynamic) : clqi_json_skip(json);
}

static clq_status read_fields(clqi_json *json, fields *f) {
  const char *key = NULL;
  f->any = true;
  CLQI_TRY(clqi_json_enter_object(json));
  for (;;) {
    (void)snprintf(json->what, sizeof json->what, "the quantization config");
    CLQI_TRY(clqi_json_next_key(json, &key));
    if (key == NULL) {
      return CLQ_OK;
    }
    CLQI_TRY(read_field(json, key, f));
  }
}

static clq_status read_nested(clqi_json *json, fields *f) {
  const char *key = NULL;
  clqi_json_kind is = CLQI_JSON_NULL;
  CLQI_TRY(clqi_json_enter_object(json));
  for (;;) {
    (void)snprintf(json->what, sizeof json->what, "the config");
    CLQI_TRY(clqi_json_next_key(json, &key));
    if (key == NULL) {
      return CLQ_OK;
    }
    CLQI_TRY(clqi_json_peek(json, &is));
    const bool ours = strcmp(key, "quantization_config") == 0 && is != CLQI_JSON_NULL;
    CLQI_TRY(ours ? read_fields(json, f) : clqi_json_skip(json));
  }
}

/* --- Understanding. ------------------------------------------------------- */

#define refuse(name, ...)      refuse_as(CLQ_BAD_FILE, name, __VA_ARGS__)
#define unsupported(name, ...) refuse_as(CLQ_UNSUPPORTED, name, __VA_ARGS__)
#define refuse_as(status, name, format, ...) \
  clqi_fail(status, "%s: the quantization config " format, name, __VA_ARGS__)

static clqi_excerpt shown(const char *text) { return clqi_excerpt_of(clqi_text_of(text)); }

/* The value that has two names; 0 if neither is there. */
static clq_status one_integer(const char *name, const char *key, int64_t value, const char *old_key,
                              int64_t old_value, int64_t *out) {
  if (value != 0 && old_value != 0 && value != old_value) {
    return refuse(name, "contradicts itself: %s is %" PRId64 ", %s is %" PRId64, key, value,
                  old_key, old_value);
  }
  *out = value != 0 ? value : old_value;
  return *out != 0 ? CLQ_OK : refuse(name, "has no %s", key);
}

static clq_status check_common(const char *name, const fields *f) {
  if (f->pack_dtype != NULL && strcmp(f->pack_dtype, "int32") != 0) {
    return unsupported(name, "has pack_dtype '%s', expected int32", shown(f->pack_dtype).text);
  }
  if (f->is_marlin_format == TRUE) {
    return unsupported(name, "has is_marlin_format %s: convert the model to the format gptq",
                       "true");
  }
  if (f->dynamic) {
    return unsupported(name, "has rules of its own for single layers (%s)", "dynamic");
  }
  if (f->checkpoint_format != NULL && f->format != NULL &&
      strcmp(f->checkpoint_format, f->format) != 0) {
    return refuse(name, "contradicts itself: checkpoint_format is '%s', format is '%s'",
                  shown(f->checkpoint_format).text, shown(f->format).text);
  }
  if (f->sym != ABSENT && f->sym == f->zero_point) {
    return refuse(name, "contradicts itself: sym and zero_point are both %s",
                  f->sym == TRUE ? "true" : "false");
  }
  return CLQ_OK;
}

static clq_status read_method(const char *name, const fields *f, bool nested,
                              clqi_quant_method *out) {
  if (f->quant_method == NULL && !nested) {
    *out = CLQI_QUANT_GPTQ; /* who wrote quantize_config.json first had no other */
    return CLQ_OK;
  }
  if (f->quant_method == NULL) {
    return refuse(name, "has no %s", "quant_method");
  }
  *out = strcmp(f->quant_method, "gptq") == 0  ? CLQI_QUANT_GPTQ
         : strcmp(f->quant_method, "awq") == 0 ? CLQI_QUANT_AWQ
                                               : CLQI_QUANT_NONE;
  return *out != CLQI_QUANT_NONE ? CLQ_OK
                                 : unsupported(name, "has quant_method '%s', expected gptq or awq",
                                               shown(f->quant_method).text);
}

static clq_status read_gptq(const char *name, const fields *f, clqi_quant_config *out) {
  const char *format = f->checkpoint_format != NULL ? f->checkpoint_format : f->format;
  if (out->bits != 2 && out->bits != 3 && out->bits != 4 && out->bits != 8) {
    return unsupported(name, "has bits %d, expected 2, 3, 4 or 8 for gptq", out->bits);
  }
  if (f->version != NULL) {
    return refuse(name, "contradicts itself: version '%s' belongs to awq, quant_method is gptq",
                  shown(f->version).text);
  }
  out->zero_is_true = format != NULL && strcmp(format, "gptq_v2") == 0;
  if (format != NULL && !out->zero_is_true && strcmp(format, "gptq") != 0) {
    return unsupported(name, "has checkpoint_format '%s', expected gptq or gptq_v2",
                       shown(format).text);
  }
  out->desc_act = f->desc_act == TRUE;
  out->sym = f->sym == TRUE || f->zero_point == FALSE;
  return CLQ_OK;
}

static clq_status read_awq(const char *name, const fields *f, clqi_quant_config *out) {
  const char *format = f->checkpoint_format != NULL ? f->checkpoint_format : f->format;
  if (out->bits != 4) {
    return unsupported(name, "has bits %d, expected 4 for awq", out->bits);
  }
  if (f->version != NULL && strcasecmp(f->version, "gemm") != 0) {
    return unsupported(name, "has version '%s', expected gemm for awq", shown(f->version).text);
  }
  if (format != NULL && strcasecmp(format, "gemm") != 0) {
    return unsupported(name, "has checkpoint_format '%s', expected gemm for awq",
                       shown(format).text);
  }
  if (f->zero_point == FALSE || f->sym == TRUE) {
    return unsupported(name, "has no zero points (%s), expected zero_point true for awq",
                       f->sym == TRUE ? "sym is true" : "zero_point is false");
  }
  if (f->desc_act == TRUE) {
    return refuse(name, "contradicts itself: desc_act %s belongs to gptq, quant_method is awq",
                  "true");
  }
  out->zero_is_true = true;
  return CLQ_OK;
}

static clq_status understand(const char *name, const fields *f, bool nested,
                             clqi_quant_config *out) {
  clqi_quant_config config = {0};
  int64_t bits = 0;
  if (!f->any) {
    *out = config;
    return CLQ_OK;
  }
  CLQI_TRY(read_method(name, f, nested, &config.method));
  CLQI_TRY(one_integer(name, "bits", f->bits, "w_bit", f->w_bit, &bits));
  CLQI_TRY(one_integer(name, "group_size", f->group_size, "q_group_size", f->q_group_size,
                       &config.group_size));
  config.bits = (int)bits;
  CLQI_TRY(check_common(name, f));
  CLQI_TRY(config.method == CLQI_QUANT_GPTQ ? read_gptq(name, f, &config)
                                            : read_awq(name, f, &config));
  *out = config;
  return CLQ_OK;
}

clq_status clqi_quant_config_parse(const char *name, char *text, size_t length, bool nested,
                                   clqi_quant_config *out) {
  clq_status status = CLQ_OK;
  clqi_json json;
  fields f = {0};
  CLQI_TRY_CLEAN(clqi_json_begin(&json, name, 0, text, length));
  json.advice = ": correct the file or fetch it again";
  CLQI_TRY_CLEAN(nested ? read_nested(&json, &f) : read_fields(&json, &f));
  CLQI_TRY_CLEAN(clqi_json_finish(&json));
  CLQI_TRY_CLEAN(understand(name, &f, nested, out));
cleanup:
  clqi_json_free(&json);
  return status;
}

/* --- Files. --------------------------------------------------------------- */

/* A file that is not there says nothing. */
static clq_status parse_file(const char *path, bool nested, clqi_quant_config *out) {
  struct stat info;
  char *text = NULL;
  size_t length = 0;
  *out = (clqi_quant_config){0};
  if (stat(path, &info) != 0) {
    return CLQ_OK;
  }
  CLQI_TRY(clqi_file_load(path, CLQI_QUANT_CONFIG_MAX_BYTES, &text, &length));
  const clq_status status = clqi_quant_config_parse(path, text, length, nested, out);
  clqi_free(text);
  return status;
}

static bool agree(const clqi_quant_config *a, const clqi_quant_config *b) {
  return a->method == b->method && a->bits == b->bits && a->group_size == b->group_size &&
         a->desc_act == b->desc_act && a->sym == b->sym && a->zero_is_true == b->zero_is_true;
}

clq_status clqi_quant_config_open(const char *folder, clqi_quant_config *out) {
  static const char *const names[] = {"config.json", "quantize_config.json"};
  clqi_quant_config found[2];
  CLQI_REQUIRE(folder != NULL && out != NULL, "quant_config_open: folder or out is NULL");
  for (size_t i = 0; i < 2; ++i) {
    char path[PATH_BYTES];
    const int length = snprintf(path, sizeof path, "%s/%s", folder, names[i]);
    if (length < 0 || length >= PATH_BYTES) {
      return clqi_fail(CLQ_IO_ERROR, "%s: the path is too long", folder);
    }
    CLQI_TRY(parse_file(path, i == 0, &found[i]));
  }
  if (found[0].method != CLQI_QUANT_NONE && found[1].method != CLQI_QUANT_NONE &&
      !agree(&found[0], &found[1])) {
    return clqi_fail(CLQ_BAD_FILE,
                     "%s: config.json and quantize_config.json contradict each other: remove the "
                     "one that is wrong",
                     folder);
  }
  *out = found[0].method != CLQI_QUANT_NONE ? found[0] : found[1];
  return CLQ_OK;
}
