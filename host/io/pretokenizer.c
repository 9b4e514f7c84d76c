#include "io/pretokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <stdint.h>

#include "io/utf8.h"
#include "runtime/memory.h"
#include "runtime/status.h"

/* Unicode's White_Space, spelled out: PCRE2's \s adds U+180E. */
#define WS                                                                             \
  "\\x{09}-\\x{0D}\\x{20}\\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}" \
  "\\x{202F}\\x{205F}\\x{3000}"

/* Numerals that Unicode 15 to 17 added, inside a class. SmolLM's splitting sets
 * each numeral apart, so ids would depend on the age of PCRE2's tables. */
#define NEW_NUMERALS                                                                               \
  "\\x{10D40}-\\x{10D49}\\x{11BF0}-\\x{11BF9}\\x{11DE0}-\\x{11DE9}\\x{11F50}-\\x{11F59}\\x{116D0}" \
  "-\\x{116E3}"                                                                                    \
  "\\x{16130}-\\x{16139}\\x{16D70}-\\x{16D79}\\x{16FF4}-\\x{16FF6}\\x{1CCF0}-\\x{1CCF9}"           \
  "\\x{1D2C0}-\\x{1D2D3}\\x{1E4F0}-\\x{1E4F9}\\x{1E5F1}-\\x{1E5FA}"
#define NUMERALS "\\p{N}" NEW_NUMERALS

/* The last two alternatives of every pattern: a run of white space leaves its
 * last character to the word behind it. */

/* As published with GPT-2. */
#define GPT2_PATTERN                                      \
  "'(?:[stmd]|re|ve|ll)|\\x{20}?\\p{L}+|\\x{20}?\\p{N}+|" \
  "\\x{20}?[^" WS "\\p{L}\\p{N}]+|[" WS "]+(?![^" WS "])|[" WS "]+"

/* Every numeral alone, then GPT-2's pattern on what lies between them. Done in
 * one pattern: white space before a numeral is at the end of its part, so the
 * look-ahead lets numerals count as the end. */
#define SMOLLM_PATTERN                      \
  "[" NUMERALS                              \
  "]|'(?:[stmd]|re|ve|ll)|\\x{20}?\\p{L}+|" \
  "\\x{20}?[^" WS "\\p{L}" NUMERALS "]+|[" WS "]+(?![^" WS NUMERALS "])|[" WS "]+"

/* As published with LLaMA 3. */
#define LLAMA3_PATTERN                                                      \
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|" \
  "\\x{20}?[^" WS "\\p{L}\\p{N}]+[\\r\\n]*|[" WS "]*[\\r\\n]+|[" WS "]+(?![^" WS "])|[" WS "]+"

static const struct known_pattern {
  const char *name;
  const char *pattern;
  bool whole_pieces;
} known_patterns[] = {
    {"smollm", SMOLLM_PATTERN, false},   {"gpt-2", GPT2_PATTERN, false},
    {"llama-bpe", LLAMA3_PATTERN, true}, {"llama3", LLAMA3_PATTERN, true},
    {"llama-v3", LLAMA3_PATTERN, true},
};

struct clqi_pretokenizer {
  pcre2_general_context *memory;
  pcre2_code *code;
  bool whole_pieces;
};

struct clqi_pretokenizer_scan {
  const pcre2_code *code;
  pcre2_match_context *limits;
  pcre2_match_data *match;
};

static void *pcre_allocate(size_t bytes, void *user) {
  (void)user;
  return clqi_malloc(bytes);
}

static void pcre_release(void *block, void *user) {
  (void)user;
  clqi_free(block);
}

static clq_status out_of_memory(void) {
  return clqi_fail(CLQ_OUT_OF_HOST_MEMORY, "tokenizer: out of memory for the pre-tokenizer");
}

static const struct known_pattern *find_pattern(clqi_text name) {
  for (size_t i = 0; i < sizeof known_patterns / sizeof known_patterns[0]; ++i) {
    if (clqi_text_equal(clqi_text_of(known_patterns[i].name), name)) {
      return &known_patterns[i];
    }
  }
  return NULL;
}

/* PCRE2's names for a failure: memory is told apart, the rest is quoted. */
static clq_status pcre_failure(int code, const char *what) {
  if (code == PCRE2_ERROR_NOMEMORY || code == PCRE2_ERROR_HEAPLIMIT) {
    return out_of_memory();
  }
  char message[120] = "";
  (void)pcre2_get_error_message(code, (PCRE2_UCHAR *)message, sizeof message);
  return clqi_fail(CLQ_UNSUPPORTED, "tokenizer: PCRE2 could not %s: %s", what, message);
}

