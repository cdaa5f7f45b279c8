/* Gathering errors, and choosing which ones to show.
 *
 * When no alternative of anyOf or oneOf holds, the errors of all of them together help nobody: of a
 * value meant for one, the others say only that it is of another kind. So each is tried with a list
 * of its own, and the best is kept: first by kind (a wrong type is no fit, a wrong constant is half
 * of one), then by the number of errors. Two lists for each level of nesting are enough for that.
 * All memory is taken at once, in report_new: a report cannot fail later. */
#include "schema/report.h"

#include "base/json.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* From the root down; what does not fit is cut at the end, where it helps least. Names in it are
 * the sender's, and as long as he likes. */
static void write_path(const struct report *r, char path[SCHEMA_PATH_MAX])
{
    struct writer w = {path, 0, SCHEMA_PATH_MAX - 1};

    for (uint32_t i = 0; i < r->depth && w.len < w.cap; i++)
        write_step(&w, r->path[i].key, r->path[i].index);
    path[w.len] = 0;
}

/* ---- errors ---- */

/* The next error's writer, its path and keyword set; with no room, or no report, cap is 0. */
static struct writer begin(struct check *c, const char *keyword)
{
    struct report *r = c->report;
    struct report_error *e;

    if (!r || c->stop || r->list->count == r->list->cap)
        return (struct writer){NULL, 0, 0};
    e = &r->list->errors[r->list->count];
    e->keyword = keyword;
    e->depth = r->depth;
    write_path(r, e->path);
    return (struct writer){e->message, 0, SCHEMA_MESSAGE_MAX - 1};
}

/* The check ends when the outer list is full: nothing further could be told. */
static bool end(struct check *c, struct writer *w)
{
    struct report *r = c->report;

    if (!w->at)
        return false;
    w->at[w->len] = 0;
    if (++r->list->count == r->list->cap && r->list == r->lists)
        c->stop = STOP_FULL;
    return false;
}

/* Nothing is formatted for an error that is not kept: most failures happen without a report, in
 * alternatives. */
bool report_fail(struct check *c, const char *keyword, const char *fmt, ...)
{
    struct writer w = begin(c, keyword);
    char text[SCHEMA_MESSAGE_MAX];
    va_list args;

    if (!w.at)
        return false;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    write_string(&w, text);
    return end(c, &w);
}

/* "number" stands before "integer" in the table: both bits together are one word for the reader. */
bool report_type(struct check *c, uint16_t types, yyjson_val *v)
{
    static const struct {
        uint16_t mask;
        const char *name;
    } names[] = {{TYPE_NULL, "null"},      {TYPE_BOOLEAN, "boolean"}, {TYPE_OBJECT, "object"},
                 {TYPE_ARRAY, "array"},    {TYPE_STRING, "string"},   {TYPE_NUMBER, "number"},
                 {TYPE_INTEGER, "integer"}};
    uint8_t have = tag_type(v);
    struct writer w = begin(c, types ? "type" : "false");
    const char *got = "number";
    bool first = true;

    if (!w.at)
        return false;
    if (!types) {
        write_string(&w, "no value is allowed here");
        return end(c, &w);
    }
    write_string(&w, "expected ");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (have == names[i].mask)
            got = names[i].name;
        if ((types & names[i].mask) != names[i].mask)
            continue;
        types &= (uint16_t)~names[i].mask;
        write_string(&w, first ? "" : " or ");
        write_string(&w, names[i].name);
        first = false;
    }
    write_string(&w, ", got ");
    write_string(&w, got);
    return end(c, &w);
}

/* Not by vsnprintf: the name is not terminated, and has to be cut and escaped by the rules of
 * text.h. */
bool report_name(struct check *c, const char *keyword, const char *fmt, struct str name)
{
    struct writer w = begin(c, keyword);
    const char *at = strstr(fmt, "%s");

    if (!w.at)
        return false;
    write_bytes(&w, fmt, (size_t)(at - fmt));
    write_name(&w, name);
    write_string(&w, at + 2);
    return end(c, &w);
}

/* A value of the schema; containers are only named. It is in a message for the caller, so it must
 * be short. */
static void write_value(struct writer *w, yyjson_val *v)
{
    char text[NUMBER_TEXT];

    if (yyjson_is_str(v)) {
        write_string(w, "\"");
        write_name(w, json_string(v));
        write_string(w, "\"");
    } else if (yyjson_is_raw(v)) {
        write_name(w, (struct str){yyjson_get_raw(v), yyjson_get_len(v)});
    } else if (yyjson_is_num(v)) {
        write_name(w, (struct str){text, number_write(v, text)});
    } else if (yyjson_is_bool(v)) {
        write_string(w, yyjson_get_bool(v) ? "true" : "false");
    } else {
        write_string(w, yyjson_is_null(v) ? "null" : yyjson_is_arr(v) ? "an array" : "an object");
    }
}

