#include "io/bert_text.h"

#include <string.h>

#include "io/utf8.h"
#include "runtime/status.h"

typedef struct point_range {
  uint32_t first;
  uint32_t last;
} point_range;

/* Of a mark that stays: an index into the combining classes that such marks have, ascending. */
typedef struct marked_range {
  point_range range;
  uint32_t class_index;
} marked_range;

/* Characters whose results stand in stripped_values from `at` on. */
typedef struct point_span {
  uint32_t first;
  uint32_t last;
  uint32_t at;
} point_span;

/* Every one, or every second, from first to last. */
typedef struct lower_run {
  uint32_t first;
  uint32_t last;
  uint32_t step;
  int32_t delta;
} lower_run;

/* In stripped_values: the rest is an index into stripped_longer. */
#define LONG 0x80000000u

#include "io/bert_unicode.inc"

/* --- Looking up. ------------------------------------------------------------- */

/* All tables' elements begin with their first and their last character, and ascend. */
static const void *find_range(const void *table, size_t count, size_t bytes, uint32_t point) {
  size_t low = 0;
  size_t high = count;
  while (low < high) {
    const size_t middle = low + (high - low) / 2;
    point_range range;
    memcpy(&range, (const char *)table + middle * bytes, sizeof range);
    if (point < range.first) {
      high = middle;
    } else if (point > range.last) {
      low = middle + 1;
    } else {
      return (const char *)table + middle * bytes;
    }
  }
  return NULL;
}
#define FIND(table, point) \
  find_range((table), sizeof(table) / sizeof *(table), sizeof *(table), (point))
#define IS(table, point) (FIND(table, point) != NULL)

static bool is_space(uint32_t c) {
  return c < 0x80 ? c == ' ' || (c >= '\t' && c <= '\r') : IS(space, c);
}

static bool is_punctuation(uint32_t c) {
  if (c < 0x80) {
    const uint32_t letter = c | 0x20;
    return c > ' ' && c != 0x7F && !(c >= '0' && c <= '9') && !(letter >= 'a' && letter <= 'z');
  }
  return IS(punctuation, c);
}

static uint32_t lower(uint32_t c) {
  if (c < 0x80) {
    return c >= 'A' && c <= 'Z' ? c + 0x20 : c;
  }
  const lower_run *run = FIND(lowered, c);
  return run == NULL || (c - run->first) % run->step != 0 ? c : (uint32_t)((int32_t)c + run->delta);
}

/* --- Normalizing. ------------------------------------------------------------ */

typedef struct normalizer {
  const clqi_bert_rules *rules;
  clqi_bytes *out;
  size_t run; /* where the marks at the end of out begin: those after the last starter */
  uint32_t last_class;
  bool unordered; /* a mark of them is of a lower class than one before it */
} normalizer;

/* The caller has made room. */
static void put(clqi_bytes *out, uint32_t c) {
  const unsigned more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
  static const unsigned char marks_of[] = {0, 0xC0, 0xE0, 0xF0};
  out->data[out->length++] = (char)(unsigned char)(marks_of[more] | c >> 6 * more);
  for (unsigned i = more; i-- > 0;) {
    out->data[out->length++] = (char)(unsigned char)(0x80 | (c >> 6 * i & 63));
  }
}

static uint32_t class_of(uint32_t point) {
  const marked_range *mark = FIND(classes, point);
  return mark == NULL ? UINT32_MAX : mark->class_index;
}

/* The run of marks in canonical order: by class, and within one as they stood. A pass per class, of
 * which there are few, so that a long run costs no more per mark than a short one. */
static clq_status order_run(normalizer *n) {
  clqi_bytes sorted = {0};
  const size_t length = n->out->length - n->run;
  char *run = n->out->data + n->run;
  CLQI_TRY(clqi_bytes_reserve(&sorted, length));
  for (uint32_t class_index = 0; class_index < CLASS_COUNT; ++class_index) {
    for (size_t at = 0; at < length;) {
      const size_t sequence = clqi_utf8_sequence(run + at, length - at);
      if (class_of(clqi_utf8_code_point(run + at, sequence)) == class_index) {
        memcpy(sorted.data + sorted.length, run + at, sequence);
        sorted.length += sequence;
      }
      at += sequence;
    }
  }
  memcpy(run, sorted.data, length);
  clqi_bytes_free(&sorted);
  return CLQ_OK;
}

static clq_status end_run(normalizer *n) {
  if (n->unordered) {
    CLQI_TRY(order_run(n));
  }
  n->unordered = false;
  n->last_class = 0;
  n->run = n->out->length;
  return CLQ_OK;
}

static void put_lowered(const normalizer *n, uint32_t c) {
  if (n->rules->lowercase && c == 0x130) { /* capital i with a dot, the only one that gets longer */
    put(n->out, 'i');
    put(n->out, 0x307);
  } else {
    put(n->out, n->rules->lowercase ? lower(c) : c);
  }
}

