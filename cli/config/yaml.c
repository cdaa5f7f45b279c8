/* YAML to JSON text, from libyaml's events, without a tree of its own.
 *
 * Values are written as they come; the line of each is noted in the same order. An anchor is a
 * range of what has been written, and an alias writes that range again, so that what aliases may
 * cost is counted before it is paid (CONFIG_ALIAS_VALUES_MAX, CONFIG_ALIAS_BYTES_MAX). Plain
 * scalars are resolved by the core schema of YAML 1.2 (10.3.2); names of members are always
 * strings. */
#include "text.h"
#include "secret.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

struct frame {
    bool map;
    uint32_t count;  /* of values written in it, names counted */
    uint32_t anchor; /* 1 + index, 0: none */
};

struct anchor {
    char *name;
    size_t begin, end; /* in the JSON text; end is 0 until the value is complete */
    uint32_t first, last;
};

struct reader {
    struct config_text *t;
    struct config_error *err;
    yaml_parser_t parser;
    size_t json_size;
    uint32_t lines_size;
    uint32_t depth;
    uint32_t anchor_count;
    uint32_t alias_values;
    size_t alias_bytes;
    struct frame frames[CONFIG_DEPTH_MAX];
    struct anchor anchors[CONFIG_ANCHORS_MAX];
};

static int fail(struct reader *r, yaml_mark_t mark, const char *message)
{
    return config_fail(r->err, r->t->file, (uint32_t)mark.line + 1, "", "%s", message);
}

static int out_of_memory(struct reader *r)
{
    return config_fail(r->err, r->t->file, 0, "", "out of memory");
}

/* ---- writing --------------------------------------------------------------------------------- */

static int put(struct reader *r, const char *text, size_t len)
{
    struct config_text *t = r->t;

    if (r->json_size - t->json_len <= len) {
        size_t size = 2 * (r->json_size + len) + 256;
        char *json = secret_realloc(t->json, size);

        if (!json)
            return out_of_memory(r);
        t->json = json;
        r->json_size = size;
    }
    memcpy(t->json + t->json_len, text, len);
    t->json_len += len;
    t->json[t->json_len] = 0;
    return 0;
}

static int put_string(struct reader *r, const char *text, size_t len)
{
    int rc = put(r, "\"", 1);
    size_t plain = 0;

    for (size_t i = 0; i < len && rc == 0; i++) {
        unsigned char c = (unsigned char)text[i];

        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        char escape[8];
        int n = snprintf(escape, sizeof escape, "\\u%04x", c);
        rc = put(r, text + plain, i - plain);
        if (rc == 0)
            rc = put(r, escape, (size_t)n);
        plain = i + 1;
    }
    if (rc == 0)
        rc = put(r, text + plain, len - plain);
    return rc == 0 ? put(r, "\"", 1) : rc;
}

static int note_line(struct reader *r, uint32_t line)
{
    struct config_text *t = r->t;

    if (t->values == CONFIG_VALUES_MAX)
        return config_fail(r->err, t->file, line, "", "more than %u values", CONFIG_VALUES_MAX);
    if (t->values == r->lines_size) {
        uint32_t size = 2 * r->lines_size + 64;
        uint32_t *lines = realloc(t->lines, size * sizeof *lines);

        if (!lines)
            return out_of_memory(r);
        t->lines = lines;
        r->lines_size = size;
    }
    t->lines[t->values++] = line;
    return 0;
}

/* What stands between the last value and the next one. */
static int put_separator(struct reader *r)
{
    if (r->depth == 0)
        return 0;
    struct frame *f = &r->frames[r->depth - 1];
    uint32_t i = f->count++;
    if (i == 0)
        return 0;
    return put(r, f->map && i % 2 == 1 ? ":" : ",", 1);
}

static bool is_name(const struct reader *r)
{
    return r->depth > 0 && r->frames[r->depth - 1].map && r->frames[r->depth - 1].count % 2 == 0;
}

/* ---- scalars --------------------------------------------------------------------------------- */

enum kind { STRING, NUL, BOOL, INT, FLOAT, NOT_FINITE };

static bool is_one_of(const char *text, const char *const *words)
{
    for (; *words; words++) {
        if (strcmp(text, *words) == 0)
            return true;
    }
    return false;
}

