#include "json.h"

#include <stdlib.h>
#include <string.h>

int utf8_decode_long(const uint8_t *at, const uint8_t *end, uint32_t *point) {
    if (at >= end) return 0;
    uint8_t lead = at[0];
    if (lead < 0x80) { *point = lead; return 1; }
    int length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    if (lead < 0xC2 || lead > 0xF4 || end - at < length) return 0;
    uint32_t value = lead & (0x7F >> length);
    for (int i = 1; i < length; i++) {
        if ((at[i] & 0xC0) != 0x80) return 0;
        value = value << 6 | (at[i] & 0x3F);
    }
    if (length == 3 && (value < 0x800 || (value >= 0xD800 && value <= 0xDFFF))) return 0;
    if (length == 4 && (value < 0x10000 || value > 0x10FFFF)) return 0;
    *point = value;
    return length;
}

int utf8_encode_long(uint32_t point, uint8_t *out) {
    if (point < 0x80) { out[0] = (uint8_t)point; return 1; }
    if (point < 0x800) {
        out[0] = (uint8_t)(0xC0 | point >> 6);
        out[1] = (uint8_t)(0x80 | (point & 0x3F));
        return 2;
    }
    if (point < 0x10000) {
        out[0] = (uint8_t)(0xE0 | point >> 12);
        out[1] = (uint8_t)(0x80 | (point >> 6 & 0x3F));
        out[2] = (uint8_t)(0x80 | (point & 0x3F));
        return 3;
    }
    out[0] = (uint8_t)(0xF0 | point >> 18);
    out[1] = (uint8_t)(0x80 | (point >> 12 & 0x3F));
    out[2] = (uint8_t)(0x80 | (point >> 6 & 0x3F));
    out[3] = (uint8_t)(0x80 | (point & 0x3F));
    return 4;
}

void json_open(json_reader *in, const uint8_t *bytes, size_t length) {
    in->at = bytes;
    in->end = bytes + length;
    in->error = NULL;
}

int json_fail(json_reader *in, const char *why) {
    if (!in->error) in->error = why;
    return 0;
}

static void skip_space(json_reader *in) {
    while (in->at < in->end && (*in->at == ' ' || *in->at == '\t' || *in->at == '\n' || *in->at == '\r')) in->at++;
}

int json_take(json_reader *in, char punctuation) {
    skip_space(in);
    if (in->error || in->at >= in->end || *in->at != (uint8_t)punctuation) return 0;
    in->at++;
    return 1;
}

int json_end(json_reader *in) {
    skip_space(in);
    return !in->error && in->at == in->end;
}

static int hex4(json_reader *in, uint32_t *value) {
    if (in->end - in->at < 4) return json_fail(in, "truncated \\u escape");
    *value = 0;
    for (int i = 0; i < 4; i++) {
        uint8_t c = *in->at++;
        uint32_t digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : 16;
        if (digit == 16) return json_fail(in, "bad hex digit in \\u escape");
        *value = *value << 4 | digit;
    }
    return 1;
}

static int unicode_escape(json_reader *in, uint32_t *point) {
    if (!hex4(in, point)) return 0;
    if (*point >= 0xDC00 && *point <= 0xDFFF) return json_fail(in, "lone low surrogate");
    if (*point < 0xD800 || *point > 0xDBFF) return 1;
    uint32_t low;
    if (in->end - in->at < 2 || in->at[0] != '\\' || in->at[1] != 'u') return json_fail(in, "lone high surrogate");
    in->at += 2;
    if (!hex4(in, &low)) return 0;
    if (low < 0xDC00 || low > 0xDFFF) return json_fail(in, "lone high surrogate");
    *point = 0x10000 + ((*point - 0xD800) << 10) + (low - 0xDC00);
    return 1;
}

static int escape(json_reader *in, uint32_t *point) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (in->at >= in->end) return json_fail(in, "unterminated string");
    uint8_t c = *in->at++;
    if (c == 'u') return unicode_escape(in, point);
    const char *found = c ? strchr(from, c) : NULL;
    if (!found) return json_fail(in, "unknown escape");
    *point = (uint8_t)to[found - from];
    return 1;
}

ptrdiff_t json_string(json_reader *in, uint8_t *out) {
    uint8_t *start = out;
    if (!json_take(in, '"')) { json_fail(in, "expected a string"); return -1; }
    while (in->at < in->end && *in->at != '"') {
        uint32_t point;
        if (*in->at == '\\') {
            in->at++;
            if (!escape(in, &point)) return -1;
            out += utf8_encode(point, out);
            continue;
        }
        if (*in->at < 0x20) { json_fail(in, "raw control character in a string"); return -1; }
        int length = utf8_decode(in->at, in->end, &point);
        if (!length) { json_fail(in, "malformed UTF-8"); return -1; }
        while (length--) *out++ = *in->at++; /* not memcpy: in wasm a copy of a few bytes is a call of the host */
    }
    if (in->at >= in->end) { json_fail(in, "unterminated string"); return -1; }
    in->at++;
    return out - start;
}

