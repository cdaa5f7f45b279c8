/* The HTTP transport on libcurl's easy interface: HTTP/2 where TLS offers it, else HTTP/1.1, no
 * redirect, one handle, so that requests share a connection.
 *
 * What the gateway says is judged in one place, `judge`: a 200 with the object that the route
 * promises, or an error object. Everything else (a decoy, a proxy's page, a redirect, a cut or
 * oversized answer) is a problem, which is not the same as a remote error. A subscription is
 * complete only when its body ends as its framing says, so a body that is delimited by the end of
 * the connection never is. */
#include "http.h"
#include "events.h"
#include "input.h"
#include "print.h"
#include "tls.h"

#include <alknet/alknet.h>
#include <curl/curl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <uv.h>

#define KEEPALIVE_IDLE_S 30L /* after which a silent connection is probed */
#define TYPE_MAX 80
#define REQUEST_ID_MAX 80
/* Before a subscription is asked for again: doubled after each time that gave no value and was over
 * soon, half of it at random. */
#define AGAIN_MIN_MS 500u
#define AGAIN_MAX_MS 30000u

struct http {
    struct remote remote;
    CURL *curl;
    struct curl_slist *headers, *resolve;
    struct tls_curl tls;
    char error[CURL_ERROR_SIZE];
    bool subscribed; /* there was a subscription */
};

/* One request and what has come of it so far. */
struct exchange {
    struct http *http;
    const struct http_request *request;
    struct reply *reply;
    int (*on_value)(void *ud, yyjson_val *value);
    void *ud;
    struct events events;
    size_t header_bytes;
    char type[TYPE_MAX], request_id[REQUEST_ID_MAX], location[URL_MAX];
    bool framed;    /* the body's end can be told from a loss */
    bool streaming; /* the body is being read as events */
    bool lost;      /* the same may work later */
    bool came;      /* a value has */
    int stopped;    /* an outcome, when a callback has ended the transfer */
};

static const char *url_of(const struct exchange *x)
{
    return x->http->remote.settings->url;
}

static long status_of(const struct exchange *x)
{
    long status = 0;

    curl_easy_getinfo(x->http->curl, CURLINFO_RESPONSE_CODE, &status);
    return status;
}

/* ---- requests, also for the curl command ----------------------------------------------------- */

void http_request_body(struct http_request *q, const char *op, const struct buffer *input)
{
    buffer_puts(&q->body, "{\"operation\":");
    buffer_json_string(&q->body, op, strlen(op));
    buffer_puts(&q->body, ",\"input\":");
    buffer_append(&q->body, buffer_text(input), input->len);
    buffer_puts(&q->body, "}");
}

int64_t http_deadline_ms(const struct http_request *q, const struct options *o)
{
    return !q->open && o->timeout_ms > 0 ? o->timeout_ms : 0;
}

int64_t http_limit_ms(const struct http_request *q, const struct options *o)
{
    if (o->timeout_ms > 0)
        return o->timeout_ms + (q->open ? 0 : TIMEOUT_GRACE_MS);
    return o->timeout_ms == 0 || q->stream ? 0 : ANSWER_TIMEOUT_MS;
}

/* ---- what comes in --------------------------------------------------------------------------- */

static bool header_is(const char *line, size_t len, const char *name)
{
    size_t n = strlen(name);

    return len > n && strncasecmp(line, name, n) == 0 && line[n] == ':';
}

static void header_value(char *out, size_t size, const char *line, size_t len)
{
    const char *value = (const char *)memchr(line, ':', len) + 1, *end = line + len;

    while (value < end && (*value == ' ' || *value == '\t'))
        value++;
    while (end > value && strchr(" \t\r\n", end[-1]))
        end--;
    snprintf(out, size, "%.*s", (int)(end - value), value);
}

static bool type_is(const struct exchange *x, const char *type)
{
    size_t n = strlen(type);

    return strncasecmp(x->type, type, n) == 0 && (!x->type[n] || strchr("; \t", x->type[n]));
}