static enum kind number_kind(const char *s)
{
    if (strncmp(s, "0o", 2) == 0)
        return s[2] && !s[2 + strspn(s + 2, "01234567")] ? INT : STRING;
    if (strncmp(s, "0x", 2) == 0)
        return s[2] && !s[2 + strspn(s + 2, "0123456789abcdefABCDEF")] ? INT : STRING;
    s += *s == '-' || *s == '+';
    size_t whole = strspn(s, "0123456789"), part = 0;
    s += whole;
    if (!*s)
        return whole ? INT : STRING;
    if (*s == '.') {
        part = strspn(s + 1, "0123456789");
        s += 1 + part;
    }
    if (whole + part == 0)
        return STRING;
    if (*s == 'e' || *s == 'E') {
        s++;
        s += *s == '-' || *s == '+';
        size_t digits = strspn(s, "0123456789");
        if (digits == 0)
            return STRING;
        s += digits;
    }
    return *s ? STRING : FLOAT;
}

static enum kind plain_kind(const char *s, size_t len)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL};
    static const char *const bools[] = {"true", "True", "TRUE", "false", "False", "FALSE", NULL};
    static const char *const infinities[] = {".inf", ".Inf", ".INF", NULL};
    static const char *const nans[] = {".nan", ".NaN", ".NAN", NULL};

    if (strlen(s) != len)
        return STRING;
    if (is_one_of(s, nulls))
        return NUL;
    if (is_one_of(s, bools))
        return BOOL;
    if (is_one_of(s + (*s == '-' || *s == '+'), infinities) || is_one_of(s, nans))
        return NOT_FINITE;
    return number_kind(s);
}

static int put_based(struct reader *r, const char *digits, int base, yaml_mark_t mark)
{
    char text[24];

    digits += strspn(digits, "0");
    size_t len = strlen(digits);
    unsigned long long value = strtoull(*digits ? digits : "0", NULL, base);
    if (base == 16 ? len > 16 : len > 22 || (len == 22 && *digits > '1'))
        return fail(r, mark, "the number does not fit 64 bits");
    int n = snprintf(text, sizeof text, "%llu", value);
    return put(r, text, (size_t)n);
}

/* YAML's numbers as JSON wants them: no plus, no leading zeros, digits on both sides of the
 * point. */
static int put_number(struct reader *r, const char *s, yaml_mark_t mark)
{
    if (s[0] == '0' && (s[1] == 'o' || s[1] == 'x'))
        return put_based(r, s + 2, s[1] == 'o' ? 8 : 16, mark);
    int rc = *s == '-' ? put(r, "-", 1) : 0;
    s += *s == '-' || *s == '+';
    while (s[0] == '0' && s[1] >= '0' && s[1] <= '9')
        s++;
    size_t whole = strspn(s, "0123456789");
    if (rc == 0)
        rc = whole ? put(r, s, whole) : put(r, "0", 1);
    s += whole;
    if (*s == '.') {
        size_t part = strspn(s + 1, "0123456789");

        if (rc == 0)
            rc = part ? put(r, s, 1 + part) : put(r, ".0", 2);
        s += 1 + part;
    }
    return rc == 0 ? put(r, s, strlen(s)) : rc;
}

#define CORE "tag:yaml.org,2002:"

/* What a tag makes of a scalar of that kind; -1 when it cannot be that. */
static int tagged_kind(const char *tag, enum kind kind)
{
    if (strcmp(tag, "!") == 0 || strcmp(tag, CORE "str") == 0)
        return STRING;
    if (strcmp(tag, CORE "null") == 0)
        return kind == NUL ? NUL : -1;
    if (strcmp(tag, CORE "bool") == 0)
        return kind == BOOL ? BOOL : -1;
    if (strcmp(tag, CORE "int") == 0)
        return kind == INT ? INT : -1;
    if (strcmp(tag, CORE "float") == 0)
        return kind == INT || kind == FLOAT || kind == NOT_FINITE ? (int)kind : -1;
    return -1;
}

static int refuse_tag(struct reader *r, yaml_mark_t mark, const yaml_char_t *tag)
{
    return config_fail(r->err, r->t->file, (uint32_t)mark.line + 1, "",
                       "tag \"%.64s\" is not of YAML's core schema, or does not fit its value",
                       (const char *)tag);
}

static int on_scalar(struct reader *r, const yaml_event_t *e)
{
    const char *text = (const char *)e->data.scalar.value;
    size_t len = e->data.scalar.length;
    bool name = is_name(r);
    int kind = STRING;

    if (e->data.scalar.tag) {
        kind = tagged_kind((const char *)e->data.scalar.tag, plain_kind(text, len));
        if (kind < 0)
            return refuse_tag(r, e->start_mark, e->data.scalar.tag);
    } else if (e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE) {
        kind = (int)plain_kind(text, len);
    }
    if (put_separator(r) < 0 || note_line(r, (uint32_t)e->start_mark.line + 1) < 0)
        return -1;
    if (name || kind == STRING)
        return put_string(r, text, len);
    if (kind == NUL)
        return put(r, "null", 4);
    if (kind == BOOL)
        return *text == 't' || *text == 'T' ? put(r, "true", 4) : put(r, "false", 5);
    if (kind == NOT_FINITE)
        return fail(r, e->start_mark, "a number must be finite");
    return put_number(r, text, e->start_mark);
}

