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
    account_unref(m->payer);
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

void msg_charge(struct msg *m, struct account *payer)
{
    struct account *before = m->payer;

    m->payer = payer ? account_ref(payer) : NULL;
    arena_charge(&m->arena, payer ? &payer->meter : NULL);
    account_unref(before);
}

struct msg *msg_new(struct messages *from, struct account *payer)
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
    msg_charge(m, payer);
    return m;
}

/* Not from the spares: as many of these may wait as fit a mark, and each would hold a chunk that
 * is made for a request. */
struct msg *msg_of_text(struct messages *from, struct account *payer, const char *text, size_t len)
{
    struct msg *m = make(from, len + 1);

    if (!m)
        return NULL;
    msg_charge(m, payer);
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

    if (from->spare_count >= SPARE_MAX || m->arena.keep != MSG_ARENA) {
        destroy(m);
        return;
    }
    arena_reset(&m->arena);
    msg_charge(m, NULL);
    list_push_front(&from->spare, &m->link);
    from->spare_count++;
}

/* What the arena could not have, as text for a person. */
static int refused(const struct msg *m, struct json_error *err)
{
    json_say(err, m->arena.refused ? "the message budget is used up" : "out of memory");
    return m->arena.refused ? ALK_ELIMIT : ALK_ENOMEM;
}

/* The parser makes room for as many values as so much text could have; most of it goes back. Values
 * find each other by their distance, so they may be moved. */
static yyjson_val *fit(struct msg *m, yyjson_doc *doc, size_t len)
{
    char *root = (char *)yyjson_doc_get_root(doc);
    size_t before = (size_t)(root - (char *)doc);

    if (len < METER_MIN)
        return (yyjson_val *)(void *)root;
    return (
        void *)((char *)arena_fit(&m->arena, doc,
                                  before + yyjson_doc_get_val_count(doc) * sizeof *m->value.val) +
                before);
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
        return json_err(rc) == ALK_ENOMEM ? refused(m, err) : json_err(rc);
    m->value.val = fit(m, doc, len);
    return ALK_OK;
}

int msg_parse(struct msg *m, const char *data, size_t len, struct json_error *err)
{
    char *copy = arena_alloc(&m->arena, len + JSON_PADDING);

    if (!copy)
        return refused(m, err);
    memcpy(copy, data, len);
    return msg_parse_in_place(m, copy, len, err);
}

/* ---- values ---------------------------------------------------------------------------------- */

/* A value looks constant from outside; making its other form changes nothing that can be seen. */
const char *alk_value_text(const alk_value *value, size_t *len)
{
    alk_value *v = (alk_value *)value;
    yyjson_alc alc = arena_alc(v->arena);

    if (!v->text) {
        v->text = yyjson_val_write_opts(v->val, 0, &alc, &v->len, NULL);
        /* The writer makes room for the escapes that a text could need. */
        if (v->text && v->len >= METER_MIN)
            v->text = arena_fit(v->arena, (char *)v->text, v->len + 1);
    }
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