static size_t on_header(char *line, size_t one, size_t len, void *ud)
{
    struct exchange *x = ud;

    (void)one;
    x->header_bytes += len;
    if (x->header_bytes > HEADER_MAX) {
        x->stopped =
            reply_problem(x->reply, "the headers of the answer of %s are larger than %u bytes",
                          url_of(x), HEADER_MAX);
        return 0;
    }
    if (len > 5 && memcmp(line, "HTTP/", 5) == 0) {
        x->framed = line[5] == '2'; /* each stream has an end of its own */
        x->streaming = false;
        x->type[0] = x->request_id[0] = x->location[0] = 0;
    } else if (len <= 2) {
        x->streaming = x->on_value && status_of(x) == 200 && type_is(x, "text/event-stream");
    } else if (header_is(line, len, "Transfer-Encoding") ||
               header_is(line, len, "Content-Length")) {
        x->framed = true;
    } else if (header_is(line, len, "Content-Type")) {
        header_value(x->type, sizeof x->type, line, len);
    } else if (header_is(line, len, "X-Request-Id")) {
        header_value(x->request_id, sizeof x->request_id, line, len);
    } else if (header_is(line, len, "Location")) {
        header_value(x->location, sizeof x->location, line, len);
    }
    return len;
}

static size_t on_body(char *bytes, size_t one, size_t len, void *ud)
{
    struct exchange *x = ud;
    int rc;

    (void)one;
    if (x->streaming) {
        rc = events_feed(&x->events, bytes, len);
        if (rc == EVENTS_TOO_LARGE)
            rc = reply_problem(x->reply, "a value of the subscription is larger than %u bytes",
                               EVENT_MAX);
        x->stopped = rc;
        return rc ? 0 : len;
    }
    if (x->reply->text.len + len > ANSWER_MAX) {
        x->stopped = reply_problem(x->reply, "the answer of %s is larger than %u bytes", url_of(x),
                                   ANSWER_MAX);
        return 0;
    }
    buffer_append(&x->reply->text, bytes, len);
    return len;
}

static bool is_fault(yyjson_val *v)
{
    return yyjson_get_len(yyjson_obj_get(v, "code")) && yyjson_is_str(yyjson_obj_get(v, "code"));
}

static int on_event(void *ud, const char *name, struct buffer *data)
{
    struct exchange *x = ud;
    char why[WHY_SIZE];
    yyjson_doc *doc;
    int rc = 0;

    if (strcmp(name, "error") == 0) {
        buffer_append(&x->reply->text, buffer_text(data), data->len);
        x->reply->doc = json_read(buffer_text(&x->reply->text), x->reply->text.len, why);
        x->reply->fault = yyjson_doc_get_root(x->reply->doc);
        if (is_fault(x->reply->fault))
            return OUTCOME_REMOTE;
        return reply_problem(x->reply,
                             "the subscription ended with an error event that says nothing");
    }
    if (*name && strcmp(name, "message") != 0)
        return 0;
    doc = json_read(buffer_text(data), data->len, why);
    if (!doc)
        return reply_problem(x->reply, "a value of the subscription is not JSON: %s", why);
    x->came = true;
    if (x->on_value(x->ud, yyjson_doc_get_root(doc)))
        rc = OUTCOME_CONNECTION;
    yyjson_doc_free(doc);
    return rc;
}

/* ---- judging it ------------------------------------------------------------------------------ */

/* Whether the server may only be away: of a certificate that will not do, that holds once it has
 * done. */
static bool may_pass(const struct exchange *x, CURLcode rc, bool connected)
{
    switch (rc) {
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_PARTIAL_FILE:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
    case CURLE_SSL_CONNECT_ERROR:
        return true;
    case CURLE_OPERATION_TIMEDOUT:
        return !connected;
    case CURLE_PEER_FAILED_VERIFICATION:
        return x->http->subscribed;
    default:
        return false;
    }
}

