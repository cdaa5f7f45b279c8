/* What the user hands in: files, standard input, and the operands that make up an input. */
#ifndef ALK_CLI_ALKNET_INPUT_H
#define ALK_CLI_ALKNET_INPUT_H

#include "base/buf.h"

#include <stdbool.h>
#include <yyjson.h>

#define INPUT_MAX (64u << 20) /* bytes of a file or of standard input */
#define VALUES_MAX 10000000u  /* of one JSON text, sent or received */

/* Reads a file, or standard input for "-", which must not be a terminal. secret: refused when others than the
 * owner can read it. OUTCOME_USAGE after a message. */
int input_file(struct buf *out, const char *path, size_t max, bool secret);
/* The JSON text of an input from its operands. OUTCOME_USAGE after a message. */
int input_operands(struct buf *out, char **operands, int count);

/* Parses text[0, len), which stays as it is, with the rules of base/json.h. copy keeps the text of the document:
 * free the document first. Returns NULL with the reason in *why, which holds 96 bytes. */
yyjson_doc *json_read_copy(struct buf *copy, const char *text, size_t len, char *why);
/* Parses the bytes of text themselves. */
yyjson_doc *json_read_buf(struct buf *text, char *why);

#endif
