/* Characters of a pattern: decoding them, escapes, classes, and writing them so that PCRE2 reads
 * the same.
 *
 * What goes out is always spelled out: a character that means something to PCRE2 gets a backslash,
 * and \s, the dot and the properties are written as the sets that ECMA-262 (section 22.2) defines,
 * since PCRE2's own differ. Surrogates are left out of every set: a subject is UTF-8, which has
 * none, and PCRE2 refuses a pattern that mentions one. */
#include "host/regex_ecma_int.h"

#include "base/hex.h"
#include "host/regex_names.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* White space and line ends of ECMA-262 (section 12.2 and 12.3), and all the others, as they stand
 * in a class. The second list is written out because a class cannot subtract: [\S\d] needs it. */
#define SPACES                                                                                     \
    "\t-\r \xc2\xa0\xe1\x9a\x80\xe2\x80\x80-\xe2\x80\x8a\xe2\x80\xa8\xe2\x80\xa9\xe2\x80\xaf"      \
    "\xe2\x81\x9f\xe3\x80\x80\xef\xbb\xbf"
#define OTHERS                                                                                     \
    "\\000-\x08\x0e-\x1f!-\xc2\x9f\xc2\xa1-\xe1\x99\xbf\xe1\x9a\x81-\xe1\xbf\xbf\xe2\x80\x8b-"     \
    "\xe2\x80\xa7\xe2\x80\xaa-\xe2\x80\xae\xe2\x80\xb0-\xe2\x81\x9e\xe2\x81\xa0-\xe2\xbf\xbf"      \
    "\xe3\x80\x81-\xef\xbb\xbe\xef\xbc\x80-" LAST

/* What a piece of a class is when it is no character. */
enum { PIECE_SET = -1, PIECE_BAD = -2 };

/* The first fault counts: what follows from it is of no use to the reader. */
int ecma_fail(struct reader *r, size_t at, const char *fmt, ...)
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

/* Doubles, so that a long pattern is not copied once for each of its characters. */
void ecma_put(struct reader *r, const char *s, size_t n)
{
    if (r->out_cap - r->out_len < n) {
        size_t cap = r->out_cap * 2 + n + 64;
        char *out = realloc(r->out, cap);

        if (!out) {
            ecma_fail(r, r->pos, "out of memory");
            return;
        }
        r->out = out;
        r->out_cap = cap;
    }
    memcpy(r->out + r->out_len, s, n);
    r->out_len += n;
}

void ecma_puts(struct reader *r, const char *s)
{
    ecma_put(r, s, strlen(s));
}

bool ecma_take(struct reader *r, const char *s)
{
    if (!str_starts((struct str){r->pattern + r->pos, r->len - r->pos}, s))
        return false;
    r->pos += strlen(s);
    return true;
}

