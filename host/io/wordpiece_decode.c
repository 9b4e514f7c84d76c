/* Ids to text. */
#include <string.h>

#include "io/wordpiece.h"
#include "io/wordpiece_private.h"
#include "runtime/status.h"

/* What `tokenizers` mends in every token by itself, in this order. No text gets longer. */
static const struct {
  const char *from;
  const char *to;
} repairs[] = {
    {" .", "."},   {" ?", "?"},     {" !", "!"},     {" ,", ","},
    {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},   {" do not", " don't"},
    {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
};

/* Replaces in place, from left to right; the new length. */
static size_t replace_all(char *text, size_t length, clqi_text from, clqi_text to) {
  size_t kept = 0;
  for (size_t at = 0; at < length;) {
    if (length - at >= from.length && memcmp(text + at, from.data, from.length) == 0) {
      memcpy(text + kept, to.data, to.length);
      kept += to.length;
      at += from.length;
    } else {
      text[kept++] = text[at++];
    }
  }
  return kept;
}

static clq_status append_piece(const clqi_wordpiece *w, clqi_text piece, bool first,
                               clqi_bytes *out) {
  const size_t start = out->length;
  const clqi_text prefix = {w->decoder_prefix.data, w->decoder_prefix.length};
  const bool goes_on = piece.length >= prefix.length &&
                       (prefix.length == 0 || memcmp(piece.data, prefix.data, prefix.length) == 0);
  const size_t cut = !first && goes_on ? prefix.length : 0;
  if (!first && !goes_on) {
    CLQI_TRY(clqi_bytes_append(out, " ", 1));
  }
  CLQI_TRY(clqi_bytes_append(out, piece.data + cut, piece.length - cut));
  size_t length = out->length - start;
  for (size_t i = 0; w->cleanup && i < sizeof repairs / sizeof repairs[0]; ++i) {
    length = replace_all(out->data + start, length, clqi_text_of(repairs[i].from),
                         clqi_text_of(repairs[i].to));
  }
  out->length = start + length;
  return CLQ_OK;
}

clq_status clqi_wordpiece_decode(const clqi_tokenizer *t, const int32_t *ids, int64_t count,
                                 bool skip_control, clqi_bytes *out) {
  bool first = true;
  for (int64_t i = 0; i < count; ++i) {
    clqi_text piece = {0};
    CLQI_TRY(clqi_tokenizer_piece(t, ids[i], &piece));
    if (!(skip_control && clqi_tokenizer_is_control(t, ids[i]))) {
      CLQI_TRY(append_piece(t->wordpiece, piece, first, out));
      first = false;
    }
  }
  return CLQ_OK;
}