/* What a server that speaks TLS answers to a request in clear text. */
static bool is_garbled(CURLcode rc)
{
    return rc == CURLE_WEIRD_SERVER_REPLY || rc == CURLE_UNSUPPORTED_PROTOCOL;
}

static bool is_scheme(const struct exchange *x, const char *scheme)
{
    return !strcmp(x->http->remote.settings->scheme, scheme);
}

/* libcurl knows a socket by the host of the URL alone, and why a connection fails by a number. */
static int unreachable(const struct exchange *x, const char *why)
{
    const char *socket = x->http->remote.settings->socket;
    long number = 0;

    curl_easy_getinfo(x->http->curl, CURLINFO_OS_ERRNO, &number);
    x->reply->hint = remote_hint((int)number);
    if (number)
        why = strerror((int)number);
    if (socket)
        return reply_problem(x->reply, "cannot reach %s: the socket %s: %s", url_of(x), socket,
                             why);
    return reply_problem(x->reply, "cannot reach %s: %s", url_of(x), why);
}

static int broken(struct exchange *x, CURLcode rc)
{
    const char *why = x->http->error[0] ? x->http->error : curl_easy_strerror(rc);
    long status = status_of(x);
    curl_off_t connected = 0;

    curl_easy_getinfo(x->http->curl, CURLINFO_CONNECT_TIME_T, &connected);
    x->lost = may_pass(x, rc, connected > 0);
    if (x->streaming)
        return reply_problem(x->reply, "the subscription ended early, without completion: %s", why);
    if (rc == CURLE_PEER_FAILED_VERIFICATION)
        x->reply->hint = "to trust it, give its authority's file by --cacert, or its fingerprint "
                         "by --pin: the server's log says that";
    else if (rc == CURLE_SSL_CONNECT_ERROR)
        x->reply->hint = HINT_NO_TLS;
    else if (rc == CURLE_COULDNT_RESOLVE_HOST)
        x->reply->hint = HINT_NO_HOST;
    else if (!status && is_garbled(rc) && is_scheme(x, "http"))
        x->reply->hint = HINT_TLS;
    if (rc == CURLE_OPERATION_TIMEDOUT && connected)
        return reply_problem(x->reply, "no answer from %s within %g s", url_of(x),
                             (double)http_limit_ms(x->request, x->http->remote.options) / 1000);
    if (rc == CURLE_COULDNT_CONNECT)
        return unreachable(x, why);
    if (rc == CURLE_PEER_FAILED_VERIFICATION)
        return reply_problem(x->reply,
                             "cannot reach %s: the server's certificate is not trusted: %s",
                             url_of(x), why);
    if (!status && !connected)
        return reply_problem(x->reply, "cannot reach %s: %s", url_of(x), why);
    return reply_problem(x->reply, "no whole answer from %s: %s", url_of(x), why);
}

static int strange(const struct exchange *x)
{
    long status = status_of(x);

    if (status >= 300 && status < 400)
        return reply_problem(x->reply,
                             "%s answered %ld, a redirect to '%s', and redirects are not followed",
                             url_of(x), status, x->location);
    if (status == 400 && is_scheme(x, "http"))
        x->reply->hint = HINT_TLS;
    return reply_problem(x->reply,
                         "%s answered %ld with %s, which is no answer of an alknet gateway",
                         url_of(x), status,
                         !x->reply->text.len ? "nothing"
                         : x->type[0]        ? x->type
                                             : "no content type");
}

