/* Chaos on a loop with sockets: HTTP connections, sessions, event clients and dialers come and go,
 * some read and some do not, while the loop drains and closes. What happens when is up to the
 * kernel as well, so a seed repeats a failure only mostly. */
#include "soak/chaos_check.h"

#include <fcntl.h>

#include "gateway/events.h"
#include "uv/ws_client.h"

#define CLIENTS 10u
#define DIALERS 2u
#define KEPT 16u

/* A remote of ours, by the kind of what it speaks. */
struct remote {
    int fd; /* -1: unused */
    bool websocket, events, reads;
};

/* Of the embedder: requests that have not closed, clients of events, sessions. */
struct kept {
    void *what; /* NULL: unused */
    bool over;  /* on_disconnect has run; the handle is kept */
};

static struct remote remotes[CLIENTS];
static struct kept requests[KEPT], clients[KEPT], sessions[KEPT];
static alk_dialer *dialers[DIALERS];
static unsigned dialed, undialed;
static uv_loop_t uv;
static alk_loop *loop;
static alk_gateway *gateway;
static alk_events *events;
static alk_server *server;
static int port;
static char site[] = "/tmp/alk_chaos_XXXXXX"; /* with the one file that the decoy serves */
static bool closing, closed;

static struct kept *keep(struct kept *all, void *what)
{
    for (unsigned i = 0; i < KEPT; i++) {
        if (!all[i].what) {
            all[i] = (struct kept){.what = what};
            return &all[i];
        }
    }
    return NULL;
}

static struct kept *find(struct kept *all, const void *what)
{
    for (unsigned i = 0; i < KEPT; i++) {
        if (all[i].what == what && !all[i].over)
            return &all[i];
    }
    return NULL;
}

/* ---- custom routes --------------------------------------------------------------------------- */

static void on_closed(alk_request *r, int complete, void *ud)
{
    struct kept *one = find(requests, r);

    (void)complete, (void)ud;
    if (one)
        *one = (struct kept){0};
    hook();
}

static void on_room(alk_request *r, void *ud)
{
    (void)ud;
    alk_response_write(r, TEXT("room"));
    hook();
}

static void act_request(alk_request *r)
{
    static char block[20000];
    const char *name = PICK(names), *input;
    alk_call_options o;
    struct want *w;
    alk_call *call;
    int rc;

    switch (pick(6)) {
    case 0:
        alk_response_start(r, 200, "", 0);
        break;
    case 1:
        alk_response_end(r);
        break;
    case 2:
        alk_request_on_drain(r, on_room, NULL);
        break;
    case 3:
        if (!(w = want_new(&o)))
            break;
        input = some_input(name);
        rc = alk_request_call(r, TEXT(name), TEXT(input), &o, &call);
        want_made(w, rc, call);
        break;
    default:
        alk_response_write(r, block, one_in(4) ? sizeof block : 10);
        break;
    }
}

static int serve_raw(alk_request *r, void *ud)
{
    (void)ud;
    alk_request_on_close(r, on_closed, NULL);
    if (one_in(8))
        return ALK_EINVAL;
    if (!keep(requests, r))
        return alk_response_start(r, 204, "", 0) ? ALK_EINVAL : alk_response_end(r);
    for (unsigned i = pick(4); i; i--)
        act_request(r);
    hook();
    return ALK_OK;
}

/* ---- clients of events and sessions ---------------------------------------------------------- */

static void act_client(alk_client *c)
{
    const char *name = PICK(names), *input;
    alk_call_options o;
    struct want *w;
    alk_call *call;
    int rc;

    switch (pick(10)) {
    case 0:
        alk_client_close(c, one_in(2) ? 1000 : 3000);
        break;
    case 1:
        alk_client_next(c);
        break;
    case 2:
        alk_client_touch(c);
        break;
    case 3:
    case 4:
        if (!(w = want_new(&o)))
            break;
        input = some_input(name);
        rc = alk_client_call(c, TEXT(name), TEXT(input), &o, &call);
        want_made(w, rc, call);
        break;
    case 5:
        input = some_input("");
        alk_events_send_all(events, TEXT("news"), TEXT(input), NULL);
        break;
    default:
        input = some_input("");
        alk_client_send(c, TEXT("news"), TEXT(input));
        break;
    }
}

static void on_client(alk_client *c, void *ud)
{
    struct kept *one = keep(clients, c);

    (void)ud;
    CHECK(!alk_client_data(c));
    alk_client_set_data(c, &clients);
    if (one)
        alk_client_ref(c);
    if (one_in(3))
        act_client(c);
    hook();
}

