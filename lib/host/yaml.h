/* YAML to JSON text, by the core schema of YAML 1.2: `no` is a string, 0o17 is fifteen, names of
 * members are always strings, `<<` is a name like others. What JSON cannot say is refused: .inf and
 * .nan, tags of others, several documents. What aliases stand for is written out where they are.
 *
 * The text comes from strangers: what it may cost is bounded by the limits, and the time by them
 * and its length. A member that is there twice comes twice: json_parse refuses it. */
#ifndef ALK_HOST_YAML_H
#define ALK_HOST_YAML_H

#include "base/buf.h"

#include <stdbool.h>

#define YAML_DEPTH_MAX 1024u /* the most that yaml_limits.depth may be */

/* All of them count what aliases stand for as if it had been written there; values count names of
 * members. alias_*: of what aliases stand for alone. */
struct yaml_limits {
    uint32_t depth, values, anchors, alias_values;
    size_t bytes, alias_bytes; /* of JSON text */
};

struct yaml_error {
    uint32_t line; /* 0: it has none */
    char text[160];
};

struct yaml_text {
    struct buf json; /* compact */
    uint32_t *lines; /* on which each value began, in the order of the text, names included */
    uint32_t values;
};

/* with_lines: lines are noted, else NULL. secret: whatever has held a part of the text is wiped
 * when it is freed; libyaml's own copies only where they can be reached. 0, ALK_EJSON (err says what
 * is wrong), ALK_ENOMEM; yaml_fini follows in each case, until when out says how far it came. */
int yaml_read(struct yaml_text *out, struct mem *mem, const char *text, size_t len,
              const struct yaml_limits *limits, bool with_lines, bool secret,
              struct yaml_error *err);
void yaml_fini(struct yaml_text *t);

#endif
