/* Implements regex_ecma.h: one pass over the pattern, writing as it reads, with a stack of open groups.
 *
 * What ECMA-262 and PCRE2 read alike is written as it stands. The dot, \s, escapes of single characters and the
 * properties are written out; characters that mean something to PCRE2 are escaped. Groups capture only when
 * something refers back, then by number. Subjects are UTF-8, so that a surrogate matches nothing. */
#include "host/regex_ecma.h"

#include "host/regex_names.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LAST "\xf4\x8f\xbf\xbf" /* U+10FFFF */
/* PCRE2 repeats no "[]". */
#define NEVER "[^\\000-" LAST "]"
#define DOT "[^\n\r\xe2\x80\xa8\xe2\x80\xa9]"
/* White space and line ends of ECMA-262, and all the others, as they stand in a class. */
#define SPACES                                                                                     \
    "\t-\r \xc2\xa0\xe1\x9a\x80\xe2\x80\x80-\xe2\x80\x8a\xe2\x80\xa8\xe2\x80\xa9\xe2\x80\xaf"      \
    "\xe2\x81\x9f\xe3\x80\x80\xef\xbb\xbf"
#define OTHERS                                                                                     \
    "\\000-\x08\x0e-\x1f!-\xc2\x9f\xc2\xa1-\xe1\x99\xbf\xe1\x9a\x81-\xe1\xbf\xbf\xe2\x80\x8b-"     \
    "\xe2\x80\xa7\xe2\x80\xaa-\xe2\x80\xae\xe2\x80\xb0-\xe2\x81\x9e\xe2\x81\xa0-\xe2\xbf\xbf"      \
    "\xe3\x80\x81-\xef\xbb\xbe\xef\xbc\x80-" LAST

enum { IN_PATTERN, IN_CLASS };
enum { GROUP, LOOKAROUND };
/* What a piece of a class is when it is no character. */
enum { PIECE_SET = -1, PIECE_BAD = -2 };

struct name {
    const char *at;
    size_t len;
    uint32_t group;
};

struct reader {
    const char *pattern;
    size_t len, pos;
    char *out;
    size_t out_len, out_cap;
    char *err;
    bool failed;
    bool refers_back;
    uint32_t groups, names, depth, max_repeat;
    uint32_t opened; /* capturing groups so far */
    uint8_t open[ECMA_MAX_NESTING];
    struct name name[ECMA_MAX_GROUPS];
};

static int fail(struct reader *r, size_t at, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static int fail(struct reader *r, size_t at, const char *fmt, ...)
{
    char what[96];
    va_list args;

    if (r->failed)
        return -1;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    snprintf(r->err, 128, "%s at byte %zu", what, at);
    r->failed = true;
    return -1;
}

static void put(struct reader *r, const char *s, size_t n)
{
    if (r->out_cap - r->out_len < n) {
        size_t cap = r->out_cap * 2 + n + 64;
        char *out = realloc(r->out, cap);

        if (!out) {
            fail(r, r->pos, "out of memory");
            return;
        }
        r->out = out;
        r->out_cap = cap;
    }
    memcpy(r->out + r->out_len, s, n);
    r->out_len += n;
}

static void puts_out(struct reader *r, const char *s)
{
    put(r, s, strlen(s));
}

static int peek(const struct reader *r, size_t ahead)
{
    return r->pos + ahead < r->len ? (unsigned char)r->pattern[r->pos + ahead] : -1;
}

static bool take(struct reader *r, const char *s)
{
    size_t n = strlen(s);

    if (r->len - r->pos < n || memcmp(r->pattern + r->pos, s, n) != 0)
        return false;
    r->pos += n;
    return true;
}

static bool is_surrogate(uint32_t c)
{
    return c >= 0xD800 && c <= 0xDFFF;
}

/* Writes one character that stands for itself. */
static void put_char(struct reader *r, uint32_t c, int where)
{
    char utf8[4];
    size_t n;

    if (c < 0x80) {
        if (c && strchr(where == IN_CLASS ? "\\]^-[.:=" : "\\^$.[|()?*+{}", (int)c))
            put(r, "\\", 1);
        utf8[0] = (char)c;
        n = 1;
    } else if (c < 0x800) {
        utf8[0] = (char)(0xC0 | c >> 6);
        utf8[1] = (char)(0x80 | (c & 0x3F));
        n = 2;
    } else if (c < 0x10000) {
        utf8[0] = (char)(0xE0 | c >> 12);
        utf8[1] = (char)(0x80 | (c >> 6 & 0x3F));
        utf8[2] = (char)(0x80 | (c & 0x3F));
        n = 3;
    } else {
        utf8[0] = (char)(0xF0 | c >> 18);
        utf8[1] = (char)(0x80 | (c >> 12 & 0x3F));
        utf8[2] = (char)(0x80 | (c >> 6 & 0x3F));
        utf8[3] = (char)(0x80 | (c & 0x3F));
        n = 4;
    }
    put(r, utf8, n);
}

/* The next character of the pattern, decoded. */
static int read_char(struct reader *r, uint32_t *c)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *s = (const unsigned char *)r->pattern + r->pos;
    unsigned n = s[0] < 0x80 ? 1 : s[0] < 0xC2 ? 0 : s[0] < 0xE0 ? 2 : s[0] < 0xF0 ? 3 : 4;

    if (n == 0 || s[0] > 0xF4 || r->len - r->pos < n)
        return fail(r, r->pos, "not UTF-8");
    *c = n == 1 ? s[0] : s[0] & (0x7Fu >> n);
    for (unsigned i = 1; i < n; i++) {
        if ((s[i] & 0xC0) != 0x80)
            return fail(r, r->pos, "not UTF-8");
        *c = *c << 6 | (s[i] & 0x3F);
    }
    if (*c < least[n] || *c > 0x10FFFF || is_surrogate(*c))
        return fail(r, r->pos, "not UTF-8");
    r->pos += n;
    return 0;
}

