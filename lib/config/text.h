/* The text of a configuration file, YAML or JSON, as values that know their line.
 *
 * Both forms become JSON text and then one yyjson document. Of YAML that is the YAML 1.2 core
 * schema: `no` is a string, 0o17 is fifteen; what JSON cannot say (.inf, tags of others, several
 * documents) is refused. Duplicate member names are refused in both. yyjson lays the values of a
 * document out one behind the other in the order of the text, names included, so one array of line
 * numbers beside them is the whole map. */
#ifndef ALK_CONFIG_TEXT_H
#define ALK_CONFIG_TEXT_H

#include <stddef.h>
#include <stdint.h>
#include <yyjson.h>

#define CONFIG_FILE_MAX (4u << 20)        /* bytes of a file */
#define CONFIG_DEPTH_MAX 32u              /* nested lists and mappings */
#define CONFIG_VALUES_MAX 500000u         /* values of a file, names counted */
#define CONFIG_ANCHORS_MAX 256u           /* anchors of a YAML file */
#define CONFIG_ALIAS_VALUES_MAX 10000u    /* values that its aliases stand for, in all */
#define CONFIG_ALIAS_BYTES_MAX (1u << 20) /* JSON text that they stand for, in all */

#define CONFIG_YAML 0
#define CONFIG_JSON 1

struct config_error {
    char text[640];
};

struct config_text {
    const char *file; /* for messages; the caller's */
    yyjson_doc *doc;
    uint32_t *lines; /* of each value of doc */
};

/* Returns 0, or -1 with the reason in err. file must live as long as the text. Call
 * config_text_free in both cases. */
int config_text_parse(struct config_text *t, const char *file, const char *data, size_t len,
                      int format, struct config_error *err);
void config_text_free(struct config_text *t);
/* The line on which val, a value of t->doc, began. */
uint32_t config_text_line(const struct config_text *t, const yyjson_val *val);

/* Writes "file:line: place: message" to err and returns -1. Line 0 and an empty place are left out;
 * behind the file's name, what is not printable ASCII becomes '?'. */
int config_fail(struct config_error *err, const char *file, uint32_t line, const char *place,
                const char *format, ...) __attribute__((format(printf, 5, 6)));

#endif
