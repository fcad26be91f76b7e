/* What a word is in any script, and how it is compared: characters, case folding, one word after the other. */
#ifndef AION_WORDS_H
#define AION_WORDS_H

#include "json.h"

#define MAX_WORD_BYTES 64

static inline int in(uint32_t c, uint32_t low, uint32_t high) { return c >= low && c <= high; }

static inline int is_ideograph(uint32_t c) {
    return c >= 0x3040 && (in(c, 0x3040, 0x30FF) || in(c, 0x3400, 0x4DBF) || in(c, 0x4E00, 0x9FFF) || in(c, 0xF900, 0xFAFF) || in(c, 0x20000, 0x3FFFF));
}

static inline int is_word(uint32_t c) {
    static const uint64_t ascii[2] = {0x03FF000000000000, 0x07FFFFFE87FFFFFE}; /* a bit for each of 0-9 A-Z _ a-z */
    if (c < 0x80) return (int)(ascii[c >> 6] >> (c & 63) & 1);
    if (c < 0xC0) return c == 0xAA || c == 0xB5 || c == 0xBA;
    if (c == 0xD7 || c == 0xF7 || c == 0x37E || c == 0x387 || c == 0x589 || c == 0x61F || c == 0x6D4) return 0;
    return !in(c, 0x2000, 0x2BFF) && !in(c, 0x2E00, 0x2E7F) && !in(c, 0x3000, 0x303F) && !in(c, 0xFE00, 0xFE6F) &&
           !in(c, 0xFF00, 0xFF0F) && !in(c, 0xFF1A, 0xFF20) && !in(c, 0xFF3B, 0xFF40) && !in(c, 0xFF5B, 0xFF65) &&
           !in(c, 0xE000, 0xF8FF) && !in(c, 0x1F000, 0x1FAFF) && !in(c, 0xE0000, 0xE0FFF) && c != 0x0964 && c != 0x0965;
}

/* Simple case folding for ASCII, Latin-1, Latin Extended-A, Greek and Cyrillic. */
static inline uint32_t fold(uint32_t c) {
    if (c < 0x80) return in(c, 'A', 'Z') ? c + 32 : c;
    if (in(c, 0xC0, 0xDE) && c != 0xD7) return c + 32;
    if (in(c, 0x100, 0x137) || in(c, 0x14A, 0x177)) return c == 0x130 || c == 0x131 ? 'i' : c | 1;
    if (in(c, 0x139, 0x148) || in(c, 0x179, 0x17E)) return c & 1 ? c + 1 : c;
    if (c == 0x178) return 0xFF;
    if (c == 0x386) return 0x3AC;
    if (in(c, 0x388, 0x38A)) return c + 37;
    if (c == 0x38C) return 0x3CC;
    if (c == 0x38E || c == 0x38F) return c + 63;
    if (in(c, 0x391, 0x3AB) && c != 0x3A2) return c + 32;
    if (c == 0x3C2) return 0x3C3;
    if (in(c, 0x400, 0x40F)) return c + 80;
    if (in(c, 0x410, 0x42F)) return c + 32;
    if (in(c, 0x460, 0x481) || in(c, 0x48A, 0x4BF) || in(c, 0x4D0, 0x52F)) return c | 1;
    return c;
}

static inline int is_space(uint32_t c) {
    if (c < 0x80) return c == ' ' || in(c, 9, 13);
    return c == 0x85 || c == 0xA0 || c == 0x1680 || in(c, 0x2000, 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x3000;
}

typedef struct { const uint8_t *at, *end; uint8_t word[MAX_WORD_BYTES]; size_t length; } word_reader;

/* The next word, folded; an ideograph is a word of its own. Long words keep their first MAX_WORD_BYTES. */
static inline int next_word(word_reader *in_) {
    uint32_t c;
    int step;
    in_->length = 0;
    while ((step = utf8_decode(in_->at, in_->end, &c)) > 0) {
        int word = is_word(c), ideograph = is_ideograph(c);
        if (in_->length && (!word || ideograph)) return 1;
        in_->at += step;
        if (!word) continue;
        if (in_->length + 4 <= MAX_WORD_BYTES) in_->length += (size_t)utf8_encode(fold(c), in_->word + in_->length);
        if (ideograph) return 1;
    }
    return in_->length > 0;
}

static inline uint64_t hash_word(const uint8_t *word, size_t length) {
    uint64_t hash = 1469598103934665603ULL; /* FNV-1a */
    for (size_t i = 0; i < length; i++) hash = (hash ^ word[i]) * 1099511628211ULL;
    return hash ? hash : 1;
}

#endif