static void on_client_gone(alk_client *c, int code, void *ud)
{
    struct kept *one = find(clients, c);

    (void)ud;
    CHECK(code && alk_client_data(c) == &clients);
    alk_client_set_data(c, NULL);
    CHECK(alk_client_send(c, TEXT("x"), TEXT("1")) == ALK_ECLOSED);
    hook();
    if (one)
        one->over = true;
}

static int on_say(alk_client *c, const alk_value *data, void *ud)
{
    (void)data, (void)ud;
    CHECK(alk_client_data(c) == &clients);
    if (one_in(2))
        act_client(c);
    hook();
    return one_in(3) ? ALK_EAGAIN : one_in(8) ? ALK_EINVAL : ALK_OK;
}

static void on_session(void *ud, const alk_session *s)
{
    (void)ud;
    CHECK(!find(sessions, s->connection));
    CHECK(keep(sessions, alk_connection_ref(s->connection)));
    hook();
}

static void on_session_gone(void *ud, const alk_session *s, int code)
{
    struct kept *one = find(sessions, s->connection);

    (void)ud;
    CHECK(code && one && s->connection->closing >= 0);
    hook();
    *one = (struct kept){0};
    alk_connection_unref(s->connection);
}

/* ---- what the embedder does ------------------------------------------------------------------ */

static alk_connection *some_connection(void)
{
    struct kept *one = &sessions[pick(KEPT)];

    return one->what ? one->what : dialers[0] ? alk_dialer_connection(dialers[0]) : NULL;
}

static void act_session(alk_connection *c)
{
    const char *name = PICK(names), *input;
    alk_import_options io;
    alk_call_options o;
    struct want *w;
    alk_call *call;
    int rc;

    switch (pick(8)) {
    case 0:
        alk_connection_close(c, (int)pick(4));
        break;
    case 1:
        io = (alk_import_options){.size = sizeof io};
        io.namespace_prefix = "x";
        alk_connection_import(c, &io, NULL, NULL);
        break;
    default:
        if (!(w = want_new(&o)))
            break;
        input = some_input(name);
        rc = alk_connection_call(c, TEXT(name), TEXT(input), &o, &call);
        want_made(w, rc, call);
        break;
    }
}

static void undialed_one(void *ud)
{
    CHECK(ud == dialers);
    undialed++;
}

static void on_dial(alk_dialer *x, const alk_dial_event *e, void *ud)
{
    (void)x;
    CHECK(ud == dialers && e->state >= ALK_DIAL_OPEN && e->state <= ALK_DIAL_FAILED);
    hook();
}

static void act_dial(void)
{
    unsigned i = pick(DIALERS);
    alk_dialer *old = dialers[i];
    alk_dial_options o;
    char url[64];

    if (old) {
        dialers[i] = NULL;
        alk_dialer_close(old);
        return;
    }
    alk_dial_options_init(&o, sizeof o);
    snprintf(url, sizeof url, "ws://127.0.0.1:%d", port);
    o.url = url;
    o.token = PICK(tokens);
    o.reconnect = !one_in(4);
    o.import = one_in(2);
    o.announce = one_in(2);
    o.namespace_prefix = "x";
    o.connect_timeout_ms = 1 + pick(100);
    o.retry_min_ms = 1;
    o.retry_max_ms = 1 + pick(20);
    o.identity = alk_identity_new(TEXT("{\"id\":\"p1\",\"scopes\":[\"c:*\",\"peers:*\"]}"));
    o.kind = ALK_KIND_PEER | (one_in(2) ? ALK_PEER_WEBSOCKET : 0);
    o.on_event = on_dial;
    o.ud_free = undialed_one;
    o.ud = dialers;
    dialed += !alk_dial(&dialers[i], loop, &o, NULL, 0);
    alk_identity_unref(o.identity);
}

static void loop_closed(void *ud)
{
    (void)ud;
    CHECK(!closed);
    closed = true;
}

static void close_loop(void)
{
    if (closing)
        return;
    closing = true;
    here.d[0] = NULL;
    memset(dialers, 0, sizeof dialers);
    alk_loop_close(loop, loop_closed, NULL);
}

/* Within callbacks: everything but turns. */
static void act(void)
{
    struct kept *one = &clients[pick(KEPT)];

    switch (pick(8)) {
    case 0:
        one = &requests[pick(KEPT)];
        if (one->what)
            act_request(one->what);
        break;
    case 1:
        if (one->what && one->over && one_in(2)) {
            alk_client *c = one->what;

            *one = (struct kept){0};
            alk_client_unref(c);
        } else if (one->what) {
            act_client(one->what);
        }
        break;
    case 2:
        one = &sessions[pick(KEPT)];
        if (one->what)
            act_session(one->what);
        break;
    case 3:
        if (!closing && one_in(8))
            act_dial();
        break;
    default:
        act_common();
        break;
    }
}

