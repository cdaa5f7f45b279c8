/* Decimal arithmetic without big numbers. Digits are compared and divided where they stand in the
 * text; an exponent is only ever added to, so that 1e999999999 costs no more than 1. Exponents
 * beyond +-10^15 count as that. */
#include "schema/number.h"

#include <string.h>

/* Far beyond any text that a message can hold, and far from the ends of 64 bits, so that adding the
 * number of digits cannot overflow. */
#define EXP_LIMIT INT64_C(1000000000000000)
/* 2^k divides a k-digit number at most about 3.3 k times: zeros behind the dividend beyond that
 * change nothing. */
#define ZEROS_PER_DIGIT 4

/* The digits of a number, '.' left out, one after the other. */
struct digits {
    const char *at;
    uint32_t left;
};

/* The point may stand anywhere among the digits; skipping it here saves a copy of the text. */
static unsigned next_digit(struct digits *d)
{
    if (*d->at == '.')
        d->at++;
    d->left--;
    return (unsigned)(*d->at++ - '0');
}

/* The exponent after 'e', within +-EXP_LIMIT. It has a digit. */
static int64_t read_exponent(const char *s, const char *end)
{
    bool negative = *s == '-';
    int64_t e = 0;

    if (negative || *s == '+')
        s++;
    for (; s < end && e < EXP_LIMIT; s++)
        e = e * 10 + (*s - '0');
    if (e > EXP_LIMIT)
        e = EXP_LIMIT;
    return negative ? -e : e;
}

/* Makes the decimal of a JSON number's text; false for zero. Zeros at both ends belong to the
 * exponent: so 1.50, 15e-1 and 0.15e1 have one form. The text is JSON's, checked by its reader, so
 * nothing else can come. */
static bool read_text(struct number *n, const char *s, size_t len)
{
    const char *end = s + len, *mantissa_end, *point, *first = NULL, *last = NULL;
    int64_t before; /* digits from the first that is not 0 to the point; negative: zeros after it */

    n->kind = NUMBER_DECIMAL;
    n->negative = len && *s == '-';
    s += n->negative;
    mantissa_end = s;
    while (mantissa_end < end && (*mantissa_end | 0x20) != 'e')
        mantissa_end++;
    point = memchr(s, '.', (size_t)(mantissa_end - s));
    for (const char *p = s; p < mantissa_end; p++) {
        if (*p >= '1') {
            first = first ? first : p;
            last = p;
        }
    }
    if (!first)
        return false;
    if (!point)
        point = mantissa_end;
    before = first < point ? point - first : point + 1 - first;
    n->digits = first;
    n->count = (uint32_t)(last - first + 1 - (first < point && last > point));
    n->exp = before + (mantissa_end < end ? read_exponent(mantissa_end + 1, end) : 0);
    return true;
}

/* One form for each value: what fits int64_t is never NUMBER_UNSIGNED. */
static void set_unsigned(struct number *n, uint64_t u)
{
    n->kind = u > INT64_MAX ? NUMBER_UNSIGNED : NUMBER_SIGNED;
    n->as.u = u;
}

/* Turns a decimal that is an integer of 64 bits into one. This is what makes the form canonical, on
 * which comparing and hashing rely: 1, 1.0 and 10e-1 are the same from here on. */
static void settle(struct number *n)
{
    struct digits d = {n->digits, n->count};
    uint64_t u = 0;

    /* A fraction, or more than the 20 digits of UINT64_MAX. */
    if (n->exp < n->count || n->exp > 20)
        return;
    for (int64_t i = 0; i < n->exp; i++) {
        unsigned digit = d.left ? next_digit(&d) : 0;

        if (u > (UINT64_MAX - digit) / 10)
            return;
        u = u * 10 + digit;
    }
    if (!n->negative) {
        set_unsigned(n, u);
    } else if (u <= (uint64_t)INT64_MAX + 1) {
        n->kind = NUMBER_SIGNED;
        n->as.i = u > INT64_MAX ? INT64_MIN : -(int64_t)u;
    }
}

/* The shortest text that reads back as the same double, so 0.1 is compared as 0.1 and not as the
 * binary fraction next to it. From a pool on the stack, since it may run within a check. */
size_t number_write(yyjson_val *v, char text[NUMBER_TEXT])
{
    char buf[512], *out;
    yyjson_alc alc;
    size_t len = 0;

    yyjson_alc_pool_init(&alc, buf, sizeof buf);
    out = yyjson_val_write_opts(v, 0, &alc, &len, NULL);
    if (!out || len >= NUMBER_TEXT)
        return 0;
    memcpy(text, out, len);
    return len;
}

void number_read(struct number *n, yyjson_val *v)
{
    const char *text = n->text;
    size_t len;

    if (yyjson_is_uint(v)) {
        set_unsigned(n, yyjson_get_uint(v));
        return;
    }
    if (yyjson_is_sint(v)) {
        n->kind = NUMBER_SIGNED;
        n->as.i = yyjson_get_sint(v);
        return;
    }
    if (yyjson_is_raw(v)) {
        text = yyjson_get_raw(v);
        len = yyjson_get_len(v);
    } else {
        len = number_write(v, n->text);
    }
    if (read_text(n, text, len))
        settle(n);
    else
        set_unsigned(n, 0);
}

