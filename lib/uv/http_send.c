/* What is sent of a request: the texts that it is called with, and what libcurl asks for before and
 * while it sends. */
#include "uv/http_int.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define OWN_LINES 5u /* of the head: at most so many beside those of the caller */

/* ---- what it is called with ------------------------------------------------------------------ */

static size_t count_lines(struct str headers)
{
    size_t n = 1;

    for (size_t i = 0; i < headers.n; i++)
        n += headers.p[i] == '\n';
    return n;
}

size_t http_texts_size(const struct fetch_request *rq, size_t *nodes)
{
    *nodes = (count_lines(rq->headers) + OWN_LINES) * sizeof(struct curl_slist);
    return strlen(rq->method) + strlen(rq->url) + rq->headers.n + 32 +
           (rq->traceparent ? strlen(rq->traceparent) : 0);
}

static char *put(char **at, struct str s)
{
    char *begin = *at;

    memcpy(begin, s.p, s.n);
    begin[s.n] = 0;
    *at += s.n + 1;
    return begin;
}

static struct curl_slist *put_line(struct curl_slist **at, char *line)
{
    struct curl_slist *node = (*at)++;

    *node = (struct curl_slist){line, node + 1};
    return node;
}

/* One line of the caller's. Without a value libcurl would take it for the wish to leave out its
 * own; with a semicolon it is one that is empty. */
static void put_header(struct curl_slist **at, char **text, struct str line)
{
    const char *colon = memchr(line.p, ':', line.n);
    char *own;

    if (!colon)
        return;
    own = put(text, line);
    own += colon - line.p;
    if (!own[1 + strspn(own + 1, " \t")]) {
        own[0] = ';';
        own[1] = 0;
    }
    put_line(at, own - (colon - line.p));
}

static bool has_body(const struct fetch_request *rq)
{
    return rq->body.p || !strcmp(rq->method, "POST") || !strcmp(rq->method, "PUT") ||
           !strcmp(rq->method, "PATCH");
}

static bool begins(struct str line, const char *name)
{
    size_t n = strlen(name);

    return line.n >= n && !strncasecmp(line.p, name, n);
}

/* Expect would wait for a 100 that many services do not send; a type that nobody gave would be a
 * form's. Lines that libcurl has an option for, it writes twice, a letter at a time, which with two
 * of them is a twentieth of what a call costs. */
void http_texts_put(struct fetch *x, struct curl_slist *nodes)
{
    static char expect[] = "Expect:", type[] = "Content-Type:";
    static char encoding[] = "Accept-Encoding: gzip, deflate";
    struct str rest = x->rq.headers;
    struct curl_slist *at = nodes;
    char *text = x->text;
    bool body = has_body(&x->rq), typed = !body, named = !x->c->options.agent_line,
         encoded = x->rq.stream;

    x->rq.method = put(&text, str_of(x->rq.method));
    x->rq.url = put(&text, str_of(x->rq.url));
    while (rest.n) {
        const char *end = memchr(rest.p, '\n', rest.n);
        size_t n = end ? (size_t)(end - rest.p) : rest.n, whole = end ? n + 1 : n;

        n -= n && rest.p[n - 1] == '\r';
        typed |= begins((struct str){rest.p, n}, type);
        named |= begins((struct str){rest.p, n}, "User-Agent:");
        encoded |= begins((struct str){rest.p, n}, "Accept-Encoding:");
        put_header(&at, &text, (struct str){rest.p, n});
        rest = (struct str){rest.p + whole, rest.n - whole};
    }
    if (x->rq.traceparent) {
        put_line(&at, text);
        put(&text, str_of("traceparent: "));
        text--;
        put(&text, str_of(x->rq.traceparent));
    }
    if (!typed)
        put_line(&at, type);
    if (!named)
        put_line(&at, x->c->options.agent_line);
    if (!encoded)
        put_line(&at, encoding);
    if (body)
        put_line(&at, expect);
    if (at > nodes)
        at[-1].next = NULL;
    x->lines = at > nodes ? nodes : NULL;
    x->rq.headers = STR_NONE;
    x->rq.traceparent = NULL;
}

/* ---- sending --------------------------------------------------------------------------------- */

bool http_request_may_reach(struct fetch *x, const struct ip *to)
{
    char text[IP_TEXT_SIZE];

    if (x->proxied || x->rq.private_addresses || origin_may_lead(x->host, to))
        return true;
    ip_text(to, text);
    snprintf(x->why, sizeof x->why, "%.*s leads to %s, which is not public",
             x->host.n < 80 ? (int)x->host.n : 80, x->host.p, text);
    return false;
}

static bool is_secure(const struct fetch *x)
{
    return !strncmp(x->origin, "https:", 6);
}