clq_status clqi_pretokenizer_create(clqi_text name, clqi_pretokenizer **out) {
  *out = NULL;
  const struct known_pattern *known = find_pattern(name);
  if (known == NULL) {
    return clqi_fail(CLQ_UNSUPPORTED,
                     "tokenizer: pre-tokenizer is \"%s\", supported are smollm, gpt-2, llama-bpe",
                     clqi_excerpt_of(name).text);
  }
  clq_status status = CLQ_OK;
  pcre2_compile_context *compile = NULL;
  clqi_pretokenizer *pre = clqi_calloc(1, sizeof *pre);
  if (pre == NULL) {
    return out_of_memory();
  }
  pre->whole_pieces = known->whole_pieces;
  pre->memory = pcre2_general_context_create(pcre_allocate, pcre_release, NULL);
  compile = pre->memory == NULL ? NULL : pcre2_compile_context_create(pre->memory);
  if (compile == NULL) {
    status = out_of_memory();
    goto cleanup;
  }
  int error = 0;
  PCRE2_SIZE offset = 0;
  pre->code = pcre2_compile((PCRE2_SPTR)known->pattern, PCRE2_ZERO_TERMINATED,
                            PCRE2_UTF | PCRE2_UCP | PCRE2_ANCHORED | PCRE2_NO_UTF_CHECK, &error,
                            &offset, compile);
  if (pre->code == NULL) {
    /* 121: "failed to allocate heap memory", without a macro of its own. */
    status = error == PCRE2_ERROR_HEAP_FAILED ? out_of_memory()
                                              : pcre_failure(error, "compile the pattern");
    goto cleanup;
  }
  /* Without the JIT (not built in, or no executable memory) the interpreter
   * gives the same pieces, slower. */
  (void)pcre2_jit_compile(pre->code, PCRE2_JIT_COMPLETE);
  *out = pre;
  pre = NULL;

cleanup:
  pcre2_compile_context_free(compile);
  clqi_pretokenizer_destroy(pre);
  return status;
}

void clqi_pretokenizer_destroy(clqi_pretokenizer *pre) {
  if (pre == NULL) {
    return;
  }
  pcre2_code_free(pre->code);
  pcre2_general_context_free(pre->memory);
  clqi_free(pre);
}

bool clqi_pretokenizer_whole_pieces(const clqi_pretokenizer *pre) { return pre->whole_pieces; }

clq_status clqi_pretokenizer_scan_create(const clqi_pretokenizer *pre,
                                         clqi_pretokenizer_scan **out) {
  *out = NULL;
  clqi_pretokenizer_scan *scan = clqi_calloc(1, sizeof *scan);
  if (scan == NULL) {
    return out_of_memory();
  }
  scan->code = pre->code;
  scan->limits = pcre2_match_context_create(pre->memory);
  scan->match = pcre2_match_data_create(1, pre->memory);
  if (scan->limits == NULL || scan->match == NULL) {
    clqi_pretokenizer_scan_destroy(scan);
    return out_of_memory();
  }
  /* No pattern backtracks more than once over a run, so a long run is no
   * reason to give up. */
  (void)pcre2_set_match_limit(scan->limits, UINT32_MAX);
  (void)pcre2_set_depth_limit(scan->limits, UINT32_MAX);
  *out = scan;
  return CLQ_OK;
}

void clqi_pretokenizer_scan_destroy(clqi_pretokenizer_scan *scan) {
  if (scan == NULL) {
    return;
  }
  pcre2_match_data_free(scan->match);
  pcre2_match_context_free(scan->limits);
  clqi_free(scan);
}

clq_status clqi_pretokenizer_next(clqi_pretokenizer_scan *scan, const char *text, size_t length,
                                  size_t start, size_t *end) {
  int rc = pcre2_match(scan->code, (PCRE2_SPTR)text, length, start, PCRE2_NO_UTF_CHECK, scan->match,
                       scan->limits);
  if (rc == PCRE2_ERROR_JIT_STACKLIMIT || rc == PCRE2_ERROR_MATCHLIMIT) {
    rc = pcre2_match(scan->code, (PCRE2_SPTR)text, length, start, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                     scan->match, scan->limits);
  }
  if (rc < 0 && rc != PCRE2_ERROR_NOMATCH) {
    return pcre_failure(rc, "split the text");
  }
  *end = rc < 0 ? start : pcre2_get_ovector_pointer(scan->match)[1];
  if (*end <= start) {
    /* The patterns cover every character; should one not, it stands alone. */
    *end = start + clqi_utf8_sequence(text + start, length - start);
  }
  return CLQ_OK;
}