static int hex_digit(int c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* Exactly n hexadecimal digits, n ahead of pos; false leaves pos. */
static bool read_hex(struct reader *r, size_t n, uint32_t *c)
{
    *c = 0;
    for (size_t i = 0; i < n; i++) {
        int d = hex_digit(peek(r, i));

        if (d < 0)
            return false;
        *c = *c << 4 | (uint32_t)d;
    }
    r->pos += n;
    return true;
}

/* Behind "\u": four digits, a pair of surrogates, or {digits}. */
static int read_unicode(struct reader *r, size_t start, uint32_t *c)
{
    uint32_t low;
    size_t back;

    if (take(r, "{")) {
        int d;

        *c = 0;
        for (back = r->pos; (d = hex_digit(peek(r, 0))) >= 0; r->pos++) {
            *c = *c << 4 | (uint32_t)d;
            if (*c > 0x10FFFF)
                return fail(r, start, "code point above 10FFFF");
        }
        if (r->pos == back || !take(r, "}"))
            return fail(r, start, "incomplete \\u escape");
        return 0;
    }
    if (!read_hex(r, 4, c))
        return fail(r, start, "incomplete \\u escape");
    back = r->pos;
    if (*c >= 0xD800 && *c <= 0xDBFF && take(r, "\\u")) {
        if (read_hex(r, 4, &low) && low >= 0xDC00 && low <= 0xDFFF)
            *c = 0x10000 + ((*c - 0xD800) << 10) + (low - 0xDC00);
        else
            r->pos = back;
    }
    return 0;
}

/* An escape of a single character; pos is behind the backslash. */
static int read_escaped_char(struct reader *r, int where, uint32_t *c)
{
    static const char letters[] = "fnrtv", values[] = "\f\n\r\t\v";
    size_t start = r->pos - 1;
    int e = peek(r, 0);
    const char *at = e > 0 ? strchr(letters, e) : NULL;

    if (e < 0)
        return fail(r, start, "the pattern ends in a backslash");
    if (at) {
        *c = (uint32_t)values[at - letters];
    } else if (e == '0' && !(peek(r, 1) >= '0' && peek(r, 1) <= '9')) {
        *c = 0;
    } else if (e == 'c') {
        int l = peek(r, 1);

        if (!((l >= 'a' && l <= 'z') || (l >= 'A' && l <= 'Z')))
            return fail(r, start, "\\c needs a letter");
        *c = (uint32_t)l % 32;
        r->pos++;
    } else if (e == 'x') {
        r->pos++;
        return read_hex(r, 2, c) ? 0 : fail(r, start, "\\x needs two hexadecimal digits");
    } else if (e == 'u') {
        r->pos++;
        return read_unicode(r, start, c);
    } else if ((e > 0 && strchr("^$\\.*+?()[]{}|/", e)) || (where == IN_CLASS && e == '-')) {
        *c = (uint32_t)e;
    } else {
        return e > 0x20 && e < 0x7F ? fail(r, start, "unknown escape \\%c", e)
                                    : fail(r, start, "unknown escape");
    }
    r->pos++;
    return 0;
}

/* Behind "\p" or "\P". */
static int read_property(struct reader *r, bool negated, int where)
{
    size_t start = r->pos - 2, from, n;
    struct regex_property prop;
    const char *end;
    char code[80];

    end = peek(r, 0) == '{' ? memchr(r->pattern + r->pos, '}', r->len - r->pos) : NULL;
    if (!end)
        return fail(r, start, "incomplete property escape");
    from = r->pos + 1;
    n = (size_t)(end - r->pattern) - from;
    if (!regex_property(r->pattern + from, n, &prop))
        return fail(r, start, "unknown property \"%.*s\"", (int)(n < 48 ? n : 48),
                    r->pattern + from);
    r->pos = from + n + 1;
    if (prop.set) {
        const char *set = negated ? prop.rest : prop.set;

        snprintf(code, sizeof code, where == IN_CLASS ? "%s" : *set ? "[%s]" : NEVER, set);
    } else {
        snprintf(code, sizeof code, "\\%c{%s%.*s}", negated ? 'P' : 'p', prop.prefix, (int)prop.len,
                 prop.name);
    }
    puts_out(r, code);
    return 0;
}

/* Writes an escape that stands for a set of characters; false when it is another escape. In a class PCRE2's own
 * \D and \W are not used: together with \P and a leading ^ they lose what is above U+00FF. */
static bool put_set(struct reader *r, int where)
{
    static const struct {
        char letter;
        const char *alone, *in_class;
    } sets[] = {
        {'d', "\\d", "\\d"},           {'D', "\\D", "\\000-/:-" LAST},
        {'w', "\\w", "\\w"},           {'W', "\\W", "\\000-/:-@\\[-\\^`{-" LAST},
        {'s', "[" SPACES "]", SPACES}, {'S', "[^" SPACES "]", OTHERS},
    };
    int e = peek(r, 0);

    if (e == 'p' || e == 'P') {
        r->pos++;
        read_property(r, e == 'P', where);
        return true;
    }
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        if (e == sets[i].letter) {
            r->pos++;
            puts_out(r, where == IN_CLASS ? sets[i].in_class : sets[i].alone);
            return true;
        }
    }
    return false;
}

