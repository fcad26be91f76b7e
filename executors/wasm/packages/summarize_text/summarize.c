#include "summarize.h"
#include "words.h"

#include <stdlib.h>
#include <string.h>

#define DEFAULT_SENTENCES 3
#define LONG_TEXT_BYTES 16384 /* a shorter one is summed up before anybody could read a part of it */
#define MAX_PICKED 20
#define MAX_SENTENCE_WORDS 400 /* longer runs without a full stop are cut here, so one giant sentence cannot win */

typedef struct { uint64_t hash; uint32_t count, is_stop; } slot;
typedef struct { const uint8_t *start, *end; double score; uint32_t words; int picked; } sentence;

typedef struct {
    const uint8_t *text, *end;
    sentence *sentences;
    size_t sentence_count, sentence_room;
    slot *table;
    size_t table_size; /* a power of two, at least twice the words */
    slot **seen;       /* the slot of every word, in the text's order */
    size_t words, chars;
} document;

/* --- characters --- */

static int is_full_stop(uint32_t c) {
    if (c < 0x80) return c == '.' || c == '!' || c == '?';
    return c == 0x2026 || c == 0x203C || in(c, 0x2047, 0x2049) || c == 0x61F || c == 0x6D4 || c == 0x964 || c == 0x965;
}
static int is_wide_stop(uint32_t c) { return c >= 0x3002 && (c == 0x3002 || c == 0xFF01 || c == 0xFF1F || c == 0xFF0E || c == 0xFF61); }
static int is_closer(uint32_t c) { return c == '"' || c == '\'' || c == ')' || c == ']' || c == 0xBB || c == 0x2019 || c == 0x201D || c == 0x300D || c == 0x300F || c == 0xFF09; }

/* --- words --- */

/* Is the folded word one that says nothing? By first letter, so that most words are compared with two or three others. */
static int is_stop_word(const uint8_t *word, size_t length) {
    static const char *const rests[26] = {
        ['a' - 'a'] = " . bout bove fter gain gainst ll lso m n nd ny re s t ",
        ['b' - 'a'] = " e ecause een efore eing elow etween oth ut y ",
        ['c' - 'a'] = " an ould ",
        ['d' - 'a'] = " id o oes oing own uring ",
        ['e' - 'a'] = " ach ",
        ['f' - 'a'] = " ew or rom urther ",
        ['h' - 'a'] = " ad as ave aving e er ere ers im is ow ",
        ['i' - 'a'] = " . f n nto s t ts tself ",
        ['j' - 'a'] = " ust ",
        ['l' - 'a'] = " ike ",
        ['m' - 'a'] = " ay e ight ore ost uch ust y ",
        ['n' - 'a'] = " o or ot ow ",
        ['o' - 'a'] = " f ff n nce nly r ther ur ut ver wn ",
        ['s' - 'a'] = " aid ame he hould o ome uch . ",
        ['t' - 'a'] = " han hat he heir hem hen here hese hey his hose hrough o oo . ",
        ['u' - 'a'] = " nder ntil p pon ",
        ['v' - 'a'] = " ery ",
        ['w' - 'a'] = " as e ere hat hen here hich hile ho hom hy ill ith ithin ithout ould ",
        ['y' - 'a'] = " ou our ",
    };
    if (length == 0 || length > 10 || !in(word[0], 'a', 'z') || !rests[word[0] - 'a']) return 0;
    const uint8_t *rest = length == 1 ? (const uint8_t *)"." : word + 1;
    size_t rest_length = length == 1 ? 1 : length - 1;
    for (const char *at = rests[word[0] - 'a'] + 1; *at;) {
        size_t same = 0;
        while (same < rest_length && (uint8_t)at[same] == rest[same]) same++;
        if (same == rest_length && at[same] == ' ') return 1;
        for (at += same; *at != ' '; at++) {}
        at++;
    }
    return 0;
}

static slot *find(document *doc, uint64_t hash) {
    size_t at = (size_t)(hash ^ hash >> 29) & (doc->table_size - 1);
    while (doc->table[at].hash && doc->table[at].hash != hash) at = (at + 1) & (doc->table_size - 1);
    doc->table[at].hash = hash;
    return &doc->table[at];
}

/* --- sentences --- */

static int add_sentence(document *doc, const uint8_t *start, const uint8_t *end) {
    uint32_t c;
    int step;
    while (start < end && (step = utf8_decode(start, end, &c)) > 0 && is_space(c)) start += step;
    while (end > start) {
        const uint8_t *last = end - 1;
        while (last > start && (*last & 0xC0) == 0x80) last--;
        if (!utf8_decode(last, end, &c) || !is_space(c)) break;
        end = last;
    }
    if (start == end) return 1;
    if (doc->sentence_count == doc->sentence_room) {
        size_t room = doc->sentence_room ? doc->sentence_room * 2 : 64;
        sentence *grown = realloc(doc->sentences, room * sizeof *grown);
        if (!grown) return 0;
        doc->sentences = grown;
        doc->sentence_room = room;
    }
    doc->sentences[doc->sentence_count++] = (sentence){start, end, 0, 0, 0};
    return 1;
}