/* ---- the remotes ----------------------------------------------------------------------------- */

static void hang_up(struct remote *r)
{
    const struct linger reset = {1, 0};

    if (one_in(3))
        setsockopt(r->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(r->fd);
    r->fd = -1;
}

/* What is not taken at once would be torn: its sender goes. */
static void put(struct remote *r, const void *data, size_t len)
{
    if (r->fd >= 0 && send(r->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)len)
        hang_up(r);
}

static void drop_input(struct remote *r)
{
    char sink[8192];
    ssize_t n;

    while ((n = recv(r->fd, sink, sizeof sink, MSG_DONTWAIT)) > 0)
        ;
    if (!n && one_in(2))
        hang_up(r);
}

static void connect_one(struct remote *r)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    static const char *const ways[] = {"GET /alknet/call", "GET /feed", NULL};
    const char *way = ways[pick(3)];
    int small = 4096;
    char head[600];

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    *r = (struct remote){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0),
                         .reads = !one_in(4),
                         .websocket = way != NULL,
                         .events = way == ways[1]};
    if (!r->reads)
        setsockopt(r->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    if (connect(r->fd, (struct sockaddr *)&a, sizeof a)) {
        hang_up(r);
        return;
    }
    if (!way)
        return;
    snprintf(head, sizeof head,
             "%s HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
             "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " WS_KEY
             "\r\nAuthorization: Bearer %s\r\n\r\n",
             way, PICK(tokens));
    put(r, TEXT(head));
}

static void say_http(struct remote *r)
{
    static const char *const paths[] = {"POST /call",  "POST /subscribe", "POST /batch",
                                        "POST /raw",   "GET /raw",        "GET /healthz",
                                        "GET /search", "GET /no",         "GET /large"};
    static char text[60000], body[50000];
    const char *path = PICK(paths), *name = PICK(names), *input = some_input(name);
    int n = snprintf(body, sizeof body, "{\"operation\":\"%s\",\"input\":%s}", name, input);
    char token[80] = "";

    if (strstr(path, "batch"))
        n = snprintf(body, sizeof body,
                     "[{\"operation\":\"%s\",\"input\":%s},{\"operation\":\"c/later\"},"
                     "{\"operation\":\"c/echo\",\"input\":%s}]",
                     name, input, some_input("c/echo"));
    if (one_in(2))
        snprintf(token, sizeof token, "Authorization: Bearer %s\r\n", PICK(tokens));
    if (*path == 'G')
        n = 0;
    n = snprintf(text, sizeof text,
                 "%s HTTP/1.1\r\nHost: localhost\r\n%sContent-Type: application/json\r\n"
                 "Content-Length: %d\r\n\r\n%.*s",
                 path, token, n, n, body);
    put(r, text, one_in(20) ? pick((uint32_t)n) : (size_t)n);
}

static void say_frame(struct remote *r)
{
    static char frame[40000], text[30000];
    const char *name = PICK(names);
    int n;

    if (one_in(20)) {
        wsc_put(frame, 0x80 | (one_in(2) ? WSC_PING : WSC_CLOSE), "", 0);
        put(r, frame, 6);
        return;
    }
    if (r->events)
        n = snprintf(text, sizeof text, "{\"event\":\"say\",\"data\":%s}", some_input(""));
    else if (one_in(4))
        n = snprintf(text, sizeof text, "{\"type\":\"call.aborted\",\"id\":\"%u\",\"payload\":{}}",
                     pick(40));
    else
        n = snprintf(text, sizeof text,
                     "{\"type\":\"call.requested\",\"id\":\"%u\",\"payload\":{\"operationId\":"
                     "\"/%s\",\"input\":%s}}",
                     pick(40), name, some_input(name));
    put(r, frame,
        wsc_put(frame, (uint8_t)(0x80 | (r->events ? WSC_TEXT : WSC_BINARY)), text, (size_t)n));
}

static void act_remote(void)
{
    struct remote *r = &remotes[pick(CLIENTS)];

    if (r->fd < 0)
        connect_one(r);
    else if (one_in(80))
        hang_up(r);
    else if (r->reads && one_in(3))
        drop_input(r);
    else if (r->websocket)
        say_frame(r);
    else
        say_http(r);
}

/* ---- a life ---------------------------------------------------------------------------------- */