/* One atom of a class: a character (its code), or a set, which is written. */
static int32_t read_class_atom(struct reader *r)
{
    uint32_t c;

    if (peek(r, 0) != '\\')
        return read_char(r, &c) ? PIECE_BAD : (int32_t)c;
    r->pos++;
    if (put_set(r, IN_CLASS))
        return r->failed ? PIECE_BAD : PIECE_SET;
    if (take(r, "b"))
        return '\b';
    return read_escaped_char(r, IN_CLASS, &c) ? PIECE_BAD : (int32_t)c;
}

/* The characters from lo to hi without the surrogates among them. */
static void put_range(struct reader *r, uint32_t lo, uint32_t hi)
{
    if (is_surrogate(lo))
        lo = 0xE000;
    if (is_surrogate(hi))
        hi = 0xD7FF;
    if (lo > hi)
        return;
    put_char(r, lo, IN_CLASS);
    if (lo == hi)
        return;
    put(r, "-", 1);
    put_char(r, hi, IN_CLASS);
}

static int read_class(struct reader *r)
{
    size_t start = r->pos++, empty;

    put(r, "[", 1);
    if (take(r, "^"))
        put(r, "^", 1);
    empty = r->out_len;
    while (!r->failed && peek(r, 0) >= 0 && peek(r, 0) != ']') {
        size_t at = r->pos;
        int32_t lo = read_class_atom(r), hi = lo;

        if (peek(r, 0) == '-' && peek(r, 1) >= 0 && peek(r, 1) != ']') {
            r->pos++;
            hi = read_class_atom(r);
            if (lo == PIECE_SET || hi == PIECE_SET)
                return fail(r, at, "a range needs single characters");
        }
        if (lo == PIECE_BAD || hi == PIECE_BAD)
            return -1;
        if (hi < lo)
            return fail(r, at, "range out of order");
        if (lo != PIECE_SET)
            put_range(r, (uint32_t)lo, (uint32_t)hi);
    }
    if (r->failed || !take(r, "]"))
        return fail(r, start, "unterminated character class");
    if (r->out_len > empty || r->out[empty - 1] == '^') {
        put(r, "]", 1);
    } else {
        r->out_len--;
        puts_out(r, NEVER);
    }
    return 0;
}

