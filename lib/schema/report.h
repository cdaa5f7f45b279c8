/* What is wrong with a value, gathered in the second pass of a check.
 *
 * Errors go to the current list. While alternatives are tried, that is a list of its own: the
 * alternative that fits best is kept, and its errors are added behind that of the combinator. Lists
 * and texts have a fixed size, so the report of any value takes the same memory. */
#ifndef ALK_SCHEMA_REPORT_H
#define ALK_SCHEMA_REPORT_H

#include "schema/check.h"

#define REPORT_TRIALS 3u       /* combinators in combinators whose best alternative is explained */
#define REPORT_TRIAL_ERRORS 4u /* kept of one alternative */

/* c->stop when nothing more can be reported. */
#define STOP_FULL (-1)

/* Keys and not text: a path is written only for an error that is kept. */
struct step {
    yyjson_val *key; /* NULL: at index */
    size_t index;
};

struct report_error {
    char path[SCHEMA_PATH_MAX], message[SCHEMA_MESSAGE_MAX];
    const char *keyword;
    uint32_t depth;
};

/* Errors behind the first cap ones are dropped. */
struct report_list {
    uint32_t count, cap;
    struct report_error *errors;
};

struct report {
    struct step *path; /* from the root to the value at hand */
    uint32_t depth;
    /* list: where errors go now; trial: two for each level, of which one has the best so far. */
    struct report_list *list, *trial[REPORT_TRIALS][2], lists[1 + 2 * REPORT_TRIALS];
    uint32_t trials;
};

/* NULL when out of memory. */
struct report *report_new(struct arena *a);
void report_fill(const struct report *r, struct schema_report *out);

/* All of these return false, to be returned by the check that failed. */
bool report_fail(struct check *c, const char *keyword, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
bool report_type(struct check *c, uint16_t types, yyjson_val *v);
/* fmt has one %s, for the name. */
bool report_name(struct check *c, const char *keyword, const char *fmt, struct str name);
bool report_values(struct check *c, const char *keyword, yyjson_val *const *values, uint32_t count);

/* A child is looked at between these two; nothing happens without a report. */
static inline void report_down(struct check *c, yyjson_val *key, size_t index)
{
    if (c->report)
        c->report->path[c->report->depth++] = (struct step){key, index};
}
static inline void report_up(struct check *c)
{
    if (c->report)
        c->report->depth--;
}

/* False when alternatives are nested too deep to be explained; otherwise _next before each, and
 * _end. */
bool report_trials_begin(struct report *r);
void report_trials_next(struct report *r);
void report_trials_end(struct report *r);

#endif
