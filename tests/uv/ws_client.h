/* The client's side of a WebSocket for tests, by hand, on the raw client of client.h: every bit of a frame is the test's. */
#ifndef TESTS_UV_WS_CLIENT_H
#define TESTS_UV_WS_CLIENT_H

#include "uv/rig.h"

#include <netinet/tcp.h>

#define WS_KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define WS_UPGRADE(path, more)                                                                     \
    "GET " path " HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"    \
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " WS_KEY "\r\n" more "\r\n"

enum { WSC_TEXT = 1, WSC_BINARY = 2, WSC_CLOSE = 8, WSC_PING = 9, WSC_PONG = 10 };

/* The status that the upgrade gets. Frames sent one after the other are then read at once. */
static inline int wsc_try(struct rig *r, struct client *c, const char *request)
{
    int yes = 1;

    rig_client(r, c);
    ck_assert(!setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes));
    client_send(c, request);
    client_head(c);
    return c->status;
}

/* One frame, masked, of that first byte (FIN and opcode), to memory that has room for n + 14 bytes: its size. */
static inline size_t wsc_put(char *to, uint8_t first, const void *data, size_t n)
{
    static const uint8_t mask[4] = {0x12, 0x34, 0x56, 0x78};
    uint8_t *f = (uint8_t *)to;
    size_t at = 2;

    f[0] = first;
    f[1] = (uint8_t)(0x80 | (n < 126 ? n : n < 65536 ? 126 : 127));
    for (int shift = n < 126 ? -8 : n < 65536 ? 8 : 56; shift >= 0; shift -= 8)
        f[at++] = (uint8_t)(n >> shift);
    memcpy(f + at, mask, 4);
    at += 4;
    for (size_t i = 0; i < n; i++)
        f[at + i] = ((const uint8_t *)data)[i] ^ mask[i % 4];
    return at + n;
}

static inline void wsc_frame(struct client *c, uint8_t first, const void *data, size_t n)
{
    char *f = malloc(n + 14);

    must(f);
    client_send_bytes(c, f, wsc_put(f, first, data, n));
    free(f);
}

static inline void wsc_text(struct client *c, const char *text)
{
    wsc_frame(c, 0x80 | WSC_TEXT, TEXT(text));
}

static inline void wsc_close(struct client *c, int code)
{
    const uint8_t payload[2] = {(uint8_t)(code >> 8), (uint8_t)code};

    wsc_frame(c, 0x80 | WSC_CLOSE, payload, 2);
}

/* The next frame: its opcode. Its payload is in c->body. */
static inline int wsc_next(struct client *c)
{
    const uint8_t *h;
    size_t n, head = 2;
    int opcode;

    client_fill(c, 2, "a frame");
    h = (const uint8_t *)c->in;
    must(h[0] & 0x80 && !(h[0] & 0x70) && !(h[1] & 0x80));
    opcode = h[0] & 15;
    n = h[1] & 0x7f;
    head += n == 126 ? 2 : n == 127 ? 8 : 0;
    client_fill(c, head, "a frame's head");
    h = (const uint8_t *)c->in;
    if (n >= 126) {
        n = 0;
        for (size_t i = 2; i < head; i++)
            n = n << 8 | h[i];
    }
    client_fill(c, head + n, "a payload");
    client_drop(c, head);
    c->body_len = 0;
    client_keep(c, n);
    return opcode;
}

/* The next message is this text. */
#define wsc_expect(c, text)                                                                        \
    do {                                                                                           \
        ck_assert_int_eq(wsc_next(c), WSC_TEXT);                                                   \
        ck_assert_str_eq((c)->body, text);                                                         \
    } while (0)

/* The next frame is a close: its code; 1005: without one. */
static inline int wsc_closed(struct client *c)
{
    const uint8_t *p;

    ck_assert_int_eq(wsc_next(c), WSC_CLOSE);
    p = (const uint8_t *)c->body;
    return c->body_len ? p[0] << 8 | p[1] : 1005;
}

#endif
