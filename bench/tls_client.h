/* TLS under a load generator: after tls_wire, the bytes of its connections go through mbedTLS.
 *
 * By descriptor, so that nothing above knows. Any certificate will do. What is written goes out at
 * once, with waiting: requests in flight fit into the kernel's buffers. */
#ifndef BENCH_TLS_CLIENT_H
#define BENCH_TLS_CLIENT_H

#include "client.h"

#include <mbedtls/ssl.h>
#include <psa/crypto.h>
#include <sys/random.h>

#define TLS_DESCRIPTORS 65536

static struct {
    mbedtls_ssl_config conf;
    mbedtls_ssl_context *of[TLS_DESCRIPTORS];
} tls;

static int tls_random_bits(void *ud, unsigned char *to, size_t len)
{
    (void)ud;
    return getrandom(to, len, 0) == (ssize_t)len ? 0 : -1;
}

static int tls_put(void *ud, const unsigned char *data, size_t len)
{
    ssize_t n = send((int)(intptr_t)ud, data, len, MSG_NOSIGNAL);

    return n < 0 ? MBEDTLS_ERR_SSL_INTERNAL_ERROR : (int)n;
}

static int tls_get(void *ud, unsigned char *to, size_t size)
{
    ssize_t n = recv((int)(intptr_t)ud, to, size, MSG_DONTWAIT);

    if (n < 0)
        return errno == EAGAIN ? MBEDTLS_ERR_SSL_WANT_READ : MBEDTLS_ERR_SSL_INTERNAL_ERROR;
    return (int)n;
}

static void tls_open(int fd)
{
    mbedtls_ssl_context *ssl = must(malloc(sizeof *ssl));
    int rc;

    if (fd >= TLS_DESCRIPTORS)
        fail("too many connections");
    mbedtls_ssl_init(ssl);
    tls.of[fd] = ssl;
    if (mbedtls_ssl_setup(ssl, &tls.conf) || mbedtls_ssl_set_hostname(ssl, NULL))
        fail("no TLS");
    mbedtls_ssl_set_bio(ssl, (void *)(intptr_t)fd, tls_put, tls_get, NULL);
    do
        rc = mbedtls_ssl_handshake(ssl);
    while (rc == MBEDTLS_ERR_SSL_WANT_READ);
    if (rc)
        fail("the handshake failed: -0x%04x", (unsigned)-rc);
}

static ssize_t tls_send(int fd, const void *data, size_t len, int flags)
{
    int n = mbedtls_ssl_write(tls.of[fd], data, len);

    (void)flags;
    if (n < 0)
        fail("cannot send: -0x%04x", (unsigned)-n);
    return n;
}

/* As recv does; waits unless the flags say otherwise. */
static ssize_t tls_recv(int fd, void *to, size_t size, int flags)
{
    int n;

    do
        n = mbedtls_ssl_read(tls.of[fd], to, size);
    while (n == MBEDTLS_ERR_SSL_WANT_READ && !(flags & MSG_DONTWAIT));
    if (n >= 0)
        return n;
    errno = n == MBEDTLS_ERR_SSL_WANT_READ ? EAGAIN : ECONNRESET;
    return -1;
}

static void tls_wire(void)
{
    psa_crypto_init();
    mbedtls_ssl_config_init(&tls.conf);
    if (mbedtls_ssl_config_defaults(&tls.conf, MBEDTLS_SSL_IS_CLIENT, MBEDTLS_SSL_TRANSPORT_STREAM,
                                    MBEDTLS_SSL_PRESET_DEFAULT))
        fail("no TLS");
    mbedtls_ssl_conf_rng(&tls.conf, tls_random_bits, NULL);
    mbedtls_ssl_conf_authmode(&tls.conf, MBEDTLS_SSL_VERIFY_NONE);
    transport.open = tls_open;
    transport.send = tls_send;
    transport.recv = tls_recv;
}

#endif
