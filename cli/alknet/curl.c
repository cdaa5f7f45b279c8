/* The remote of --curl: each request is printed as the curl command that would send it, and nothing
 * is sent. The token is never shown: the command takes it from ALKNET_TOKEN when it runs. */
#include "http.h"
#include "print.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* As one word of a POSIX shell. */
static void quote(struct buffer *out, const char *text, size_t len)
{
    const char *end = text + len;

    buffer_puts(out, "'");
    while (text < end) {
        const char *at = memchr(text, '\'', (size_t)(end - text));

        buffer_append(out, text, (size_t)((at ? at : end) - text));
        if (!at)
            break;
        buffer_puts(out, "'\\''");
        text = at + 1;
    }
    buffer_puts(out, "'");
}

/* What the user is to see before he runs it. In the JSON of a body an escape means the same. */
static void escape_command(struct buffer *text)
{
    struct buffer shown = {0};

    print_text(&shown, buffer_text(text), text->len);
    buffer_free(text);
    *text = shown;
}

static void put_file(struct buffer *out, const char *option, const char *path)
{
    if (!path)
        return;
    buffer_puts(out, option);
    quote(out, path, strlen(path));
}

static int show(struct remote *r, const struct http_request *q)
{
    const struct settings *s = r->settings;
    int64_t deadline = http_deadline_ms(q, r->options), limit = http_limit_ms(q, r->options);
    struct printer p;
    struct buffer url = {0};

    buffer_printf(&url, "%s%s", s->base, q->route);
    print_open(&p, stdout, FORMAT_RAW);
    buffer_puts(&p.text, q->stream ? "curl -sSN" : "curl -sS");
    if (strpbrk(s->base, "[]{}"))
        buffer_puts(&p.text, "g");
    if (s->socket) {
        buffer_puts(&p.text, " --unix-socket ");
        quote(&p.text, s->socket, strlen(s->socket));
    }
    if (s->direct)
        buffer_puts(&p.text, " --noproxy '*'");
    put_file(&p.text, " --cacert ", r->options->ca_file);
    put_file(&p.text, " --cert ", r->options->certificate);
    put_file(&p.text, " --key ", r->options->key);
    if (r->options->insecure)
        buffer_puts(&p.text, " --insecure");
    if (s->resolve) {
        buffer_puts(&p.text, " --resolve ");
        quote(&p.text, s->resolve, strlen(s->resolve));
    }
    if (limit)
        buffer_printf(&p.text, " --max-time %" PRId64 ".%03d", limit / 1000, (int)(limit % 1000));
    if (deadline)
        buffer_printf(&p.text, " -H 'X-Timeout-Ms: %" PRId64 "'", deadline);
    if (s->token && !q->open)
        buffer_puts(&p.text, " -H \"Authorization: Bearer $ALKNET_TOKEN\"");
    if (q->body.len) {
        buffer_puts(&p.text, " -H 'Content-Type: application/json' --data-binary ");
        quote(&p.text, buffer_text(&q->body), q->body.len);
    }
    buffer_puts(&p.text, " ");
    quote(&p.text, buffer_text(&url), url.len);
    buffer_puts(&p.text, "\n");
    if (p.terminal)
        escape_command(&p.text);
    if (print_flush(&p))
        complain("cannot write the output: %s", strerror(p.error));
    print_close(&p);
    buffer_free(&url);
    return p.error ? OUTCOME_CONNECTION : OUTCOME_OK;
}

static int show_call(struct remote *r, const char *op, const struct buffer *input,
                     struct reply *reply)
{
    struct http_request q = {.route = "/call"};
    int rc;

    (void)reply;
    http_request_body(&q, op, input);
    rc = show(r, &q);
    buffer_free(&q.body);
    return rc;
}

static int show_subscribe(struct remote *r, const char *op, const struct buffer *input,
                          int (*on_value)(void *ud, yyjson_val *value), void *ud,
                          struct reply *reply)
{
    struct http_request q = {.route = "/subscribe"};
    int rc;

    (void)on_value;
    (void)ud;
    (void)reply;
    http_request_body(&q, op, input);
    q.stream = true;
    rc = show(r, &q);
    buffer_free(&q.body);
    return rc;
}

static int show_batch(struct remote *r, const struct buffer *calls, struct reply *reply)
{
    struct http_request q = {.route = "/batch"};
    int rc;

    (void)reply;
    buffer_append(&q.body, buffer_text(calls), calls->len);
    rc = show(r, &q);
    buffer_free(&q.body);
    return rc;
}

static int show_ping(struct remote *r, int64_t *us, struct reply *reply)
{
    struct http_request q = {.route = "/healthz"};
    int rc;

    (void)reply;
    *us = -1;
    q.open = true;
    rc = show(r, &q);
    buffer_free(&q.body);
    return rc;
}

static int show_get(struct remote *r, const char *route, struct reply *reply)
{
    (void)reply;
    return show(r, &(struct http_request){.route = route});
}

static void show_close(struct remote *r)
{
    free(r);
}

struct remote *curl_command_open(const struct options *o, const struct settings *s)
{
    static const struct remote_ops ops = {show_call, show_subscribe, show_batch,
                                          show_ping, show_get,       show_close};
    struct remote *r = xcalloc(1, sizeof *r);

    *r = (struct remote){&ops, o, s, NULL};
    return r;
}
