/* Shared by the files of a dialer: dial.c (its life, its waits, what it tells) and dial_attempt.c
 * (from a stream to a session). */
#ifndef ALK_ADAPT_DIAL_INT_H
#define ALK_ADAPT_DIAL_INT_H

#include "adapt/dial_options.h"
#include "core/connection.h"
#include "wire/transport.h"
#include "wire/ws.h"

#define ANNOUNCED_MAX 1024u
#define MESSAGE_MAX 200u /* of what is told to a person; the rest of a remote's text is cut off */

/* Only OPENING and OPEN have an engine on a stream; `opening` is it in the first, the session's in
 * the second. */
enum { WAITING, CONNECTING, OPENING, OPEN, ENDED };

struct alk_dialer {
    struct alk_dispatcher *d;
    struct transport *t;
    struct dialing dialing;
    alk_dial_options o; /* its strings are in the arena */
    struct arena arena;
    struct dial_url url;
    struct credential *by; /* a reference, from an attempt on; NULL: the remote is nobody here */
    struct ws_pool pool;
    struct ws_limits limits;
    struct connecting *connecting;
    struct quic_connecting *connecting_quic;
    struct engine *opening;
    alk_connection *conn; /* a reference, from its opening until its end has been told */
    struct timer timer;   /* of the wait, or of an attempt; while open, of the next look */
    struct task task;
    uint64_t delay, opened_at; /* ns */
    uint64_t discovered;       /* what the node had found when it was announced: its `changes` */
    int status, code;
    int refs; /* the owner's, and one for each engine, session and callback that knows it */
    uint8_t state;
    bool closed;
    bool to_open, to_ready, to_end; /* what is to be told */
    bool imports, announces;        /* what READY waits for */
    char message[MESSAGE_MAX], ready_message[MESSAGE_MAX];
    char announced[ANNOUNCED_MAX + 1];     /* what the remote answered to it; "": nothing */
    char fingerprint[ALK_TLS_FINGERPRINT]; /* of the remote; "": none */
};

/* dial.c */
/* What is told of the end. */
void dial_say(struct alk_dialer *x, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The attempt has failed, or the connection has ended: told in the coming turn. */
void dial_ended(struct alk_dialer *x);
void dialer_unref(struct alk_dialer *x);

/* dial_attempt.c */
void dial_attempt(struct alk_dialer *x);
/* What is under way is given up; nothing is told of it. */
void dial_stop(struct alk_dialer *x);

#endif
