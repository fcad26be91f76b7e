/* A strict JSON reader and writer (RFC 8259) over flat buffers; no allocation of its own, no recursion past MAX_DEPTH. */
#ifndef AION_JSON_H
#define AION_JSON_H

#include <stddef.h>
#include <stdint.h>

#define JSON_MAX_DEPTH 64

typedef struct {
    const uint8_t *at, *end;
    const char *error; /* NULL while all is well; the first complaint stays */
} json_reader;

typedef struct {
    uint8_t *bytes;
    size_t length, capacity;
    int failed; /* set when memory ran out; later writes do nothing */
} json_writer;

void json_open(json_reader *in, const uint8_t *bytes, size_t length);
int json_fail(json_reader *in, const char *why);
int json_take(json_reader *in, char punctuation); /* 1 when it stood there; skips white space first */
int json_end(json_reader *in);                    /* 1 when only white space is left */
/* Decodes a string into out (room for end - at bytes is enough); returns its length, -1 on error. */
ptrdiff_t json_string(json_reader *in, uint8_t *out);
int json_integer(json_reader *in, long *out); /* a JSON number with an integral value within +-10^9 */
int json_skip(json_reader *in, int depth);    /* any one value, fully checked */

void json_raw(json_writer *out, const char *text);
void json_quote(json_writer *out, const uint8_t *text, size_t length);
void json_number(json_writer *out, unsigned long value);

/* Length of the well-formed UTF-8 sequence at `at`, its code point in *point; 0 when it is malformed. */
int utf8_decode_long(const uint8_t *at, const uint8_t *end, uint32_t *point);
int utf8_encode_long(uint32_t point, uint8_t *out);

/* Every character of a text passes here several times, and most are ASCII. */
static inline int utf8_decode(const uint8_t *at, const uint8_t *end, uint32_t *point) {
    if (at < end && *at < 0x80) { *point = *at; return 1; }
    return utf8_decode_long(at, end, point);
}

static inline int utf8_encode(uint32_t point, uint8_t *out) {
    if (point < 0x80) { *out = (uint8_t)point; return 1; }
    return utf8_encode_long(point, out);
}

#endif
