/* TLS on a byte stream (RFC 5246, RFC 8446).
 *
 * Two things are here. The seam: what the library wants of a TLS implementation, which
 * tls_mbedtls*.c provides; another one takes its place without anybody noticing. And an engine that
 * stands on it and holds another engine (tls_engine.c): ciphertext comes and goes outside, the
 * other engine sees plain bytes and knows of nothing.
 *
 * A configuration is immutable and counted, and may be used by any thread; a reload makes another
 * one (tls_store.c), and connections keep the one that they have begun with. */
#ifndef ALK_WIRE_TLS_H
#define ALK_WIRE_TLS_H

#include "base/str.h"
#include "wire/engine.h"

#include <alknet/tls.h>

#define ALPN_CALL "alknet/call" /* a call connection, framed (wire/frame.h) */

/* ---- the seam -------------------------------------------------------------------------------- */

/* PEM texts, each with a NUL behind its len bytes, and the names of their files, for messages. */
struct tls_text {
    const char *name;
    char *text;
    size_t len;
};

struct tls_pair {
    struct tls_text certificate, key;
};

struct tls_settings {
    bool client, insecure;
    const struct tls_pair *pairs;
    size_t count;
    struct tls_text ca;          /* client: trust anchors; text NULL: none */
    struct tls_text raw_key;     /* of QUIC alone; text NULL: none */
    const char *pin;             /* client: a fingerprint; NULL: none */
    uint32_t ask;                /* server: ALK_TLS_ASK_ */
    struct tls_tickets *tickets; /* server: NULL: sessions are not resumed */
};

struct tls_config;
struct quic_keys;
/* ALK_EINVAL (err says what, and in which file), ALK_ENOMEM. Nothing of s is kept but a reference
 * to the tickets. */
int tls_config_new(struct tls_config **out, const struct tls_settings *s, char *err,
                   size_t err_size);
struct tls_config *tls_config_ref(struct tls_config *c);
void tls_config_unref(struct tls_config *c);
/* When the certificate ends that is the first to do so, Unix time in seconds; 0: it has none. */
int64_t tls_config_expires(const struct tls_config *c);

/* The keys of tickets, which outlive a configuration. NULL: out of memory. */
struct tls_tickets *tls_tickets_new(void);
void tls_tickets_unref(struct tls_tickets *t);

/* Of one connection. */
struct tls;
/* How it gets and gives ciphertext. get: how many bytes, 0: there are none now. put: 0, or -1 when
 * out of memory. */
struct tls_io {
    size_t (*get)(void *ud, void *to, size_t size);
    int (*put)(void *ud, const void *data, size_t len);
    void *ud;
};
enum { TLS_DONE = 0, TLS_WANT = -1, TLS_CLOSED = -2, TLS_FAILED = -3 };

/* host: of the server that is dialled, its name or numeric address. alpn: by preference, ends with
 * NULL, outlives it. NULL: out of memory. */
struct tls *tls_new(struct tls_config *c, const char *host, const char *const *alpn,
                    const struct tls_io *io);
void tls_free(struct tls *t);
/* Goes on with the handshake: TLS_DONE, TLS_WANT (more ciphertext), TLS_FAILED. */
int tls_handshake(struct tls *t);
/* How many bytes, or TLS_WANT, TLS_CLOSED (the remote has said that nothing more comes),
 * TLS_FAILED. */
int tls_read(struct tls *t, char *to, size_t size);
/* How many were taken, at least one; or TLS_FAILED. Each call makes a record. */
int tls_write(struct tls *t, const char *data, size_t len);
/* Says that nothing more comes from here. */
void tls_say_goodbye(struct tls *t);
/* What was agreed on; p NULL: the client did not say. */
struct str tls_alpn(const struct tls *t);
/* Of the certificate that the remote has shown in this handshake; "": none. */
const char *tls_fingerprint(const struct tls *t);
/* Why it has failed, for a person. */
void tls_reason(const struct tls *t, char *to, size_t size);

/* As alk_tls_self_sign: PEM texts into the two buffers. names: of the strings of a JSON array. */
int tls_self_sign(const struct str *names, size_t count, uint32_t days, struct buf *certificate,
                  struct buf *key);

/* ---- alk_tls --------------------------------------------------------------------------------- */

/* A reference to what it is now; NULL: it is for QUIC alone. */
struct tls_config *tls_current(alk_tls *t);
/* Likewise for QUIC. */
struct quic_keys *tls_current_keys(alk_tls *t);
/* A client's; NULL: none. */
const char *tls_pin(const alk_tls *t);
bool tls_insecure(const alk_tls *t);
/* As tls_config_expires, of the present one. */
int64_t tls_expires(const alk_tls *t);
/* Whether it is a fingerprint. */
bool tls_is_pin(const char *s);
/* false: it is for QUIC alone. */
bool tls_has_streams(const alk_tls *t);

/* ---- the engine ------------------------------------------------------------------------------ */

struct tls_info {
    struct str alpn;         /* p NULL: none was agreed on */
    const char *fingerprint; /* "SHA256:..." of the remote's certificate; "": it has shown none */
};

struct tls_app {
    /* The handshake is over. The engine that speaks inside, on the same struct mem; NULL: the
     * stream is closed. info is valid during the call. */
    struct engine *(*ready)(void *ud, const struct tls_info *info, uint64_t now);
    /* It has failed, or the stream is gone before it was over; why: valid during the call. */
    void (*failed)(void *ud, const char *why);
    /* Last, unless ready gave an engine: the stream is gone. */
    void (*fini)(void *ud);
};

/* An end of the remote's side, with its goodbye (close_notify) or without, reaches the engine
 * inside as its eof, once. It cannot tell the one from the other: what is spoken inside has ends of
 * its own (a length, a last chunk, a close frame), and what has none, as a body that ends with its
 * connection, must be taken for cut. m, which may be NULL, pays for what has come and is not read
 * inside; it outlives the engine inside. deadline: of the handshake; 0: none. NULL: out of
 * memory. */
struct engine *tls_accept(struct mem *mem, struct tls_config *c, const char *const *alpn,
                          const struct tls_app *app, void *ud, struct meter *m, uint64_t deadline);
struct engine *tls_connect(struct mem *mem, struct tls_config *c, const char *host,
                           const char *const *alpn, const struct tls_app *app, void *ud,
                           uint64_t deadline);

#endif
