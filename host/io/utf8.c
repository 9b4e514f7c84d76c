#include "io/utf8.h"

#include <string.h>

#include "runtime/checked.h"
#include "runtime/status.h"

/* What a lead byte promises: the sequence's length and the range of its second
 * byte, which alone rules out overlong forms, surrogates and > U+10FFFF. */
typedef struct lead {
  size_t length; /* 0: no sequence starts with this byte */
  uint8_t low;
  uint8_t high;
} lead;

static lead lead_of(uint8_t byte) {
  if (byte < 0x80) {
    return (lead){1, 0, 0};
  }
  if (byte < 0xC2 || byte > 0xF4) {
    return (lead){0, 0, 0};
  }
  if (byte < 0xE0) {
    return (lead){2, 0x80, 0xBF};
  }
  if (byte < 0xF0) {
    return (lead){3, byte == 0xE0 ? 0xA0 : 0x80, byte == 0xED ? 0x9F : 0xBF};
  }
  return (lead){4, byte == 0xF0 ? 0x90 : 0x80, byte == 0xF4 ? 0x8F : 0xBF};
}

/* How many of the `length` bytes agree with the sequence that data[0] starts. */
static size_t agreeing(const char *data, size_t length, lead first) {
  if (first.length == 0 || length == 0) {
    return 0;
  }
  size_t count = 1;
  while (count < first.length && count < length) {
    const uint8_t byte = (uint8_t)data[count];
    const uint8_t low = count == 1 ? first.low : 0x80;
    const uint8_t high = count == 1 ? first.high : 0xBF;
    if (byte < low || byte > high) {
      break;
    }
    ++count;
  }
  return count;
}

size_t clqi_utf8_sequence(const char *data, size_t length) {
  if (length == 0) {
    return 0;
  }
  const lead first = lead_of((uint8_t)data[0]);
  return agreeing(data, length, first) == first.length ? first.length : 0;
}

bool clqi_utf8_is_partial(const char *data, size_t length) {
  if (length == 0) {
    return false;
  }
  const lead first = lead_of((uint8_t)data[0]);
  return length < first.length && agreeing(data, length, first) == length;
}

static bool eight_are_ascii(const char *data) {
  uint64_t word;
  memcpy(&word, data, sizeof word);
  return (word & UINT64_C(0x8080808080808080)) == 0;
}

size_t clqi_utf8_valid_length(const char *data, size_t length) {
  size_t at = 0;
  while (at < length) {
    if (length - at >= 8 && eight_are_ascii(data + at)) {
      at += 8;
      continue;
    }
    const size_t sequence = clqi_utf8_sequence(data + at, length - at);
    if (sequence == 0) {
      break;
    }
    at += sequence;
  }
  return at;
}

uint32_t clqi_utf8_code_point(const char *data, size_t sequence) {
  static const uint8_t lead_bits[5] = {0, 0x7F, 0x1F, 0x0F, 0x07};
  uint32_t point = (uint8_t)data[0] & (uint32_t)lead_bits[sequence];
  for (size_t i = 1; i < sequence; ++i) {
    point = (point << 6) | ((uint8_t)data[i] & 0x3Fu);
  }
  return point;
}

clq_status clqi_utf8_repair(const char *data, size_t length, clqi_bytes *out) {
  static const char replacement[3] = {'\xEF', '\xBF', '\xBD'};
  size_t at = 0;
  while (at < length) {
    const size_t good = clqi_utf8_valid_length(data + at, length - at);
    CLQI_TRY(clqi_bytes_append(out, data + at, good));
    at += good;
    if (at < length) {
      CLQI_TRY(clqi_bytes_append(out, replacement, sizeof replacement));
      ++at;
    }
  }
  return CLQ_OK;
}
