/* A module that does what it is told, most of it bad. Input: {"do": "...", ...}; built for the stdio and reactor ABIs. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int counter = 0;
static volatile int zero = 0;
static char *volatile hoard;

static int dive(int depth) {
    volatile char frame[256];
    frame[0] = (char)depth;
    return depth < 0 ? 0 : dive(depth + 1) + frame[0];
}

static int told(const char *input, const char *what) { return strstr(input, what) != NULL; }

static char *obey(const char *input, char *out, size_t room) {
    if (told(input, "loop")) for (;;) zero = 0;
    if (told(input, "sleep")) {
        struct timespec long_time = {30, 0};
        nanosleep(&long_time, NULL);
    }
    if (told(input, "trap")) __builtin_trap();
    if (told(input, "dive")) zero = dive(0);
    if (told(input, "hog")) {
        for (;;) {
            char *more = malloc(1 << 20);
            if (!more) __builtin_trap();
            hoard = memset(more, 1, 1 << 20);
        }
    }
    if (told(input, "open")) {
        FILE *file = fopen("/etc/hostname", "r");
        snprintf(out, room, "{\"opened\":%s}", file ? "true" : "false");
        return out;
    }
    if (told(input, "environment")) {
        extern char **environ;
        snprintf(out, room, "{\"variables\":%d}", environ && environ[0] ? 1 : 0);
        return out;
    }
    if (told(input, "residue")) { /* does memory hold what an earlier instance wrote there? then write all over it */
        size_t room_bytes = 4 << 20, dirty = 0;
        volatile unsigned char *page = (unsigned char *)(__builtin_wasm_memory_grow(0, room_bytes >> 16) << 16);
        for (size_t i = 0; i < room_bytes; i++) { dirty += page[i] != 0; page[i] = 0xAA; }
        snprintf(out, room, "{\"dirty\":%u}", (unsigned)dirty);
        return out;
    }
    if (told(input, "array")) return strcpy(out, "[1]");
    if (told(input, "garbage")) return strcpy(out, "{not json");
    if (told(input, "mistype")) return strcpy(out, "{\"count\":\"one\"}");
    snprintf(out, room, "{\"count\":%d}", ++counter);
    return out;
}

#ifdef COMMAND
int main(void) {
    static char input[65536], out[256];
    size_t length = fread(input, 1, sizeof input - 1, stdin);
    input[length] = 0;
    if (told(input, "exit")) return 7;
    if (told(input, "flood")) {
        static char junk[65536];
        memset(junk, 'x', sizeof junk);
        for (;;) if (write(1, junk, sizeof junk) < 0) return 1;
    }
    fputs(obey(input, out, sizeof out), stdout);
    return 0;
}
#else
#define EXPORT(name) __attribute__((export_name(name)))
EXPORT("aion_alloc") char *aion_alloc(uint32_t length) { return calloc(length + 1, 1); }
EXPORT("aion_free") void aion_free(char *bytes, uint32_t length) { (void)length; free(bytes); }
__attribute__((import_module("aion"), import_name("emit"))) extern int32_t aion_emit(const char *text, uint32_t length);

static void spin_ms(long wanted) {
    struct timespec from, now;
    clock_gettime(CLOCK_MONOTONIC, &from);
    do clock_gettime(CLOCK_MONOTONIC, &now);
    while ((now.tv_sec - from.tv_sec) * 1000 + (now.tv_nsec - from.tv_nsec) / 1000000 < wanted);
}

static char *speak(const char *input, char *out, size_t room) {
    int taken = 0;
    if (told(input, "outside of it")) taken = aion_emit((const char *)0x7fff0000, 64);
    for (int i = 0; told(input, "in words") && i < 8; i++) { spin_ms(20); taken += aion_emit("grüß ", 7); }
    if (told(input, "in pieces")) for (int i = 0; i < 20000; i++) taken += aion_emit("x", 1);
    if (told(input, "and stay")) spin_ms(60000);
    snprintf(out, room, "{\"count\":%d}", taken);
    return out;
}

EXPORT("aion_handle") uint64_t aion_handle(const char *input, uint32_t length) {
    static char out[256];
    (void)length;
    if (told(input, "speak")) return (uint64_t)(uintptr_t)speak(input, out, sizeof out) << 32 | strlen(out);
    if (told(input, "outside")) return (uint64_t)0x7fff0000 << 32 | 64;
    if (told(input, "flood")) return (uint64_t)(uintptr_t)out << 32 | 50000;
    if (told(input, "complain")) return 1ULL << 63 | (uint64_t)(uintptr_t)strcpy(out, "no can do") << 32 | 9;
    obey(input, out, sizeof out);
    return (uint64_t)(uintptr_t)out << 32 | strlen(out);
}
#endif
