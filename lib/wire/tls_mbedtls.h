/* What the files of the seam to mbedTLS share. */
#ifndef ALK_WIRE_TLS_MBEDTLS_H
#define ALK_WIRE_TLS_MBEDTLS_H

#include "base/ip.h"
#include "wire/tls.h"

#include <mbedtls/ssl.h>
#include <mbedtls/ssl_ticket.h>

#define TLS_CALLS "alknet/call"
/* Names in a certificate, by their tags (RFC 5280, 4.2.1.6). */
#define SAN_NAME (MBEDTLS_ASN1_CONTEXT_SPECIFIC | MBEDTLS_X509_SAN_DNS_NAME)
#define SAN_ADDRESS (MBEDTLS_ASN1_CONTEXT_SPECIFIC | MBEDTLS_X509_SAN_IP_ADDRESS)

struct tls_tickets {
    mbedtls_ssl_ticket_context context;
    int refs; /* atomic */
};

struct tls_keyed {
    mbedtls_x509_crt crt;
    mbedtls_pk_context key;
};

struct tls_config {
    mbedtls_ssl_config conf;
    struct tls_keyed *pairs;
    size_t count;
    mbedtls_x509_crt ca;
    struct tls_tickets *tickets; /* a reference; NULL: none */
    uint32_t ask;
    bool trusts_any;               /* client: chain, name and times of a server do not count */
    int refs;                      /* atomic */
    char pin[ALK_TLS_FINGERPRINT]; /* "": none */
};

/* mbedTLS's random function: the kernel's. */
int tls_random(void *ud, unsigned char *to, size_t len);
/* The pair for the name that the client asks for. */
int tls_choose_pair(struct tls_config *c, mbedtls_ssl_context *ssl);
/* mbedTLS's callback behind a ClientHello. */
int tls_on_hello(mbedtls_ssl_context *ssl);

#endif
