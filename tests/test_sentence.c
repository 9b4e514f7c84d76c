/* The library's sentences in the command's words: every row of the table is fed the library's own
 * sentence, made from the format that stands in its source, so that a row cannot die unnoticed. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/status.h"

/* For the table itself. */
#include "cli/sentence.c"

enum { MOST_ARGUMENTS = 5, ROWS = sizeof rows / sizeof rows[0] };

/* A format of the library in `file`, its arguments in words, and what the command says. */
static const struct {
  const char *file;
  const char *format;
  const char *arguments[MOST_ARGUMENTS];
  const char *told;
} cases[] = {
    {"io/file.c", "%s: no such file", {"F"}, "F: no such file; give -m the path of a GGUF file"},
    {"io/file.c",
     "%s: no permission to read it",
     {"F"},
     "F: no permission to read it; make it readable (chmod u+r)"},
    {"io/file.c",
     "%s: is a directory, expected a file",
     {"F"},
     "F: is a directory, expected a file; give -m the GGUF file in it"},
    {"io/file.c",
     "%s: is a device, pipe or socket, expected a regular file",
     {"F"},
     "F: is a device, pipe or socket, expected a regular file; save the model to a file first"},
    {"io/folder_tokenizer.c",
     "%s: the folder has neither tokenizer.json nor vocab.txt",
     {"F"},
     "F: the folder has neither tokenizer.json nor vocab.txt; give -m a GGUF file, or the folder "
     "of "
     "a model that has one of them"},
    {"io/safetensors.c",
     "%s: the folder has neither %s nor %s",
     {"F", "model.safetensors", "x.json"},
     "F: the folder has neither model.safetensors nor x.json; give -m the folder of a model that "
     "has one of them"},
    {"io/tokenizer_json.c",
     "%s: %s type is %s, expected %s",
     {"F/tokenizer.json", "model", "BPE", "WordPiece"},
     "F/tokenizer.json: model type is BPE, expected WordPiece; use another model"},
    {"io/wordpiece_create.c",
     "tokenizer: max_input_chars_per_word is %lld, expected 1 to %d",
     {"0", "1024"},
     "F: tokenizer: max_input_chars_per_word is 0, expected 1 to 1024; use another model"},
    {"io/gguf.c", "%s: the file is empty", {"F"}, "F: the file is empty; download it again"},
    {"io/tokenizer_create.c",
     "tokenizer: model is \"%s\", supported is gpt2 (byte-level BPE)",
     {"llama"},
     "F: its tokenizer is \"llama\", supported is gpt2 (byte-level BPE); use another model"},
    {"io/pretokenizer.c",
     "tokenizer: pre-tokenizer is \"%s\", supported are smollm, gpt-2, llama-bpe",
     {"x"},
     "F: its pre-tokenizer is \"x\", supported are smollm, gpt-2, llama-bpe; use another model"},
    {"io/tokenizer_create.c",
     "tokenizer: add_space_prefix is not supported with gpt2",
     {NULL},
     "F: tokenizer: add_space_prefix is not supported with gpt2; use another model"},
    {"io/tokenizer.c",
     "tokenizer: text has %zu bytes, at most %zu at once",
     {"9", "8"},
     "the text has 9 bytes, at most 8 are taken; give a part of it"},
    {"sched/trace_write.c",
     "trace: %s cannot be written: %s",
     {"t.json", "File too large"},
     "trace: t.json cannot be written: File too large; give --trace another name"},
    {"runtime/source.c",
     "CLQ_KERNEL_DIR: cannot read %s",
     {"x"},
     "CLQ_KERNEL_DIR: cannot read x; set CLQ_KERNEL_DIR to the folder kernels_cl of the source, or "
     "unset it"},
    {"runtime/program_cache.c",
     "kernel %s.cl does not build on %s: %.600s",
     {"gemm", "gpu", "line 1\nline 2"},
     "kernel gemm.cl does not build on gpu: line 1 line 2; unset CLQ_KERNEL_DIR if it is set, else "
     "take another --device or a newer driver"},
    {"runtime/context.c",
     "the device of this context was lost; create a new one",
     {NULL},
     "the device was lost; start the command again"},
    {"runtime/device.c",
     "%s: the device is gone (%s)",
     {"clFinish", "CL_DEVICE_NOT_AVAILABLE"},
     "clFinish: the device is gone (CL_DEVICE_NOT_AVAILABLE); start the command again, or take "
     "another --device"},
    {"runtime/device.c",
     "%s failed with %d (%s)",
     {"clFinish", "-5", "CL_OUT_OF_RESOURCES"},
     "clFinish failed with -5 (CL_OUT_OF_RESOURCES); take another --device, or a newer driver"},
    {"quant/weights.c", "weights_pack: out of memory", {NULL}, "F: tensor t: out of memory"},
    {"ops/op.c",
     "%s: dtype of %s is %s, offered: %s",
     {"gemm", "x", "i32", "f32, f16, bf16, i8, u8"},
     "gemm: --acts i32 is not offered; take f32, f16, bf16, q8, q8g32 or q8a"},
    {"ops/gemm_x.c",
     "gemm: the group of x is %lld, offered: a multiple of %d, or K and more",
     {"12", "8"},
     "gemm: a group of 12 of --acts is not offered; take a multiple of 8, or K and more"},
    {"ops/gemm_x.c",
     "gemm: the group of the weights is %lld, which with x per group of %lld must be a multiple or "
     "a divisor of %lld; x per token goes with any",
     {"24", "32", "32"},
     "gemm: with --acts of groups of 32 the group of --weights must be a multiple or a divisor of "
     "32, not 24; take w4g32, or --acts q8"},
    {"ops/gemm_x.c",
     "gemm: the group of the weights is %lld, whose products may not fit an int32; offered: groups "
     "of up to %d, of the weights or of x",
     {"90000", "32768"},
     "gemm: a group of --weights (--k without one) has 90000 elements, more than may be summed; "
     "take groups of up to 32768, of the weights or of x, as w4g128"},
    {"quant/weights.c",
     "weights_pack: group is %lld, expected a multiple of 8 from 0 on, K and more, or %d for one "
     "scale a part",
     {"7", "-1"},
     "--weights: a group of 7 is not offered; take a multiple of 8, as w4g32, or K and more"},
    {"ops/op.c",
     "%s: dtype of %s is %s, offered: %s",
     {"embedding", "out", "u8", "f32"},
     "embedding: --dtype u8 is not offered; take f32"},
    {"ops/op.c",
     "%s: dtype of %s is %s, offered: %s",
     {"quantize", "out", "f32", "i8"},
     "quantize: --out f32 is not offered; take q8 or q8g32"},
    {"ops/op.c",
     "%s: dtype of %s is %s, offered: %s",
     {"dequantize", "x", "f32", "i8"},
     "dequantize: --acts f32 is not offered; take q8 or q8g32"},
    {"ops/op.c",
     "%s: %s is %s, so quant.per must say what shares a scale",
     {"layernorm", "out", "u8"},
     "layernorm: --out u8 is not offered; take q8 or q8g32"},
    {"ops/kv_cache.c",
     "%s: head_dim is %lld, offered with a cache: multiples of 16 up to %d",
     {"attention", "17", "256"},
     "attention: --head-dim 17 is not offered; take a multiple of 16 up to 256"},
    {"ops/rope.c",
     "rope_table: %lld positions of %lld dims, expected 0 or more of an even number",
     {"4", "17"},
     "rope: --head-dim 17 is not offered; take a multiple of 16 up to 256"},
    {"ops/attention.c",
     "attention: q has %lld heads, expected a multiple of the %lld heads of cache.k",
     {"4", "3"},
     "attention: --heads 4 is not offered with --kv-heads 3; take a multiple of that"},
    {"runtime/device.c",
     "%s: out of host memory",
     {"clCreateBuffer"},
     "F: tensor blk.25.ffn_up.weight: out of host memory for a buffer of 1105920 bytes"},
};

