#include "model/chat.h"

#include <stdint.h>
#include <string.h>

#include "io/utf8.h"
#include "runtime/array.h"
#include "runtime/memory.h"
#include "runtime/status.h"

static clq_status add_part(clqi_chat *chat, clqi_text text, bool special) {
  if (text.length == 0) {
    return CLQ_OK;
  }
  CLQI_TRY(clqi_bytes_append(&chat->text, text.data, text.length));
  if (chat->part_count > 0 && chat->parts[chat->part_count - 1].special == special) {
    chat->parts[chat->part_count - 1].length += text.length;
    return CLQ_OK;
  }
  CLQI_TRY(clqi_array_reserve(&chat->parts, chat->part_count, 1, &chat->part_capacity,
                              sizeof *chat->parts));
  chat->parts[chat->part_count++] = (clqi_text_part){text.length, special};
  return CLQ_OK;
}

static clq_status add_marker(clqi_chat *chat, const char *marker) {
  return add_part(chat, clqi_text_of(marker), true);
}

static const char *role_name(clqi_chat_role role) {
  switch (role) {
    case CLQI_CHAT_SYSTEM: return "system";
    case CLQI_CHAT_USER: return "user";
    case CLQI_CHAT_ASSISTANT: return "assistant";
  }
  return "";
}

static bool contains(clqi_text text, const char *part) {
  return clqi_text_find(text, 0, clqi_text_of(part)) != SIZE_MAX;
}

static bool begins_with(clqi_text text, size_t at, const char *part) {
  const clqi_text wanted = clqi_text_of(part);
  return text.length - at >= wanted.length &&
         clqi_text_equal((clqi_text){text.data + at, wanted.length}, wanted);
}

/* --- ChatML. ----------------------------------------------------------------- */

/* Copies a string literal's text with \n resolved; false if the text is not one
 * literal: it holds a quote, a brace or another escape. */
static clq_status copy_literal(clqi_text text, clqi_bytes *out, bool *is_literal) {
  *is_literal = false;
  out->length = 0;
  for (size_t i = 0; i < text.length; ++i) {
    char c = text.data[i];
    if (c == '\\' && i + 1 < text.length && text.data[i + 1] == 'n') {
      c = '\n';
      ++i;
    } else if (c != '\0' && strchr("'\"{}\\", c) != NULL) {
      return CLQ_OK;
    }
    CLQI_TRY(clqi_bytes_append(out, &c, 1));
  }
  *is_literal = true;
  return CLQ_OK;
}

/* The system prompt that the template supplies by itself. */
static clq_status find_default_system(clqi_text template_text, clqi_bytes *out, bool *found) {
  static const char opening[] = "<|im_start|>system";
  const clqi_text closing = clqi_text_of("<|im_end|>");
  *found = false;
  size_t at = clqi_text_find(template_text, 0, clqi_text_of(opening));
  while (at != SIZE_MAX && !*found) {
    size_t begin = at + strlen(opening);
    const size_t line_break = begins_with(template_text, begin, "\n")    ? 1
                              : begins_with(template_text, begin, "\\n") ? 2
                                                                         : 0;
    begin += line_break;
    const size_t end = clqi_text_find(template_text, begin, closing);
    if (line_break > 0 && end != SIZE_MAX) {
      CLQI_TRY(copy_literal((clqi_text){template_text.data + begin, end - begin}, out, found));
    }
    at = clqi_text_find(template_text, begin, clqi_text_of(opening));
  }
  return CLQ_OK;
}

/* The literal comes from the model's file and is not the user's, but it has no
 * need of special tokens either. */
static clq_status add_chatml_turn(clqi_chat *chat, clqi_chat_role role, clqi_text text) {
  CLQI_TRY(add_marker(chat, "<|im_start|>"));
  CLQI_TRY(add_marker(chat, role_name(role)));
  CLQI_TRY(add_marker(chat, "\n"));
  CLQI_TRY(add_part(chat, text, false));
  return add_marker(chat, "<|im_end|>\n");
}

static clq_status add_default_system(clqi_chat *chat, clqi_text template_text) {
  clqi_bytes prompt = {0};
  bool found = false;
  clq_status status = find_default_system(template_text, &prompt, &found);
  if (status == CLQ_OK && found) {
    status = add_chatml_turn(chat, CLQI_CHAT_SYSTEM, (clqi_text){prompt.data, prompt.length});
  }
  clqi_bytes_free(&prompt);
  return status;
}

static clq_status format_chatml(clqi_chat *chat, clqi_text template_text,
                                const clqi_chat_message *messages, size_t count) {
  if (messages[0].role != CLQI_CHAT_SYSTEM) {
    CLQI_TRY(add_default_system(chat, template_text));
  }
  for (size_t i = 0; i < count; ++i) {
    CLQI_TRY(add_chatml_turn(chat, messages[i].role, messages[i].text));
  }
  return add_marker(chat, "<|im_start|>assistant\n");
}

/* --- LLaMA 3. ---------------------------------------------------------------- */

/* What Python's str.strip, and so Jinja's trim, removes. */
static bool is_space(uint32_t point) {
  return (point >= 0x09 && point <= 0x0D) || (point >= 0x1C && point <= 0x20) || point == 0x85 ||
         point == 0xA0 || point == 0x1680 || (point >= 0x2000 && point <= 0x200A) ||
         point == 0x2028 || point == 0x2029 || point == 0x202F || point == 0x205F ||
         point == 0x3000;
}

