/* Batches over a session: each call is a request of its own, WS_AT_ONCE at a time, and their
 * results are put together in the form that the HTTP gateway gives them. */
#include "http.h"
#include "input.h"
#include "print.h"
#include "ws_int.h"

#include <stdlib.h>
#include <string.h>

struct item {
    struct batch *b;
    alk_call *call; /* a reference, while it runs */
    struct buffer result;
};

struct batch {
    struct ws *ws;
    struct reply *reply;
    yyjson_val *next;
    size_t count, started, done, bytes;
    bool lost;
    struct item *items;
};

static void put_result(struct item *it, const char *id, const alk_fault *f, const char *text,
                       size_t len)
{
    buffer_puts(&it->result, "{");
    if (id) {
        buffer_puts(&it->result, "\"request_id\":");
        buffer_json_string(&it->result, id, strlen(id));
        buffer_puts(&it->result, ",");
    }
    if (f) {
        buffer_puts(&it->result, "\"result\":\"error\",\"error\":");
        remote_put_fault(&it->result, f);
    } else {
        buffer_puts(&it->result, "\"result\":\"ok\",\"output\":");
        buffer_append(&it->result, text, len);
    }
    buffer_puts(&it->result, "}");
    it->b->bytes += it->result.len;
}

static void on_item(alk_call *call, const alk_value *value, void *ud)
{
    size_t len;
    const char *text = alk_value_text(value, &len);

    if (text)
        put_result(ud, alk_call_id(call), NULL, text, len);
}

static void on_item_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    static const alk_fault nothing = {
        .size = sizeof nothing, .code = ALK_INTERNAL, .message = "no result"};
    struct item *it = ud;

    it->b->lost |= ws_ended_by_loss(it->b->ws, why, fault);
    if (!it->result.len)
        put_result(it, alk_call_id(call), fault ? fault : &nothing, NULL, 0);
    it->b->done++;
    alk_call_unref(it->call);
    it->call = NULL;
}

static void start_item(struct item *it, yyjson_val *v)
{
    struct ws *w = it->b->ws;
    yyjson_val *op = yyjson_obj_get(v, "operation"), *input = yyjson_obj_get(v, "input");
    alk_fault f = {.size = sizeof f, .code = ALK_INVALID_INPUT};
    char *text = NULL, why[PROBLEM_MAX];
    alk_call_options o = {.size = sizeof o};
    size_t len = 2;
    int rc = ALK_OK;

    if (!yyjson_is_str(op)) {
        f.message = "/operation: must be a string";
        put_result(it, NULL, &f, NULL, 0);
        it->b->done++;
        return;
    }
    if (input)
        text = yyjson_val_write(input, 0, &len);
    o.timeout_ms = ws_timeout(w);
    o.on_event = on_item;
    o.on_end = on_item_end;
    o.ud = it;
    rc = alk_connection_call(hub_connection(&w->hub), yyjson_get_str(op), yyjson_get_len(op),
                             text ? text : "{}", len, &o, &it->call);
    free(text);
    if (rc == ALK_ECLOSED) {
        it->b->lost = true;
    } else if (rc) {
        f = ws_unsent(rc, yyjson_get_str(op), why);
        put_result(it, NULL, &f, NULL, 0);
    }
    it->b->done += rc != 0;
}

static bool start_more(struct batch *b)
{
    size_t before = b->started;

    while (b->started < b->count && b->started - b->done < WS_AT_ONCE && !b->lost) {
        yyjson_val *v = b->next;

        b->next = unsafe_yyjson_get_next(v);
        start_item(&b->items[b->started++], v);
    }
    return b->started != before;
}

static void await_batch(struct batch *b)
{
    struct hub *h = &b->ws->hub;

    while (b->done < b->count && !b->lost && !h->caught && b->bytes <= ANSWER_MAX)
        hub_step(h, NULL, start_more(b) ? 0 : -1);
    for (size_t i = 0; i < b->started; i++) {
        if (b->items[i].call)
            alk_call_abort(b->items[i].call);
    }
    while (b->done < b->started)
        hub_step(h, NULL, 0);
}

static int judge_batch(struct batch *b)
{
    struct reply *reply = b->reply;

    if (b->lost)
        return ws_lost(b->ws, reply, false);
    if (b->bytes > ANSWER_MAX)
        return reply_problem(reply, "the answer of %s is larger than %u bytes",
                             b->ws->remote.settings->url, ANSWER_MAX);
    buffer_puts(&reply->text, "[");
    for (size_t i = 0; i < b->count; i++) {
        buffer_puts(&reply->text, i ? "," : "");
        buffer_append(&reply->text, buffer_text(&b->items[i].result), b->items[i].result.len);
    }
    buffer_puts(&reply->text, "]");
    reply->output = ws_parse(reply);
    return reply->output ? OUTCOME_OK : OUTCOME_CONNECTION;
}

static int run_batch(struct ws *w, yyjson_val *list, struct reply *reply)
{
    struct batch b = {.ws = w, .reply = reply, .count = yyjson_arr_size(list)};
    int rc;

    b.next = unsafe_yyjson_get_first(list);
    b.items = xcalloc(b.count + 1, sizeof *b.items);
    for (size_t i = 0; i < b.count; i++) {
        b.items[i].b = &b;
    }
    await_batch(&b);
    rc = judge_batch(&b);
    for (size_t i = 0; i < b.count; i++)
        buffer_free(&b.items[i].result);
    free(b.items);
    return rc;
}

int ws_batch(struct remote *r, const struct buffer *calls, struct reply *reply)
{
    struct ws *w = (struct ws *)r;
    char why[WHY_SIZE];
    yyjson_doc *doc;
    yyjson_val *list;
    int rc;

    /* It has been read before: it is an array, or an object with one. */
    doc = json_read(buffer_text(calls), calls->len, why);
    list = yyjson_doc_get_root(doc);
    if (yyjson_is_obj(list))
        list = yyjson_obj_get(list, "calls");
    rc = ws_begin(w, reply);
    if (rc == OUTCOME_OK)
        rc = run_batch(w, list, reply);
    ws_end(w);
    yyjson_doc_free(doc);
    return rc;
}
