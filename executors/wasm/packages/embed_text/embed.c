/* Feature hashing (Weinberger et al. 2009, "Feature Hashing for Large Scale Multitask Learning", arXiv:0902.2206): each
 * feature of a text adds its weight, with a sign of its own, to one dimension. Nothing is learned and nothing is stored;
 * the same text gives the same vector on every machine. */
#include "embed.h"

#include <stdlib.h>
#include <string.h>

#include "../summarize_text/words.h"

#define DEFAULT_DIMENSIONS 256
#define MIN_DIMENSIONS 8
#define MAX_DIMENSIONS 512
#define MAX_TEXTS 128
#define MAX_WORD_POINTS (MAX_WORD_BYTES + 2) /* with a mark at either end */
#define MICRO 1000000.0

/* Of a word, of two words in a row, and of the pieces of a word: together they find inflected and misspelt ones. */
#define WORD_WEIGHT 1.0
#define PAIR_WEIGHT 0.6
#define PIECE_WEIGHT 0.35
#define SHORT_WORD_WEIGHT 0.35 /* up to three ASCII letters: articles and particles in many languages */

enum kind { WORD = 1, PAIR = 2, PIECE = 3, CHARACTER = 4, BLANK = 5 };

typedef struct { uint64_t hash; uint32_t count; float weight; } feature;

typedef struct {
    feature *table;
    size_t size, used; /* a power of two, and how many are taken */
} features;

static uint64_t mixed(uint64_t hash) { /* splitmix64's finalizer: FNV-1a alone leaves its low bits alike */
    hash = (hash ^ hash >> 30) * 0xBF58476D1CE4E5B9ULL;
    hash = (hash ^ hash >> 27) * 0x94D049BB133111EBULL;
    return hash ^ hash >> 31;
}

static uint64_t of_kind(uint64_t hash, enum kind kind) {
    uint64_t found = mixed(hash + (uint64_t)kind * 0x9E3779B97F4A7C15ULL);
    return found ? found : 1;
}

static int grow(features *all) {
    features wider = {.size = all->size ? all->size * 2 : 1024, .used = all->used};
    wider.table = calloc(wider.size, sizeof *wider.table);
    if (!wider.table) return 0;
    for (size_t i = 0; i < all->size; i++) {
        if (!all->table[i].hash) continue;
        size_t at = (size_t)all->table[i].hash & (wider.size - 1);
        while (wider.table[at].hash) at = (at + 1) & (wider.size - 1);
        wider.table[at] = all->table[i];
    }
    *all = wider;
    return 1;
}

static int add(features *all, uint64_t hash, double weight) {
    if (all->used * 2 >= all->size && !grow(all)) return 0;
    size_t at = (size_t)hash & (all->size - 1);
    while (all->table[at].hash && all->table[at].hash != hash) at = (at + 1) & (all->size - 1);
    if (!all->table[at].hash) {
        all->table[at].hash = hash;
        all->table[at].weight = (float)weight;
        all->used++;
    }
    all->table[at].count++;
    return 1;
}

/* Every run of three and of four characters of the word, its beginning and its end marked. */
static int add_pieces(features *all, const word_reader *word) {
    uint32_t points[MAX_WORD_POINTS] = {'<'};
    size_t count = 1;
    const uint8_t *at = word->word, *end = word->word + word->length;
    for (int step; (step = utf8_decode(at, end, &points[count])) > 0; at += step) count++;
    points[count++] = '>';
    for (size_t length = 3; length <= 4; length++)
        for (size_t i = 0; i + length <= count; i++)
            if (!add(all, of_kind(hash_word((const uint8_t *)&points[i], length * sizeof *points), PIECE), PIECE_WEIGHT)) return 0;
    return 1;
}

static double weight_of(const word_reader *word) {
    int is_short = word->length <= 3;
    for (size_t i = 0; i < word->length; i++) is_short = is_short && in(word->word[i], 'a', 'z');
    return is_short ? SHORT_WORD_WEIGHT : WORD_WEIGHT;
}

/* The words of the text; -1 when memory ran out. */
static long add_words(features *all, const uint8_t *text, const uint8_t *end) {
    word_reader reader = {.at = text, .end = end};
    uint64_t before = 0;
    long words = 0;
    for (; next_word(&reader); words++) {
        uint64_t hash = hash_word(reader.word, reader.length);
        if (!add(all, of_kind(hash, WORD), weight_of(&reader)) || !add_pieces(all, &reader)) return -1;
        if (words && !add(all, of_kind(before * 31 + hash, PAIR), PAIR_WEIGHT)) return -1;
        before = hash;
    }
    return words;
}

/* For a text without any word: what is written in it, and if that is nothing but white space, that. */
static int add_characters(features *all, const uint8_t *at, const uint8_t *end) {
    uint32_t c;
    for (int step; (step = utf8_decode(at, end, &c)) > 0; at += step)
        if (!is_space(c) && !add(all, of_kind(c, CHARACTER), WORD_WEIGHT)) return 0;
    return all->used || add(all, of_kind(0, BLANK), WORD_WEIGHT);
}