/* What callers put before it. */
static const char *prefix_of(size_t i) {
  static const struct {
    const char *part;
    const char *prefix;
  } prefixes[] = {
      {"tokenizer: text", ""},
      {"tokenizer:", "F: "},
      {"weights_pack: out", "F: tensor t: "},
      {"out of host memory", "F: tensor blk.25.ffn_up.weight: a buffer of 1105920 bytes: "},
      {"dtype of", "plan: node 2: "},
  };
  for (size_t p = 0; p < sizeof prefixes / sizeof prefixes[0]; ++p) {
    if (strstr(cases[i].format, prefixes[p].part) != NULL) {
      return prefixes[p].prefix;
    }
  }
  return "";
}

/* A source as the compiler sees its strings: pieces of one that stand behind each other are one. */
static char *read_source(const char *name) {
  char path[512];
  (void)snprintf(path, sizeof path, "%s/../host/%s", CLQ_TEST_DIR, name);
  FILE *file = fopen(path, "r");
  cr_assert_not_null(file, "%s", path);
  enum { MOST = 1 << 17 };
  char *text = malloc(MOST);
  cr_assert_not_null(text);
  size_t length = 0;
  size_t quote = 0; /* where a piece ended, + 1; 0: something else came since */
  for (int c = fgetc(file); c != EOF; c = fgetc(file)) {
    cr_assert_lt(length + 1, MOST);
    if (c == '\\') {
      c = fgetc(file);
      text[length++] = c == 'n' ? '\n' : (char)c;
      quote = 0;
    } else if (c == '"' && quote != 0) {
      length = quote - 1;
      quote = 0;
    } else {
      text[length++] = (char)c;
      quote = c == '"' ? length : c == ' ' || c == '\n' ? quote : 0;
    }
  }
  (void)fclose(file);
  text[length] = '\0';
  return text;
}

