/* The grammar of a pattern: one pass over the pattern, writing as it reads, with a stack of open
 * groups.
 *
 * What ECMA-262 and PCRE2 read alike is written as it stands. The dot, \s, escapes of single
 * characters and the properties are written out; characters that mean something to PCRE2 are
 * escaped. Groups capture only when something refers back, then by number. Subjects are UTF-8, so
 * that a surrogate matches nothing.
 *
 * The reading is strict, as ECMA-262 is with the flag u: JSON Schema (core, section 6.4) recommends
 * that, and what is refused here is found when the schema is registered, while a pattern that PCRE2
 * takes for another would be found by nobody. */
#include "host/regex_ecma_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* All but the line terminators of ECMA-262, of which PCRE2's dot knows only one. */
#define DOT "[^\n\r\xe2\x80\xa8\xe2\x80\xa9]"

/* What ) ends: a group may be repeated, a lookaround may not (ECMA-262 with u). */
enum { GROUP, LOOKAROUND };

/* A decimal number; one beyond 32 bits stays at the largest. */
static bool read_decimal(struct reader *r, uint32_t *n)
{
    size_t start = r->pos;
    int d;

    for (*n = 0; (d = ecma_peek(r, 0)) >= '0' && d <= '9'; r->pos++)
        *n = *n > (UINT32_MAX - 9) / 10 ? UINT32_MAX : *n * 10 + (uint32_t)(d - '0');
    return r->pos > start;
}

/* The largest least count goes into the toll of a match: a{n} scans n characters for one
 * callout. */
static int read_braces(struct reader *r)
{
    size_t start = r->pos++;
    uint32_t least, most = 0;
    bool open_ended = false;
    char text[40];

    /* A brace that begins no quantifier is an error with u; PCRE2 would take it for a character. */
    if (!read_decimal(r, &least))
        return ecma_fail(r, start, "lone {");
    most = least;
    if (ecma_take(r, ",") && !read_decimal(r, &most))
        open_ended = true;
    if (!ecma_take(r, "}"))
        return ecma_fail(r, start, "incomplete quantifier");
    if (least > ECMA_MAX_REPEAT || (!open_ended && most > ECMA_MAX_REPEAT))
        return ecma_fail(r, start, "quantifier above %u", ECMA_MAX_REPEAT);
    if (open_ended) {
        snprintf(text, sizeof text, "{%u,}", least);
    } else {
        if (most < least)
            return ecma_fail(r, start, "quantifier out of order");
        snprintf(text, sizeof text, "{%u,%u}", least, most);
    }
    if (least > r->max_repeat)
        r->max_repeat = least;
    ecma_puts(r, text);
    return 0;
}

/* None is fine. PCRE2's possessive ++ cannot come through: a second + is "nothing to repeat". */
static int read_quantifier(struct reader *r)
{
    int c = ecma_peek(r, 0);

    if (c == '{') {
        if (read_braces(r))
            return -1;
    } else if (c == '*' || c == '+' || c == '?') {
        ecma_put(r, r->pattern + r->pos++, 1);
    } else {
        return 0;
    }
    if (ecma_take(r, "?"))
        ecma_put(r, "?", 1);
    return 0;
}

