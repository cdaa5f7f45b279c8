/* What the user hands in: files, standard input, and the operands that make up an input. */
#ifndef ALK_CLI_ALKNET_INPUT_H
#define ALK_CLI_ALKNET_INPUT_H

#include "buffer.h"

#include <alknet/yyjson.h>
#include <stdbool.h>

#define INPUT_MAX (64u << 20) /* bytes of a file or of standard input */
/* Of one JSON text, sent or received. */
#define VALUES_MAX 10000000u
#define DEPTH_MAX 1024u
#define WHY_SIZE 96u

/* Reads a file, or standard input for "-", which must not be a terminal. secret: refused when
 * others than the owner can read it. OUTCOME_USAGE after a message. */
int input_file(struct buffer *out, const char *path, size_t max, bool secret);
/* The JSON text of an input from its operands. OUTCOME_USAGE after a message. */
int input_operands(struct buffer *out, char **operands, int count);

/* As alk_json_read, within DEPTH_MAX and VALUES_MAX; why holds WHY_SIZE bytes. */
yyjson_doc *json_read(const char *text, size_t len, char *why);
/* Whether text can be the inside of a JSON string. */
bool is_utf8(const char *text, size_t len);

#endif
