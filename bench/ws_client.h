/* The client's side of RFC 6455 as the load generators need it: the handshake, masked frames out, whole frames in.
 *
 * The key of the handshake is the RFC's example, so that its answer is known without a hash; nothing here depends on its being random.
 * Frames from the server must be whole messages: one that is masked, fragmented or of a reserved form ends the program. */
#ifndef BENCH_WS_CLIENT_H
#define BENCH_WS_CLIENT_H

#include "client.h"

#include <stdbool.h>
#include <strings.h>

#define WS_KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define WS_ACCEPT "\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
#define WS_HEAD_MAX 4096u
#define WS_HEADER_MAX 14u
#define WS_ROOM (WS_HEADER_MAX + 8u) /* what ws_write may need beyond the message */

enum ws_opcode { WS_TEXT = 1, WS_BINARY = 2, WS_CLOSE = 8, WS_PING = 9, WS_PONG = 10 };

struct ws_frame {
    enum ws_opcode opcode;
    const char *at;
    size_t len;
};

static inline void ws_send_all(int fd, const char *p, size_t len)
{
    while (len) {
        ssize_t n = transport.send(fd, p, len, MSG_NOSIGNAL);

        if (n < 0 && errno != EINTR)
            fail("cannot send: %s", strerror(errno));
        p += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
}

/* A session on a new connection, or the end of the program. The server has nothing to say before it is asked, so bytes
 * behind its answer are an error too. */
static inline int ws_dial(int port, const char *path, const char *token, int receive_buffer)
{
    char head[WS_HEAD_MAX + 1];
    size_t have = 0;
    int fd = dial_port(port, receive_buffer), n;

    n = snprintf(head, sizeof head,
                 "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: Upgrade\r\nUpgrade: "
                 "websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " WS_KEY
                 "\r\nAuthorization: Bearer %s\r\n\r\n",
                 path, port, token);
    if (n < 0 || (size_t)n >= sizeof head)
        fail("path and token are too long");
    ws_send_all(fd, head, (size_t)n);
    do {
        ssize_t got = transport.recv(fd, head + have, WS_HEAD_MAX - have, 0);

        if (got <= 0)
            fail("no answer to the upgrade: %s", got ? strerror(errno) : "closed");
        have += (size_t)got;
        head[have] = 0;
    } while (!strstr(head, "\r\n\r\n") && have < WS_HEAD_MAX);
    if (strncmp(head, "HTTP/1.1 101 ", 13) || !strcasestr(head, WS_ACCEPT))
        fail("no upgrade: %s", head);
    if (strcmp(head + have - 4, "\r\n\r\n") || strstr(head, "\r\n\r\n") != head + have - 4)
        fail("something follows the head of the upgrade: %s", head);
    return fd;
}

/* A masked message of one frame at to, which must have room for len + WS_ROOM; returns its length. message must be readable up
 * to the next multiple of 8. */
static inline size_t ws_write(char *to, enum ws_opcode opcode, const char *message, size_t len,
                              uint32_t key)
{
    unsigned char *p = (unsigned char *)to;
    uint64_t mask = (uint64_t)key << 32 | key, word;
    size_t at = 2;

    p[0] = (unsigned char)(0x80u | opcode);
    p[1] = (unsigned char)(0x80u | (len < 126 ? len : len < 65536 ? 126 : 127));
    for (int shift = len < 126 ? -8 : len < 65536 ? 8 : 56; shift >= 0; shift -= 8)
        p[at++] = (unsigned char)((uint64_t)len >> shift);
    memcpy(p + at, &key, 4);
    at += 4;
    for (size_t i = 0; i < len; i += 8) {
        memcpy(&word, message + i, 8);
        word ^= mask;
        memcpy(p + at + i, &word, 8);
    }
    return at + len;
}

/* The first frame of len bytes; returns its length on the wire, 0 when it is not complete. */
static inline size_t ws_read(const char *from, size_t len, struct ws_frame *frame)
{
    const unsigned char *p = (const unsigned char *)from;
    size_t header = 2;
    uint64_t size;

    if (len < 2)
        return 0;
    size = p[1];
    if (!(p[0] & 0x80) || p[0] & 0x70 || size > 127)
        fail("a frame with a header that was not expected: %02x %02x", p[0], p[1]);
    if (size >= 126) {
        header += size == 126 ? 2 : 8;
        if (len < header)
            return 0;
        size = 0;
        for (size_t i = 2; i < header; i++)
            size = size << 8 | p[i];
    }
    if (size > len - header)
        return 0;
    *frame = (struct ws_frame){p[0] & 15, from + header, (size_t)size};
    return header + (size_t)size;
}

#define WS_PONG_MAX (128u + WS_ROOM)

/* What is not a binary message: for a ping the length of the pong that is to be sent, for a pong 0; anything else ends the program. */
static inline size_t ws_other(const struct ws_frame *frame, char pong[WS_PONG_MAX])
{
    const unsigned char *p = (const unsigned char *)frame->at;
    char message[128] = {0};

    if (frame->opcode == WS_CLOSE)
        fail("the server closed a session with %d", frame->len > 1 ? p[0] << 8 | p[1] : 1005);
    if (frame->opcode == WS_PONG)
        return 0;
    if (frame->opcode != WS_PING || frame->len > 125)
        fail("a frame of opcode %d", frame->opcode);
    memcpy(message, frame->at, frame->len);
    return ws_write(pong, WS_PONG, message, frame->len, 0x5bd1e995);
}

#endif
