/* The bare peer of the WebSocket rows: libuv, wslay's event API and yyjson, and nothing of this tree.
 *
 * It answers GET with an upgrade, reads each binary message as an envelope, looks up type, id, payload, operationId and input, and
 * sends the call.responded envelope for demo/echo; what is not such a call closes the session with 1002. No identities, no registry,
 * no schemas, no deadlines, no limits but those of wslay and the two below: what the work costs at least. It is written
 * for speed where that is cheap: memory for JSON that is used again, one buffer for reading, one for the answers to what one read
 * brought, which leave in one write. A client that does not read its answers is not read from.
 *
 * Prints the port that the kernel chose and serves until it is killed. */
#include <mbedtls/base64.h>
#include <mbedtls/sha1.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <uv.h>
#include <wslay/wslay.h>
#include <yyjson.h>

#define READ_BYTES 65536u
#define HEAD_MAX 8192u
#define MESSAGE_MAX (4u << 20)
#define UNSENT_MAX (256u << 10) /* of one client; above it, nothing is read */
#define BACKLOG 4096
#define GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

struct bytes {
    char *at;
    size_t len, room;
};

struct server {
    uv_tcp_t tcp;
    struct bytes out;    /* of the client that is being handled */
    struct bytes answer; /* of the message that is being handled */
    yyjson_alc *json;
    char read[READ_BYTES];
};

struct client {
    uv_tcp_t tcp;
    struct server *server;
    wslay_event_context_ptr ws; /* NULL: the upgrade is not complete */
    struct bytes head;
    const char *in; /* what wslay has not taken yet */
    size_t in_len;
    bool held;
};

struct write {
    uv_write_t req;
    char bytes[];
};

static void check(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "ws_echo: %s\n", what);
    exit(1);
}

static void add(struct bytes *b, const void *p, size_t len)
{
    if (b->len + len > b->room) {
        b->room = (b->len + len) * 2;
        b->at = realloc(b->at, b->room);
        check(b->at, "out of memory");
    }
    memcpy(b->at + b->len, p, len);
    b->len += len;
}

/* ---- the socket -------------------------------------------------------------------------------- */

static void on_closed(uv_handle_t *handle)
{
    struct client *c = handle->data;

    wslay_event_context_free(c->ws);
    free(c->head.at);
    free(c);
}

static void hang_up(struct client *c)
{
    if (!uv_is_closing((uv_handle_t *)&c->tcp))
        uv_close((uv_handle_t *)&c->tcp, on_closed);
}

static void on_alloc(uv_handle_t *handle, size_t hint, uv_buf_t *buf)
{
    struct client *c = handle->data;

    (void)hint;
    *buf = uv_buf_init(c->server->read, READ_BYTES);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf);

static void on_written(uv_write_t *req, int status)
{
    struct client *c = req->handle->data;

    free(req->data);
    if (status < 0)
        hang_up(c);
    else if (c->held && !uv_is_closing((uv_handle_t *)&c->tcp) &&
             uv_stream_get_write_queue_size((uv_stream_t *)&c->tcp) <= UNSENT_MAX / 2) {
        c->held = false;
        uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read);
    }
}

/* What the socket does not take at once is copied and waits. */
static void flush(struct client *c)
{
    struct bytes *out = &c->server->out;
    uv_stream_t *stream = (uv_stream_t *)&c->tcp;
    uv_buf_t buf = uv_buf_init(out->at, (unsigned)out->len);
    int n = out->len ? uv_try_write(stream, &buf, 1) : 0;
    size_t left = out->len - (n > 0 ? (size_t)n : 0);
    struct write *w;

    if (n < 0 && n != UV_EAGAIN) {
        hang_up(c);
    } else if (left) {
        w = malloc(sizeof *w + left);
        check(w, "out of memory");
        memcpy(w->bytes, out->at + out->len - left, left);
        w->req.data = w;
        buf = uv_buf_init(w->bytes, (unsigned)left);
        check(!uv_write(&w->req, stream, &buf, 1, on_written), "uv_write");
        if (!c->held && uv_stream_get_write_queue_size(stream) > UNSENT_MAX) {
            c->held = true;
            uv_read_stop(stream);
        }
    }
    out->len = 0;
}

