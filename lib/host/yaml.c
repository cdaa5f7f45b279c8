/* From libyaml's events, without a tree.
 *
 * Values are written as they come. An anchor is a range of what has been written, and an alias
 * writes that range again, so that what aliases cost is counted before it is paid. Anchors are
 * found by a map: a text may have as many aliases as anchors. Plain scalars are resolved by YAML
 * 1.2, 10.3.2. */
#include "host/yaml.h"

#include "base/arena.h"
#include "base/map.h"
#include "base/str.h"
#include "base/utf8.h"
#include "host/crypto.h"
#include "host/yaml_scalar.h"

#include <alknet/alknet.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

/* libyaml looks at all of them for each one, and for each tag. */
#define DIRECTIVES_MAX 64u
/* For what a reader of the JSON text wants behind it, as json_parse does. */
#define SPARE 16u

struct anchor {
    struct map_node by_name;
    size_t begin, end; /* in the JSON text; end is 0 until the value is complete */
    uint32_t first, last;
    uint32_t levels; /* of lists and mappings */
};

struct frame {
    struct anchor *anchor; /* NULL: it has none */
    uint32_t count;        /* of values written in it, names counted */
    uint32_t levels;       /* of lists and mappings in it */
    bool map;
};

struct reader {
    struct yaml_text *out;
    const struct yaml_limits *limits;
    struct yaml_error *err;
    struct arena arena; /* of anchors */
    struct map anchors; /* for each name, the one that came last */
    uint64_t seed[2];
    uint32_t anchor_count, alias_values;
    size_t alias_bytes;
    uint32_t line; /* of the event */
    uint32_t depth, lines_size;
    bool with_lines;
    const char *text; /* the whole */
    size_t len;
    yaml_parser_t parser;
    struct frame frames[YAML_DEPTH_MAX]; /* only the first `depth` are set */
};

__attribute__((format(printf, 2, 3))) static int fail(struct reader *r, const char *format, ...)
{
    va_list args;

    r->err->line = r->line;
    va_start(args, format);
    vsnprintf(r->err->text, sizeof r->err->text, format, args);
    va_end(args);
    return ALK_EJSON;
}

static int out_of_memory(struct reader *r)
{
    *r->err = (struct yaml_error){0, "out of memory"};
    return ALK_ENOMEM;
}

/* ---- writing --------------------------------------------------------------------------------- */

static int check_bytes(struct reader *r, size_t more)
{
    if (more > r->limits->bytes || r->out->json.len > r->limits->bytes - more)
        return fail(r, "more than %zu bytes as JSON", r->limits->bytes);
    return 0;
}

static int put(struct reader *r, const char *text, size_t len)
{
    int rc = check_bytes(r, len);

    if (!rc && buf_append(&r->out->json, text, len))
        rc = out_of_memory(r);
    return rc;
}

/* What stands between the last value and the next one. */
static int put_separator(struct reader *r)
{
    struct frame *f;

    if (r->depth == 0)
        return 0;
    f = &r->frames[r->depth - 1];
    if (f->count++ == 0)
        return 0;
    return put(r, f->map && f->count % 2 == 0 ? ":" : ",", 1);
}

/* Counts n values more, for whose lines there is room then. */
static int add_values(struct reader *r, uint32_t n)
{
    struct yaml_text *t = r->out;

    if (n > r->limits->values - t->values)
        return fail(r, "more than %u values", r->limits->values);
    t->values += n;
    if (r->with_lines && t->values > r->lines_size) {
        size_t size = 2 * (size_t)t->values + 62;
        uint32_t *lines = mem_realloc(t->json.mem, t->lines, size * sizeof *lines);

        if (!lines)
            return out_of_memory(r);
        t->lines = lines;
        r->lines_size = size < UINT32_MAX ? (uint32_t)size : UINT32_MAX;
    }
    return 0;
}

static int begin_value(struct reader *r)
{
    int rc = put_separator(r);

    if (!rc)
        rc = add_values(r, 1);
    if (!rc && r->with_lines)
        r->out->lines[r->out->values - 1] = r->line;
    return rc;
}