/* A character that stripping keeps, in its place among marks. */
static clq_status put_stripped(normalizer *n, uint32_t c) {
  const uint32_t class_index = c < 0x300 ? UINT32_MAX : class_of(c);
  if (class_index == UINT32_MAX) {
    CLQI_TRY(end_run(n));
    put_lowered(n, c);
    n->run = n->out->length;
    return CLQ_OK;
  }
  n->unordered |= class_index < n->last_class;
  n->last_class = class_index;
  put(n->out, c); /* marks have no small form */
  return CLQ_OK;
}

/* Of a Hangul syllable: leading consonant, vowel and, if it has one, trailing consonant. */
static clq_status put_jamo(normalizer *n, uint32_t index) {
  CLQI_TRY(put_stripped(n, 0x1100 + index / 588));
  CLQI_TRY(put_stripped(n, 0x1161 + index % 588 / 28));
  return index % 28 == 0 ? CLQ_OK : put_stripped(n, 0x11A7 + index % 28);
}

static clq_status strip(normalizer *n, uint32_t c) {
  if (c < 0xC0) {
    return put_stripped(n, c);
  }
  if (c >= 0xAC00 && c < 0xD7A4) {
    return put_jamo(n, c - 0xAC00);
  }
  if (IS(marks, c)) {
    return IS(starter_marks, c) ? end_run(n) : CLQ_OK;
  }
  const point_span *span = FIND(stripped_spans, c);
  const uint32_t value = span == NULL ? 0 : stripped_values[span->at + (c - span->first)];
  if ((value & LONG) == 0) {
    return put_stripped(n, value == 0 ? c : value);
  }
  const uint32_t *longer = stripped_longer[value & ~LONG];
  for (int i = 0; i < 3 && longer[i] != 0; ++i) {
    CLQI_TRY(put_stripped(n, longer[i]));
  }
  return CLQ_OK;
}

static clq_status add(normalizer *n, uint32_t c) {
  if (n->rules->strip_accents) {
    return strip(n, c);
  }
  put_lowered(n, c);
  return CLQ_OK;
}

static clq_status normalize_point(normalizer *n, uint32_t c) {
  if (n->rules->clean_text) {
    if (c < ' ' || c >= 0x7F) {
      if (IS(dropped, c)) {
        return CLQ_OK;
      }
      c = IS(blank, c) ? ' ' : c;
    }
  }
  if (n->rules->chinese_chars && c >= chinese[0].first && IS(chinese, c)) {
    CLQI_TRY(add(n, ' '));
    CLQI_TRY(add(n, c));
    return add(n, ' ');
  }
  return add(n, c);
}

/* The most bytes that become of one character: a note of music is three of four. */
enum { MOST_OF_ONE = 12 };

clq_status clqi_bert_normalize(const clqi_bert_rules *rules, const char *text, size_t length,
                               clqi_bytes *out) {
  normalizer n = {.rules = rules, .out = out, .run = out->length};
  CLQI_TRY(clqi_bytes_reserve(out, length));
  for (size_t at = 0; at < length;) {
    const size_t sequence = clqi_utf8_sequence(text + at, length - at);
    if (out->capacity - out->length < MOST_OF_ONE) {
      CLQI_TRY(clqi_bytes_reserve(out, MOST_OF_ONE));
    }
    CLQI_TRY(normalize_point(&n, clqi_utf8_code_point(text + at, sequence)));
    at += sequence;
  }
  return end_run(&n);
}

/* --- Words. ------------------------------------------------------------------ */

static uint32_t point_at(const char *text, size_t length, size_t at, size_t *sequence) {
  *sequence = clqi_utf8_sequence(text + at, length - at);
  return clqi_utf8_code_point(text + at, *sequence);
}

size_t clqi_bert_leading_space(const char *text, size_t length) {
  size_t at = 0;
  size_t sequence = 0;
  while (at < length && is_space(point_at(text, length, at, &sequence))) {
    at += sequence;
  }
  return at;
}

size_t clqi_bert_trailing_space(const char *text, size_t length) {
  size_t end = length;
  while (end > 0) {
    size_t at = end - 1;
    size_t sequence = 0;
    while (at > 0 && ((unsigned char)text[at] & 0xC0) == 0x80) {
      --at;
    }
    if (!is_space(point_at(text, end, at, &sequence))) {
      break;
    }
    end = at;
  }
  return length - end;
}

bool clqi_bert_next_word(const char *text, size_t length, size_t *at, size_t *end) {
  *at += clqi_bert_leading_space(text + *at, length - *at);
  *end = *at;
  while (*end < length) {
    size_t sequence = 0;
    const uint32_t c = point_at(text, length, *end, &sequence);
    const bool alone = is_punctuation(c);
    if (is_space(c) || (alone && *end > *at)) {
      break;
    }
    *end += sequence;
    if (alone) {
      break;
    }
  }
  return *end > *at;
}
