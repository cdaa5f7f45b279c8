/* A gateway without a loop and one client of it: bytes go in by hand, what comes out is text. Operations and options are
 * added between http_new and http_start, routes between http_start and http_dial. */
#ifndef TESTS_UNIT_GATEWAY_HTTP_RIG_H
#define TESTS_UNIT_GATEWAY_HTTP_RIG_H

#include "gateway/gateway_int.h"
#include "support/world.h"

#include <stdio.h>
#include <string.h>

#define TOKEN "alk_0123456789abcdef0123456789abcdef"
#define HOST "Host: localhost\r\n"
#define BEARER "Authorization: Bearer " TOKEN "\r\n"
#define REQUEST(line, fields) line " HTTP/1.1\r\n" HOST fields "\r\n"

struct http {
    struct world *w;
    alk_gateway_options options;
    alk_gateway *g;
    struct engine *e;
    struct mem mem; /* of the connection */
    struct buf got;
    alk_identities *ids;
    alk_identity_provider provider;
    bool woken;
    long room; /* bytes that the client still takes; -1: all */
};

static inline void http_new(struct http *s)
{
    char hash[65], config[300];

    memset(s, 0, sizeof *s);
    s->room = -1;
    s->w = world_new();
    s->ids = alk_identities_new();
    alk_token_hash(TEXT(TOKEN), hash);
    snprintf(config, sizeof config, "{\"keys\":[{\"prefix\":\"alk_0123\",\"hash\":\"%s\"}]}", hash);
    ck_assert_int_eq(alk_identities_load(s->ids, TEXT(config), 0, NULL, NULL, 0), ALK_OK);
    alk_identities_provider(s->ids, &s->provider, sizeof s->provider);
    s->w->options.identities = &s->provider;
    alk_gateway_options_init(&s->options, sizeof s->options);
    mem_init(&s->mem, NULL, NULL);
    buf_init(&s->got, &s->mem);
}

static inline void http_start(struct http *s)
{
    world_start(s->w);
    ck_assert_int_eq(alk_gateway_new(&s->g, s->w->d, &s->options, NULL, 0), ALK_OK);
}

static inline void http_wake(struct engine *e, void *ud)
{
    struct http *s = ud;

    ck_assert_ptr_eq(s->e, e);
    s->woken = true;
}

static inline bool http_dial_as(struct http *s, const char *address, const char *local,
                                const uint32_t *uid)
{
    const struct peer_info who = {.address = address, .local = local, .uid = uid};

    s->e = gateway_service(s->g)->accept(gateway_service(s->g), &s->mem, &who, s->w->now);
    if (!s->e)
        return false;
    s->e->wake = http_wake;
    s->e->wake_ud = s;
    return true;
}

static inline bool http_dial_from(struct http *s, const char *address, const char *local)
{
    return http_dial_as(s, address, local, NULL);
}

static inline void http_dial(struct http *s)
{
    ck_assert(http_dial_from(s, "127.0.0.1", "127.0.0.1"));
}

static inline void http_hang_up(struct http *s)
{
    if (s->e)
        s->e->ops->fini(s->e);
    s->e = NULL;
    world_turn(s->w);
}

/* Until nothing moves: the dispatcher turns, the client takes what it has room for. */
static inline void http_settle(struct http *s)
{
    for (int i = 0; i < 200; i++) {
        size_t n;

        world_turn(s->w);
        if (!s->e)
            return;
        n = s->e->out.len;
        n = s->room >= 0 && (size_t)s->room < n ? (size_t)s->room : n;
        if (n) {
            ck_assert_int_eq(buf_append(&s->got, buf_at(&s->e->out), n), 0);
            buf_consume(&s->e->out, n);
            s->room -= s->room >= 0 ? (long)n : 0;
            s->woken = true;
        }
        if (s->e->closing && (!s->e->out.len || s->e->closing == ENGINE_RESET)) {
            http_hang_up(s);
            return;
        }
        if (!s->woken && i)
            return;
        s->woken = false;
        s->e->ops->drained(s->e, s->w->now);
    }
    ck_abort_msg("never at rest");
}

/* What has come since the last request was sent, or since got was emptied. */
static inline const char *http_got(struct http *s)
{
    http_settle(s);
    ck_assert_int_eq(buf_append(&s->got, "", 1), 0);
    buf_truncate(&s->got, s->got.len - 1);
    return buf_at(&s->got);
}

/* Sends, on a new connection if there is none; the answer. */
static inline const char *http_say(struct http *s, const char *request)
{
    if (!s->e)
        http_dial(s);
    buf_truncate(&s->got, 0);
    s->e->ops->feed(s->e, request, strlen(request), s->w->now);
    while (s->e->successor)
        s->e = engine_succeed(s->e);
    return http_got(s);
}

static inline int http_status(const char *got)
{
    return strncmp(got, "HTTP/1.1 ", 9) ? 0 : atoi(got + 9);
}

static inline const char *http_post(struct http *s, const char *path, const char *fields,
                                    const char *body)
{
    char request[4000];

    snprintf(request, sizeof request,
             "POST %s HTTP/1.1\r\n" HOST
             "Content-Type: application/json\r\n%sContent-Length: %zu\r\n\r\n%s",
             path, fields, strlen(body), body);
    return http_say(s, request);
}

static inline void http_free(struct http *s)
{
    http_hang_up(s);
    buf_fini(&s->got);
    ck_assert_uint_eq(s->mem.live, 0);
    alk_gateway_free(s->g);
    world_free(s->w);
    alk_identities_free(s->ids);
}

#endif
