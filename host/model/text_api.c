/* The public calls for text and ids, over io/tokenizer.h and chat.h. */
#include <clquant/model.h>

#include "io/file.h"
#include "io/folder_tokenizer.h"
#include "io/gguf_tokenizer.h"
#include "model/chat.h"
#include "model/tokenizer.h"
#include "runtime/memory.h"
#include "runtime/status.h"

/* --- Lists. ------------------------------------------------------------------- */

void clq_tokens_free(clq_tokens *tokens) {
  if (tokens != NULL) {
    clqi_free(tokens->ids);
    *tokens = (clq_tokens){0};
  }
}

void clq_text_free(clq_text *text) {
  if (text != NULL) {
    clqi_free(text->data);
    *text = (clq_text){0};
  }
}

/* --- Tokenizer. --------------------------------------------------------------- */

clq_status clqi_tokenizer_from_gguf(const clqi_gguf *file, clq_tokenizer **out) {
  *out = NULL;
  clq_tokenizer *tokenizer = clqi_calloc(1, sizeof *tokenizer);
  if (tokenizer == NULL) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "%s: out of memory for the tokenizer",
                     clqi_gguf_name(file));
  }
  clq_status status = CLQ_OK;
  clqi_text chat_template = {0};
  CLQI_TRY_CLEAN(clqi_gguf_tokenizer(file, &tokenizer->vocabulary));
  CLQI_TRY_CLEAN(clqi_gguf_chat_template(file, &chat_template));
  CLQI_TRY_CLEAN(
      clqi_bytes_append(&tokenizer->chat_template, chat_template.data, chat_template.length));
  *out = tokenizer;
  tokenizer = NULL;

cleanup:
  clq_tokenizer_destroy(tokenizer);
  return status;
}

static clq_status open_folder(const char *folder, clq_tokenizer **out) {
  clq_tokenizer *tokenizer = clqi_calloc(1, sizeof *tokenizer);
  if (tokenizer == NULL) {
    return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "%s: out of memory for the tokenizer", folder);
  }
  const clq_status status = clqi_folder_tokenizer(folder, &tokenizer->vocabulary);
  if (status != CLQ_OK) {
    clq_tokenizer_destroy(tokenizer);
    return status;
  }
  *out = tokenizer;
  return CLQ_OK;
}

clq_status clq_tokenizer_open(const char *path, clq_tokenizer **tokenizer) {
  CLQI_REQUIRE(tokenizer != NULL, "tokenizer: the result pointer is NULL");
  *tokenizer = NULL;
  CLQI_REQUIRE(path != NULL, "tokenizer: path is NULL");
  if (clqi_is_folder(path)) {
    return open_folder(path, tokenizer);
  }
  clqi_gguf *file = NULL;
  CLQI_TRY(clqi_gguf_open(path, &file));
  const clq_status status = clqi_gguf_advise(clqi_tokenizer_from_gguf(file, tokenizer));
  clqi_gguf_close(file);
  return status;
}

void clq_tokenizer_destroy(clq_tokenizer *tokenizer) {
  if (tokenizer != NULL) {
    clqi_tokenizer_destroy(tokenizer->vocabulary);
    clqi_bytes_free(&tokenizer->chat_template);
    clqi_free(tokenizer);
  }
}

clq_status clq_tokenizer_encode(const clq_tokenizer *tokenizer, const char *text, size_t length,
                                unsigned flags, clq_tokens *tokens) {
  CLQI_REQUIRE(tokenizer != NULL && tokens != NULL, "tokenizer: an argument of encode is NULL");
  CLQI_REQUIRE(text != NULL || length == 0, "tokenizer: text is NULL, its length is %zu", length);
  CLQI_REQUIRE((flags & ~(unsigned)(CLQ_ENCODE_SPECIAL | CLQ_ENCODE_BOS)) == 0,
               "tokenizer: unknown flags %#x", flags);
  return clqi_tokenizer_encode(tokenizer->vocabulary, text, length, flags, tokens);
}

