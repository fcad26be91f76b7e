/* A text as a vector: its words and the pieces of its words, hashed into a fixed number of dimensions. */
#ifndef AION_EMBED_H
#define AION_EMBED_H

#include "../summarize_text/json.h"

/* Reads {"texts": [string, ...], "dimensions"?: 8..512} and writes the result, or an error message; 1 on success. */
int embed(const uint8_t *input, size_t length, json_writer *out);

#endif