static bool is_name(const struct reader *r)
{
    return r->depth > 0 && r->frames[r->depth - 1].map && r->frames[r->depth - 1].count % 2 == 0;
}

/* ---- scalars --------------------------------------------------------------------------------- */

static int refuse_tag(struct reader *r, const char *tag)
{
    return fail(r, "tag \"%.*s\" is not of YAML's core schema, or does not fit its value",
                (int)utf8_cut(tag, strlen(tag), 64), tag);
}

/* Escaped, a string may be longer than it was: six times at most. */
static int put_scalar(struct reader *r, int kind, struct str s)
{
    int rc = check_bytes(r, s.n);

    if (rc)
        return rc;
    switch (yaml_scalar_write(&r->out->json, kind, s)) {
    case YAML_SCALAR_NOMEM:
        return out_of_memory(r);
    case YAML_SCALAR_INFINITE:
        return fail(r, "a number must be finite");
    case YAML_SCALAR_TOO_LARGE:
        return fail(r, "the number does not fit 64 bits");
    default:
        return check_bytes(r, 0);
    }
}

/* ---- anchors and aliases --------------------------------------------------------------------- */

/* Where a value with that name begins; the name then no longer means what it did before. */
static int open_anchor(struct reader *r, const char *name, struct anchor **out)
{
    size_t len = name ? strlen(name) : 0;
    struct map_node *before;
    struct anchor *a;

    *out = NULL;
    if (!name)
        return 0;
    if (r->anchor_count == r->limits->anchors)
        return fail(r, "more than %u anchors", r->limits->anchors);
    /* Any seed will do where there is no source: what is then slow is bounded too. */
    if (r->anchor_count++ == 0)
        (void)crypto_random(r->seed, sizeof r->seed);
    a = arena_zalloc(&r->arena, sizeof *a);
    if (!a || !(a->by_name.key = arena_dup(&r->arena, name, len)))
        return out_of_memory(r);
    a->by_name.len = len;
    if ((before = map_find(&r->anchors, name, len)))
        map_del(&r->anchors, before);
    if (map_add(&r->anchors, &a->by_name))
        return out_of_memory(r);
    *out = a;
    return 0;
}

/* value_len: of what has been written of the value. */
static void begin_anchor(struct reader *r, struct anchor *a, size_t value_len)
{
    if (a) {
        a->begin = r->out->json.len - value_len;
        a->first = r->out->values - 1;
    }
}

static void close_anchor(struct reader *r, struct anchor *a, uint32_t levels)
{
    if (a) {
        a->end = r->out->json.len;
        a->last = r->out->values;
        a->levels = levels;
    }
}

/* Before a value of so many levels is written; what an alias stands for may have some, too. */
static int check_depth(struct reader *r, uint32_t levels)
{
    uint32_t most = r->limits->depth < YAML_DEPTH_MAX ? r->limits->depth : YAML_DEPTH_MAX;

    return levels > most - r->depth ? fail(r, "nested deeper than %u", most) : 0;
}

static void note_levels(struct reader *r, uint32_t levels)
{
    if (r->depth && levels > r->frames[r->depth - 1].levels)
        r->frames[r->depth - 1].levels = levels;
}

static int write_again(struct reader *r, const struct anchor *a)
{
    struct yaml_text *t = r->out;
    size_t len = a->end - a->begin;
    uint32_t count = a->last - a->first;
    int rc = put_separator(r);
    char *to;

    if (!rc)
        rc = add_values(r, count);
    if (!rc)
        rc = check_bytes(r, len);
    if (rc)
        return rc;
    if (!(to = buf_reserve(&t->json, len)))
        return out_of_memory(r);
    memcpy(to, buf_at(&t->json) + a->begin, len);
    buf_commit(&t->json, len);
    if (r->with_lines)
        memcpy(t->lines + t->values - count, t->lines + a->first, count * sizeof *t->lines);
    return 0;
}

