/* The library's sentences in the command's words. They name arguments of calls, which is right for
 * who wrote the call; who gave options is told of options, and what to do about them. */
#include "sentence.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <clquant/status.h>

/* Where in the library it was, which is nobody's business here, wherever in a sentence it stands.
 */
static const char *const places[] = {
    "plan: node *: ", "graph: node *: ", "session: ", "batch: ", "encoder: ", "sampling: "};

/* In `said`, * is any text; in `told`, $1 is what the first of them stands for, $0 all of it. The
 * first row that fits counts: all of a sentence, or what is behind a ": " in it; what stands before
 * that (a file, a tensor) stays. */
static const struct {
  const char *said;
  const char *told;
} rows[] = {
    /* Files. */
    {"*: no such file", "$0; give -m the path of a GGUF file"},
    {"*: no permission to read it", "$0; make it readable (chmod u+r)"},
    {"*: is a directory, expected a file", "$0; give -m the GGUF file in it"},
    {"*: is a device, pipe or socket, expected a regular file",
     "$0; save the model to a file first"},
    {"*: the file is empty", "$0; download it again"},
    {"*: the folder has neither tokenizer.json nor vocab.txt",
     "$0; give -m a GGUF file, or the folder of a model that has one of them"},
    {"*: the folder has neither model.safetensors nor *",
     "$0; give -m the folder of a model that has one of them"},
    {"*.json: * type is *, expected *", "$0; use another model"},
    {"*: tokenizer: max_input_chars_per_word is *, expected *", "$0; use another model"},
    {"*: tokenizer: model is *, supported is *",
     "$1: its tokenizer is $2, supported is $3; use another model"},
    {"*: tokenizer: pre-tokenizer is *, supported are *",
     "$1: its pre-tokenizer is $2, supported are $3; use another model"},
    {"*: tokenizer: add_space_prefix is not supported with gpt2", "$0; use another model"},
    {"tokenizer: text has * bytes, at most * at once",
     "the text has $1 bytes, at most $2 are taken; give a part of it"},
    {"trace: * cannot be written: *", "$0; give --trace another name"},
    /* Devices. */
    {"CLQ_KERNEL_DIR: *",
     "$0; set CLQ_KERNEL_DIR to the folder kernels_cl of the source, or unset it"},
    {"kernel * does not build on *",
     "$0; unset CLQ_KERNEL_DIR if it is set, else take another --device or a newer driver"},
    {"the device of this context was lost; *", "the device was lost; start the command again"},
    {"*: the device is gone (*)", "$0; start the command again, or take another --device"},
    {"* failed with * (*)", "$0; take another --device, or a newer driver"},
    {"a buffer of * bytes: clCreateBuffer: out of * memory*",
     "out of $2 memory for a buffer of $1 bytes"},
    {"weights_pack: out of *", "out of $1"},
    /* What clq bench can ask for and operators do not offer. */
    {"gemm: dtype of x is *, offered: *",
     "gemm: --acts $1 is not offered; take f32, f16, bf16, q8, q8g32 or q8a"},
    {"gemm: the group of x is *, offered: *",
     "gemm: a group of $1 of --acts is not offered; take $2"},
    {"gemm: the group of the weights is *, which with x per group of * must be *; *",
     "gemm: with --acts of groups of $2 the group of --weights must be $3, not $1; take w4g$2, or "
     "--acts q8"},
    {"gemm: the group of the weights is *, whose products *; offered: *",
     "gemm: a group of --weights (--k without one) has $1 elements, more than may be summed; take "
     "$3, as w4g128"},
    {"weights_pack: group is *, expected *",
     "--weights: a group of $1 is not offered; take a multiple of 8, as w4g32, or K and more"},
    {"embedding: dtype of out is *, offered: *", "embedding: --dtype $1 is not offered; take $2"},
    {"quantize: dtype of out is *, offered: *",
     "quantize: --out $1 is not offered; take q8 or q8g32"},
    {"dequantize: dtype of x is *, offered: *",
     "dequantize: --acts $1 is not offered; take q8 or q8g32"},
    {"*: out is u8, so quant.per *", "$1: --out u8 is not offered; take q8 or q8g32"},
    {"*: head_dim is *, offered*",
     "$1: --head-dim $2 is not offered; take a multiple of 16 up to 256"},
    {"rope_table: * positions of * dims, expected *",
     "rope: --head-dim $2 is not offered; take a multiple of 16 up to 256"},
    {"attention: q has * heads, expected a multiple of the * heads of cache.k",
     "attention: --heads $1 is not offered with --kv-heads $2; take a multiple of that"},
};