/* A name up to and with its '>'. Escapes in names are not supported. */
static int read_name(struct reader *r, struct str *name)
{
    size_t start = r->pos;
    uint32_t c;

    while (ecma_peek(r, 0) >= 0 && ecma_peek(r, 0) != '>') {
        size_t at = r->pos;
        bool letter;

        if (ecma_read_char(r, &c))
            return -1;
        letter =
            (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '$' || c > 0x7F;
        if (!letter && (at == start || c < '0' || c > '9'))
            return ecma_fail(r, at, "unexpected character in a group's name");
    }
    *name = (struct str){r->pattern + start, r->pos - start};
    if (name->n == 0 || !ecma_take(r, ">"))
        return ecma_fail(r, start, "incomplete name of a group");
    return 0;
}

/* At most ECMA_MAX_GROUPS names. */
static const struct name *find_name(const struct reader *r, struct str name)
{
    for (uint32_t i = 0; i < r->names; i++) {
        if (str_eq(r->name[i].text, name))
            return &r->name[i];
    }
    return NULL;
}

/* Counts the capturing groups, keeps their names, and finds out whether anything refers back. All
 * that has to be known before the first group is written: a reference may stand before its group,
 * and groups that nobody refers to are written as (?:, since captures are copied at each branch of
 * a match. */
static int survey(struct reader *r)
{
    bool in_class = false;

    while (r->pos < r->len) {
        size_t start = r->pos;
        int c = ecma_peek(r, 0), next = ecma_peek(r, 1);
        struct name *n = &r->name[r->names];

        r->pos++;
        if (c == '\\') {
            r->refers_back |= !in_class && ((next >= '1' && next <= '9') || next == 'k');
            r->pos += next >= 0;
        } else if (c == '[' || c == ']') {
            in_class = c == '[';
        } else if (c == '(' && !in_class) {
            bool named = next == '?' && ecma_peek(r, 1) == '<' && ecma_peek(r, 2) != '=' &&
                         ecma_peek(r, 2) != '!';

            if (next == '?' && !named)
                continue;
            if (++r->groups > ECMA_MAX_GROUPS)
                return ecma_fail(r, start, "more than %u capturing groups", ECMA_MAX_GROUPS);
            if (!named)
                continue;
            r->pos += 2;
            if (read_name(r, &n->text))
                return -1;
            if (find_name(r, n->text))
                return ecma_fail(r, start, "a group's name is used twice");
            n->group = r->groups;
            r->names++;
        }
    }
    r->pos = 0;
    return 0;
}

/* ECMA-262 has no other kinds; (?i), (?>, (?P and the rest are PCRE2's and refused. */
static int open_group(struct reader *r)
{
    static const char *const around[] = {"(?=", "(?!", "(?<=", "(?<!"};
    size_t start = r->pos;
    uint8_t kind = GROUP;
    struct str name;

    if (r->depth == ECMA_MAX_NESTING)
        return ecma_fail(r, start, "groups nested deeper than %u", ECMA_MAX_NESTING);
    for (size_t i = 0; i < sizeof around / sizeof *around && kind == GROUP; i++) {
        if (ecma_take(r, around[i])) {
            ecma_puts(r, around[i]);
            kind = LOOKAROUND;
        }
    }
    if (kind == GROUP) {
        bool captures = true;

        if (ecma_take(r, "(?:"))
            captures = false;
        else if (ecma_take(r, "(?<"))
            read_name(r, &name); /* survey has found no fault in it */
        else if (ecma_peek(r, 1) == '?')
            return ecma_fail(r, start, "unknown kind of group");
        else
            r->pos++;
        ecma_puts(r, captures && r->refers_back ? "(" : "(?:");
    }
    r->open[r->depth++] = kind;
    return 0;
}

/* With u a lookahead cannot be repeated, so what follows it is read as the next term, and refused
 * there. */
static int close_group(struct reader *r)
{
    if (r->depth == 0)
        return ecma_fail(r, r->pos, "unmatched )");
    r->pos++;
    ecma_put(r, ")", 1);
    return r->open[--r->depth] == GROUP ? read_quantifier(r) : 0;
}

/* \g{n} cannot run into a digit that follows, as \1 behind which a 0 stands would. */
static int put_reference(struct reader *r, size_t start, uint32_t group)
{
    char text[24];

    if (group == 0 || group > r->groups)
        return ecma_fail(r, start, "reference to a group that does not exist");
    snprintf(text, sizeof text, "\\g{%u}", group);
    ecma_puts(r, text);
    return read_quantifier(r);
}

/* Sets, back references and characters; what is none of them is an error, with u. */
static int read_escape(struct reader *r)
{
    size_t start = r->pos++;
    int e = ecma_peek(r, 0);
    const struct name *found;
    struct str name;
    uint32_t c;

    /* Assertions: no quantifier may follow. */
    if (e == 'b' || e == 'B') {
        ecma_put(r, r->pattern + start, 2);
        r->pos++;
        return 0;
    }
    if (ecma_put_set(r, IN_PATTERN))
        return r->failed ? -1 : read_quantifier(r);
    if (e >= '1' && e <= '9') {
        read_decimal(r, &c);
        return put_reference(r, start, c);
    }
    if (ecma_take(r, "k")) {
        if (!ecma_take(r, "<"))
            return ecma_fail(r, start, "\\k needs a group's name");
        if (read_name(r, &name))
            return -1;
        found = find_name(r, name);
        return put_reference(r, start, found ? found->group : 0);
    }
    if (ecma_read_escape(r, IN_PATTERN, &c))
        return -1;
    /* No subject has one. */
    if (ecma_is_surrogate(c))
        ecma_puts(r, NEVER);
    else
        ecma_put_char(r, c, IN_PATTERN);
    return read_quantifier(r);
}

/* Every character that means something to either side has its case; what is left is a literal. */
static int read_term(struct reader *r)
{
    int c = ecma_peek(r, 0);
    uint32_t literal;

    switch (c) {
    /* Assertions and | take no quantifier: one behind them is refused as the next term. */
    case '^':
    case '$':
    case '|':
        ecma_put(r, r->pattern + r->pos++, 1);
        return 0;
    case '(':
        return open_group(r);
    case ')':
        return close_group(r);
    case '[':
        return ecma_read_class(r) ? -1 : read_quantifier(r);
    case '\\':
        return read_escape(r);
    case '.':
        r->pos++;
        ecma_puts(r, DOT);
        return read_quantifier(r);
    case '*':
    case '+':
    case '?':
        return ecma_fail(r, r->pos, "nothing to repeat");
    case '{':
    case '}':
    case ']':
        return ecma_fail(r, r->pos, "lone %c", c);
    default:
        if (ecma_read_char(r, &literal))
            return -1;
        ecma_put_char(r, literal, IN_PATTERN);
        return read_quantifier(r);
    }
}

/* Without recursion, since the pattern's author chooses the depth. Each character makes at most
 * some fixed number of bytes, and regex.h bounds the pattern. */
int ecma_translate(const char *pattern, size_t len, struct ecma *out, char err[128])
{
    struct reader r = {.pattern = pattern, .len = len, .err = err};
    bool starts = true; /* an alternative outside of every group */

    if (survey(&r) == 0) {
        while (!r.failed && r.pos < r.len) {
            /* An unanchored search finds the rest wherever it is; saves a scan from every start. */
            if (starts && ecma_take(&r, ".*"))
                ecma_take(&r, "?");
            starts = r.depth == 0 && ecma_peek(&r, 0) == '|';
            if (r.pos < r.len)
                read_term(&r);
        }
        if (!r.failed && r.depth)
            ecma_fail(&r, len, "unclosed group");
    }
    if (!r.failed)
        ecma_put(&r, "", 1);
    if (r.failed) {
        free(r.out);
        return -1;
    }
    *out = (struct ecma){r.out, r.out_len - 1, r.refers_back ? r.groups : 0, r.max_repeat};
    return 0;
}