/* A feature counts with the root of how often it occurs, so that repetition does not drown the rest. */
static void project(const features *all, double *vector, size_t dimensions) {
    double squares = 0;
    memset(vector, 0, dimensions * sizeof *vector);
    for (size_t i = 0; i < all->size; i++) {
        const feature *one = &all->table[i];
        double value = one->weight * __builtin_sqrt(one->count);
        if (one->hash) vector[one->hash % dimensions] += one->hash >> 63 ? -value : value;
    }
    for (size_t i = 0; i < dimensions; i++) squares += vector[i] * vector[i];
    if (squares < 1e-12) { /* signs that cancelled each other out, all of them */
        vector[0] = squares = 1;
    }
    double length = __builtin_sqrt(squares);
    for (size_t i = 0; i < dimensions; i++) vector[i] /= length;
}

static void write_component(json_writer *out, double value) {
    unsigned long micro = (unsigned long)((value < 0 ? -value : value) * MICRO + 0.5);
    if (!micro) { json_raw(out, "0"); return; }
    char text[12] = "-0.000000";
    text[1] = (char)('0' + micro / 1000000);
    int last = 8;
    for (int i = 8; i > 2; i--, micro /= 10) text[i] = (char)('0' + micro % 10);
    while (text[last] == '0') last--;
    text[text[last] == '.' ? last : last + 1] = 0;
    json_raw(out, value < 0 ? text : text + 1);
}

static void write_vector(json_writer *out, const double *vector, size_t dimensions) {
    json_raw(out, "[");
    for (size_t i = 0; i < dimensions; i++) {
        if (i) json_raw(out, ",");
        write_component(out, vector[i]);
    }
    json_raw(out, "]");
}

static long embed_one(const uint8_t *text, size_t length, size_t dimensions, json_writer *out) {
    features all = {0};
    double vector[MAX_DIMENSIONS];
    long words = add_words(&all, text, text + length);
    if (words < 0 || (!words && !add_characters(&all, text, text + length))) return -1;
    project(&all, vector, dimensions);
    write_vector(out, vector, dimensions);
    return words;
}

/* --- params --- */

typedef struct { json_reader texts; int seen_texts; long dimensions; } params;

static int read_params(json_reader *in_, uint8_t *scratch, params *asked) {
    if (!json_take(in_, '{')) return json_fail(in_, "params must be an object");
    if (!json_take(in_, '}')) {
        do {
            ptrdiff_t length = json_string(in_, scratch);
            if (length < 0) return 0;
            int is_texts = length == 5 && !memcmp(scratch, "texts", 5);
            int is_dimensions = length == 10 && !memcmp(scratch, "dimensions", 10);
            if (!json_take(in_, ':')) return json_fail(in_, "expected ':'");
            if (is_texts) {
                asked->texts = *in_;
                asked->seen_texts = 1;
            }
            if (is_dimensions ? !json_integer(in_, &asked->dimensions) : !json_skip(in_, 0)) return 0;
        } while (json_take(in_, ','));
        if (!json_take(in_, '}')) return json_fail(in_, "expected ',' or '}'");
    }
    if (!json_end(in_)) return json_fail(in_, "something follows the params");
    if (!asked->seen_texts) return json_fail(in_, "'texts' is missing");
    if (!in((uint32_t)asked->dimensions, MIN_DIMENSIONS, MAX_DIMENSIONS)) return json_fail(in_, "'dimensions' must be 8 to 512");
    return 1;
}

static int write_vectors(json_reader *texts, uint8_t *scratch, size_t dimensions, json_writer *out, unsigned long *words) {
    int count = 0;
    if (!json_take(texts, '[')) return json_fail(texts, "'texts' must be an array");
    do {
        ptrdiff_t length = json_string(texts, scratch);
        if (length < 0) return 0;
        if (++count > MAX_TEXTS) return json_fail(texts, "'texts' holds more than 128");
        if (count > 1) json_raw(out, ",");
        long found = embed_one(scratch, (size_t)length, dimensions, out);
        if (found < 0) return json_fail(texts, "out of memory");
        *words += (unsigned long)found;
    } while (json_take(texts, ','));
    return json_take(texts, ']') || json_fail(texts, "expected ',' or ']'");
}

static int failed(json_writer *out, const char *why) {
    out->failed = 0;
    out->length = 0;
    json_raw(out, "invalid params: ");
    json_raw(out, why ? why : "malformed JSON");
    return 0;
}

int embed(const uint8_t *input, size_t length, json_writer *out) {
    json_reader reader;
    params asked = {.dimensions = DEFAULT_DIMENSIONS};
    unsigned long words = 0;
    uint8_t *scratch = malloc(length + 1);
    if (!scratch) return failed(out, "out of memory");
    json_open(&reader, input, length);
    if (!read_params(&reader, scratch, &asked)) return failed(out, reader.error);
    json_raw(out, "{\"vectors\":[");
    if (!write_vectors(&asked.texts, scratch, (size_t)asked.dimensions, out, &words)) return failed(out, asked.texts.error);
    json_raw(out, "],\"dimensions\":");
    json_number(out, (unsigned long)asked.dimensions);
    json_raw(out, ",\"words\":");
    json_number(out, words);
    json_raw(out, "}");
    return out->failed ? failed(out, "out of memory") : 1;
}
