/* Hosts (alknet/host.h) for tests: started from a configuration, their events awaited with bounds. */
#ifndef TESTS_UV_HOST_RIG_H
#define TESTS_UV_HOST_RIG_H

#include "support/suite.h"

#include <alknet/host.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT(s) (s), strlen(s)
#define LONG_MS 10000u
#define NAMED "{\"id\":\"me\",\"scopes\":[\"a:b\"],\"resources\":{}}"

/* For a listener whose port the kernel chooses, and a key whose token is TOKEN. */
#define TOKEN "alk_0123456789abcdef0123456789abcdef"

static inline const char *with_listener(void)
{
    static char text[512];
    char hash[65];

    alk_token_hash(TEXT(TOKEN), hash);
    snprintf(text, sizeof text,
             "{\"listen\":[{\"host\":\"127.0.0.1\",\"port\":0}],"
             "\"keys\":[{\"prefix\":\"%.8s\",\"hash\":\"%s\",\"scopes\":[\"demo:use\"]}]}",
             TOKEN, hash);
    return text;
}

static inline alk_host *host_made(const alk_host_options *o)
{
    char err[640] = "";
    alk_host *h;
    int rc = alk_host_new(&h, o, err, sizeof err);

    ck_assert_msg(rc == ALK_OK, "%s", err);
    return h;
}

static inline alk_host *host_of(const char *config)
{
    alk_host_options o = {.size = sizeof o, .config = config, .config_len = strlen(config)};

    return host_made(&o);
}

static inline void host_adds(alk_host *h, const char *name, uint32_t type, uint64_t tag)
{
    char err[256] = "";
    alk_operation op;

    alk_operation_init(&op, sizeof op);
    op.name = name;
    op.type = type;
    ck_assert_msg(alk_host_add(h, &op, tag, err, sizeof err) == ALK_OK, "%s", err);
}

static inline void host_starts(alk_host *h)
{
    char err[640] = "";

    ck_assert_msg(alk_host_start(h, err, sizeof err) == ALK_OK, "%s", err);
}

/* The next event, of whatever kind. */
static inline alk_host_event host_next(alk_host *h)
{
    alk_host_event e;

    ck_assert_msg(alk_host_wait(h, LONG_MS) == 1, "no event came");
    ck_assert_uint_eq(alk_host_drain(h, &e, sizeof e, 1), 1);
    return e;
}

static inline void host_gives(alk_host *h, alk_host_event *e)
{
    alk_host_release(h, e, sizeof *e, 1);
}

static inline alk_host_event host_expects(alk_host *h, uint32_t kind, uint64_t id)
{
    alk_host_event e = host_next(h);

    ck_assert_msg(e.kind == kind, "event %u in place of %u: %s", e.kind, kind,
                  e.text ? e.text : "");
    if (id)
        ck_assert_uint_eq(e.id, id);
    return e;
}

/* And gives it back. */
static inline void host_sees(alk_host *h, uint32_t kind, uint64_t id, int rc, const char *text)
{
    alk_host_event e = host_expects(h, kind, id);

    ck_assert_int_eq(e.rc, rc);
    if (text)
        ck_assert_str_eq(e.text, text);
    else
        ck_assert_ptr_null(e.text);
    host_gives(h, &e);
}

static inline int host_listens(alk_host *h)
{
    alk_host_event e = host_expects(h, ALK_HOST_LISTENING, 0);
    int port = atoi(strstr(e.text, "\"port\":") + 7);

    host_gives(h, &e);
    return port;
}

static inline uint64_t host_calls(alk_host *h, const char *operation, const char *input,
                                  const alk_host_call_options *o)
{
    uint64_t id = 0;

    ck_assert_int_eq(alk_host_call(h, TEXT(operation), TEXT(input), o, &id), ALK_OK);
    ck_assert_uint_ne(id, 0);
    return id;
}

static inline uint64_t host_subscribes(alk_host *h, const char *operation, const char *input)
{
    alk_host_call_options o = {.size = sizeof o, .stream = 1};

    return host_calls(h, operation, input, &o);
}

/* The id of the call that comes. */
static inline uint64_t host_serves(alk_host *h, uint64_t tag)
{
    alk_host_event e = host_expects(h, ALK_HOST_CALL, 0);
    uint64_t id = e.id;

    ck_assert_uint_eq(e.tag, tag);
    host_gives(h, &e);
    return id;
}

static inline void host_replies(alk_host *h, uint64_t id, const char *json)
{
    ck_assert_int_eq(alk_host_reply(h, id, TEXT(json)), ALK_OK);
}

/* Everything up to the last event, which is there, and nothing behind it. */
static inline void host_ends(alk_host *h)
{
    alk_host_event e;

    alk_host_stop(h, 0);
    do {
        e = host_next(h);
        host_gives(h, &e);
    } while (e.kind != ALK_HOST_STOPPED);
    ck_assert_int_eq(alk_host_wait(h, 0), 0);
    ck_assert_int_eq(alk_host_stop(h, 0), ALK_ECLOSED);
    alk_host_free(h);
}

#endif
