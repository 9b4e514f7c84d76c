/* Ids to text. */
#include <string.h>

#include "io/tokenizer_private.h"
#include "io/utf8.h"
#include "io/wordpiece.h"
#include "runtime/status.h"

clq_status clqi_tokenizer_decode(const clqi_tokenizer *t, const int32_t *ids, int64_t count,
                                 bool skip_control, clqi_bytes *out) {
  CLQI_REQUIRE(t != NULL && out != NULL && count >= 0 && (ids != NULL || count == 0),
               "tokenizer: an argument is NULL");
  const size_t length_before = out->length;
  clq_status status =
      t->wordpiece == NULL ? CLQ_OK : clqi_wordpiece_decode(t, ids, count, skip_control, out);
  for (int64_t i = 0; t->wordpiece == NULL && i < count && status == CLQ_OK; ++i) {
    clqi_text piece = {0};
    status = clqi_tokenizer_piece(t, ids[i], &piece);
    if (status == CLQ_OK && !(skip_control && clqi_tokenizer_is_control(t, ids[i]))) {
      status = clqi_bytes_append(out, piece.data, piece.length);
    }
  }
  if (status != CLQ_OK) {
    out->length = length_before;
  }
  return status;
}

/* How many bytes at the end of data may still become a character. */
static size_t undecided_tail(const char *data, size_t length) {
  const size_t most = length < 3 ? length : 3;
  for (size_t tail = most; tail > 0; --tail) {
    if (clqi_utf8_is_partial(data + length - tail, tail)) {
      return tail;
    }
  }
  return 0;
}

clq_status clqi_text_stream_push(clq_text_stream *stream, const clqi_tokenizer *t, int32_t id,
                                 bool skip_control, clqi_bytes *out) {
  clqi_text piece = {0};
  if (t->wordpiece != NULL) {
    return clqi_fail(CLQ_UNSUPPORTED,
                     "tokenizer: WordPiece gives no stream of text, its ids are decoded together");
  }
  CLQI_TRY(clqi_tokenizer_piece(t, id, &piece));
  if (skip_control && clqi_tokenizer_is_control(t, id)) {
    return CLQ_OK;
  }
  const size_t length_before = out->length;
  clqi_bytes joined = {0};
  clq_status status = CLQ_OK;
  CLQI_TRY_CLEAN(clqi_bytes_append(&joined, stream->held, stream->held_count));
  CLQI_TRY_CLEAN(clqi_bytes_append(&joined, piece.data, piece.length));
  const size_t tail = undecided_tail(joined.data, joined.length);
  CLQI_TRY_CLEAN(clqi_utf8_repair(joined.data, joined.length - tail, out));
  memcpy(stream->held, joined.data + joined.length - tail, tail);
  stream->held_count = tail;

cleanup:
  if (status != CLQ_OK) {
    out->length = length_before;
  }
  clqi_bytes_free(&joined);
  return status;
}

clq_status clqi_text_stream_end(clq_text_stream *stream, clqi_bytes *out) {
  const size_t length_before = out->length;
  const clq_status status = clqi_utf8_repair(stream->held, stream->held_count, out);
  if (status != CLQ_OK) {
    out->length = length_before;
    return status;
  }
  stream->held_count = 0;
  return CLQ_OK;
}