static void check_gateway(void)
{
    size_t http = 0, greeted = 0;
    struct totals t;

    list_each(l, &gateway->conns)
    {
        const struct gate_conn *c = container_of(l, struct gate_conn, link);

        http += c->http;
        CHECK(c->http || list_empty(&c->requests));
        list_each(m, &c->requests) CHECK(container_of(m, struct alk_request, link)->x);
    }
    list_each(l, &events->all)
    {
        const struct alk_client *c = container_of(l, struct alk_client, link);

        greeted += c->greeted;
        CHECK(c->events == events && !c->parted);
    }
    CHECK(greeted == events->count && length(&events->all) == events->clients.count);
    node_totals(here.node, &t);
    CHECK(t.http_connections == http);
}

static void step(void)
{
    unsigned what = pick(10);

    if (one_in(100))
        act_shortage();
    if (what < 3) {
        uv_run(&uv, UV_RUN_NOWAIT);
        shortage_over();
    } else if (what < 7) {
        for (unsigned i = pick(4); i; i--)
            act_remote();
    } else if (!closing || one_in(4)) {
        for (unsigned i = pick(4); i; i--)
            act();
    }
    if (one_in(200))
        usleep(2000);
    if (here.d[0]) {
        check();
        check_gateway();
    }
    here.step++;
    here.steps++;
}

static void start(void)
{
    alk_gateway_options g;
    alk_events_options e = {.size = sizeof e};
    alk_server_options s;
    const alk_route post = {
        .size = sizeof post, .method = "POST", .path = "/raw", .handler = serve_raw};
    alk_route get = post;

    get.method = "GET";
    CHECK(!uv_loop_init(&uv) && !alk_loop_open(&loop, &uv, here.d[0]));
    alk_gateway_options_init(&g, sizeof g);
    g.decoy = ALK_DECOY_STATIC_SITE;
    g.decoy_target = site;
    g.stealth = one_in(4);
    g.on_connect = on_session;
    g.on_disconnect = on_session_gone;
    CHECK(!alk_gateway_new(&gateway, here.d[0], &g, NULL, 0));
    CHECK(!alk_gateway_add_route(gateway, &post) && !alk_gateway_add_route(gateway, &get));
    e.path = "/feed";
    e.on_connect = on_client;
    e.on_disconnect = on_client_gone;
    e.queue_bytes = one_in(2) ? 4000 : 0;
    CHECK(!alk_gateway_add_events(&events, gateway, &e));
    CHECK(!alk_events_on(events, "say", on_say, NULL));
    alk_server_options_init(&s, sizeof s);
    s.gateway = gateway;
    CHECK(!alk_server_open(&server, loop, &s, NULL, 0));
    port = alk_server_port(server);
}

static void drained(void *ud)
{
    (void)ud;
    if (one_in(2))
        close_loop();
}

static void end(void)
{
    if (one_in(2)) {
        alk_loop_drain(loop, drained, NULL);
        for (unsigned i = pick(300); i; i--)
            step();
    }
    close_loop();
    for (unsigned i = pick(100); i; i--)
        step();
    shortage_over();
    for (unsigned i = 0; i < CLIENTS; i++) {
        if (remotes[i].fd >= 0)
            hang_up(&remotes[i]);
    }
    uv_run(&uv, UV_RUN_DEFAULT);
    CHECK(closed && !uv_loop_close(&uv) && dialed == undialed);
    for (unsigned i = 0; i < KEPT; i++) {
        CHECK(!requests[i].what && !sessions[i].what && (!clients[i].what || clients[i].over));
        alk_client_unref(clients[i].what);
    }
    drop_calls();
    alk_gateway_free(gateway);
    node_down();
}

static void life(void)
{
    memset(requests, 0, sizeof requests);
    memset(clients, 0, sizeof clients);
    memset(sessions, 0, sizeof sessions);
    memset(dialers, 0, sizeof dialers);
    closing = closed = false;
    dialed = undialed = 0;
    for (unsigned i = 0; i < CLIENTS; i++)
        remotes[i].fd = -1;
    here.act = act;
    here.some_connection = some_connection;
    node_up();
    start();
    for (unsigned i = 100 + pick(3000); i; i--)
        step();
    end();
}

START_TEST(whatever_happens_on_a_loop_nothing_is_left_and_nothing_dangles)
{
    char path[64];
    int fd;

    signal(SIGPIPE, SIG_IGN);
    CHECK(mkdtemp(site));
    snprintf(path, sizeof path, "%s/large", site);
    fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    CHECK(fd >= 0 && !ftruncate(fd, 300000) && !close(fd));
    chaos_lives("chaos_uv", life);
    CHECK(!unlink(path) && !rmdir(site));
}
END_TEST

int main(void)
{
    return chaos("chaos_uv", whatever_happens_on_a_loop_nothing_is_left_and_nothing_dangles);
}