/* What a 200 promises: member of the object, or all of it (NULL), which becomes the output. */
static int judge(struct exchange *x, const char *member)
{
    struct reply *reply = x->reply;
    yyjson_val *root;
    char why[WHY_SIZE];

    if (!type_is(x, "application/json"))
        return strange(x);
    reply->doc = json_read(buffer_text(&reply->text), reply->text.len, why);
    if (!reply->doc)
        return reply_problem(reply, "the answer of %s is not JSON: %s", url_of(x), why);
    root = yyjson_doc_get_root(reply->doc);
    if (status_of(x) != 200) {
        if (!is_fault(root))
            return strange(x);
        reply->fault = root;
        if (status_of(x) == 401 && !x->http->remote.settings->token)
            reply->hint = x->http->remote.settings->no_token;
        return OUTCOME_REMOTE;
    }
    reply->output = member ? yyjson_obj_get(root, member) : root;
    if (!reply->output)
        return reply_problem(reply, "the answer of %s has no \"%s\"", url_of(x), member);
    return OUTCOME_OK;
}

static int judge_stream(struct exchange *x)
{
    long status = status_of(x);

    /* A proxy's, whose server is away. */
    x->lost = status >= 502 && status <= 504;
    if (!x->streaming)
        return status == 200 ? strange(x) : judge(x, "");
    if (x->framed && events_at_boundary(&x->events))
        return OUTCOME_OK;
    x->lost = true;
    return reply_problem(x->reply, "the subscription ended early, without completion");
}

/* ---- sending --------------------------------------------------------------------------------- */

static void append(struct curl_slist **list, const char *line)
{
    struct curl_slist *all = curl_slist_append(*list, line);

    if (!all) {
        complain("out of memory");
        exit(OUTCOME_CONNECTION);
    }
    *list = all;
}

/* One of them holds the token. */
static void forget_headers(struct http *h)
{
    for (struct curl_slist *l = h->headers; l; l = l->next)
        explicit_bzero(l->data, strlen(l->data));
    curl_slist_free_all(h->headers);
    h->headers = NULL;
}

static void set_headers(struct http *h, const struct http_request *q)
{
    const char *token = h->remote.settings->token;
    struct buffer line = {0};

    forget_headers(h);
    if (q->body.len)
        append(&h->headers, "Content-Type: application/json");
    if (http_deadline_ms(q, h->remote.options)) {
        buffer_printf(&line, "X-Timeout-Ms: %" PRId64, http_deadline_ms(q, h->remote.options));
        append(&h->headers, buffer_text(&line));
        buffer_truncate(&line, 0);
    }
    if (token && !q->open) {
        buffer_printf(&line, "Authorization: Bearer %s", token);
        append(&h->headers, buffer_text(&line));
    }
    buffer_wipe(&line);
    curl_easy_setopt(h->curl, CURLOPT_HTTPHEADER, h->headers);
}

static void set_request(struct http *h, const struct http_request *q)
{
    struct buffer url = {0};
    int64_t limit = http_limit_ms(q, h->remote.options);

    buffer_printf(&url, "%s%s", h->remote.settings->base, q->route);
    curl_easy_setopt(h->curl, CURLOPT_URL, buffer_text(&url));
    buffer_free(&url);
    curl_easy_setopt(h->curl, CURLOPT_TIMEOUT_MS, (long)limit);
    curl_easy_setopt(h->curl, CURLOPT_CONNECTTIMEOUT_MS,
                     (long)(limit && limit < CONNECT_TIMEOUT_MS ? limit : CONNECT_TIMEOUT_MS));
    if (q->body.len) {
        curl_easy_setopt(h->curl, CURLOPT_POST, 1L);
        curl_easy_setopt(h->curl, CURLOPT_POSTFIELDS, buffer_text(&q->body));
        curl_easy_setopt(h->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)q->body.len);
    } else {
        curl_easy_setopt(h->curl, CURLOPT_HTTPGET, 1L);
    }
    set_headers(h, q);
}

static void tell(const struct exchange *x, CURLcode rc)
{
    curl_off_t us = 0;

    curl_easy_getinfo(x->http->curl, CURLINFO_TOTAL_TIME_T, &us);
    if (rc)
        remark("< %s", curl_easy_strerror(rc));
    else
        remark("< %ld %s, %.1f ms%s%s", status_of(x), x->type, (double)us / 1000,
               x->request_id[0] ? ", request " : "", x->request_id);
}