/* -0 is zero, and settled as such: it is not negative. */
static bool is_negative(const struct number *n)
{
    return n->kind == NUMBER_DECIMAL ? n->negative : n->kind == NUMBER_SIGNED && n->as.i < 0;
}

/* n as a decimal; an integer's digits are put into buf. Zero has no digits. */
static struct number to_decimal(const struct number *n, char buf[NUMBER_TEXT])
{
    struct number d = *n;
    uint64_t u = n->as.u;
    char *p = buf + NUMBER_TEXT;

    if (n->kind == NUMBER_DECIMAL)
        return d;
    d.kind = NUMBER_DECIMAL;
    d.negative = is_negative(n);
    if (d.negative)
        u = 0 - u;
    for (d.exp = 0; u; u /= 10, d.exp++)
        *--p = (char)('0' + u % 10);
    d.digits = p;
    d.count = (uint32_t)d.exp;
    while (d.count && p[d.count - 1] == '0')
        d.count--;
    return d;
}

/* Both are 0.d1d2… with d1 not 0: the larger exponent decides, then the first digit that
 * differs. */
static int magnitude_cmp(const struct number *a, const struct number *b)
{
    struct digits x = {a->digits, a->count}, y = {b->digits, b->count};

    if (!a->count || !b->count)
        return (a->count != 0) - (b->count != 0);
    if (a->exp != b->exp)
        return a->exp < b->exp ? -1 : 1;
    while (x.left && y.left) {
        unsigned p = next_digit(&x), q = next_digit(&y);

        if (p != q)
            return p < q ? -1 : 1;
    }
    return (x.left != 0) - (y.left != 0);
}

/* Nearly all numbers of real values are 64-bit integers, and one comparison. */
int number_cmp(const struct number *a, const struct number *b)
{
    char left[NUMBER_TEXT], right[NUMBER_TEXT];
    struct number x, y;
    int c;

    if (a->kind == NUMBER_SIGNED && b->kind == NUMBER_SIGNED)
        return (a->as.i > b->as.i) - (a->as.i < b->as.i);
    if (is_negative(a) != is_negative(b))
        return is_negative(a) ? -1 : 1;
    x = to_decimal(a, left);
    y = to_decimal(b, right);
    c = magnitude_cmp(&x, &y);
    return is_negative(a) ? -c : c;
}

bool number_is_integer(const struct number *n)
{
    return n->kind != NUMBER_DECIMAL || n->exp >= n->count;
}

/* Equal numbers are equal in form, since the form is canonical; so the form is what is hashed. */
uint64_t number_hash(const struct number *n)
{
    struct digits d = {n->digits, n->count};
    uint64_t h;

    if (n->kind != NUMBER_DECIMAL)
        return n->as.u * UINT64_C(0x9e3779b97f4a7c15);
    h = (uint64_t)n->exp * 2 + n->negative;
    while (d.left)
        h = (h ^ next_digit(&d)) * UINT64_C(0x100000001b3);
    return h;
}

/* 19 digits are below 2^64: a divisor is then one word, and the division one pass over the
 * digits. */
bool number_can_divide(const struct number *n)
{
    char buf[NUMBER_TEXT];
    struct number d = to_decimal(n, buf);

    return d.count <= 19;
}

/* Long division of X * 10^zeros by Y, digit by digit, of which only the rest is kept. Exact, where
 * fmod on doubles says that 0.3 is no multiple of 0.1. */
bool number_is_multiple(const struct number *a, const struct number *b, uint64_t *cost)
{
    char left[NUMBER_TEXT], right[NUMBER_TEXT];
    struct number x, y;
    struct digits d;
    uint64_t divisor = 0, rest = 0;
    int64_t zeros;

    *cost = 1;
    if (a->kind == NUMBER_SIGNED && b->kind == NUMBER_SIGNED && a->as.i != INT64_MIN)
        return a->as.i % b->as.i == 0;
    x = to_decimal(a, left);
    y = to_decimal(b, right);
    if (x.count == 0)
        return true;
    /* x = X * 10^zeros and y = Y, both times the same power of ten; X ends in no 0. */
    zeros = (x.exp - x.count) - (y.exp - y.count);
    if (zeros < 0)
        return false;
    if (zeros > (int64_t)y.count * ZEROS_PER_DIGIT)
        zeros = (int64_t)y.count * ZEROS_PER_DIGIT;
    for (d = (struct digits){y.digits, y.count}; d.left;)
        divisor = divisor * 10 + next_digit(&d);
    *cost += x.count + (uint64_t)zeros;
    for (d = (struct digits){x.digits, x.count}; d.left || zeros > 0;) {
        uint64_t digit = 0;

        if (d.left)
            digit = next_digit(&d);
        else
            zeros--;
        /* rest * 10 + digit, by additions that cannot overflow: rest and digit are below the
         * divisor. */
        digit %= divisor;
        for (int i = 0; i < 10; i++)
            digit = digit >= divisor - rest ? digit - (divisor - rest) : digit + rest;
        rest = digit;
    }
    return rest == 0;
}

/* 1e400 is a fine maxLength: no value reaches it, as none reaches UINT64_MAX. 1.5 is none, and
 * neither is -1, while 2.0 is the integer 2. */
bool number_to_count(const struct number *n, uint64_t *out)
{
    if (is_negative(n) || !number_is_integer(n))
        return false;
    *out = n->kind == NUMBER_DECIMAL ? UINT64_MAX : n->as.u;
    return true;
}