static int on_alias(struct reader *r, const char *name)
{
    const struct anchor *a = (const struct anchor *)map_find(&r->anchors, name, strlen(name));

    if (!a)
        return fail(r, "there is no anchor \"%.64s\" above", name);
    if (a->end == 0)
        return fail(r, "alias \"%.64s\" lies inside its anchor", name);
    if (is_name(r))
        return fail(r, "an alias cannot be the name of a member");
    if (a->last - a->first > r->limits->alias_values - r->alias_values)
        return fail(r, "aliases stand for more than %u values", r->limits->alias_values);
    if (a->end - a->begin > r->limits->alias_bytes - r->alias_bytes)
        return fail(r, "aliases stand for more than %zu bytes", r->limits->alias_bytes);
    if (check_depth(r, a->levels))
        return ALK_EJSON;
    r->alias_values += a->last - a->first;
    r->alias_bytes += a->end - a->begin;
    note_levels(r, a->levels);
    return write_again(r, a);
}

/* ---- events ---------------------------------------------------------------------------------- */

static int on_scalar(struct reader *r, const yaml_event_t *e)
{
    const struct str s = {(const char *)e->data.scalar.value, e->data.scalar.length};
    const char *tag = (const char *)e->data.scalar.tag;
    bool name = is_name(r);
    int kind = YAML_STRING, rc;
    struct anchor *a;
    size_t begin;

    if (tag && (kind = yaml_tagged_kind(tag, s)) < 0)
        return refuse_tag(r, tag);
    if (name && e->data.scalar.anchor)
        return fail(r, "the name of a member cannot have an anchor");
    if (!name && !tag && e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE)
        kind = (int)yaml_plain_kind(s);
    rc = open_anchor(r, (const char *)e->data.scalar.anchor, &a);
    if (!rc)
        rc = begin_value(r);
    begin = r->out->json.len;
    if (!rc)
        rc = put_scalar(r, name ? YAML_STRING : kind, s);
    if (rc)
        return rc;
    begin_anchor(r, a, r->out->json.len - begin);
    close_anchor(r, a, 0);
    return 0;
}

static int on_open(struct reader *r, bool map, const char *tag, const char *anchor)
{
    struct frame f = {.map = map};
    int rc;

    if (tag && strcmp(tag, map ? YAML_CORE "map" : YAML_CORE "seq") != 0 && strcmp(tag, "!") != 0)
        return refuse_tag(r, tag);
    if (is_name(r))
        return fail(r, "the name of a member must be a string");
    rc = check_depth(r, 1);
    if (!rc)
        rc = open_anchor(r, anchor, &f.anchor);
    if (!rc)
        rc = begin_value(r);
    if (!rc)
        rc = put(r, map ? "{" : "[", 1);
    if (rc)
        return rc;
    begin_anchor(r, f.anchor, 1);
    r->frames[r->depth++] = f;
    return 0;
}

static int on_close(struct reader *r, bool map)
{
    const struct frame *f = &r->frames[--r->depth];
    int rc = put(r, map ? "}" : "]", 1);

    close_anchor(r, f->anchor, f->levels + 1);
    note_levels(r, f->levels + 1);
    return rc;
}

static int on_document(struct reader *r, const yaml_version_directive_t *v)
{
    if (r->out->values)
        return fail(r, "more than one document");
    if (v && v->minor < 2)
        return fail(r, "the document must be YAML 1.2");
    return 0;
}

static int on_event(struct reader *r, const yaml_event_t *e)
{
    switch (e->type) {
    case YAML_DOCUMENT_START_EVENT:
        return on_document(r, e->data.document_start.version_directive);
    case YAML_SCALAR_EVENT:
        return on_scalar(r, e);
    case YAML_ALIAS_EVENT:
        return on_alias(r, (const char *)e->data.alias.anchor);
    case YAML_SEQUENCE_START_EVENT:
        return on_open(r, false, (const char *)e->data.sequence_start.tag,
                       (const char *)e->data.sequence_start.anchor);
    case YAML_MAPPING_START_EVENT:
        return on_open(r, true, (const char *)e->data.mapping_start.tag,
                       (const char *)e->data.mapping_start.anchor);
    case YAML_SEQUENCE_END_EVENT:
        return on_close(r, false);
    case YAML_MAPPING_END_EVENT:
        return on_close(r, true);
    default:
        return 0;
    }
}