/* The outcome of the transfer itself: OUTCOME_OK when there is something to judge. */
static int transfer(struct exchange *x)
{
    struct http *h = x->http;
    bool verbose = h->remote.options->verbose;
    CURLcode rc;

    set_request(h, x->request);
    events_init(&x->events, EVENT_MAX, on_event, x);
    curl_easy_setopt(h->curl, CURLOPT_HEADERDATA, x);
    curl_easy_setopt(h->curl, CURLOPT_WRITEDATA, x);
    h->error[0] = 0;
    if (verbose)
        remark("> %s %s%s, %s token", x->request->body.len ? "POST" : "GET",
               h->remote.settings->url, x->request->route,
               h->remote.settings->token && !x->request->open ? "with a" : "without a");
    rc = curl_easy_perform(h->curl);
    if (verbose)
        tell(x, rc);
    if (x->stopped)
        return x->stopped;
    return rc ? broken(x, rc) : OUTCOME_OK;
}

static void exchange_init(struct exchange *x, struct remote *r, const struct http_request *q,
                          struct reply *reply)
{
    memset(x, 0, sizeof *x);
    x->http = (struct http *)r;
    x->request = q;
    x->reply = reply;
}

static int ask(struct remote *r, const struct http_request *q, const char *member,
               struct reply *reply)
{
    struct exchange x;
    int rc;

    exchange_init(&x, r, q, reply);
    rc = transfer(&x);
    events_fini(&x.events);
    return rc ? rc : judge(&x, member);
}

static int http_call(struct remote *r, const char *op, const struct buffer *input,
                     struct reply *reply)
{
    struct http_request q = {.route = "/call"};
    int rc;

    http_request_body(&q, op, input);
    rc = ask(r, &q, "output", reply);
    buffer_free(&q.body);
    return rc;
}

static int http_batch(struct remote *r, const struct buffer *calls, struct reply *reply)
{
    struct http_request q = {.route = "/batch"};
    int rc;

    buffer_append(&q.body, buffer_text(calls), calls->len);
    rc = ask(r, &q, "results", reply);
    buffer_free(&q.body);
    if (rc == OUTCOME_OK && !yyjson_is_arr(reply->output))
        rc = reply_problem(reply, "the \"results\" of %s are no array", r->settings->url);
    return rc;
}

/* Whether --reconnect makes up for that end. Waits until it is time. */
static bool again(struct exchange *x, int rc, unsigned *most)
{
    const struct options *o = x->http->remote.options;
    yyjson_val *fault = rc == OUTCOME_REMOTE ? x->reply->fault : NULL;
    const char *why = yyjson_get_str(yyjson_obj_get(fault, "message"));
    curl_off_t us = 0;
    unsigned ms;

    if (!o->reconnect)
        return false;
    if (fault ? !yyjson_equals_str(yyjson_obj_get(fault, "code"), ALK_BUSY) : !x->lost)
        return false;
    curl_easy_getinfo(x->http->curl, CURLINFO_TOTAL_TIME_T, &us);
    if (x->came || us / 1000 > AGAIN_MAX_MS)
        *most = AGAIN_MIN_MS;
    ms = *most / 2 + (unsigned)(uv_hrtime() % (*most / 2));
    *most = *most < AGAIN_MAX_MS / 2 ? 2 * *most : AGAIN_MAX_MS;
    if (!o->quiet && fault)
        complain("%s is busy: %s; trying again in %.1f s", url_of(x),
                 why ? why : "it does not say why", (double)ms / 1000);
    else if (!o->quiet)
        complain("%s; trying again in %.1f s", x->reply->problem, (double)ms / 1000);
    reply_free(x->reply);
    uv_sleep(ms);
    return true;
}

