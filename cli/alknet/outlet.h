/* Standard output for a program that must go on while nobody reads it: what the reader has no room
 * for waits in memory, and who produces it stops at OUTLET_HIGH. The file stays as it is, blocking,
 * because others have it too: before each write it is asked whether there is room, and no more is
 * written than always fits. */
#ifndef ALK_CLI_ALKNET_OUTLET_H
#define ALK_CLI_ALKNET_OUTLET_H

#include "buffer.h"

#include <stdbool.h>

#define OUTLET_HIGH (1u << 20) /* bytes that may wait before the producer is to stop */

struct outlet {
    int fd;
    size_t piece; /* bytes of one write */
    struct buffer waiting;
    int error; /* errno of the first write that failed; nothing is written after it */
};

void outlet_init(struct outlet *o, int fd);
void outlet_fini(struct outlet *o);
void outlet_put(struct outlet *o, const char *bytes, size_t len);
/* Writes what there is room for. */
void outlet_flush(struct outlet *o);
static inline bool outlet_full(const struct outlet *o)
{
    return o->waiting.len > OUTLET_HIGH;
}

#endif