/* ---- the text -------------------------------------------------------------------------------- */

/* A byte that cannot be in YAML. */
static int bad_byte(struct reader *r, const char *problem, size_t at)
{
    size_t begin = 0;

    r->line = 1;
    for (size_t i = 0; i < at && i < r->len; i++) {
        if (r->text[i] == '\n') {
            r->line++;
            begin = i + 1;
        }
    }
    return fail(r, "%s (0x%02x at byte %zu of the line)", problem,
                at < r->len ? (unsigned char)r->text[at] : 0, at - begin + 1);
}

/* What stands at a mark; its column is in characters, and what is asked for is nearly always near
 * the beginning of a line. Empty: nothing. */
static struct str at_mark(const struct reader *r, const yaml_mark_t *mark, bool line_begin)
{
    const char *s = r->text, *end = s + r->len;

    for (size_t line = 0; line < mark->line && s; line++) {
        const char *lf = memchr(s, '\n', (size_t)(end - s));

        s = lf ? lf + 1 : NULL;
    }
    for (size_t n = line_begin ? 0 : mark->column; n && s && s < end; n--)
        s++;
    return s ? (struct str){s, (size_t)(end - s)} : STR_NONE;
}

static bool is_indented_by_a_tab(const struct reader *r, const yaml_mark_t *mark)
{
    struct str s = at_mark(r, mark, true);
    size_t i = 0;

    while (i < s.n && s.p[i] == ' ')
        i++;
    return i < s.n && s.p[i] == '\t';
}

/* What libyaml says, and what to do about it. from_context: where the fault begins, and not where it
 * was found. */
static const struct advice {
    const char *problem, *advice;
    bool from_context;
} advices[] = {
    {"mapping values are not allowed in this context",
     "a colon where none can be: the line above lacks its colon, this one is indented too far, or "
     "a "
     "value with a colon in it lacks its quotes",
     false},
    {"could not find expected ':'", "a name needs a colon and a blank behind it", true},
    {"did not find expected key", "this line is indented otherwise than those that it belongs to",
     false},
    {"did not find expected '-' indicator",
     "this line is indented otherwise than the entries of the list, or lacks its \"- \"", false},
    {"found unexpected end of stream", "a quote that is not closed", true},
    {"did not find expected ',' or ']'", "a list whose \"]\", or a comma, is missing", true},
    {"did not find expected ',' or '}'", "a mapping whose \"}\", or a comma, is missing", true},
};

static int syntax_error(struct reader *r)
{
    const yaml_parser_t *p = &r->parser;
    const char *context = p->context ? p->context : "";

    if (p->error == YAML_MEMORY_ERROR)
        return out_of_memory(r);
    if (p->error == YAML_READER_ERROR)
        return bad_byte(r, p->problem, p->problem_offset);
    r->line = (uint32_t)p->problem_mark.line + 1;
    if (is_indented_by_a_tab(r, &p->problem_mark))
        return fail(r, "a tab: YAML indents with blanks");
    if (strcmp(p->problem, "found character that cannot start any token") == 0) {
        struct str s = at_mark(r, &p->problem_mark, false);

        return fail(r, "a value cannot begin with \"%.*s\": write it in quotes (column %zu)",
                    s.n ? 1 : 0, s.n ? s.p : "", p->problem_mark.column + 1);
    }
    for (size_t i = 0; i < sizeof advices / sizeof *advices; i++) {
        const yaml_mark_t *mark = advices[i].from_context ? &p->context_mark : &p->problem_mark;

        if (strcmp(p->problem, advices[i].problem) == 0) {
            r->line = (uint32_t)mark->line + 1;
            return fail(r, "%s (column %zu)", advices[i].advice, mark->column + 1);
        }
    }
    return fail(r, "%s%sit %s (column %zu)", context, *context ? " " : "", p->problem,
                p->problem_mark.column + 1);
}