/* ---- anchors and aliases --------------------------------------------------------------------- */

/* Begins the range of a value that follows; *index is 1 + its place, or 0. */
static int open_anchor(struct reader *r, const yaml_char_t *name, yaml_mark_t mark, uint32_t *index)
{
    *index = 0;
    if (!name)
        return 0;
    if (r->anchor_count == CONFIG_ANCHORS_MAX)
        return config_fail(r->err, r->t->file, (uint32_t)mark.line + 1, "", "more than %u anchors",
                           CONFIG_ANCHORS_MAX);
    struct anchor *a = &r->anchors[r->anchor_count];
    a->name = strdup((const char *)name);
    if (!a->name)
        return out_of_memory(r);
    *index = ++r->anchor_count;
    return 0;
}

static void begin_anchor(struct reader *r, uint32_t index, size_t value_len)
{
    if (index) {
        r->anchors[index - 1].begin = r->t->json_len - value_len;
        r->anchors[index - 1].first = r->t->values - 1;
    }
}

static void close_anchor(struct reader *r, uint32_t index)
{
    if (index) {
        r->anchors[index - 1].end = r->t->json_len;
        r->anchors[index - 1].last = r->t->values;
    }
}

static int write_again(struct reader *r, const struct anchor *a)
{
    size_t len = a->end - a->begin;
    char *copy = malloc(len + 1);

    if (!copy)
        return out_of_memory(r);
    memcpy(copy, r->t->json + a->begin, len);
    int rc = put_separator(r);
    if (rc == 0)
        rc = put(r, copy, len);
    free(copy);
    for (uint32_t i = a->first; i < a->last && rc == 0; i++)
        rc = note_line(r, r->t->lines[i]);
    return rc;
}

static int on_alias(struct reader *r, const yaml_event_t *e)
{
    const yaml_char_t *name = e->data.alias.anchor;
    uint32_t line = (uint32_t)e->start_mark.line + 1;
    uint32_t i = r->anchor_count;

    while (i > 0 && strcmp(r->anchors[i - 1].name, (const char *)name) != 0)
        i--;
    if (i == 0)
        return config_fail(r->err, r->t->file, line, "", "there is no anchor \"%.64s\" above",
                           (const char *)name);
    const struct anchor *a = &r->anchors[i - 1];
    if (a->end == 0)
        return config_fail(r->err, r->t->file, line, "", "alias \"%.64s\" lies inside its anchor",
                           (const char *)name);
    if (is_name(r))
        return fail(r, e->start_mark, "an alias cannot be the name of a member");
    r->alias_values += a->last - a->first;
    if (r->alias_values > CONFIG_ALIAS_VALUES_MAX)
        return config_fail(r->err, r->t->file, line, "", "aliases stand for more than %u values",
                           CONFIG_ALIAS_VALUES_MAX);
    r->alias_bytes += a->end - a->begin;
    if (r->alias_bytes > CONFIG_ALIAS_BYTES_MAX)
        return config_fail(r->err, r->t->file, line, "", "aliases stand for more than %u bytes",
                           CONFIG_ALIAS_BYTES_MAX);
    return write_again(r, a);
}

/* ---- lists and mappings ---------------------------------------------------------------------- */

static int on_open(struct reader *r, const yaml_event_t *e, bool map)
{
    const yaml_char_t *tag = map ? e->data.mapping_start.tag : e->data.sequence_start.tag;
    const yaml_char_t *name = map ? e->data.mapping_start.anchor : e->data.sequence_start.anchor;
    const char *own = map ? CORE "map" : CORE "seq";

    if (tag && strcmp((const char *)tag, own) != 0 && strcmp((const char *)tag, "!") != 0)
        return refuse_tag(r, e->start_mark, tag);
    if (is_name(r))
        return fail(r, e->start_mark, "the name of a member must be a string");
    if (r->depth == CONFIG_DEPTH_MAX)
        return config_fail(r->err, r->t->file, (uint32_t)e->start_mark.line + 1, "",
                           "nested deeper than %u", CONFIG_DEPTH_MAX);
    uint32_t index;
    if (open_anchor(r, name, e->start_mark, &index) < 0 || put_separator(r) < 0 ||
        note_line(r, (uint32_t)e->start_mark.line + 1) < 0 || put(r, map ? "{" : "[", 1) < 0)
        return -1;
    begin_anchor(r, index, 1);
    r->frames[r->depth++] = (struct frame){.map = map, .anchor = index};
    return 0;
}

