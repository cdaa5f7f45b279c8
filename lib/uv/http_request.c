/* One request of the HTTP client: it waits for what its origin has asked for, is sent, and perhaps
 * once more: to where a redirect leads, or after a failure that may pass.
 *
 * What it is called with lies behind the struct, in one piece, and is wiped with it; libcurl reads
 * the lines of the head from there. It is freed in a step, when libcurl is not on the stack. */
#include "core/dispatcher.h"
#include "core/node.h"
#include "uv/http_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BACKOFF_FIRST (100 * MILLI)
#define BACKOFF_MOST (2 * SECOND)

/* ---- life ------------------------------------------------------------------------------------ */

char *http_copy(struct http_client *c, struct str s)
{
    return mem_dup(&c->l->mem, s.p ? s.p : "", s.n);
}

void http_wipe(struct http_client *c, char *s)
{
    if (s)
        mem_wipe(s, strlen(s));
    mem_free(&c->l->mem, s);
}

const char *http_request_url(const struct fetch *x)
{
    return x->moved ? x->moved : x->rq.url;
}

/* libcurl's copy of a body goes with it. */
static void detach(struct fetch *x, bool whole)
{
    http_slot_give(x);
    heap_remove(&x->c->times, &x->at);
    if (!x->easy)
        return;
    if (x->state == REQUEST_RUNNING)
        curl_multi_remove_handle(x->pool->multi, x->easy->curl);
    if (x->sending && !whole)
        http_socket_left(x);
    x->state = REQUEST_NEW;
    curl_easy_setopt(x->easy->curl, CURLOPT_HTTPHEADER, NULL);
    curl_easy_setopt(x->easy->curl, CURLOPT_POSTFIELDS, NULL);
    http_easy_give(x->pool, x->easy);
    x->easy = NULL;
}

/* To the world it is gone. */
static void leave(struct fetch *x)
{
    COUNT(x->c->l->d, http_client_ended);
    loop_hold(x->c->l, -1);
}

static void request_free(struct fetch *x)
{
    struct http_client *c = x->c;

    detach(x, false);
    if (!x->left)
        leave(x);
    list_del(&x->due);
    list_del(&x->link);
    if (list_empty(&c->requests))
        c->rest_at = c->l->now + REST;
    buf_fini(&x->head);
    http_wipe(c, x->moved);
    mem_wipe(x->text, x->text_bytes);
    mem_free(&c->l->mem, x);
}

/* Nobody hears of it any more. A name that is being looked up, is, on a thread of its own: the
 * request stays until that is over, so that there are no more of these than connections. */
static void let_go(struct fetch *x)
{
    x->events = NULL;
    if (x->state != REQUEST_RUNNING || !x->resolves || x->opened || x->sending) {
        request_free(x);
        return;
    }
    if (!x->left)
        leave(x);
    x->left = true;
    heap_remove(&x->c->times, &x->at);
}

/* why may have words of libcurl's that repeat what came. */
static void end(struct fetch *x, int outcome, const char *why, uint64_t retry_after_ms)
{
    const struct fetch_events *events = x->events;
    struct alk_loop *l = x->c->l;
    char text[sizeof x->why];
    void *ud = x->ud;

    if (outcome == FETCH_REFUSED)
        COUNT(l->d, http_client_refused);
    else if (outcome == FETCH_HELD)
        COUNT(l->d, http_client_held);
    else if (outcome != FETCH_DONE)
        COUNT(l->d, http_client_failures);
    *text = 0;
    if (why)
        snprintf(text, sizeof text, "%s", why);
    for (char *p = text; *p; p++)
        *p = *p < 0x20 || *p > 0x7e ? '?' : *p;
    let_go(x);
    loop_again(l);
    events->end(ud, outcome, why ? text : NULL, retry_after_ms);
}

void http_request_close(struct fetch *x)
{
    if (x->events)
        end(x, FETCH_FAILED, "the loop closes", 0);
    else
        request_free(x);
}

struct fetch *http_request_new(struct http_client *c, const struct fetch_request *rq,
                               const struct fetch_events *events, void *ud)
{
    size_t nodes, texts = http_texts_size(rq, &nodes);
    struct fetch *x = mem_zalloc(&c->l->mem, sizeof *x + nodes + texts);
    const char *proxy = c->options.o.proxy;

    if (!x)
        return NULL;
    x->c = c;
    x->rq = *rq;
    x->events = events;
    x->ud = ud;
    x->text = (char *)(x + 1) + nodes;
    x->text_bytes = texts;
    http_texts_put(x, (struct curl_slist *)(void *)(x + 1));
    list_init(&x->link);
    list_init(&x->due);
    list_init(&x->queued);
    heap_node_init(&x->at);
    buf_init(&x->head, &c->l->mem);
    x->pool = &c->pools[rq->stream];
    x->valid = origin_of(x->rq.url, x->origin, &x->host);
    x->proxied = x->valid && proxy && !origin_without_proxy(c->options.o.no_proxy, x->host);
    list_push(&c->requests, &x->link);
    return x;
}

