/* Implements message.h. A spare message keeps the first chunk of its arena, which is large enough
 * for a small request with its call; one that grew, or was made in the size of its text, goes back
 * to the allocator. So a node that has had a burst of large messages does not keep their memory. */
#include "core/message.h"

#include <string.h>

#define MSG_ARENA 3584u /* a small request, parsed, and its call */
/* A burst of small messages must not keep its memory for ever either. */
#define SPARE_MAX 32u

const yyjson_val value_null = {.tag = YYJSON_TYPE_NULL, .uni = {.u64 = 0}};

/* ---- messages -------------------------------------------------------------------------------- */

void messages_init(struct messages *from, struct mem *mem, alk_node *node)
{
    *from = (struct messages){.mem = mem, .node = node};
    list_init(&from->spare);
}

static void destroy(struct msg *m)
{
    arena_fini(&m->arena);
    mem_free(m->from->mem, m);
}

/* Every other message has been given back by now: each belongs to a call or to a value of one, and
 * calls hold the dispatcher. */
void messages_fini(struct messages *from)
{
    list_each_safe(l, &from->spare) destroy(container_of(l, struct msg, link));
}

static struct msg *make(struct messages *from, size_t arena)
{
    struct msg *m = mem_zalloc(from->mem, sizeof *m);

    if (!m)
        return NULL;
    m->from = from;
    arena_init(&m->arena, from->mem, arena);
    list_init(&m->link);
    return m;
}

struct msg *msg_new(struct messages *from)
{
    struct msg *m;

    if (!list_empty(&from->spare)) {
        m = container_of(from->spare.next, struct msg, link);
        list_del(&m->link);
        from->spare_count--;
    } else {
        m = make(from, MSG_ARENA);
        if (!m)
            return NULL;
    }
    m->value = (struct alk_value){.arena = &m->arena};
    m->charged = 0;
    return m;
}

/* Not from the spares: as many of these may wait as fit a mark, and each would hold a chunk that
 * is made for a request. */
struct msg *msg_of_text(struct messages *from, const char *text, size_t len)
{
    struct msg *m = make(from, len + 1);

    if (!m)
        return NULL;
    m->value = (struct alk_value){.arena = &m->arena, .len = len};
    m->value.text = arena_dup(&m->arena, text, len);
    if (!m->value.text) {
        destroy(m);
        return NULL;
    }
    return m;
}

/* To the front, since what was used last is still in the cache. */
void msg_free(struct msg *m)
{
    struct messages *from = m->from;

    node_budget_give(from->node, m->charged);
    if (from->spare_count >= SPARE_MAX || m->arena.keep != MSG_ARENA) {
        destroy(m);
        return;
    }
    arena_reset(&m->arena);
    list_push_front(&from->spare, &m->link);
    from->spare_count++;
}

/* Charges what m holds now in place of what it was charged before. Twice for each message: its
 * length before a copy is made, since that is what a remote could fill memory with; then what
 * parsing has made of it, which can be many times as much. */
static int charge(struct msg *m, size_t bytes, struct json_error *err)
{
    alk_node *node = m->from->node;

    node_budget_give(node, m->charged);
    m->charged = 0;
    if (!node_budget_take(node, bytes)) {
        json_say(err, "the node's message budget is used up");
        return ALK_ELIMIT;
    }
    m->charged = bytes;
    return ALK_OK;
}

/* The document points into the bytes, so both stay in the arena together. */
int msg_parse_in_place(struct msg *m, char *data, size_t len, struct json_error *err)
{
    const alk_node *node = m->from->node;
    const struct json_limits limits = {LIMIT(node, json_depth), LIMIT(node, json_values)};
    yyjson_alc alc = arena_alc(&m->arena);
    yyjson_doc *doc;
    int rc = json_parse(data, len, &limits, &alc, &doc, err);

    if (rc)
        return json_err(rc);
    m->value.val = yyjson_doc_get_root(doc);
    return charge(m, m->arena.bytes, err);
}

int msg_parse(struct msg *m, const char *data, size_t len, struct json_error *err)
{
    int rc = charge(m, len, err);
    char *copy;

    if (rc)
        return rc;
    copy = arena_alloc(&m->arena, len + JSON_PADDING);
    if (!copy) {
        json_say(err, "out of memory");
        return ALK_ENOMEM;
    }
    memcpy(copy, data, len);
    return msg_parse_in_place(m, copy, len, err);
}

/* ---- values ---------------------------------------------------------------------------------- */

/* A value looks constant from outside; making its other form changes nothing that can be seen. */
const char *alk_value_text(const alk_value *value, size_t *len)
{
    alk_value *v = (alk_value *)value;
    yyjson_alc alc = arena_alc(v->arena);

    if (!v->text)
        v->text = yyjson_val_write_opts(v->val, 0, &alc, &v->len, NULL);
    *len = v->text ? v->len : 0;
    return v->text;
}

/* Both forms are made when they are first asked for, in the value's own arena: a value that only
 * passes through is never parsed. No limits, since the text was written here. */
yyjson_val *value_parsed(const alk_value *value)
{
    static const struct json_limits any = {JSON_MAX_DEPTH, UINT32_MAX};
    alk_value *v = (alk_value *)value;
    yyjson_alc alc = arena_alc(v->arena);
    yyjson_doc *doc;
    char *copy;

    if (!v->val && (copy = arena_alloc(v->arena, v->len + JSON_PADDING))) {
        memcpy(copy, v->text, v->len);
        if (!json_parse(copy, v->len, &any, &alc, &doc, NULL))
            v->val = yyjson_doc_get_root(doc);
    }
    return v->val;
}
