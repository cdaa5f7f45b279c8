/* What rules are made of: the nodes of subschemas, and what is kept of a keyword's value.
 *
 * Everything that is kept is a copy in the schema's arena: the documents, their values and their
 * texts do not outlive compiling. */
#include "schema/rules.h"

#include <string.h>

const struct node schema_node_true = {.types = TYPE_ANY, .plain = true};
const struct node schema_node_false = {.types = 0, .plain = true};

/* ---- children ---- */

/* Where a record that does nothing but refer finally leads: none is in a circle (loops.c). Where
 * dynamic references look at the resources entered, each has to be entered. */
static uint32_t destination(struct build *b, uint32_t from)
{
    uint32_t at = from;

    for (;;) {
        const struct record *r = record_at(b, at);

        if (!r->ref || r->asserts || r->target == NO_RECORD ||
            (b->schema->dynamic && record_at(b, r->target)->resource != r->resource))
            break;
        if (build_spend(b, 1))
            return from;
        at = r->target;
        if (r->settled)
            break;
    }
    /* All of the way: else each record of a chain would walk the rest of it. */
    while (from != at) {
        struct record *r = record_at(b, from);

        from = r->target;
        r->target = at;
        r->settled = true;
    }
    return at;
}

/* So a chain of references costs a check one step, and a schema of nothing but a reference none at
 * all. */
const struct node *rules_node(struct build *b, uint32_t record)
{
    const struct record *r = record_at(b, destination(b, record));

    if (r->node)
        return r->node;
    return yyjson_is_true(r->val) ? &schema_node_true : &schema_node_false;
}

/* Indexing has made a record for each place where a keyword has a schema, so this always finds
 * one. */
const struct node *rules_child(const struct keywords *k, yyjson_val *val)
{
    return rules_node(k->b, record_of(record_at(k->b, k->record)->document, val));
}

const struct node *rules_child_at(const struct keywords *k, enum keyword_id id)
{
    return k->val[id] ? rules_child(k, k->val[id]) : NULL;
}

struct nodes rules_child_list(const struct keywords *k, yyjson_val *arr)
{
    const struct node **at;
    size_t i, n;
    yyjson_val *item;

    at = build_keep(k->b, yyjson_arr_size(arr) * sizeof *at);
    if (!at)
        return (struct nodes){NULL, 0};
    yyjson_arr_foreach(arr, i, n, item)
    {
        at[i] = rules_child(k, item);
    }
    return (struct nodes){at, (uint32_t)n};
}

bool rules_has_any(const struct keywords *k, const enum keyword_id *ids, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (k->val[ids[i]])
            return true;
    }
    return false;
}

/* ---- values ---- */

/* Out of memory it is the empty text, with rc set: a caller that goes on reads no NULL. */
static struct str keep_text(struct build *b, struct str s)
{
    char *copy = arena_dup(&b->schema->arena, s.p, s.n);

    if (!copy)
        build_nomem(b);
    return (struct str){copy ? copy : "", copy ? s.n : 0};
}

/* A value is one run of yyjson's elements: copied as such, then its texts, all in one block.
 * Containers hold distances and no addresses, so only texts have to be set anew. */
yyjson_val *rules_value(struct build *b, yyjson_val *v)
{
    size_t count = (size_t)(unsafe_yyjson_get_next(v) - v), bytes = 0;
    yyjson_val *copy;
    char *texts;

    for (size_t i = 0; i < count; i++) {
        if (yyjson_is_str(v + i) || yyjson_is_raw(v + i))
            bytes += unsafe_yyjson_get_len(v + i) + 1;
    }
    if (build_spend(b, count + bytes / 64) || !(copy = build_keep(b, count * sizeof *copy)) ||
        !(texts = build_keep(b, bytes)))
        return NULL;
    memcpy(copy, v, count * sizeof *copy);
    for (size_t i = 0; i < count; i++) {
        size_t len = unsafe_yyjson_get_len(v + i);

        if (!yyjson_is_str(v + i) && !yyjson_is_raw(v + i))
            continue;
        memcpy(texts, unsafe_yyjson_get_str(v + i), len);
        copy[i].uni.str = texts;
        texts += len + 1;
    }
    return copy;
}

/* The text stays too: a message shows the limit as the schema has it, and a decimal's digits are
 * compared where they stand in it, so the number is read from the copy. */
const struct bound *rules_bound(const struct keywords *k, enum keyword_id id)
{
    struct bound *bound;
    yyjson_val v;

    if (!k->val[id] || !(bound = build_keep(k->b, sizeof *bound)))
        return NULL;
    v = *k->val[id];
    if (yyjson_is_raw(&v)) {
        bound->text = keep_text(k->b, (struct str){yyjson_get_raw(&v), yyjson_get_len(&v)});
        v.uni.str = bound->text.p;
    } else {
        char text[NUMBER_TEXT];

        bound->text = keep_text(k->b, (struct str){text, number_write(&v, text)});
    }
    if (!k->b->rc)
        number_read(&bound->value, &v);
    return bound;
}

/* A larger one is UINT64_MAX, which no value reaches. otherwise: what holds without the keyword. */
uint64_t rules_count(const struct keywords *k, enum keyword_id id, uint64_t otherwise)
{
    struct number n;
    uint64_t count = otherwise;

    if (k->val[id]) {
        number_read(&n, k->val[id]);
        number_to_count(&n, &count);
    }
    return count;
}

const struct pattern *rules_pattern(const struct keywords *k, yyjson_val *str,
                                    const struct place *place)
{
    struct build *b = k->b;
    struct str s = json_string(str);
    struct pattern *p;
    char why[128] = "";

    /* Compiling a pattern is the dearest single thing in a schema: translating it and PCRE2's part.
     * It is done even for a pattern that no value ever meets, since a wrong one is to be found when
     * the schema is registered. */
    if (build_spend(b, 128 + s.n) || !(p = build_keep(b, sizeof *p)))
        return NULL;
    p->text = keep_text(b, s);
    /* In the list before it is compiled, so that schema_free finds whatever there is. */
    p->next = b->schema->patterns;
    b->schema->patterns = p;
    p->regex = b->rc ? NULL : b->options->host->regex_new(s.p, s.n, why);
    if (!p->regex) {
        build_fail(b, k->record, place, "invalid pattern: %s", why);
        return p;
    }
    b->schema->pattern_bytes += b->options->host->regex_size(p->regex);
    build_weigh(b);
    return p;
}