static clqi_text trim(clqi_text text) {
  size_t begin = text.length;
  size_t end = 0;
  for (size_t at = 0; at < text.length;) {
    const size_t sequence = clqi_utf8_sequence(text.data + at, text.length - at);
    const size_t next = at + (sequence == 0 ? 1 : sequence);
    if (sequence == 0 || !is_space(clqi_utf8_code_point(text.data + at, sequence))) {
      begin = begin == text.length ? at : begin;
      end = next;
    }
    at = next;
  }
  return begin < end ? (clqi_text){text.data + begin, end - begin} : (clqi_text){NULL, 0};
}

static clq_status add_llama3_header(clqi_chat *chat, clqi_chat_role role) {
  CLQI_TRY(add_marker(chat, "<|start_header_id|>"));
  CLQI_TRY(add_marker(chat, role_name(role)));
  return add_marker(chat, "<|end_header_id|>\n\n");
}

static clq_status format_llama3(clqi_chat *chat, clqi_text template_text,
                                const clqi_chat_message *messages, size_t count) {
  (void)template_text;
  for (size_t i = 0; i < count; ++i) {
    CLQI_TRY(add_llama3_header(chat, messages[i].role));
    CLQI_TRY(add_part(chat, trim(messages[i].text), false));
    CLQI_TRY(add_marker(chat, "<|eot_id|>"));
  }
  return add_llama3_header(chat, CLQI_CHAT_ASSISTANT);
}

/* --- All. -------------------------------------------------------------------- */

/* A conversation is made of these, and the model knows them as one token each. */
enum { MOST_MARKERS = 3 };

static const struct chat_family {
  const char *name;
  const char *markers[MOST_MARKERS]; /* all in the template; NULL: no more */
  const char *excluded;              /* not in the template; NULL: nothing is excluded */
  clq_status (*format)(clqi_chat *, clqi_text, const clqi_chat_message *, size_t);
} families[] = {
    {"chatml", {"<|im_start|>", "<|im_end|>"}, NULL, format_chatml},
    {"llama3",
     {"<|start_header_id|>", "<|eot_id|>", "<|end_header_id|>"},
     "Cutting Knowledge Date",
     format_llama3},
};

static bool has_markers(clqi_text template_text, const struct chat_family *family) {
  for (int i = 0; i < MOST_MARKERS && family->markers[i] != NULL; ++i) {
    if (!contains(template_text, family->markers[i])) {
      return false;
    }
  }
  return true;
}

static const struct chat_family *find_family(clqi_text template_text) {
  for (size_t i = 0; i < sizeof families / sizeof families[0]; ++i) {
    const struct chat_family *family = &families[i];
    if (has_markers(template_text, family) &&
        (family->excluded == NULL || !contains(template_text, family->excluded))) {
      return family;
    }
  }
  return NULL;
}

clq_status clqi_chat_format(clqi_text template_text, const clqi_chat_message *messages,
                            size_t count, clqi_chat *out) {
  clqi_chat_free(out);
  CLQI_REQUIRE(messages != NULL && count > 0, "chat: there is no message");
  for (size_t i = 0; i < count; ++i) {
    CLQI_REQUIRE(*role_name(messages[i].role) != '\0', "chat: message %zu has role %d, unknown", i,
                 (int)messages[i].role);
  }
  if (template_text.length == 0) {
    return clqi_fail(CLQ_UNSUPPORTED, "chat: the model carries no chat template");
  }
  const struct chat_family *family = find_family(template_text);
  if (family == NULL) {
    return clqi_fail(CLQ_UNSUPPORTED,
                     "chat: unknown chat template \"%s\", known are ChatML and LLaMA 3",
                     clqi_excerpt_of(template_text).text);
  }
  out->family = family->name;
  out->markers = family->markers;
  out->bos = contains(template_text, "bos_token");
  const clq_status status = family->format(out, template_text, messages, count);
  if (status != CLQ_OK) {
    clqi_chat_free(out);
  }
  return status;
}

void clqi_chat_free(clqi_chat *chat) {
  clqi_bytes_free(&chat->text);
  clqi_free(chat->parts);
  *chat = (clqi_chat){0};
}

/* A marker that is none of the tokens would reach the model as plain text. */
static clq_status check_markers(const clqi_chat *chat, const clqi_tokenizer *tokenizer) {
  for (int i = 0; i < MOST_MARKERS && chat->markers[i] != NULL; ++i) {
    if (clqi_tokenizer_special(tokenizer, clqi_text_of(chat->markers[i])) < 0) {
      return clqi_fail(CLQ_UNSUPPORTED,
                       "chat: the model's template is %s, but %s is no token of its vocabulary",
                       chat->family, chat->markers[i]);
    }
  }
  return CLQ_OK;
}

clq_status clqi_chat_encode(const clqi_chat *chat, const clqi_tokenizer *tokenizer,
                            clq_tokens *ids) {
  const int64_t count_before = ids->count;
  CLQI_TRY(check_markers(chat, tokenizer));
  const int32_t bos = clqi_tokenizer_bos(tokenizer);
  if (chat->bos && bos >= 0) {
    CLQI_TRY(clqi_tokens_append(ids, bos));
  }
  const clq_status status = clqi_tokenizer_encode_parts(
      tokenizer, chat->text.data, chat->text.length, chat->parts, (size_t)chat->part_count, 0, ids);
  if (status != CLQ_OK) {
    ids->count = count_before;
  }
  return status;
}
