/* Messages: the bytes of one request, answer or value, their parsed form, and whatever lives as
 * long as they do; a request's call is allocated in its message. One arena holds it all, so a
 * message costs no allocation beside that, and a small one is used again. A message has a payer,
 * to whom all that it holds is charged until it is freed. */
#ifndef ALK_CORE_MESSAGE_H
#define ALK_CORE_MESSAGE_H

#include "base/arena.h"
#include "base/json.h"
#include "base/list.h"
#include "core/node.h"

struct alk_value {
    yyjson_val *val;  /* NULL until asked for, when there is text */
    const char *text; /* NULL until asked for, when there is val */
    size_t len;
    struct arena *arena;
};

/* A JSON null that belongs to no document. */
extern const yyjson_val value_null;

/* The parsed form of a value; NULL when out of memory. */
yyjson_val *value_parsed(const alk_value *value);

/* Where a dispatcher's messages come from. */
struct messages {
    struct mem *mem;
    alk_node *node;
    struct list spare; /* to use again */
    unsigned spare_count;
};

struct msg {
    struct messages *from;
    struct list link;
    struct arena arena;
    struct alk_value value;
    struct account *payer; /* a reference; NULL: the node itself */
    size_t bytes;          /* as a value that waits for its caller */
    size_t kept;           /* of it: what is paid for by its call, see call_keep */
};

void messages_init(struct messages *from, struct mem *mem, alk_node *node);
void messages_fini(struct messages *from);
/* NULL: out of memory. */
struct msg *msg_new(struct messages *from, struct account *payer);
/* One that holds just a copy of the text, in memory of its size: for values that wait. NULL also
 * when its payer may not have so much. */
struct msg *msg_of_text(struct messages *from, struct account *payer, const char *text, size_t len);
/* Somebody else pays from here on. */
void msg_charge(struct msg *m, struct account *payer);
void msg_free(struct msg *m);
/* The memory that it holds. */
static inline size_t msg_size(const struct msg *m)
{
    return sizeof *m + m->arena.bytes;
}
/* Parses a copy of the bytes into m->value. ALK_EJSON, ALK_ELIMIT (its payer may not have so much
 * of the message budget), ALK_ENOMEM; err, which may be NULL, says more in each case. */
int msg_parse(struct msg *m, const char *data, size_t len, struct json_error *err);
/* As msg_parse, for bytes that are in m's arena already, with JSON_PADDING behind them. */
int msg_parse_in_place(struct msg *m, char *data, size_t len, struct json_error *err);

#endif