/* ---- sending ---------------------------------------------------------------------------------- */

static void look_at(struct fetch *x, uint64_t at)
{
    heap_remove(&x->c->times, &x->at);
    if (at != UINT64_MAX)
        heap_insert(&x->c->times, &x->at, at);
}

/* When it is looked at next: nothing may come for some time, nobody waits for what nobody wants,
 * and there is the deadline. */
static void watch(struct fetch *x, uint64_t now)
{
    uint64_t at = (x->paused ? now : x->heard) + x->c->options.o.idle_ms * MILLI;

    if (x->discard && x->discard_ends < at)
        at = x->discard_ends;
    look_at(x, x->rq.deadline < at ? x->rq.deadline : at);
}

static bool transfer(struct fetch *x, uint64_t now)
{
    x->easy = http_easy_take(x->pool);
    if (!x->easy)
        return false;
    x->easy->x = x;
    x->status = 0;
    x->hold = x->hold_ends = 0;
    x->header_bytes = x->body_bytes = x->discarded = x->sent_bytes = 0;
    x->uploaded = 0;
    x->spoiled = SPOILED_NOT;
    x->in_head = x->answered = x->discard = x->redirected = x->again = x->paused = false;
    x->opened = x->resolves = x->sending = x->barred = false;
    x->fd = CURL_SOCKET_BAD;
    x->heard = now;
    if (http_request_set(x) || curl_multi_add_handle(x->pool->multi, x->easy->curl))
        return false;
    x->state = REQUEST_RUNNING;
    watch(x, now);
    return true;
}

static void wait_until(struct fetch *x, uint64_t at)
{
    http_slot_give(x);
    x->state = REQUEST_WAITING;
    look_at(x, at < x->rq.deadline ? at : x->rq.deadline);
}

static void send_in_turn(struct fetch *x, uint64_t now)
{
    int rc = http_slot_take(x);

    if (rc == ALK_EAGAIN)
        look_at(x, x->rq.deadline);
    else if (rc || http_pool_open(x->pool) || !transfer(x, now))
        end(x, FETCH_FAILED, "out of memory", 0);
}

/* The first sending, or one more. */
static void begin(struct fetch *x, uint64_t now)
{
    uint64_t until;

    if (!x->valid) {
        end(x, FETCH_REFUSED, "the URL is none of http or https", 0);
        return;
    }
    if (now >= x->rq.deadline) {
        end(x, FETCH_TIMED_OUT, "the deadline has passed", 0);
        return;
    }
    until = held_until(x->c, x->origin, now);
    if (until && !x->hold_ends)
        x->hold_ends = now + HELD_WAIT;
    if (until && until <= x->hold_ends && until < x->rq.deadline)
        wait_until(x, until);
    else if (until)
        end(x, FETCH_HELD, "the service has asked to be left alone",
            (until - now + MILLI - 1) / MILLI);
    else
        send_in_turn(x, now);
}

/* ---- what follows ---------------------------------------------------------------------------- */

bool http_request_may_repeat(const struct fetch *x)
{
    return x->rq.idempotent && x->attempts < x->c->options.o.retries;
}

/* A random part of a time that doubles, so that those who were refused together do not come back
 * together. */
static void repeat(struct fetch *x, uint64_t now)
{
    uint64_t delay = BACKOFF_FIRST << (x->attempts < 8 ? x->attempts : 8);
    uint64_t random = 0;

    if (delay > BACKOFF_MOST)
        delay = BACKOFF_MOST;
    x->c->l->d->node->host->random(&random, sizeof random);
    x->attempts++;
    COUNT(x->c->l->d, http_client_retries);
    wait_until(x, x->hold > now ? x->hold : now + random % delay);
}

/* It is the network's fault, or that of a server which may know better the next time. libcurl's
 * only time-out is that for connecting. */
static bool may_help(CURLcode rc)
{
    switch (rc) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
    case CURLE_SSL_CONNECT_ERROR:
        return true;
    default:
        return false;
    }
}

