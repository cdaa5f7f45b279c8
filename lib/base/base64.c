/* Three bytes are four characters. The bits that the last character has too many must be 0, so that
 * each text is the only one of its bytes (RFC 4648, section 3.5). */
#include "base/base64.h"

#include <stdint.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(char *out, const void *bytes, size_t n)
{
    const uint8_t *p = bytes;

    for (size_t i = 0; i < n; i += 3) {
        uint32_t v = (uint32_t)p[i] << 16;

        v |= i + 1 < n ? (uint32_t)p[i + 1] << 8 : 0;
        v |= i + 2 < n ? p[i + 2] : 0;
        *out++ = alphabet[v >> 18];
        *out++ = alphabet[v >> 12 & 63];
        *out++ = i + 1 < n ? alphabet[v >> 6 & 63] : '=';
        *out++ = i + 2 < n ? alphabet[v & 63] : '=';
    }
}

static int value_of(char c)
{
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+'             ? 62
           : c == '/'             ? 63
                                  : -1;
}

bool base64_decode(char *out, size_t *len, const char *text, size_t n)
{
    uint32_t v = 0, bits = 0;

    *len = 0;
    if (n && n % 4 == 0 && text[n - 1] == '=')
        n -= text[n - 2] == '=' ? 2 : 1;
    for (size_t i = 0; i < n; i++) {
        int c = value_of(text[i]);

        if (c < 0)
            return false;
        v = v << 6 | (uint32_t)c;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            out[(*len)++] = (char)(v >> bits);
        }
        v &= (UINT32_C(1) << bits) - 1;
    }
    /* 6 bits are a character alone, which holds no byte. */
    return bits < 6 && !v;
}
