/* Chat messages to the text that a chat model was trained on.
 *
 * Templates are Jinja programs; they are not run. Two families are recognized
 * by the markers in the template's text and rendered as the family's published
 * template renders, the beginning of the assistant's answer included:
 *
 *   ChatML   <|im_start|> and <|im_end|>. If the first message is not the
 *            system's and the template carries a system prompt as a literal,
 *            that one comes first (SmolLM2, Qwen2.5).
 *   LLaMA 3  <|start_header_id|>, <|end_header_id|> and <|eot_id|>; messages are trimmed. 3.1 and
 *            later put dates into the prompt and are refused.
 *
 * The text is kept in parts: markers stand in parts that may hold special
 * tokens, messages in parts that are plain text, so that a message cannot end
 * its own turn by spelling a marker. */
#ifndef CLQI_MODEL_CHAT_H
#define CLQI_MODEL_CHAT_H

#include <stdbool.h>
#include <stddef.h>

#include <clquant/status.h>

#include "io/text.h"
#include "io/tokenizer.h"

typedef enum clqi_chat_role {
  CLQI_CHAT_SYSTEM = 1,
  CLQI_CHAT_USER,
  CLQI_CHAT_ASSISTANT
} clqi_chat_role;

typedef struct clqi_chat_message {
  clqi_chat_role role;
  clqi_text text;
} clqi_chat_message;

/* All zero is an empty one. */
typedef struct clqi_chat {
  const char *family;         /* "chatml" or "llama3" */
  const char *const *markers; /* the family's */
  clqi_bytes text;            /* not NUL-terminated */
  clqi_text_part *parts;
  int64_t part_count;
  int64_t part_capacity;
  bool bos; /* the template itself begins with BOS; it is not in text */
} clqi_chat;

/* Renders at least one message; what *out held is released. CLQ_UNSUPPORTED for
 * a template that is absent (empty) or of no known family. *out is empty on
 * failure. */
CLQ_NODISCARD clq_status clqi_chat_format(clqi_text template_text,
                                          const clqi_chat_message *messages, size_t count,
                                          clqi_chat *out);
void clqi_chat_free(clqi_chat *chat);

/* Appends the ids. BOS comes first exactly if the template has it. CLQ_UNSUPPORTED where a marker
 * of the family is no special token of the vocabulary. */
CLQ_NODISCARD clq_status clqi_chat_encode(const clqi_chat *chat, const clqi_tokenizer *tokenizer,
                                          clq_tokens *ids);

#endif