enum { MOST_PARTS = 8 };

typedef struct part {
  const char *text;
  size_t length;
} part;

/* parts: what each * stands for, the shortest that fits. */
static bool fits(const char *pattern, const char *text, bool whole, part *parts, int at,
                 const char **end) {
  for (; *pattern != '\0' && *pattern != '*'; ++pattern, ++text) {
    if (*pattern != *text) {
      return false;
    }
  }
  if (*pattern == '\0') {
    *end = text;
    return !whole || *text == '\0';
  }
  if (at == MOST_PARTS) {
    return false;
  }
  parts[at].text = text;
  for (size_t length = 0;; ++length) {
    parts[at].length = length;
    if (fits(pattern + 1, text + length, whole, parts, at + 1, end)) {
      return true;
    }
    if (text[length] == '\0') {
      return false;
    }
  }
}

/* A text that grows up to CLI_SENTENCE_BYTES and is cut there. A driver's log of several lines
 * becomes one. */
static size_t append(char *sentence, size_t at, part add) {
  for (size_t i = 0; i < add.length && at + 1 < CLI_SENTENCE_BYTES; ++i) {
    sentence[at] = add.text[i];
    if (sentence[at] == '\n' || sentence[at] == '\t' || sentence[at] == '\r') {
      sentence[at] = ' ';
    }
    ++at;
  }
  while (at > 0 && sentence[at - 1] == ' ' && add.length > 0 && add.text[add.length - 1] == '\n') {
    --at;
  }
  sentence[at] = '\0';
  return at;
}

/* Behind the first `at` characters. */
static void fill_in(const char *told, const part *parts, char *sentence, size_t at) {
  while (*told != '\0') {
    if (*told == '$') {
      at = append(sentence, at, parts[told[1] - '0']);
      told += 2;
    } else {
      const size_t length = strcspn(told, "$");
      at = append(sentence, at, (part){told, length});
      told += length;
    }
  }
}

/* Behind the next ": ", or NULL. */
static const char *behind_colon(const char *text) {
  const char *colon = strstr(text, ": ");
  return colon == NULL ? NULL : colon + 2;
}

static const char *skip_places(const char *text) {
  part parts[MOST_PARTS];
  for (size_t i = 0; i < sizeof places / sizeof places[0]; ++i) {
    const char *end = NULL;
    if (fits(places[i], text, false, parts, 0, &end)) {
      return skip_places(end);
    }
  }
  return text;
}

static void without_places(const char *text, char clean[CLI_SENTENCE_BYTES]) {
  size_t at = 0;
  while (text != NULL) {
    text = skip_places(text);
    const char *next = behind_colon(text);
    at = append(clean, at, (part){text, next == NULL ? strlen(text) : (size_t)(next - text)});
    text = next;
  }
}

void cli_sentence(char sentence[CLI_SENTENCE_BYTES]) {
  char clean[CLI_SENTENCE_BYTES] = "";
  part parts[MOST_PARTS + 1] = {{0}};
  without_places(clq_last_error(), clean);
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; ++i) {
    for (const char *text = clean; text != NULL; text = behind_colon(text)) {
      const char *end = NULL;
      if (fits(rows[i].said, text, true, parts + 1, 0, &end)) {
        const size_t before = append(sentence, 0, (part){clean, (size_t)(text - clean)});
        parts[0] = (part){text, strlen(text)};
        fill_in(rows[i].told, parts, sentence, before);
        return;
      }
    }
  }
  (void)append(sentence, 0, (part){clean, strlen(clean)});
}
