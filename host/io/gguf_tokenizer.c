#include "io/gguf_tokenizer.h"

#include "runtime/memory.h"
#include "runtime/status.h"

static clq_status get_text(const clqi_gguf *file, const char *key, clqi_text *out) {
  clqi_gguf_string string = {0};
  CLQI_TRY(clqi_gguf_get_string_or_none(file, key, &string));
  *out = (clqi_text){string.data, string.length};
  return CLQ_OK;
}

/* *out is a new block, the texts stay in the file. */
static clq_status get_texts(const clqi_gguf *file, const char *key, clqi_text **out,
                            size_t *count) {
  clqi_gguf_string *strings = NULL;
  CLQI_TRY(clqi_gguf_get_string_array(file, key, &strings, count));
  clq_status status = CLQ_OK;
  *out = clqi_calloc(*count, sizeof **out);
  if (*out == NULL && *count > 0) {
    status =
        clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "%s: out of memory for %s", clqi_gguf_name(file), key);
    goto cleanup;
  }
  for (size_t i = 0; i < *count; ++i) {
    (*out)[i] = (clqi_text){strings[i].data, strings[i].length};
  }

cleanup:
  clqi_free(strings);
  return status;
}

static clq_status get_settings(const clqi_gguf *file, clqi_tokenizer_desc *desc) {
  CLQI_TRY(get_text(file, "tokenizer.ggml.model", &desc->model));
  CLQI_TRY(get_text(file, "tokenizer.ggml.pre", &desc->pre));
  CLQI_TRY(clqi_gguf_get_i64_or(file, "tokenizer.ggml.bos_token_id", -1, &desc->bos));
  CLQI_TRY(clqi_gguf_get_i64_or(file, "tokenizer.ggml.eos_token_id", -1, &desc->eos));
  CLQI_TRY(clqi_gguf_get_i64_or(file, "tokenizer.ggml.eot_token_id", -1, &desc->eot));
  CLQI_TRY(clqi_gguf_get_i64_or(file, "tokenizer.ggml.unknown_token_id", -1, &desc->unk));
  CLQI_TRY(clqi_gguf_get_i64_or(file, "tokenizer.ggml.padding_token_id", -1, &desc->pad));
  CLQI_TRY(clqi_gguf_get_bool_or(file, "tokenizer.ggml.add_bos_token", false, &desc->add_bos));
  return clqi_gguf_get_bool_or(file, "tokenizer.ggml.add_space_prefix", false,
                               &desc->add_space_prefix);
}

clq_status clqi_gguf_tokenizer(const clqi_gguf *file, clqi_tokenizer **out) {
  *out = NULL;
  clqi_tokenizer_desc desc = {0};
  clqi_text *tokens = NULL;
  clqi_text *merges = NULL;
  int32_t *types = NULL;
  clq_status status = CLQ_OK;
  CLQI_TRY_CLEAN(get_settings(file, &desc));
  CLQI_TRY_CLEAN(get_texts(file, "tokenizer.ggml.tokens", &tokens, &desc.token_count));
  if (clqi_gguf_find_key(file, "tokenizer.ggml.merges", NULL)) {
    CLQI_TRY_CLEAN(get_texts(file, "tokenizer.ggml.merges", &merges, &desc.merge_count));
  }
  if (clqi_gguf_find_key(file, "tokenizer.ggml.token_type", NULL)) {
    CLQI_TRY_CLEAN(
        clqi_gguf_get_i32_array(file, "tokenizer.ggml.token_type", &types, &desc.type_count));
  }
  desc.tokens = tokens;
  desc.merges = merges;
  desc.types = types;
  status = clqi_tokenizer_create(&desc, out);
  if (status != CLQ_OK) {
    status = clqi_fail_prefix(status, "%s", clqi_gguf_name(file));
  }

cleanup:
  clqi_free(types);
  clqi_free(merges);
  clqi_free(tokens);
  return status;
}

clq_status clqi_gguf_chat_template(const clqi_gguf *file, clqi_text *out) {
  return get_text(file, "tokenizer.chat_template", out);
}
