/* The reactor ABI: aion_alloc, aion_handle, aion_free. One request per instance, so nothing is ever given back early. */
#include "summarize.h"

#include <stdlib.h>

#define EXPORT(name) __attribute__((export_name(name)))
#define ERROR_BIT (1ULL << 63)

__attribute__((import_module("aion"), import_name("emit"))) extern int32_t aion_emit(const uint8_t *text, uint32_t length);

void summary_grows(const uint8_t *text, size_t length) { aion_emit(text, (uint32_t)length); }

EXPORT("aion_alloc") uint8_t *aion_alloc(uint32_t length) { return malloc(length ? length : 1); }

EXPORT("aion_free") void aion_free(uint8_t *bytes, uint32_t length) {
    (void)length;
    free(bytes);
}

EXPORT("aion_handle") uint64_t aion_handle(const uint8_t *input, uint32_t length) {
    json_writer out = {0};
    int good = summarize(input, length, &out);
    uint64_t packed = (uint64_t)(uintptr_t)out.bytes << 32 | (uint32_t)out.length;
    return good ? packed : packed | ERROR_BIT;
}
