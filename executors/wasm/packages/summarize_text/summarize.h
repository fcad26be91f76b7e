/* Extractive summary: pick the sentences whose words carry the text. */
#ifndef AION_SUMMARIZE_H
#define AION_SUMMARIZE_H

#include "json.h"

/* Reads {"text": string, "max_sentences"?: 1..20} and writes the result, or an error message; 1 on success. */
int summarize(const uint8_t *input, size_t length, json_writer *out);

#endif