/* Lines that begin with '%', which are hardly ever anything else. Of a line break, libyaml has a few
 * more than others; these are their last bytes. */
static int check_directives(struct reader *r, const char *text, size_t len)
{
    const char *end = text + len;
    uint32_t n = 0;

    for (const char *p = text; p < end && (p = memchr(p, '%', (size_t)(end - p))); p++) {
        if (p == text || (p[-1] && strchr("\n\r\x85\xa8\xa9", p[-1])))
            n++;
    }
    return n > DIRECTIVES_MAX ? fail(r, "more than %u directives", DIRECTIVES_MAX) : 0;
}

static int read_events(struct reader *r, bool secret)
{
    yaml_event_t e;
    bool end = false;
    int rc = 0;

    while (!rc && !end) {
        if (!yaml_parser_parse(&r->parser, &e))
            return syntax_error(r);
        end = e.type == YAML_STREAM_END_EVENT;
        r->line = (uint32_t)e.start_mark.line + 1;
        rc = on_event(r, &e);
        if (secret && e.type == YAML_SCALAR_EVENT)
            mem_wipe(e.data.scalar.value, e.data.scalar.length);
        yaml_event_delete(&e);
    }
    if (!rc && r->out->values == 0) {
        r->line = 0;
        return fail(r, "there is nothing in it");
    }
    return rc;
}

/* The text as libyaml has it, before and behind decoding, and scalars that became no event. */
static void wipe_parser(const yaml_parser_t *p)
{
    mem_wipe(p->raw_buffer.start, (size_t)(p->raw_buffer.end - p->raw_buffer.start));
    mem_wipe(p->buffer.start, (size_t)(p->buffer.end - p->buffer.start));
    for (const yaml_token_t *t = p->tokens.head; t != p->tokens.tail; t++) {
        if (t->type == YAML_SCALAR_TOKEN)
            mem_wipe(t->data.scalar.value, t->data.scalar.length);
    }
}

static void forget_anchors(struct reader *r)
{
    struct map_node *n;

    while ((n = map_any(&r->anchors)))
        map_del(&r->anchors, n);
    map_fini(&r->anchors);
    arena_fini(&r->arena);
}

static int read_text(struct reader *r, const char *text, size_t len, bool secret)
{
    int rc = check_directives(r, text, len);

    if (rc)
        return rc;
    r->text = text;
    r->len = len;
    /* JSON is mostly no longer than the YAML that it was. */
    if (!buf_reserve(&r->out->json, (len < r->limits->bytes ? len : r->limits->bytes) + SPARE) ||
        !yaml_parser_initialize(&r->parser))
        return out_of_memory(r);
    yaml_parser_set_encoding(&r->parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r->parser, (const unsigned char *)text, len);
    rc = read_events(r, secret);
    if (secret)
        wipe_parser(&r->parser);
    yaml_parser_delete(&r->parser);
    return rc;
}

int yaml_read(struct yaml_text *out, struct mem *mem, const char *text, size_t len,
              const struct yaml_limits *limits, bool with_lines, bool secret,
              struct yaml_error *err)
{
    struct reader r;
    int rc;

    memset(out, 0, sizeof *out);
    buf_init(&out->json, mem);
    out->json.secret = secret;
    memset(&r, 0, offsetof(struct reader, parser)); /* the rest is large, and set as it is needed */
    r.out = out;
    r.limits = limits;
    r.err = err;
    r.with_lines = with_lines;
    arena_init(&r.arena, mem, 0);
    map_init(&r.anchors, mem, r.seed);
    rc = read_text(&r, text, len, secret);
    forget_anchors(&r);
    return rc;
}

void yaml_fini(struct yaml_text *t)
{
    mem_free(t->json.mem, t->lines);
    buf_fini(&t->json);
}