/* Shows as many as there is room for: what is allowed helps more than what was sent, which the
 * sender has. */
bool report_values(struct check *c, const char *keyword, yyjson_val *const *values, uint32_t count)
{
    struct writer w = begin(c, keyword);

    if (!w.at)
        return false;
    write_string(&w, count == 0   ? "no value is allowed here"
                     : count == 1 ? "must be "
                                  : "must be one of ");
    for (uint32_t i = 0; i < count && w.len < w.cap; i++) {
        write_string(&w, i ? ", " : "");
        write_value(&w, values[i]);
    }
    return end(c, &w);
}

/* ---- lists ---- */

/* In the scratch arena of the check, and only for an invalid value. */
struct report *report_new(struct arena *a)
{
    const uint32_t slots = SCHEMA_MAX_ERRORS + 2 * REPORT_TRIALS * REPORT_TRIAL_ERRORS;
    struct report *r = arena_zalloc(a, sizeof *r);
    struct report_error *e = arena_alloc(a, slots * sizeof *e);

    if (!r || !e)
        return NULL;
    r->path = arena_alloc(a, (SCHEMA_MAX_NESTING + 1) * sizeof *r->path);
    if (!r->path)
        return NULL;
    r->list = r->lists;
    r->lists[0].cap = SCHEMA_MAX_ERRORS;
    r->lists[0].errors = e;
    e += SCHEMA_MAX_ERRORS;
    for (uint32_t i = 0; i < 2 * REPORT_TRIALS; i++, e += REPORT_TRIAL_ERRORS) {
        r->lists[i + 1].cap = REPORT_TRIAL_ERRORS;
        r->lists[i + 1].errors = e;
        r->trial[i / 2][i % 2] = &r->lists[i + 1];
    }
    return r;
}

/* Strings stay where they are, in the arena of the check. */
void report_fill(const struct report *r, struct schema_report *out)
{
    const struct report_list *l = r->lists;

    out->count = (int)l->count;
    for (uint32_t i = 0; i < l->count; i++) {
        out->errors[i] =
            (struct schema_error){l->errors[i].path, l->errors[i].keyword, l->errors[i].message};
    }
}

/* How well an alternative fits: 0 another type of value altogether, 1 a fixed value that differs, 2
 * otherwise. A type counts at the value itself only; a constant at any depth, since a member like
 * "kind" is what tells alternatives apart. */
static int fit(const struct report_list *l, uint32_t depth)
{
    int best = 2;

    for (uint32_t i = 0; i < l->count; i++) {
        const struct report_error *e = &l->errors[i];

        if (e->depth == depth && (!strcmp(e->keyword, "type") || !strcmp(e->keyword, "false")))
            return 0;
        if (!strcmp(e->keyword, "const") || !strcmp(e->keyword, "enum"))
            best = 1;
    }
    return best;
}

/* Of the two lists of a level, trial[0] is being filled and trial[1] is the best one so far. */
bool report_trials_begin(struct report *r)
{
    if (r->trials == REPORT_TRIALS)
        return false;
    r->trial[r->trials][0]->count = 0;
    r->trial[r->trials][1]->count = 0;
    r->trials++;
    return true;
}

/* Called when an alternative has been tried. The loser's list is the one to be filled next. */
static void judge(struct report *r)
{
    struct report_list **pair = r->trial[r->trials - 1], *tried = pair[0], *best = pair[1];
    int a, b;

    if (!tried->count)
        return;
    a = fit(tried, r->depth);
    b = fit(best, r->depth);
    if (!best->count || a > b || (a == b && tried->count < best->count)) {
        pair[0] = best;
        pair[1] = tried;
    }
}

void report_trials_next(struct report *r)
{
    judge(r);
    r->list = r->trial[r->trials - 1][0];
    r->list->count = 0;
}

/* The errors go to the list that was current before: that of the trial around this one, or the
 * report. */
void report_trials_end(struct report *r)
{
    const struct report_list *best;

    judge(r);
    r->trials--;
    best = r->trial[r->trials][1];
    r->list = r->trials ? r->trial[r->trials - 1][0] : r->lists;
    for (uint32_t i = 0; i < best->count && r->list->count < r->list->cap; i++)
        r->list->errors[r->list->count++] = best->errors[i];
}