/* A decimal number; one beyond 32 bits stays at the largest. */
static bool read_decimal(struct reader *r, uint32_t *n)
{
    size_t start = r->pos;
    int d;

    for (*n = 0; (d = peek(r, 0)) >= '0' && d <= '9'; r->pos++)
        *n = *n > (UINT32_MAX - 9) / 10 ? UINT32_MAX : *n * 10 + (uint32_t)(d - '0');
    return r->pos > start;
}

static int read_braces(struct reader *r)
{
    size_t start = r->pos++;
    uint32_t least, most = 0;
    bool open_ended = false;
    char text[40];

    if (!read_decimal(r, &least))
        return fail(r, start, "lone {");
    most = least;
    if (take(r, ",") && !read_decimal(r, &most))
        open_ended = true;
    if (!take(r, "}"))
        return fail(r, start, "incomplete quantifier");
    if (least > ECMA_MAX_REPEAT || (!open_ended && most > ECMA_MAX_REPEAT))
        return fail(r, start, "quantifier above %u", ECMA_MAX_REPEAT);
    if (open_ended) {
        snprintf(text, sizeof text, "{%u,}", least);
    } else {
        if (most < least)
            return fail(r, start, "quantifier out of order");
        snprintf(text, sizeof text, "{%u,%u}", least, most);
    }
    if (least > r->max_repeat)
        r->max_repeat = least;
    puts_out(r, text);
    return 0;
}

static int read_quantifier(struct reader *r)
{
    int c = peek(r, 0);

    if (c == '{') {
        if (read_braces(r))
            return -1;
    } else if (c == '*' || c == '+' || c == '?') {
        put(r, r->pattern + r->pos++, 1);
    } else {
        return 0;
    }
    if (take(r, "?"))
        put(r, "?", 1);
    return 0;
}