/* There is a connection, and nothing has been sent. It may be one that another request has opened,
 * which may reach more. And libcurl sends a request once more by itself when a connection that was
 * kept has ended without an answer; of what may not be repeated nobody knows whether it was
 * done. */
static int on_sending(void *ud, char *remote, char *local, int remote_port, int local_port)
{
    struct fetch *x = ((struct http_easy *)ud)->x;
    struct ip to = {{0}};

    (void)local;
    (void)remote_port;
    (void)local_port;
    if (!x->events)
        return CURL_PREREQFUNC_ABORT;
    ip_parse(str_of(remote), &to);
    if (!http_request_may_reach(x, &to))
        x->spoiled = SPOILED_REFUSED;
    else if (x->sending && !x->rq.idempotent)
        x->spoiled = SPOILED_LOST;
    if (x->opened && is_secure(x))
        http_socket_connected(x); /* in clear text, x->fd may be one that was tried in vain */
    x->sending = true;
    x->sent_bytes = 0;
    return x->spoiled ? CURL_PREREQFUNC_ABORT : CURL_PREREQFUNC_OK;
}

/* The caller's body goes when the request is cancelled, which may be within libcurl's turn. */
static size_t on_read(char *to, size_t one, size_t n, void *ud)
{
    struct fetch *x = ((struct http_easy *)ud)->x;
    size_t left;

    if (!x->events)
        return CURL_READFUNC_ABORT;
    left = x->rq.body.n - x->sent_bytes;
    n = n * one < left ? n * one : left;
    memcpy(to, x->rq.body.p + x->sent_bytes, n);
    x->sent_bytes += n;
    return n;
}

static int on_seek(void *ud, curl_off_t to, int whence)
{
    struct fetch *x = ((struct http_easy *)ud)->x;

    if (whence != SEEK_SET || to < 0 || (size_t)to > x->rq.body.n)
        return CURL_SEEKFUNC_FAIL;
    x->sent_bytes = (size_t)to;
    return CURL_SEEKFUNC_OK;
}

bool http_request_prepare(struct http_easy *e)
{
    return !curl_easy_setopt(e->curl, CURLOPT_PREREQFUNCTION, on_sending) &&
           !curl_easy_setopt(e->curl, CURLOPT_PREREQDATA, e) &&
           !curl_easy_setopt(e->curl, CURLOPT_READFUNCTION, on_read) &&
           !curl_easy_setopt(e->curl, CURLOPT_READDATA, e) &&
           !curl_easy_setopt(e->curl, CURLOPT_SEEKFUNCTION, on_seek) &&
           !curl_easy_setopt(e->curl, CURLOPT_SEEKDATA, e);
}

static CURLcode set_body(CURL *curl, struct str body)
{
    CURLcode rc = curl_easy_setopt(curl, CURLOPT_POST, 1L);

    rc |= curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.n);
    if (!body.n)
        rc |= curl_easy_setopt(curl, CURLOPT_POSTFIELDS, "");
    else if (body.n < COPIED_MAX)
        rc |= curl_easy_setopt(curl, CURLOPT_COPYPOSTFIELDS, body.p);
    return rc;
}

static CURLcode set_method(const struct fetch *x)
{
    bool head = !strcmp(x->rq.method, "HEAD"), body = has_body(&x->rq) && !head;
    CURL *curl = x->easy->curl;
    CURLcode rc = curl_easy_setopt(curl, CURLOPT_NOBODY, (long)head);

    if (body)
        rc |= set_body(curl, x->rq.body);
    else if (!head)
        rc |= curl_easy_setopt(curl, CURLOPT_HTTPGET, 1L);
    return rc | curl_easy_setopt(
                    curl, CURLOPT_CUSTOMREQUEST,
                    head || !strcmp(x->rq.method, body ? "POST" : "GET") ? NULL : x->rq.method);
}

/* In clear text HTTP/2 is not used; libcurl would hold back requests until it knows that the host
 * does not speak it, that is, until the first one has been answered. */
CURLcode http_request_set(const struct fetch *x)
{
    const alk_http_options *o = &x->c->options.o;
    bool http2 = !x->pool->streams && !o->no_http2 && is_secure(x);
    CURL *curl = x->easy->curl;
    CURLcode rc = set_method(x);

    rc |= curl_easy_setopt(curl, CURLOPT_URL, http_request_url(x));
    rc |= curl_easy_setopt(curl, CURLOPT_HTTPHEADER, x->lines);
    rc |= curl_easy_setopt(curl, CURLOPT_HTTP_VERSION,
                           (long)(http2 ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_1_1));
    rc |= curl_easy_setopt(curl, CURLOPT_FORBID_REUSE, 0L);
    if (o->proxy)
        rc |= curl_easy_setopt(curl, CURLOPT_PROXY, x->proxied ? o->proxy : "");
    return rc;
}
