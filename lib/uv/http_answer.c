/* What comes of a request. An answer is either the caller's, and then goes to it as it comes, or it
 * is not (a redirect that is followed, an error after which it is tried again), and then it is read
 * away, so that its connection can be used again, as far as that is quick. Which of them it is, is
 * decided when its head is complete.
 *
 * All of this is called by libcurl. */
#include "uv/http_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- what a head says ------------------------------------------------------------------------ */

static struct str trim(struct str s)
{
    while (s.n && (*s.p == ' ' || *s.p == '\t'))
        s = (struct str){s.p + 1, s.n - 1};
    while (s.n && strchr(" \t\r\n", s.p[s.n - 1]))
        s.n--;
    return s;
}

/* The value of the first such field in what is left of a head, whose names are in lower case; *rest
 * is what is behind it. */
static struct str next_field(struct str *rest, const char *name)
{
    size_t n = strlen(name);

    while (rest->n) {
        const char *p = rest->p, *line = memchr(p, '\n', rest->n);
        size_t len = line ? (size_t)(line - p) + 1 : rest->n;

        *rest = (struct str){p + len, rest->n - len};
        if (len > n && p[n] == ':' && !memcmp(p, name, n))
            return trim((struct str){p + n + 1, len - n - 1});
    }
    return STR_NONE;
}

static struct str whole(const struct buf *head)
{
    return (struct str){head->len ? buf_at(head) : "", head->len};
}

static struct str field(const struct buf *head, const char *name)
{
    struct str rest = whole(head);

    return next_field(&rest, name);
}

/* Seconds, or a date (RFC 9110, 10.2.3): until when, of the loop's clock; 0: it says nothing. */
static uint64_t retry_after(struct str s, uint64_t now)
{
    char text[64];
    char *end;
    unsigned long long seconds;

    if (!s.n || s.n >= sizeof text)
        return 0;
    memcpy(text, s.p, s.n);
    text[s.n] = 0;
    if (text[0] >= '0' && text[0] <= '9') {
        seconds = strtoull(text, &end, 10);
        if (*end)
            return 0;
    } else {
        time_t at = curl_getdate(text, NULL), today = time(NULL);

        if (at < 0)
            return 0;
        seconds = at > today ? (unsigned long long)(at - today) : 0;
    }
    return seconds > HELD_LONGEST / SECOND ? now + HELD_LONGEST : now + seconds * SECOND;
}

/* "HTTP/1.1 200 OK", "HTTP/2 200". */
static int status_of(const char *line, size_t n)
{
    const char *space = memchr(line, ' ', n);

    if (!space || (size_t)(line + n - space) < 4)
        return 0;
    return (space[1] - '0') * 100 + (space[2] - '0') * 10 + (space[3] - '0');
}

/* ---- for whom it is -------------------------------------------------------------------------- */

static bool is_redirect(const struct fetch *x)
{
    bool safe = !strcmp(x->rq.method, "GET") || !strcmp(x->rq.method, "HEAD");

    return x->status == 307 || x->status == 308 ||
           (safe && (x->status == 301 || x->status == 302 || x->status == 303));
}

/* The absolute URL, by RFC 3986, 5.2; to be freed with curl_free. NULL: it is none. */
static char *resolve(const char *base, const char *location)
{
    char *url = NULL;
    CURLU *u = curl_url();

    if (u && !curl_url_set(u, CURLUPART_URL, base, CURLU_PATH_AS_IS) &&
        !curl_url_set(u, CURLUPART_URL, location, 0) &&
        !curl_url_set(u, CURLUPART_FRAGMENT, NULL, 0))
        curl_url_get(u, CURLUPART_URL, &url, 0);
    curl_url_cleanup(u);
    return url;
}

/* Where a redirect leads, if it may be followed; else that it may not. */
static void redirect(struct fetch *x, struct str to)
{
    char *location = http_copy(x->c, to), *url = NULL, *next = NULL;
    char origin[ORIGIN_MAX];
    struct str host;

    if (location)
        url = resolve(http_request_url(x), location);
    x->spoiled = SPOILED_REFUSED;
    if (!location) {
        x->spoiled = SPOILED_MEMORY;
    } else if (!url || !origin_of(url, origin, &host)) {
        snprintf(x->why, sizeof x->why, "a redirect leads to what is no URL of http");
    } else if (strcmp(origin, x->origin)) {
        snprintf(x->why, sizeof x->why, "a redirect leads elsewhere: %.120s", origin);
    } else if (x->redirects == REDIRECTS_MAX) {
        snprintf(x->why, sizeof x->why, "more than %u redirects", REDIRECTS_MAX);
    } else {
        next = http_copy(x->c, str_of(url));
        x->spoiled = next ? SPOILED_NOT : SPOILED_MEMORY;
    }
    if (next) {
        http_wipe(x->c, x->moved);
        x->moved = next;
        x->redirected = true;
    }
    curl_free(url);
    mem_free(&x->c->l->mem, location);
}

/* A pause that is short is waited for; after a longer one there would be no point. */
static bool is_passing(const struct fetch *x, uint64_t now)
{
    if (!http_request_may_repeat(x) || (x->status < 500 && (x->status != 429 || !x->hold)))
        return false;
    return !x->hold || (x->hold <= now + HELD_WAIT && x->hold < x->rq.deadline);
}

