/* Most scalars are words, which their first character tells. A number is kept as it is written,
 * however long, but for what JSON does not allow; only octal and hexadecimal ones are computed. */
#include "host/yaml_scalar.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIGITS "0123456789"

static bool is_one_of(struct str s, const char *const *words)
{
    for (; *words; words++) {
        if (str_is(s, *words))
            return true;
    }
    return false;
}

static enum yaml_kind number_kind(const char *s)
{
    size_t whole, part = 0, digits;

    if (strncmp(s, "0o", 2) == 0)
        return s[2] && !s[2 + strspn(s + 2, "01234567")] ? YAML_INT : YAML_STRING;
    if (strncmp(s, "0x", 2) == 0)
        return s[2] && !s[2 + strspn(s + 2, DIGITS "abcdefABCDEF")] ? YAML_INT : YAML_STRING;
    s += *s == '-' || *s == '+';
    whole = strspn(s, DIGITS);
    s += whole;
    if (!*s)
        return whole ? YAML_INT : YAML_STRING;
    if (*s == '.') {
        part = strspn(s + 1, DIGITS);
        s += 1 + part;
    }
    if (whole + part == 0)
        return YAML_STRING;
    if (*s == 'e' || *s == 'E') {
        s++;
        s += *s == '-' || *s == '+';
        digits = strspn(s, DIGITS);
        if (digits == 0)
            return YAML_STRING;
        s += digits;
    }
    return *s ? YAML_STRING : YAML_FLOAT;
}

enum yaml_kind yaml_plain_kind(struct str s)
{
    static const char *const nulls[] = {"~", "null", "Null", "NULL", NULL};
    static const char *const bools[] = {"true", "True", "TRUE", "false", "False", "FALSE", NULL};
    static const char *const infinities[] = {".inf", ".Inf", ".INF", NULL};
    static const char *const nans[] = {".nan", ".NaN", ".NAN", NULL};
    struct str rest = s;

    if (s.n == 0)
        return YAML_NULL;
    if (!strchr("~nNtTfF.+-" DIGITS, *s.p) || memchr(s.p, 0, s.n))
        return YAML_STRING;
    if (is_one_of(s, nulls))
        return YAML_NULL;
    if (is_one_of(s, bools))
        return YAML_BOOL;
    if (*s.p == '-' || *s.p == '+')
        rest = (struct str){s.p + 1, s.n - 1};
    if (is_one_of(rest, infinities) || is_one_of(s, nans))
        return YAML_NOT_FINITE;
    return number_kind(s.p);
}

int yaml_tagged_kind(const char *tag, struct str s)
{
    enum yaml_kind kind = yaml_plain_kind(s);

    if (strcmp(tag, "!") == 0 || strcmp(tag, YAML_CORE "str") == 0)
        return YAML_STRING;
    if (strcmp(tag, YAML_CORE "null") == 0)
        return kind == YAML_NULL ? YAML_NULL : -1;
    if (strcmp(tag, YAML_CORE "bool") == 0)
        return kind == YAML_BOOL ? YAML_BOOL : -1;
    if (strcmp(tag, YAML_CORE "int") == 0)
        return kind == YAML_INT ? YAML_INT : -1;
    if (strcmp(tag, YAML_CORE "float") == 0)
        return kind == YAML_INT || kind == YAML_FLOAT || kind == YAML_NOT_FINITE ? (int)kind : -1;
    return -1;
}

static int write_based(struct buf *out, const char *digits, int base)
{
    size_t len;

    digits += strspn(digits, "0");
    len = strlen(digits);
    if (base == 16 ? len > 16 : len > 22 || (len == 22 && *digits > '1'))
        return YAML_SCALAR_TOO_LARGE;
    return buf_printf(out, "%llu", strtoull(*digits ? digits : "0", NULL, base)) ? YAML_SCALAR_NOMEM
                                                                                 : YAML_SCALAR_OK;
}

/* No plus, no leading zeros, digits on both sides of the point. */
static int write_number(struct buf *out, const char *s)
{
    size_t whole, part = 0;
    const char *point;

    if (s[0] == '0' && (s[1] == 'o' || s[1] == 'x'))
        return write_based(out, s + 2, s[1] == 'o' ? 8 : 16);
    if (*s == '-' && buf_puts(out, "-"))
        return YAML_SCALAR_NOMEM;
    s += *s == '-' || *s == '+';
    while (s[0] == '0' && s[1] >= '0' && s[1] <= '9')
        s++;
    whole = strspn(s, DIGITS);
    if (whole ? buf_append(out, s, whole) : buf_puts(out, "0"))
        return YAML_SCALAR_NOMEM;
    point = s + whole;
    if (*point == '.') {
        part = 1 + strspn(point + 1, DIGITS);
        if (part > 1 ? buf_append(out, point, part) : buf_puts(out, ".0"))
            return YAML_SCALAR_NOMEM;
    }
    return buf_puts(out, point + part) ? YAML_SCALAR_NOMEM : YAML_SCALAR_OK;
}

int yaml_scalar_write(struct buf *out, enum yaml_kind kind, struct str s)
{
    int rc;

    switch (kind) {
    case YAML_STRING:
        rc = buf_json_string(out, s.p, s.n);
        break;
    case YAML_NULL:
        rc = buf_puts(out, "null");
        break;
    case YAML_BOOL:
        rc = buf_puts(out, *s.p == 't' || *s.p == 'T' ? "true" : "false");
        break;
    case YAML_NOT_FINITE:
        return YAML_SCALAR_INFINITE;
    default:
        return write_number(out, s.p);
    }
    return rc ? YAML_SCALAR_NOMEM : YAML_SCALAR_OK;
}