/* Writes one character that stands for itself. */
void ecma_put_char(struct reader *r, uint32_t c, int where)
{
    char utf8[4];
    size_t n;

    if (c < 0x80) {
        /* In a class also the begin of [: [. and [=, which PCRE2 reads as POSIX classes. */
        if (c && strchr(where == IN_CLASS ? "\\]^-[.:=" : "\\^$.[|()?*+{}", (int)c))
            ecma_put(r, "\\", 1);
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
    ecma_put(r, utf8, n);
}

/* Not utf8_valid before everything: the message names the byte where the pattern is wrong. */
int ecma_read_char(struct reader *r, uint32_t *c)
{
    /* The smallest code point of each length: below, the form is overlong. */
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *s = (const unsigned char *)r->pattern + r->pos;
    unsigned n = s[0] < 0x80 ? 1 : s[0] < 0xC2 ? 0 : s[0] < 0xE0 ? 2 : s[0] < 0xF0 ? 3 : 4;

    if (n == 0 || s[0] > 0xF4 || r->len - r->pos < n)
        return ecma_fail(r, r->pos, "not UTF-8");
    *c = n == 1 ? s[0] : s[0] & (0x7Fu >> n);
    for (unsigned i = 1; i < n; i++) {
        if ((s[i] & 0xC0) != 0x80)
            return ecma_fail(r, r->pos, "not UTF-8");
        *c = *c << 6 | (s[i] & 0x3F);
    }
    if (*c < least[n] || *c > 0x10FFFF || ecma_is_surrogate(*c))
        return ecma_fail(r, r->pos, "not UTF-8");
    r->pos += n;
    return 0;
}

/* Exactly n hexadecimal digits, n ahead of pos; false leaves pos. */
static bool read_hex(struct reader *r, size_t n, uint32_t *c)
{
    *c = 0;
    for (size_t i = 0; i < n; i++) {
        int d = hex_value((char)ecma_peek(r, i));

        if (d < 0)
            return false;
        *c = *c << 4 | (uint32_t)d;
    }
    r->pos += n;
    return true;
}

/* Behind "\u": four digits, a pair of surrogates, or {digits}. JSON has the same pairs, and tools
 * that write patterns may leave one in; two escapes that make a pair are one character. */
static int read_unicode(struct reader *r, size_t start, uint32_t *c)
{
    uint32_t low;
    size_t back;

    if (ecma_take(r, "{")) {
        int d;

        *c = 0;
        for (back = r->pos; (d = hex_value((char)ecma_peek(r, 0))) >= 0; r->pos++) {
            *c = *c << 4 | (uint32_t)d;
            if (*c > 0x10FFFF)
                return ecma_fail(r, start, "code point above 10FFFF");
        }
        if (r->pos == back || !ecma_take(r, "}"))
            return ecma_fail(r, start, "incomplete \\u escape");
        return 0;
    }
    if (!read_hex(r, 4, c))
        return ecma_fail(r, start, "incomplete \\u escape");
    back = r->pos;
    /* A high surrogate alone stays what it is, and matches nothing; what follows is read anew. */
    if (*c >= 0xD800 && *c <= 0xDBFF && ecma_take(r, "\\u")) {
        if (read_hex(r, 4, &low) && low >= 0xDC00 && low <= 0xDFFF)
            *c = 0x10000 + ((*c - 0xD800) << 10) + (low - 0xDC00);
        else
            r->pos = back;
    }
    return 0;
}

/* An escape of a single character; pos is behind the backslash. */
int ecma_read_escape(struct reader *r, int where, uint32_t *c)
{
    /* \a and \e are PCRE2's own, and no escapes of ECMA-262. */
    static const char letters[] = "fnrtv", values[] = "\f\n\r\t\v";
    size_t start = r->pos - 1;
    int e = ecma_peek(r, 0);
    const char *at = e > 0 ? strchr(letters, e) : NULL;

    if (e < 0)
        return ecma_fail(r, start, "the pattern ends in a backslash");
    if (at) {
        *c = (uint32_t)values[at - letters];
    } else if (e == '0' && !(ecma_peek(r, 1) >= '0' && ecma_peek(r, 1) <= '9')) {
        *c = 0;
    } else if (e == 'c') {
        int l = ecma_peek(r, 1);

        if (!((l >= 'a' && l <= 'z') || (l >= 'A' && l <= 'Z')))
            return ecma_fail(r, start, "\\c needs a letter");
        *c = (uint32_t)l % 32;
        r->pos++;
    } else if (e == 'x') {
        r->pos++;
        return read_hex(r, 2, c) ? 0 : ecma_fail(r, start, "\\x needs two hexadecimal digits");
    } else if (e == 'u') {
        r->pos++;
        return read_unicode(r, start, c);
    } else if ((e > 0 && strchr("^$\\.*+?()[]{}|/", e)) || (where == IN_CLASS && e == '-')) {
        *c = (uint32_t)e;
    } else {
        /* With u, only characters that mean something may be escaped: the rest is for later
         * editions. */
        return e > 0x20 && e < 0x7F ? ecma_fail(r, start, "unknown escape \\%c", e)
                                    : ecma_fail(r, start, "unknown escape");
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

    end = ecma_peek(r, 0) == '{' ? memchr(r->pattern + r->pos, '}', r->len - r->pos) : NULL;
    if (!end)
        return ecma_fail(r, start, "incomplete property escape");
    from = r->pos + 1;
    n = (size_t)(end - r->pattern) - from;
    /* By our own list: PCRE2 forgives spaces, case and underscores in names, ECMA-262 does not. */
    if (!regex_property((struct str){r->pattern + from, n}, &prop))
        return ecma_fail(r, start, "unknown property \"%.*s\"", (int)(n < 48 ? n : 48),
                         r->pattern + from);
    r->pos = from + n + 1;
    if (prop.set) {
        const char *set = negated ? prop.rest : prop.set;

        snprintf(code, sizeof code, where == IN_CLASS ? "%s" : *set ? "[%s]" : NEVER, set);
    } else {
        snprintf(code, sizeof code, "\\%c{%s%.*s}", negated ? 'P' : 'p', prop.prefix,
                 (int)prop.name.n, prop.name.p);
    }
    ecma_puts(r, code);
    return 0;
}

/* Writes an escape that stands for a set of characters; false when it is another escape. In a class
 * PCRE2's own \D and \W are not used: together with \P and a leading ^ they lose what is above
 * U+00FF. */
bool ecma_put_set(struct reader *r, int where)
{
    static const struct {
        char letter;
        const char *alone, *in_class;
    } sets[] = {
        {'d', "\\d", "\\d"},           {'D', "\\D", "\\000-/:-" LAST},
        {'w', "\\w", "\\w"},           {'W', "\\W", "\\000-/:-@\\[-\\^`{-" LAST},
        {'s', "[" SPACES "]", SPACES}, {'S', "[^" SPACES "]", OTHERS},
    };
    int e = ecma_peek(r, 0);

    if (e == 'p' || e == 'P') {
        r->pos++;
        read_property(r, e == 'P', where);
        return true;
    }
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        if (e == sets[i].letter) {
            r->pos++;
            ecma_puts(r, where == IN_CLASS ? sets[i].in_class : sets[i].alone);
            return true;
        }
    }
    return false;
}

/* One atom of a class: a character (its code), or a set, which is written. */
static int32_t read_class_atom(struct reader *r)
{
    uint32_t c;

    if (ecma_peek(r, 0) != '\\')
        return ecma_read_char(r, &c) ? PIECE_BAD : (int32_t)c;
    r->pos++;
    if (ecma_put_set(r, IN_CLASS))
        return r->failed ? PIECE_BAD : PIECE_SET;
    /* In a class \b is the backspace, outside a word boundary. */
    if (ecma_take(r, "b"))
        return '\b';
    return ecma_read_escape(r, IN_CLASS, &c) ? PIECE_BAD : (int32_t)c;
}

/* The characters from lo to hi. No end may be a surrogate; a range across them is fine with
 * PCRE2. */
static void put_range(struct reader *r, uint32_t lo, uint32_t hi)
{
    if (ecma_is_surrogate(lo))
        lo = 0xE000;
    if (ecma_is_surrogate(hi))
        hi = 0xD7FF;
    if (lo > hi)
        return;
    ecma_put_char(r, lo, IN_CLASS);
    if (lo == hi)
        return;
    ecma_put(r, "-", 1);
    ecma_put_char(r, hi, IN_CLASS);
}

/* Each piece is written as soon as it is read, a range when both its ends are known. A class is
 * never left as it came: PCRE2 takes "[]a]" for a class with a bracket in it, ECMA-262 for an empty
 * class and more. */
int ecma_read_class(struct reader *r)
{
    size_t start = r->pos++, empty;

    ecma_put(r, "[", 1);
    if (ecma_take(r, "^"))
        ecma_put(r, "^", 1);
    empty = r->out_len;
    while (!r->failed && ecma_peek(r, 0) >= 0 && ecma_peek(r, 0) != ']') {
        size_t at = r->pos;
        int32_t lo = read_class_atom(r), hi = lo;

        /* A dash at the end of a class is a character. */
        if (ecma_peek(r, 0) == '-' && ecma_peek(r, 1) >= 0 && ecma_peek(r, 1) != ']') {
            r->pos++;
            hi = read_class_atom(r);
            if (lo == PIECE_SET || hi == PIECE_SET)
                return ecma_fail(r, at, "a range needs single characters");
        }
        if (lo == PIECE_BAD || hi == PIECE_BAD)
            return -1;
        if (hi < lo)
            return ecma_fail(r, at, "range out of order");
        if (lo != PIECE_SET)
            put_range(r, (uint32_t)lo, (uint32_t)hi);
    }
    if (r->failed || !ecma_take(r, "]"))
        return ecma_fail(r, start, "unterminated character class");
    /* "[]", or one that had nothing but surrogates; "[^]" may stand, and matches anything. */
    if (r->out_len > empty || r->out[empty - 1] == '^') {
        ecma_put(r, "]", 1);
    } else {
        r->out_len--;
        ecma_puts(r, NEVER);
    }
    return 0;
}