/* The rest of it is not worth the time. */
static bool is_long(const struct fetch *x)
{
    curl_off_t length = 0;

    curl_easy_getinfo(x->easy->curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    return length > (curl_off_t)DISCARD_MAX;
}

/* Where there may be no body, but one is announced, some servers send it; the next request would
 * take it for its answer. */
static bool announces_what_cannot_come(const struct fetch *x)
{
    struct str length = field(&x->head, "content-length");

    return (x->status == 204 || x->status == 304 || !strcmp(x->rq.method, "HEAD")) &&
           ((length.n && !str_is(length, "0")) || field(&x->head, "transfer-encoding").n);
}

/* libcurl takes the last length of several, and as much of it as is a number. */
static bool has_one_length(const struct buf *head)
{
    struct str rest = whole(head), first = next_field(&rest, "content-length"), next = first;

    if (!first.p)
        return true;
    for (size_t i = 0; i < first.n; i++) {
        if (first.p[i] < '0' || first.p[i] > '9' || i == 18)
            return false;
    }
    while (next.p && str_eq(next, first))
        next = next_field(&rest, "content-length");
    return first.n && !next.p;
}

static void tell(struct fetch *x)
{
    struct fetch_head h = {.status = x->status};

    x->told = true;
    h.url = str_of(http_request_url(x));
    h.content_type = field(&x->head, "content-type");
    h.headers = whole(&x->head);
    loop_again(x->c->l);
    x->events->head(x->ud, &h);
}

static void on_answer(struct fetch *x)
{
    uint64_t now = x->c->l->now;
    struct str location = field(&x->head, "location");

    x->answered = true;
    if (!x->http2 && !has_one_length(&x->head)) {
        x->spoiled = SPOILED_LENGTH;
        return;
    }
    if (!x->http2 && announces_what_cannot_come(x))
        curl_easy_setopt(x->easy->curl, CURLOPT_FORBID_REUSE, 1L);
    if (x->status == 429 || x->status == 503) {
        x->hold = retry_after(field(&x->head, "retry-after"), now);
        if (x->hold)
            held_note(x->c, x->origin, x->hold);
    }
    if (is_redirect(x) && location.n)
        redirect(x, location);
    else
        x->again = is_passing(x, now);
    if (x->redirected || x->again)
        http_request_discard(x);
    else if (!x->spoiled)
        tell(x);
    buf_fini(&x->head);
}

/* ---- what libcurl gives ---------------------------------------------------------------------- */

static bool keep_line(struct fetch *x, const char *line, size_t n)
{
    size_t name = 0;
    char *p;

    if (buf_append(&x->head, line, n))
        return false;
    p = x->head.data + x->head.head + x->head.len - n;
    for (; name < n && p[name] != ':'; name++)
        p[name] = p[name] >= 'A' && p[name] <= 'Z' ? (char)(p[name] + 'a' - 'A') : p[name];
    return true;
}

/* Whole lines: those of heads, also of 1xx, and of trailers, which nobody wants. */
static size_t on_header(char *line, size_t one, size_t n, void *ud)
{
    struct fetch *x = ((struct http_easy *)ud)->x;

    (void)one;
    x->heard = x->c->l->now;
    x->header_bytes += n;
    if (x->header_bytes > x->c->options.o.header_bytes)
        x->spoiled = SPOILED_LARGE;
    if (!x->events || x->spoiled)
        return 0;
    if (x->answered)
        return n;
    if (!x->in_head) {
        buf_consume(&x->head, x->head.len);
        x->status = status_of(line, n);
        x->http2 = n > 6 && !memcmp(line, "HTTP/2", 6);
        x->in_head = true;
        http_socket_answers(x, x->http2);
        return n;
    }
    if (*line != '\r' && *line != '\n') {
        if (!keep_line(x, line, n))
            x->spoiled = SPOILED_MEMORY;
        return x->spoiled ? 0 : n;
    }
    x->in_head = false;
    if (x->status >= 200)
        on_answer(x);
    else if (x->status == 101)
        x->spoiled = SPOILED_UPGRADE;
    return !x->events || x->spoiled || (x->discard && is_long(x)) ? 0 : n;
}

static size_t on_body(char *data, size_t one, size_t n, void *ud)
{
    struct fetch *x = ((struct http_easy *)ud)->x;
    size_t most = x->rq.response_bytes ? x->rq.response_bytes : x->c->options.o.response_bytes;

    (void)one;
    x->heard = x->c->l->now;
    if (x->discard) {
        x->discarded += n;
        return x->discarded > DISCARD_MAX ? 0 : n;
    }
    if (!x->events || x->spoiled)
        return 0;
    if (!x->rq.stream && n > most - x->body_bytes) {
        x->spoiled = SPOILED_LARGE;
        return 0;
    }
    loop_again(x->c->l);
    if (!x->events->data(x->ud, data, n)) {
        x->paused = true;
        return CURL_WRITEFUNC_PAUSE;
    }
    x->body_bytes += n;
    return n;
}

bool http_answer_prepare(struct http_easy *e)
{
    return !curl_easy_setopt(e->curl, CURLOPT_HEADERFUNCTION, on_header) &&
           !curl_easy_setopt(e->curl, CURLOPT_HEADERDATA, e) &&
           !curl_easy_setopt(e->curl, CURLOPT_WRITEFUNCTION, on_body) &&
           !curl_easy_setopt(e->curl, CURLOPT_WRITEDATA, e);
}