static int http_subscribe(struct remote *r, const char *op, const struct buffer *input,
                          int (*on_value)(void *ud, yyjson_val *value), void *ud,
                          struct reply *reply)
{
    struct http_request q = {.route = "/subscribe"};
    unsigned most = AGAIN_MIN_MS;
    struct exchange x;
    int rc;

    http_request_body(&q, op, input);
    q.stream = true;
    do {
        exchange_init(&x, r, &q, reply);
        x.on_value = on_value;
        x.ud = ud;
        rc = transfer(&x);
        if (rc == OUTCOME_OK)
            rc = judge_stream(&x);
        x.http->subscribed |= x.streaming;
        events_fini(&x.events);
    } while (again(&x, rc, &most));
    buffer_free(&q.body);
    return rc;
}

static int http_ping(struct remote *r, int64_t *us, struct reply *reply)
{
    struct http_request q = {.route = "/healthz"};
    struct exchange x;
    curl_off_t total = 0;
    int rc;

    q.open = true;
    exchange_init(&x, r, &q, reply);
    rc = transfer(&x);
    events_fini(&x.events);
    buffer_free(&q.body);
    if (rc)
        return rc;
    curl_easy_getinfo(x.http->curl, CURLINFO_TOTAL_TIME_T, &total);
    *us = total;
    if (status_of(&x) == 200 && reply->text.len >= 2 &&
        memcmp(buffer_text(&reply->text), "ok", 2) == 0)
        return OUTCOME_OK;
    if (status_of(&x) == 503) {
        reply_problem(reply, "%s is draining: it takes no new work", r->settings->url);
        return OUTCOME_REMOTE;
    }
    return strange(&x);
}

static int http_get(struct remote *r, const char *route, struct reply *reply)
{
    return ask(r, &(struct http_request){.route = route}, NULL, reply);
}

static void http_close(struct remote *r)
{
    struct http *h = (struct http *)r;

    curl_easy_cleanup(h->curl);
    forget_headers(h);
    curl_slist_free_all(h->resolve);
    curl_global_cleanup();
    free(h);
}

struct remote *http_open(const struct options *o, const struct settings *s)
{
    static const struct remote_ops ops = {http_call, http_subscribe, http_batch,
                                          http_ping, http_get,       http_close};
    struct http *h = xcalloc(1, sizeof *h);
    char agent[64];

    h->remote = (struct remote){&ops, o, s, NULL};
    if (curl_global_init(CURL_GLOBAL_DEFAULT) == 0)
        h->curl = curl_easy_init();
    if (!h->curl) {
        complain("out of memory");
        exit(OUTCOME_CONNECTION);
    }
    snprintf(agent, sizeof agent, "alknet/%s", alk_version());
    curl_easy_setopt(h->curl, CURLOPT_USERAGENT, agent);
    curl_easy_setopt(h->curl, CURLOPT_ERRORBUFFER, h->error);
    curl_easy_setopt(h->curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(h->curl, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(h->curl, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_2TLS);
    tls_curl(&h->tls, h->curl, o);
    curl_easy_setopt(h->curl, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(h->curl, CURLOPT_TCP_KEEPIDLE, KEEPALIVE_IDLE_S);
    curl_easy_setopt(h->curl, CURLOPT_TCP_KEEPINTVL, KEEPALIVE_IDLE_S);
    curl_easy_setopt(h->curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(h->curl, CURLOPT_WRITEFUNCTION, on_body);
    if (s->socket)
        curl_easy_setopt(h->curl, CURLOPT_UNIX_SOCKET_PATH, s->socket);
    if (s->resolve) {
        append(&h->resolve, s->resolve);
        curl_easy_setopt(h->curl, CURLOPT_RESOLVE, h->resolve);
    }
    if (s->direct)
        curl_easy_setopt(h->curl, CURLOPT_PROXY, "");
    return &h->remote;
}
