/* UTF-8: whether it is, making it so, and cutting it to a length. What goes to a peer has to be
 * UTF-8 whatever came in: half a character at the end of a cut text would make the whole message
 * invalid. */
#ifndef ALK_BASE_UTF8_H
#define ALK_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* The empty text is valid. NUL is a character like others. */
bool utf8_valid(const char *s, size_t n);
/* Copies s with U+FFFD for each byte that is not UTF-8; out holds 3 * n bytes. Returns the
 * length. */
size_t utf8_scrub(char *out, const char *s, size_t n);

/* For a line of text that ends with NUL: copies s, which is UTF-8, with the six characters \u0000 in
 * place of each U+0000, as much as finds room before a NUL in out. */
void utf8_show(char *out, size_t size, const char *s, size_t n);

/* The length of the byte order mark at its beginning, which editors put there and which says
 * nothing; 0: there is none. */
static inline size_t utf8_bom(const char *s, size_t n)
{
    return n >= 3 && memcmp(s, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
}

/* Takes it away; s ends with a NUL. Returns the length without it. */
static inline size_t utf8_drop_bom(char *s, size_t n)
{
    size_t bom = utf8_bom(s, n);

    memmove(s, s + bom, n - bom);
    memset(s + n - bom, 0, bom);
    return n - bom;
}

/* The largest length up to most that does not split a character of s[0..len). */
static inline size_t utf8_cut(const char *s, size_t len, size_t most)
{
    if (len <= most)
        return len;
    while (most && ((unsigned char)s[most] & 0xC0) == 0x80)
        most--;
    return most;
}

/* The length without a last character that a cut at len has split. */
static inline size_t utf8_cut_end(const char *s, size_t len)
{
    size_t back = 0, need;
    unsigned char lead;

    while (back < len && back < 3 && ((unsigned char)s[len - 1 - back] & 0xC0) == 0x80)
        back++;
    if (back == len)
        return len;
    lead = (unsigned char)s[len - 1 - back];
    need = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : lead >= 0xC0 ? 1 : 0;
    return need > back ? len - 1 - back : len;
}

#endif