/* ---- envelopes --------------------------------------------------------------------------------- */

/* Appends v as JSON. */
static bool add_json(struct server *s, struct bytes *to, yyjson_val *v)
{
    size_t len;
    char *text = yyjson_val_write_opts(v, 0, s->json, &len, NULL);

    if (text)
        add(to, text, len);
    s->json->free(s->json->ctx, text);
    return text;
}

/* The envelope that answers root; false when root is no call of demo/echo. */
static bool respond(struct server *s, yyjson_val *root, struct bytes *to)
{
    static const char head[] = "{\"type\":\"call.responded\",\"id\":",
                      middle[] = ",\"payload\":{\"output\":", end[] = "}}";
    yyjson_val *id = yyjson_obj_get(root, "id"), *payload = yyjson_obj_get(root, "payload"),
               *operation = yyjson_obj_get(payload, "operationId"),
               *input = yyjson_obj_get(payload, "input");

    to->len = 0;
    if (!yyjson_equals_str(yyjson_obj_get(root, "type"), "call.requested") || !yyjson_is_str(id) ||
        !(yyjson_equals_str(operation, "/demo/echo") || yyjson_equals_str(operation, "demo/echo")))
        return false;
    add(to, head, sizeof head - 1);
    if (!add_json(s, to, id))
        return false;
    add(to, middle, sizeof middle - 1);
    if (!(input ? add_json(s, to, input) : (add(to, "null", 4), true)))
        return false;
    add(to, end, sizeof end - 1);
    return true;
}

static void on_message(wslay_event_context_ptr ws, const struct wslay_event_on_msg_recv_arg *arg,
                       void *ud)
{
    struct client *c = ud;
    struct server *s = c->server;
    struct wslay_event_msg answer = {.opcode = WSLAY_BINARY_FRAME};
    yyjson_doc *doc;
    bool ok = false;

    if (wslay_is_ctrl_frame(arg->opcode))
        return;
    doc = yyjson_read_opts((char *)(uintptr_t)arg->msg, arg->msg_length, 0, s->json, NULL);
    if (arg->opcode == WSLAY_BINARY_FRAME)
        ok = respond(s, yyjson_doc_get_root(doc), &s->answer);
    yyjson_doc_free(doc);
    answer.msg = (const uint8_t *)s->answer.at;
    answer.msg_length = s->answer.len;
    if (!ok || wslay_event_queue_msg(ws, &answer))
        wslay_event_queue_close(ws, WSLAY_CODE_PROTOCOL_ERROR, NULL, 0);
}

/* ---- sessions ---------------------------------------------------------------------------------- */

static ssize_t give(wslay_event_context_ptr ws, uint8_t *buf, size_t len, int flags, void *ud)
{
    struct client *c = ud;

    (void)flags;
    if (!c->in_len) {
        wslay_event_set_error(ws, WSLAY_ERR_WOULDBLOCK);
        return -1;
    }
    if (len > c->in_len)
        len = c->in_len;
    memcpy(buf, c->in, len);
    c->in += len;
    c->in_len -= len;
    return (ssize_t)len;
}

static ssize_t take(wslay_event_context_ptr ws, const uint8_t *p, size_t len, int flags, void *ud)
{
    struct client *c = ud;

    (void)ws;
    (void)flags;
    add(&c->server->out, p, len);
    return (ssize_t)len;
}

static void session_read(struct client *c, const char *p, size_t len)
{
    int rc;

    c->in = p;
    c->in_len = len;
    rc = wslay_event_recv(c->ws);
    if (!rc)
        rc = wslay_event_send(c->ws);
    flush(c);
    if (rc || (!wslay_event_want_read(c->ws) && !wslay_event_want_write(c->ws)))
        hang_up(c);
}

/* The value of a field of the head, without the spaces around it; the head ends in NUL. */
static const char *field(const char *head, const char *name, size_t *len)
{
    for (const char *line = strstr(head, "\r\n"); line; line = strstr(line, "\r\n")) {
        line += 2;
        if (!strncasecmp(line, name, strlen(name)) && line[strlen(name)] == ':') {
            line += strlen(name) + 1;
            line += strspn(line, " \t");
            *len = strcspn(line, "\r\n");
            while (*len && strchr(" \t", line[*len - 1]))
                --*len;
            return line;
        }
    }
    *len = 0;
    return NULL;
}