clq_status clq_tokenizer_encode_pair(const clq_tokenizer *tokenizer, const char *text,
                                     size_t length, const char *pair, size_t pair_length,
                                     int64_t most, unsigned flags, clq_tokens *tokens,
                                     clq_tokens *types) {
  CLQI_REQUIRE(tokenizer != NULL && tokens != NULL, "tokenizer: an argument of encode is NULL");
  CLQI_REQUIRE(text != NULL || length == 0, "tokenizer: text is NULL, its length is %zu", length);
  CLQI_REQUIRE(pair != NULL || pair_length == 0, "tokenizer: pair is NULL, its length is %zu",
               pair_length);
  CLQI_REQUIRE(tokens != types, "tokenizer: tokens and types are one list");
  CLQI_REQUIRE((flags & ~(unsigned)CLQ_ENCODE_SPECIAL) == 0, "tokenizer: unknown flags %#x", flags);
  const clqi_text first = {text == NULL ? "" : text, length};
  const clqi_text second = {pair, pair_length};
  return clqi_tokenizer_encode_pair(tokenizer->vocabulary, first, pair == NULL ? NULL : &second,
                                    most, flags, tokens, types);
}

clq_status clq_tokenizer_encode_chat(const clq_tokenizer *tokenizer, const char *system,
                                     const char *user, size_t user_length, clq_tokens *tokens) {
  CLQI_REQUIRE(tokenizer != NULL && tokens != NULL, "chat: tokenizer or tokens is NULL");
  CLQI_REQUIRE(user != NULL || user_length == 0, "chat: user is NULL, its length is %zu",
               user_length);
  const clqi_chat_message messages[] = {
      {CLQI_CHAT_SYSTEM, clqi_text_of(system)},
      {CLQI_CHAT_USER, {user, user_length}},
  };
  const size_t first = system == NULL ? 1 : 0;
  const clqi_text chat_template = {tokenizer->chat_template.data, tokenizer->chat_template.length};
  clqi_chat chat = {0};
  clq_status status = clqi_chat_format(chat_template, messages + first, 2 - first, &chat);
  if (status == CLQ_OK) {
    status = clqi_chat_encode(&chat, tokenizer->vocabulary, tokens);
  }
  clqi_chat_free(&chat);
  return status;
}

clq_status clq_tokenizer_decode(const clq_tokenizer *tokenizer, const int32_t *ids, int64_t count,
                                int32_t skip_special, clq_text *text) {
  CLQI_REQUIRE(tokenizer != NULL && text != NULL, "tokenizer: an argument of decode is NULL");
  CLQI_REQUIRE(count == 0 || (count > 0 && ids != NULL), "tokenizer: no ids to decode");
  return clqi_tokenizer_decode(tokenizer->vocabulary, ids, count, skip_special != 0, text);
}

int32_t clq_tokenizer_is_end(const clq_tokenizer *tokenizer, int32_t id) {
  return clqi_tokenizer_is_end(tokenizer->vocabulary, id);
}

int64_t clq_tokenizer_size(const clq_tokenizer *tokenizer) {
  return (int64_t)clqi_tokenizer_size(tokenizer->vocabulary);
}

/* --- Streams of text. --------------------------------------------------------- */

static clq_status check_stream(const clq_text_stream *stream, const clq_text *text) {
  CLQI_REQUIRE(stream != NULL && text != NULL, "text stream: an argument is NULL");
  CLQI_REQUIRE(stream->held_count <= sizeof stream->held,
               "text stream: holds %zu bytes, it starts as all zero", stream->held_count);
  return CLQ_OK;
}

clq_status clq_text_stream_push(clq_text_stream *stream, const clq_tokenizer *tokenizer, int32_t id,
                                clq_text *text) {
  CLQI_REQUIRE(tokenizer != NULL, "text stream: tokenizer is NULL");
  CLQI_TRY(check_stream(stream, text));
  return clqi_text_stream_push(stream, tokenizer->vocabulary, id, true, text);
}

clq_status clq_text_stream_end(clq_text_stream *stream, clq_text *text) {
  CLQI_TRY(check_stream(stream, text));
  return clqi_text_stream_end(stream, text);
}