/* "Dr." and "e.g." and initials do not end a sentence; nor does a stop before a lower-case letter. */
static int is_abbreviation(const uint8_t *start, const uint8_t *stop) {
    static const char known[] = " mr mrs ms dr prof sr jr st vs etc eg ie al fig no vol pp inc ltd co corp approx dept est jan feb mar apr jun jul aug sep sept oct nov dec ";
    const uint8_t *at = stop;
    while (at > start && (at[-1] >= 0x80 || is_word(at[-1]))) at--;
    size_t length = (size_t)(stop - at);
    uint32_t c;
    if (length == 0) return 0;
    if (utf8_decode(at, stop, &c) == (int)length && is_word(c) && !in(c, '0', '9') && !is_ideograph(c))
        return at == start || at[-1] == '.' || fold(c) != c; /* an initial: "J. Smith", "U.S." */
    char needle[16] = " ";
    if (length > sizeof needle - 3) return 0;
    for (size_t i = 0; i < length; i++) needle[i + 1] = (char)(at[i] < 0x80 ? fold(at[i]) : '?');
    needle[length + 1] = ' ';
    return strstr(known, needle) != NULL;
}

static int ends_here(const uint8_t *start, const uint8_t *stop, const uint8_t *after, const uint8_t *end, uint32_t mark) {
    uint32_t c;
    int step = utf8_decode(after, end, &c);
    if (!step) return 1;
    if (is_wide_stop(mark)) return 1;
    if (!is_space(c) && !is_ideograph(c) && !in(c, 0x1F000, 0x1FAFF)) return 0;
    while (step && is_space(c)) {
        if (c == '\n' || c == 0x2029) return 1;
        after += step;
        step = utf8_decode(after, end, &c);
    }
    if (in(c, 'a', 'z') || in(c, 0xDF, 0xFF) || in(c, 0x430, 0x45F) || in(c, 0x3AC, 0x3CE)) return 0;
    return mark != '.' || !is_abbreviation(start, stop);
}

static int split(document *doc) {
    const uint8_t *start = doc->text, *at = doc->text;
    uint32_t c;
    int step, newlines = 0, blanks = 0;
    while ((step = utf8_decode(at, doc->end, &c)) > 0) {
        const uint8_t *stop = at;
        at += step;
        doc->chars++;
        newlines = c == '\n' ? newlines + 1 : is_space(c) ? newlines : 0;
        blanks += is_space(c);
        if (newlines >= 2 || c == 0x2029 || (blanks >= MAX_SENTENCE_WORDS && is_space(c))) {
            if (!add_sentence(doc, start, at)) return 0;
            start = at;
            blanks = 0;
            continue;
        }
        if (!is_full_stop(c) && !is_wide_stop(c)) continue;
        uint32_t mark = c;
        while ((step = utf8_decode(at, doc->end, &c)) > 0 && (is_full_stop(c) || is_wide_stop(c) || is_closer(c))) {
            if (!is_closer(c)) mark = c;
            at += step;
            doc->chars++;
        }
        if (!ends_here(start, stop, at, doc->end, mark)) continue;
        if (!add_sentence(doc, start, at)) return 0;
        start = at;
        blanks = 0;
    }
    return add_sentence(doc, start, doc->end);
}

static int count_words(document *doc) {
    doc->table_size = 256;
    while (doc->table_size < (size_t)(doc->end - doc->text)) doc->table_size *= 2;
    doc->table = calloc(doc->table_size, sizeof *doc->table);
    doc->seen = malloc((size_t)(doc->end - doc->text + 1) * sizeof *doc->seen); /* a word has at least one byte */
    if (!doc->table || !doc->seen) return 0;
    for (size_t i = 0; i < doc->sentence_count; i++) {
        word_reader reader = {.at = doc->sentences[i].start, .end = doc->sentences[i].end};
        while (next_word(&reader)) {
            slot *word = find(doc, hash_word(reader.word, reader.length));
            if (!word->count++) word->is_stop = (uint32_t)is_stop_word(reader.word, reader.length);
            doc->seen[doc->words + doc->sentences[i].words++] = word;
        }
        doc->words += doc->sentences[i].words;
    }
    return 1;
}

/* Frequent content words score; long sentences are damped by their root; the opening leads and the end sums up. */
static void score(document *doc) {
    slot *const *word = doc->seen;
    for (size_t i = 0; i < doc->sentence_count; i++) {
        sentence *one = &doc->sentences[i];
        double sum = 0;
        uint32_t content = 0;
        for (slot *const *end = word + one->words; word < end; word++) {
            if ((*word)->is_stop) continue;
            content++;
            sum += (*word)->count;
        }
        double place = i == 0 ? 1.25 : i == 1 ? 1.1 : i + 1 == doc->sentence_count ? 1.05 : 1.0;
        double shortness = content < 3 ? 0.5 : 1.0;
        one->score = content ? sum / __builtin_sqrt(content) / (content > 40 ? content / 40.0 : 1.0) * place * shortness : 0;
    }
}