static int on_close(struct reader *r, bool map)
{
    if (put(r, map ? "}" : "]", 1) < 0)
        return -1;
    close_anchor(r, r->frames[--r->depth].anchor);
    return 0;
}

static int on_anchored_scalar(struct reader *r, const yaml_event_t *e)
{
    uint32_t index;

    if (open_anchor(r, e->data.scalar.anchor, e->start_mark, &index) < 0)
        return -1;
    if (index && is_name(r))
        return fail(r, e->start_mark, "the name of a member cannot have an anchor");
    size_t before = r->t->json_len;
    bool separated = r->depth > 0 && r->frames[r->depth - 1].count > 0;
    if (on_scalar(r, e) < 0)
        return -1;
    begin_anchor(r, index, r->t->json_len - before - separated);
    close_anchor(r, index);
    return 0;
}

/* ---- the document ---------------------------------------------------------------------------- */

static int on_document(struct reader *r, const yaml_event_t *e)
{
    const yaml_version_directive_t *v = e->data.document_start.version_directive;

    if (r->t->values)
        return fail(r, e->start_mark, "more than one document");
    if (v && v->minor < 2)
        return fail(r, e->start_mark, "the document must be YAML 1.2");
    return 0;
}

static int on_event(struct reader *r, const yaml_event_t *e)
{
    switch (e->type) {
    case YAML_DOCUMENT_START_EVENT:
        return on_document(r, e);
    case YAML_SCALAR_EVENT:
        return on_anchored_scalar(r, e);
    case YAML_ALIAS_EVENT:
        return on_alias(r, e);
    case YAML_SEQUENCE_START_EVENT:
        return on_open(r, e, false);
    case YAML_MAPPING_START_EVENT:
        return on_open(r, e, true);
    case YAML_SEQUENCE_END_EVENT:
        return on_close(r, false);
    case YAML_MAPPING_END_EVENT:
        return on_close(r, true);
    default:
        return 0;
    }
}

static int syntax_error(struct reader *r)
{
    const yaml_parser_t *p = &r->parser;

    if (p->error == YAML_MEMORY_ERROR)
        return out_of_memory(r);
    if (p->error == YAML_READER_ERROR)
        return config_fail(r->err, r->t->file, 0, "", "%s at byte %zu",
                           p->problem ? p->problem : "unreadable", p->problem_offset);
    return config_fail(r->err, r->t->file, (uint32_t)p->problem_mark.line + 1, "",
                       "%s%sit %s (column %zu)", p->context ? p->context : "",
                       p->context ? " " : "", p->problem ? p->problem : "is not YAML",
                       p->problem_mark.column + 1);
}

/* The text as libyaml has it, before and behind decoding. */
static void wipe_buffers(const yaml_parser_t *p)
{
    explicit_bzero(p->raw_buffer.start, (size_t)(p->raw_buffer.end - p->raw_buffer.start));
    explicit_bzero(p->buffer.start, (size_t)(p->buffer.end - p->buffer.start));
}

int config_yaml_read(struct config_text *t, const char *data, size_t len, struct config_error *err)
{
    struct reader *r = calloc(1, sizeof *r);

    if (!r)
        return config_fail(err, t->file, 0, "", "out of memory");
    r->t = t;
    r->err = err;
    if (!yaml_parser_initialize(&r->parser)) {
        free(r);
        return config_fail(err, t->file, 0, "", "out of memory");
    }
    yaml_parser_set_encoding(&r->parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r->parser, (const unsigned char *)data, len);
    int rc = 0;
    bool end = false;
    while (rc == 0 && !end) {
        yaml_event_t e;

        if (!yaml_parser_parse(&r->parser, &e)) {
            rc = syntax_error(r);
            break;
        }
        end = e.type == YAML_STREAM_END_EVENT;
        rc = on_event(r, &e);
        if (e.type == YAML_SCALAR_EVENT)
            explicit_bzero(e.data.scalar.value, e.data.scalar.length);
        yaml_event_delete(&e);
    }
    if (rc == 0 && t->values == 0)
        rc = config_fail(err, t->file, 0, "", "there is nothing in it");
    for (uint32_t i = 0; i < r->anchor_count; i++)
        free(r->anchors[i].name);
    wipe_buffers(&r->parser);
    yaml_parser_delete(&r->parser);
    free(r);
    return rc;
}
