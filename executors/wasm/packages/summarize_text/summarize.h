/* Extractive summary: pick the sentences whose words carry the text. */
#ifndef AION_SUMMARIZE_H
#define AION_SUMMARIZE_H

#include "json.h"

/* Reads {"text": string, "max_sentences"?: 1..20} and writes the result, or an error message; 1 on success. */
int summarize(const uint8_t *input, size_t length, json_writer *out);

/* Called with each next piece of the summary, in order, before the result is whole; the ABI's file defines it. */
void summary_grows(const uint8_t *text, size_t length);

#endif