/* A sentence that a picked one already says in the same bytes. */
static int is_repeated(const document *doc, const sentence *one) {
    size_t length = (size_t)(one->end - one->start);
    for (const sentence *other = doc->sentences; other < doc->sentences + doc->sentence_count; other++)
        if (other->picked && (size_t)(other->end - other->start) == length && !memcmp(other->start, one->start, length)) return 1;
    return 0;
}

static void pick(document *doc, size_t wanted) {
    while (wanted--) {
        sentence *best = NULL;
        for (size_t i = 0; i < doc->sentence_count; i++) {
            sentence *one = &doc->sentences[i];
            if (!one->picked && (!best || one->score > best->score) && !is_repeated(doc, one)) best = one;
        }
        if (!best) return;
        best->picked = 1;
    }
}

/* --- the answer --- */

static void write_answer(const document *doc, json_writer *out) {
    int first = 1;
    json_raw(out, "{\"sentences\":[");
    for (size_t i = 0; i < doc->sentence_count; i++) {
        const sentence *one = &doc->sentences[i];
        if (!one->picked) continue;
        if (!first) { json_raw(out, ","); }
        json_quote(out, one->start, (size_t)(one->end - one->start));
        first = 0;
    }
    json_raw(out, "],\"summary\":");
    uint8_t *text = malloc((size_t)(doc->end - doc->text) + doc->sentence_count + 1);
    size_t length = 0;
    if (!text) { out->failed = 1; return; }
    for (size_t i = 0; i < doc->sentence_count; i++) {
        const sentence *one = &doc->sentences[i];
        if (!one->picked) continue;
        /* Scripts that write no spaces get none: the byte before is the end of an ideographic full stop. */
        size_t before = length;
        if (length && !(length >= 3 && (text[length - 3] == 0xE3 || text[length - 3] == 0xEF))) text[length++] = ' ';
        memcpy(text + length, one->start, (size_t)(one->end - one->start));
        length += (size_t)(one->end - one->start);
        if (doc->end - doc->text >= LONG_TEXT_BYTES) summary_grows(text + before, length - before);
    }
    json_quote(out, text, length);
    json_raw(out, ",\"stats\":{\"sentences\":");
    json_number(out, doc->sentence_count);
    json_raw(out, ",\"words\":");
    json_number(out, doc->words);
    json_raw(out, ",\"chars\":");
    json_number(out, doc->chars);
    json_raw(out, "}}");
}

static int read_params(json_reader *in_, uint8_t *text, size_t *text_length, long *wanted) {
    uint8_t *key = text; /* keys are decoded before the text is, or after it behind its end */
    int seen_text = 0;
    if (!json_take(in_, '{')) return json_fail(in_, "params must be an object");
    if (!json_take(in_, '}')) {
        do {
            key = text + (seen_text ? *text_length : 0);
            ptrdiff_t length = json_string(in_, key);
            if (length < 0) return 0;
            int is_text = length == 4 && !memcmp(key, "text", 4);
            int is_count = length == 13 && !memcmp(key, "max_sentences", 13);
            if (!json_take(in_, ':')) return json_fail(in_, "expected ':'");
            if (is_text && seen_text) return json_fail(in_, "'text' is given twice");
            if (is_text) {
                if ((length = json_string(in_, text)) < 0) return json_fail(in_, "'text' must be a string");
                *text_length = (size_t)length;
                seen_text = 1;
            } else if (is_count ? !json_integer(in_, wanted) : !json_skip(in_, 0)) {
                return 0;
            }
        } while (json_take(in_, ','));
        if (!json_take(in_, '}')) return json_fail(in_, "expected ',' or '}'");
    }
    if (!json_end(in_)) return json_fail(in_, "something follows the params");
    if (!seen_text) return json_fail(in_, "'text' is missing");
    if (*wanted < 1 || *wanted > MAX_PICKED) return json_fail(in_, "'max_sentences' must be 1 to 20");
    return 1;
}

int summarize(const uint8_t *input, size_t length, json_writer *out) {
    json_reader reader;
    document doc = {0};
    size_t text_length = 0;
    long wanted = DEFAULT_SENTENCES;
    uint8_t *text = malloc(length + 1);
    if (!text) { json_raw(out, "out of memory"); return 0; }
    json_open(&reader, input, length);
    if (!read_params(&reader, text, &text_length, &wanted)) {
        json_raw(out, "invalid params: ");
        json_raw(out, reader.error ? reader.error : "malformed JSON");
        return 0;
    }
    doc.text = text;
    doc.end = text + text_length;
    if (!split(&doc) || !count_words(&doc)) { json_raw(out, "out of memory"); return 0; }
    score(&doc);
    pick(&doc, (size_t)wanted);
    write_answer(&doc, out);
    if (out->failed) { out->failed = 0; out->length = 0; json_raw(out, "out of memory"); return 0; }
    return 1;
}