/* A name up to and with its '>'. Escapes in names are not supported. */
static int read_name(struct reader *r, const char **name, size_t *len)
{
    size_t start = r->pos;
    uint32_t c;

    while (peek(r, 0) >= 0 && peek(r, 0) != '>') {
        size_t at = r->pos;
        bool letter;

        if (read_char(r, &c))
            return -1;
        letter =
            (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '$' || c > 0x7F;
        if (!letter && (at == start || c < '0' || c > '9'))
            return fail(r, at, "unexpected character in a group's name");
    }
    *name = r->pattern + start;
    *len = r->pos - start;
    if (*len == 0 || !take(r, ">"))
        return fail(r, start, "incomplete name of a group");
    return 0;
}

static const struct name *find_name(const struct reader *r, const char *name, size_t len)
{
    for (uint32_t i = 0; i < r->names; i++) {
        if (r->name[i].len == len && memcmp(r->name[i].at, name, len) == 0)
            return &r->name[i];
    }
    return NULL;
}

/* Counts the capturing groups, keeps their names, and finds out whether anything refers back. */
static int survey(struct reader *r)
{
    bool in_class = false;

    while (r->pos < r->len) {
        size_t start = r->pos;
        int c = peek(r, 0), next = peek(r, 1);
        struct name *n = &r->name[r->names];

        r->pos++;
        if (c == '\\') {
            r->refers_back |= !in_class && ((next >= '1' && next <= '9') || next == 'k');
            r->pos += next >= 0;
        } else if (c == '[' || c == ']') {
            in_class = c == '[';
        } else if (c == '(' && !in_class) {
            bool named = next == '?' && peek(r, 1) == '<' && peek(r, 2) != '=' && peek(r, 2) != '!';

            if (next == '?' && !named)
                continue;
            if (++r->groups > ECMA_MAX_GROUPS)
                return fail(r, start, "more than %u capturing groups", ECMA_MAX_GROUPS);
            if (!named)
                continue;
            r->pos += 2;
            if (read_name(r, &n->at, &n->len))
                return -1;
            if (find_name(r, n->at, n->len))
                return fail(r, start, "a group's name is used twice");
            n->group = r->groups;
            r->names++;
        }
    }
    r->pos = 0;
    return 0;
}

static int open_group(struct reader *r)
{
    static const char *const around[] = {"(?=", "(?!", "(?<=", "(?<!"};
    size_t start = r->pos, len;
    uint8_t kind = GROUP;
    const char *name;

    if (r->depth == ECMA_MAX_NESTING)
        return fail(r, start, "groups nested deeper than %u", ECMA_MAX_NESTING);
    for (size_t i = 0; i < sizeof around / sizeof *around && kind == GROUP; i++) {
        if (take(r, around[i])) {
            puts_out(r, around[i]);
            kind = LOOKAROUND;
        }
    }
    if (kind == GROUP) {
        bool captures = true;

        if (take(r, "(?:"))
            captures = false;
        else if (take(r, "(?<")) {
            if (read_name(r, &name, &len))
                return -1;
        } else if (!take(r, "(") || peek(r, 0) == '?') {
            return fail(r, start, "unknown kind of group");
        }
        puts_out(r, captures && r->refers_back ? "(" : "(?:");
    }
    r->open[r->depth++] = kind;
    return 0;
}

static int close_group(struct reader *r)
{
    if (r->depth == 0)
        return fail(r, r->pos, "unmatched )");
    r->pos++;
    put(r, ")", 1);
    return r->open[--r->depth] == GROUP ? read_quantifier(r) : 0;
}

static int put_reference(struct reader *r, size_t start, uint32_t group)
{
    char text[24];

    if (group == 0 || group > r->groups)
        return fail(r, start, "reference to a group that does not exist");
    snprintf(text, sizeof text, "\\g{%u}", group);
    puts_out(r, text);
    return read_quantifier(r);
}

static int read_escape(struct reader *r)
{
    size_t start = r->pos++, len;
    int e = peek(r, 0);
    const struct name *found;
    const char *name;
    uint32_t c;

    if (e == 'b' || e == 'B') {
        put(r, r->pattern + start, 2);
        r->pos++;
        return 0;
    }
    if (put_set(r, IN_PATTERN))
        return r->failed ? -1 : read_quantifier(r);
    if (e >= '1' && e <= '9') {
        read_decimal(r, &c);
        return put_reference(r, start, c);
    }
    if (take(r, "k")) {
        if (!take(r, "<"))
            return fail(r, start, "\\k needs a group's name");
        if (read_name(r, &name, &len))
            return -1;
        found = find_name(r, name, len);
        return put_reference(r, start, found ? found->group : 0);
    }
    if (read_escaped_char(r, IN_PATTERN, &c))
        return -1;
    if (is_surrogate(c))
        puts_out(r, NEVER);
    else
        put_char(r, c, IN_PATTERN);
    return read_quantifier(r);
}

static int read_term(struct reader *r)
{
    int c = peek(r, 0);
    uint32_t literal;

    switch (c) {
    case '^':
    case '$':
    case '|':
        put(r, r->pattern + r->pos++, 1);
        return 0;
    case '(':
        return open_group(r);
    case ')':
        return close_group(r);
    case '[':
        return read_class(r) ? -1 : read_quantifier(r);
    case '\\':
        return read_escape(r);
    case '.':
        r->pos++;
        puts_out(r, DOT);
        return read_quantifier(r);
    case '*':
    case '+':
    case '?':
        return fail(r, r->pos, "nothing to repeat");
    case '{':
    case '}':
    case ']':
        return fail(r, r->pos, "lone %c", c);
    default:
        if (read_char(r, &literal))
            return -1;
        put_char(r, literal, IN_PATTERN);
        return read_quantifier(r);
    }
}

int ecma_translate(const char *pattern, size_t len, struct ecma *out, char err[128])
{
    struct reader r = {.pattern = pattern, .len = len, .err = err};
    bool starts = true; /* an alternative outside of every group */

    if (survey(&r) == 0) {
        while (!r.failed && r.pos < r.len) {
            /* An unanchored search finds the rest wherever it is; saves a scan from every start. */
            if (starts && take(&r, ".*"))
                take(&r, "?");
            starts = r.depth == 0 && peek(&r, 0) == '|';
            if (r.pos < r.len)
                read_term(&r);
        }
        if (!r.failed && r.depth)
            fail(&r, len, "unclosed group");
    }
    if (!r.failed)
        put(&r, "", 1);
    if (r.failed) {
        free(r.out);
        return -1;
    }
    *out = (struct ecma){r.out, r.out_len - 1, r.refers_back ? r.groups : 0, r.max_repeat};
    return 0;
}
