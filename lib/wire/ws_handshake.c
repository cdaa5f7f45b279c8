/* The two values of the opening handshake, and tokens that travel as a subprotocol.
 *
 * The handshake proves only that the other side speaks WebSocket and is no cache or plain HTTP
 * server; nothing in it is a secret. Base64 is checked strictly, since a key of another length is
 * 400 by RFC 6455, section 4.2.1. Browsers cannot set Authorization on a WebSocket, so a token may
 * come as an offered subprotocol, in base64url, whose characters are those of a token in RFC
 * 9110. */
#include "wire/ws_handshake.h"

#include "host/crypto.h"

#include <mbedtls/base64.h>
#include <mbedtls/sha1.h>
#include <string.h>

#define GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

bool ws_key_valid(const char *key, size_t n)
{
    unsigned char raw[18];
    size_t len = 0;

    return n == WS_KEY_SIZE &&
           !mbedtls_base64_decode(raw, sizeof raw, &len, (const unsigned char *)key, n) &&
           len == 16;
}

bool ws_key_new(char out[WS_KEY_SIZE + 1])
{
    unsigned char raw[16];
    size_t len;

    return !crypto_random(raw, sizeof raw) &&
           !mbedtls_base64_encode((unsigned char *)out, WS_KEY_SIZE + 1, &len, raw, sizeof raw);
}

void ws_accept(const char *key, char out[WS_ACCEPT_SIZE + 1])
{
    unsigned char text[WS_KEY_SIZE + sizeof GUID - 1], sum[20];
    size_t len;

    memcpy(text, key, WS_KEY_SIZE);
    memcpy(text + WS_KEY_SIZE, GUID, sizeof GUID - 1);
    /* Neither can fail: no driver replaces SHA-1, and there is room. */
    mbedtls_sha1(text, sizeof text, sum);
    mbedtls_base64_encode((unsigned char *)out, WS_ACCEPT_SIZE + 1, &len, sum, sizeof sum);
}

static int value(char c)
{
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '-'             ? 62
           : c == '_'             ? 63
                                  : -1;
}

size_t ws_token_decode(const char *p, size_t n, char *out)
{
    unsigned bits = 0, have = 0;
    size_t len = 0;

    for (size_t i = 0; i < n; i++) {
        int v = value(p[i]);

        if (v < 0)
            return 0;
        bits = (bits << 6 | (unsigned)v) & 0xffff; /* 13 are needed at most */
        have += 6;
        if (have >= 8) {
            have -= 8;
            out[len++] = (char)(bits >> have);
        }
    }
    /* The bits left over must be 0: each token has one text, so that two texts are two tokens. */
    return have < 6 && !(bits & ((1u << have) - 1)) ? len : 0;
}
