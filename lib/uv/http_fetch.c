/* alk_loop_fetch: a whole document, in memory until its end. */
#include "uv/http_int.h"

#include <stdio.h>
#include <string.h>

struct document {
    struct alk_loop *l;
    struct fetch *x; /* NULL: it is over */
    struct buf body;
    void (*on_done)(void *ud, int rc, const char *body, size_t len, const char *why);
    void *ud;
};

/* on_done may begin another, or close the loop. */
static void finish(struct document *doc, int rc, const char *why)
{
    struct document d = *doc;

    mem_free(&d.l->mem, doc);
    if (d.x)
        d.l->fetcher.cancel(d.x);
    d.on_done(d.ud, rc, d.body.len ? buf_at(&d.body) : "", rc ? 0 : d.body.len, why);
    buf_fini(&d.body);
}

static void on_head(void *ud, const struct fetch_head *h)
{
    char text[64];

    if (h->status == 200)
        return;
    snprintf(text, sizeof text, "the answer is %d", h->status);
    finish(ud, ALK_EREMOTE, text);
}

static bool on_data(void *ud, const char *data, size_t len)
{
    struct document *doc = ud;

    if (buf_append(&doc->body, data, len))
        finish(doc, ALK_ENOMEM, alk_strerror(ALK_ENOMEM));
    return true;
}

static void on_end(void *ud, int outcome, const char *why, uint64_t retry_after_ms)
{
    struct document *doc = ud;

    (void)retry_after_ms;
    doc->x = NULL;
    finish(doc,
           outcome == FETCH_DONE        ? ALK_OK
           : outcome == FETCH_TOO_LARGE ? ALK_ELIMIT
           : doc->l->close_asked        ? ALK_ECLOSED
                                        : ALK_EREMOTE,
           why);
}

static bool is_token(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i] <= ' ' || p[i] > '~' || strchr("()<>@,;:\\\"/[]?={}", p[i]))
            return false;
    }
    return n != 0;
}

/* Lines that are whole, each with a name. */
static bool headers_valid(struct str h)
{
    while (h.n) {
        const char *colon = memchr(h.p, ':', h.n), *end = memchr(h.p, '\r', h.n);
        size_t n = end ? (size_t)(end - h.p) : 0;

        if (!end || !colon || colon > end || !is_token(h.p, (size_t)(colon - h.p)) ||
            n + 1 >= h.n || end[1] != '\n')
            return false;
        for (const char *p = colon; p < end; p++) {
            if ((unsigned char)*p < 0x20 || *p == 0x7f)
                return false;
        }
        h = (struct str){end + 2, h.n - n - 2};
    }
    return true;
}

static bool url_valid(const char *url)
{
    char origin[ORIGIN_MAX];
    struct str host;

    for (const char *p = url; *p; p++) {
        if (*p <= ' ' || *p > '~')
            return false;
    }
    return origin_of(url, origin, &host);
}

int alk_loop_fetch(alk_loop *l, const char *url, const char *headers, size_t most,
                   uint32_t private_addresses,
                   void (*on_done)(void *ud, int rc, const char *body, size_t len, const char *why),
                   void *ud)
{
    static const struct fetch_events events = {on_head, on_data, on_end};
    struct fetch_request rq = {.method = "GET",
                               .url = url,
                               .headers = str_of(headers ? headers : ""),
                               .deadline = uv_hrtime() + DOCUMENT_TIME,
                               .response_bytes = most,
                               .idempotent = true,
                               .private_addresses = private_addresses != 0};
    struct document *doc;

    if (!most || !headers_valid(rq.headers) || !url_valid(url))
        return ALK_EINVAL;
    if (l->close_asked)
        return ALK_ECLOSED;
    doc = mem_zalloc(&l->mem, sizeof *doc);
    if (!doc)
        return ALK_ENOMEM;
    doc->l = l;
    doc->on_done = on_done;
    doc->ud = ud;
    buf_init(&doc->body, &l->mem);
    doc->x = l->fetcher.start(&l->fetcher, &rq, &events, doc);
    if (doc->x)
        return ALK_OK;
    mem_free(&l->mem, doc);
    return ALK_ENOMEM;
}