static void failed(struct fetch *x, CURLcode rc, const char *why)
{
    if (!*why)
        why = curl_easy_strerror(rc);
    /* A line of a head that is longer than it takes. */
    if (rc == CURLE_OUT_OF_MEMORY && x->sending && !x->answered)
        end(x, FETCH_TOO_LARGE, "the answer's head is larger than allowed", 0);
    else if (rc == CURLE_OPERATION_TIMEDOUT)
        end(x, FETCH_TIMED_OUT, why, 0);
    else
        end(x, FETCH_FAILED, why, 0);
}

/* The end of what has spoiled it, if something has. */
static bool spoiled(struct fetch *x, CURLcode rc)
{
    if (rc == CURLE_COULDNT_CONNECT && x->barred && !x->opened)
        x->spoiled = SPOILED_REFUSED;
    switch (x->spoiled) {
    case SPOILED_LARGE:
        end(x, FETCH_TOO_LARGE, "the answer is larger than allowed", 0);
        return true;
    case SPOILED_REFUSED:
        end(x, FETCH_REFUSED, x->why, 0);
        return true;
    case SPOILED_LOST:
        end(x, FETCH_FAILED, "the connection ended before an answer came", 0);
        return true;
    case SPOILED_LENGTH:
        end(x, FETCH_FAILED, "the answer's length is no number, or said in two ways", 0);
        return true;
    case SPOILED_UPGRADE:
        end(x, FETCH_FAILED, "the answer switches to a protocol that nobody asked for", 0);
        return true;
    case SPOILED_MEMORY:
        end(x, FETCH_FAILED, "out of memory", 0);
        return true;
    default:
        return false;
    }
}

/* libcurl finds nothing wrong with a head that ends in the middle. */
static CURLcode result(const struct fetch *x, CURLcode rc, char why[CURL_ERROR_SIZE])
{
    if (rc) {
        memcpy(why, x->easy->error, CURL_ERROR_SIZE);
        return rc;
    }
    if (x->answered)
        return CURLE_OK;
    strcpy(why, "the connection ended within the answer's head");
    return CURLE_PARTIAL_FILE;
}

void http_request_done(struct fetch *x, CURLcode rc, uint64_t now)
{
    char why[CURL_ERROR_SIZE] = "";

    rc = result(x, rc, why);
    detach(x, !rc);
    if (!x->events) {
        request_free(x);
    } else if (spoiled(x, rc)) {
        return;
    } else if (x->redirected) {
        x->redirects++;
        http_due(x);
    } else if (x->again || (rc && !x->told && http_request_may_repeat(x) && may_help(rc))) {
        repeat(x, now);
    } else if (rc) {
        failed(x, rc, why);
    } else {
        end(x, FETCH_DONE, NULL, 0);
    }
}

/* libcurl says what it has delivered by it only here. */
static void go_on(struct fetch *x, uint64_t now)
{
    CURLcode rc;

    x->paused = false;
    x->heard = now;
    rc = curl_easy_pause(x->easy->curl, CURLPAUSE_CONT);
    if (rc)
        http_request_done(x, rc, now);
}

void http_request_step(struct fetch *x, uint64_t now)
{
    bool resume = x->resume;

    x->resume = false;
    if (!x->events)
        let_go(x);
    else if (x->spoiled == SPOILED_MEMORY)
        spoiled(x, CURLE_OK);
    else if (x->state == REQUEST_NEW)
        begin(x, now);
    else if (resume && x->paused)
        go_on(x, now);
}

/* What is sent counts as well as what comes. */
static bool silent(struct fetch *x, uint64_t now)
{
    curl_off_t sent = 0;

    if (x->paused || now < x->heard + x->c->options.o.idle_ms * MILLI)
        return false;
    curl_easy_getinfo(x->easy->curl, CURLINFO_SIZE_UPLOAD_T, &sent);
    if (sent == x->uploaded)
        return true;
    x->uploaded = sent;
    x->heard = now;
    return false;
}

void http_request_look(struct fetch *x, uint64_t now)
{
    if (!x->events)
        return; /* its step comes */
    if (now >= x->rq.deadline)
        end(x, FETCH_TIMED_OUT, "the deadline has passed", 0);
    else if (x->state == REQUEST_WAITING)
        begin(x, now);
    else if (x->discard && now >= x->discard_ends)
        http_request_done(x, CURLE_WRITE_ERROR, now);
    else if (silent(x, now))
        end(x, FETCH_FAILED, "nothing has come for too long", 0);
    else
        watch(x, now);
}

void http_request_discard(struct fetch *x)
{
    x->discard = true;
    x->discard_ends = x->c->l->now + DISCARD_TIME;
    watch(x, x->c->l->now);
}