/* The case's sentence: every conversion of its format is an argument's word. */
static void make(size_t i, char *sentence, size_t size) {
  const char *format = cases[i].format;
  size_t at = (size_t)snprintf(sentence, size, "%s", prefix_of(i));
  for (int argument = 0; *format != '\0'; ++format) {
    if (*format == '%') {
      format += strcspn(format, "sdu");
      at += (size_t)snprintf(sentence + at, size - at, "%s", cases[i].arguments[argument++]);
    } else {
      sentence[at++] = *format;
      sentence[at] = '\0';
    }
  }
}

static size_t row_of(const char *text) {
  char clean[CLI_SENTENCE_BYTES];
  part parts[MOST_PARTS];
  const char *end = NULL;
  without_places(text, clean);
  for (size_t i = 0; i < ROWS; ++i) {
    for (const char *at = clean; at != NULL; at = behind_colon(at)) {
      if (fits(rows[i].said, at, true, parts, 0, &end)) {
        return i;
      }
    }
  }
  return ROWS;
}

Test(sentence, every_row_is_of_a_sentence_that_the_library_has) {
  bool met[ROWS] = {false};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
    char *source = read_source(cases[i].file);
    cr_expect_not_null(strstr(source, cases[i].format), "%s does not say: %s", cases[i].file,
                       cases[i].format);
    free(source);
    char text[1024];
    char told[CLI_SENTENCE_BYTES];
    make(i, text, sizeof text);
    clqi_set_error("%s", text);
    cli_sentence(told);
    cr_expect_str_eq(told, cases[i].told, "%s\ngives    %s\nexpected %s", text, told,
                     cases[i].told);
    const size_t row = row_of(text);
    cr_assert_lt(row, (size_t)ROWS, "no row: %s", text);
    met[row] = true;
  }
  for (size_t i = 0; i < ROWS; ++i) {
    cr_expect(met[i], "no sentence of the library for: %s", rows[i].said);
  }
}

/* Places go wherever they stand; files, tensors and what no row knows stay. */
Test(sentence, places_go_and_the_rest_stays) {
  static const char *const cases_of[][2] = {
      {"F: tensor t: weights_pack: out of device memory: 3.0 MiB are needed, 1.0 of its 2.0 MiB "
       "are left",
       "F: tensor t: out of device memory: 3.0 MiB are needed, 1.0 of its 2.0 MiB are left"},
      {"F: plan: node 3 (gemm): session: nobody knows this", "F: nobody knows this"},
      {"session: the KV cache: out of device memory: 2", "the KV cache: out of device memory: 2"},
      {"F: a buffer of 8 bytes: clCreateBuffer: out of device memory (CL_X)",
       "F: out of device memory for a buffer of 8 bytes"},
      {"", ""},
      {"end: ", "end: "},
  };
  for (size_t i = 0; i < sizeof cases_of / sizeof cases_of[0]; ++i) {
    char told[CLI_SENTENCE_BYTES];
    clqi_set_error("%s", cases_of[i][0]);
    cli_sentence(told);
    cr_expect_str_eq(told, cases_of[i][1], "%s", told);
  }
}
