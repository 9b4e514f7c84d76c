#include "io/folder_tokenizer.h"

#include <stdio.h>
#include <unistd.h>

#include "io/file.h"
#include "runtime/memory.h"
#include "runtime/status.h"

enum { PATH_BYTES = 4096, MAX_FILE_BYTES = 1 << 28 };

clq_status clqi_folder_tokenizer_advise(clq_status status) {
  return status != CLQ_BAD_FILE
             ? status
             : clqi_fail(CLQ_BAD_FILE,
                         "%s; the file is damaged or of another kind: download it again",
                         clq_last_error());
}

static clq_status path_of(const char *folder, const char *file, char path[PATH_BYTES],
                          bool *exists) {
  const int length = snprintf(path, PATH_BYTES, "%s/%s", folder, file);
  if (length < 0 || length >= PATH_BYTES) {
    return clqi_fail(CLQ_IO_ERROR, "%s: the path is too long", folder);
  }
  *exists = access(path, F_OK) == 0;
  return CLQ_OK;
}

static clq_status open_vocab(const char *vocab_path, const char *config_path, bool has_config,
                             clqi_tokenizer **out) {
  clq_status status = CLQ_OK;
  char *vocab = NULL;
  char *config = NULL;
  size_t length = 0;
  size_t config_length = 0;
  CLQI_TRY_CLEAN(clqi_file_load(vocab_path, MAX_FILE_BYTES, &vocab, &length));
  if (has_config) {
    CLQI_TRY_CLEAN(clqi_file_load(config_path, MAX_FILE_BYTES, &config, &config_length));
  }
  status = clqi_vocab_parse(vocab_path, vocab, length, config_path, config, config_length, out);

cleanup:
  clqi_free(vocab);
  clqi_free(config);
  return status;
}

static clq_status open_json(const char *path, clqi_tokenizer **out) {
  char *text = NULL;
  size_t length = 0;
  CLQI_TRY(clqi_file_load(path, MAX_FILE_BYTES, &text, &length));
  const clq_status status = clqi_tokenizer_json_parse(path, text, length, out);
  clqi_free(text);
  return status;
}

clq_status clqi_folder_tokenizer(const char *folder, clqi_tokenizer **out) {
  char path[PATH_BYTES];
  char config[PATH_BYTES];
  bool exists = false;
  bool has_config = false;
  *out = NULL;
  CLQI_TRY(path_of(folder, "tokenizer.json", path, &exists));
  if (exists) {
    return open_json(path, out);
  }
  CLQI_TRY(path_of(folder, "vocab.txt", path, &exists));
  CLQI_TRY(path_of(folder, "tokenizer_config.json", config, &has_config));
  if (exists) {
    return open_vocab(path, config, has_config, out);
  }
  return clqi_fail(CLQ_IO_ERROR, "%s: the folder has neither tokenizer.json nor vocab.txt", folder);
}