static int digits(json_reader *in) {
    const uint8_t *start = in->at;
    while (in->at < in->end && *in->at >= '0' && *in->at <= '9') in->at++;
    return in->at > start ? 1 : json_fail(in, "expected a digit");
}

static int number(json_reader *in) {
    if (in->at < in->end && *in->at == '-') in->at++;
    if (in->at < in->end && *in->at == '0') in->at++;
    else if (!digits(in)) return 0;
    if (in->at < in->end && *in->at == '.') { in->at++; if (!digits(in)) return 0; }
    if (in->at < in->end && (*in->at == 'e' || *in->at == 'E')) {
        in->at++;
        if (in->at < in->end && (*in->at == '+' || *in->at == '-')) in->at++;
        return digits(in);
    }
    return 1;
}

int json_integer(json_reader *in, long *out) {
    skip_space(in);
    const uint8_t *start = in->at;
    char copy[32];
    if (!number(in)) return 0;
    size_t length = (size_t)(in->at - start);
    if (length >= sizeof copy) return json_fail(in, "number is too long");
    memcpy(copy, start, length);
    copy[length] = 0;
    double value = strtod(copy, NULL);
    if (value < -1e9 || value > 1e9 || value != (double)(long)value) return json_fail(in, "expected a whole number");
    *out = (long)value;
    return 1;
}

static int skip_string(json_reader *in) {
    uint32_t point;
    if (!json_take(in, '"')) return json_fail(in, "expected a string");
    while (in->at < in->end && *in->at != '"') {
        if (*in->at == '\\') {
            in->at++;
            if (!escape(in, &point)) return 0;
        } else {
            int length = *in->at < 0x20 ? 0 : utf8_decode(in->at, in->end, &point);
            if (!length) return json_fail(in, "bad character in a string");
            in->at += length;
        }
    }
    if (in->at >= in->end) return json_fail(in, "unterminated string");
    in->at++;
    return 1;
}

static int skip_members(json_reader *in, int depth, char close, int named) {
    if (json_take(in, close)) return 1;
    do {
        if (named && !(skip_string(in) && (json_take(in, ':') || json_fail(in, "expected ':'")))) return 0;
        if (!json_skip(in, depth + 1)) return 0;
    } while (json_take(in, ','));
    return json_take(in, close) || json_fail(in, "expected ',' or the end of a container");
}

int json_skip(json_reader *in, int depth) {
    static const char *const words[] = {"true", "false", "null"};
    skip_space(in);
    if (in->error || in->at >= in->end) return json_fail(in, "expected a value");
    if (depth > JSON_MAX_DEPTH) return json_fail(in, "nested too deep");
    if (*in->at == '"') return skip_string(in);
    if (json_take(in, '{')) return skip_members(in, depth, '}', 1);
    if (json_take(in, '[')) return skip_members(in, depth, ']', 0);
    for (int i = 0; i < 3; i++) {
        size_t length = strlen(words[i]);
        if ((size_t)(in->end - in->at) >= length && !memcmp(in->at, words[i], length)) { in->at += length; return 1; }
    }
    return number(in);
}

static int reserve(json_writer *out, size_t more) {
    if (out->failed) return 0;
    if (out->length + more <= out->capacity) return 1;
    size_t wanted = (out->length + more) * 2;
    uint8_t *grown = realloc(out->bytes, wanted);
    if (!grown) { out->failed = 1; return 0; }
    out->bytes = grown;
    out->capacity = wanted;
    return 1;
}

static void put(json_writer *out, const void *bytes, size_t length) {
    if (!reserve(out, length)) return;
    memcpy(out->bytes + out->length, bytes, length);
    out->length += length;
}

void json_raw(json_writer *out, const char *text) { put(out, text, strlen(text)); }

void json_quote(json_writer *out, const uint8_t *text, size_t length) {
    static const char hex[] = "0123456789abcdef";
    put(out, "\"", 1);
    for (size_t i = 0, run; i < length; i++) {
        for (run = i; run < length && text[run] >= 0x20 && text[run] != '"' && text[run] != '\\'; run++) {}
        put(out, text + i, run - i);
        if ((i = run) == length) break;
        uint8_t c = text[i];
        if (c == '"' || c == '\\') {
            char pair[2] = {'\\', (char)c};
            put(out, pair, 2);
        } else if (c == '\n') {
            put(out, "\\n", 2);
        } else {
            char code[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
            put(out, code, 6);
        }
    }
    put(out, "\"", 1);
}

void json_number(json_writer *out, unsigned long value) {
    char reversed[24];
    int length = 0;
    do { reversed[length++] = (char)('0' + value % 10); value /= 10; } while (value);
    while (length) put(out, &reversed[--length], 1);
}