static bool field_is(const char *head, const char *name, const char *value)
{
    size_t len;
    const char *v = field(head, name, &len);

    return v && len == strlen(value) && !strncasecmp(v, value, len);
}

static void accept_key(const char *key, size_t len, char out[32])
{
    char text[24 + sizeof GUID];
    unsigned char hash[20];
    size_t out_len;

    memcpy(text, key, len);
    memcpy(text + len, GUID, sizeof GUID - 1);
    check(!mbedtls_sha1((unsigned char *)text, len + sizeof GUID - 1, hash) &&
              !mbedtls_base64_encode((unsigned char *)out, 32, &out_len, hash, sizeof hash),
          "the accept key");
}

static bool upgrade(struct client *c, const char *head)
{
    static const struct wslay_event_callbacks callbacks = {
        .recv_callback = give, .send_callback = take, .on_msg_recv_callback = on_message};
    char accept[32], answer[256];
    size_t len;
    const char *key = field(head, "Sec-WebSocket-Key", &len);

    if (strncmp(head, "GET ", 4) || !field_is(head, "Upgrade", "websocket") ||
        !field_is(head, "Connection", "Upgrade") ||
        !field_is(head, "Sec-WebSocket-Version", "13") || !key || len != 24)
        return false;
    accept_key(key, len, accept);
    snprintf(answer, sizeof answer,
             "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
             "Sec-WebSocket-Accept: %s\r\n\r\n",
             accept);
    check(!wslay_event_context_server_init(&c->ws, &callbacks, c), "wslay");
    wslay_event_config_set_max_recv_msg_length(c->ws, MESSAGE_MAX);
    add(&c->server->out, answer, strlen(answer));
    return true;
}

static void head_read(struct client *c, const char *p, size_t len)
{
    static const char bad[] = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
    const char *end;
    bool ok;

    add(&c->head, p, len);
    add(&c->head, "", 1);
    c->head.len--;
    end = strstr(c->head.at, "\r\n\r\n");
    if (!end && c->head.len < HEAD_MAX)
        return;
    /* Nobody may speak WebSocket before the upgrade is answered. */
    ok = end && end + 4 == c->head.at + c->head.len && upgrade(c, c->head.at);
    if (!ok)
        add(&c->server->out, bad, sizeof bad - 1);
    free(c->head.at);
    c->head = (struct bytes){NULL, 0, 0};
    flush(c);
    if (!ok)
        hang_up(c);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct client *c = stream->data;

    if (n < 0)
        hang_up(c);
    else if (c->ws)
        session_read(c, buf->base, (size_t)n);
    else
        head_read(c, buf->base, (size_t)n);
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct server *s = listener->data;
    struct client *c;

    if (status < 0)
        return;
    c = calloc(1, sizeof *c);
    check(c && !uv_tcp_init(listener->loop, &c->tcp), "out of memory");
    c->server = s;
    c->tcp.data = c;
    if (uv_accept(listener, (uv_stream_t *)&c->tcp) || uv_tcp_nodelay(&c->tcp, 1) ||
        uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read))
        hang_up(c);
}

int main(void)
{
    struct server *s = calloc(1, sizeof *s);
    uv_loop_t *loop = uv_default_loop();
    struct sockaddr_in at;
    int len = sizeof at;

    signal(SIGPIPE, SIG_IGN);
    check(s, "out of memory");
    s->json = yyjson_alc_dyn_new();
    check(s->json && loop && !uv_ip4_addr("127.0.0.1", 0, &at) && !uv_tcp_init(loop, &s->tcp) &&
              !uv_tcp_bind(&s->tcp, (struct sockaddr *)&at, 0),
          "cannot start");
    s->tcp.data = s;
    check(!uv_listen((uv_stream_t *)&s->tcp, BACKLOG, on_connection) &&
              !uv_tcp_getsockname(&s->tcp, (struct sockaddr *)&at, &len),
          "cannot listen");
    printf("%d\n", ntohs(at.sin_port));
    fflush(stdout);
    return uv_run(loop, UV_RUN_DEFAULT);
}
