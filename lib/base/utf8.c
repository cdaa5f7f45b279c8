/* UTF-8 as RFC 3629 has it, by the table of well-formed sequences in its section 4.
 *
 * Overlong forms, surrogates and what is above U+10FFFF are refused, not repaired: a name that two
 * readers decode differently passes the checks of one and is another name for the other. Scrubbing
 * replaces each bad byte by itself, so it always makes progress and its output is bounded. */
#include "base/utf8.h"

#include <string.h>

/* The length of the valid sequence at s, 0 when there is none (RFC 3629: no surrogates, nothing
 * overlong). */
static size_t sequence(const unsigned char *s, size_t n)
{
    size_t len = s[0] < 0x80                   ? 1
                 : s[0] >= 0xC2 && s[0] < 0xE0 ? 2
                 : (s[0] & 0xF0) == 0xE0       ? 3
                 : s[0] >= 0xF0 && s[0] < 0xF5 ? 4
                                               : 0;

    if (!len || len > n)
        return 0;
    for (size_t i = 1; i < len; i++) {
        if ((s[i] & 0xC0) != 0x80)
            return 0;
    }
    /* The first continuation byte is narrower behind these: overlong, surrogate, overlong, too
     * large. */
    if ((s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xED && s[1] > 0x9F) ||
        (s[0] == 0xF0 && s[1] < 0x90) || (s[0] == 0xF4 && s[1] > 0x8F))
        return 0;
    return len;
}

bool utf8_valid(const char *s, size_t n)
{
    size_t len;

    for (size_t i = 0; i < n; i += len) {
        len = sequence((const unsigned char *)s + i, n - i);
        if (!len)
            return false;
    }
    return true;
}

size_t utf8_scrub(char *out, const char *s, size_t n)
{
    size_t at = 0, len;

    for (size_t i = 0; i < n; i += len ? len : 1) {
        len = sequence((const unsigned char *)s + i, n - i);
        memcpy(out + at, len ? s + i : "\xEF\xBF\xBD", len ? len : 3);
        at += len ? len : 3;
    }
    return at;
}

void utf8_show(char *out, size_t size, const char *s, size_t n)
{
    static const char nul[] = "\\u0000";
    size_t len = 0;

    for (size_t i = 0, step; i < n; i += step) {
        for (step = 1; i + step < n && ((unsigned char)s[i + step] & 0xC0) == 0x80;)
            step++;
        if (len + (s[i] ? step : sizeof nul - 1) >= size)
            break;
        memcpy(out + len, s[i] ? s + i : nul, s[i] ? step : sizeof nul - 1);
        len += s[i] ? step : sizeof nul - 1;
    }
    out[len] = 0;
}
