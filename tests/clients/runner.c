/* The table of cases against the library's host.  usage: runner CASES URL TOKEN */
#include <alknet/host.h>
#include <alknet/yyjson.h>

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PATIENCE_MS 15000
#define KEPT 64 /* values that nobody has read: the subscription is paused */

static const struct {
    const char *need, *why;
} lacks[] = {
    {"optional_input", "alk_host_call takes a text, and none is no JSON"},
};

/* A call of the case's, by its tag. */
struct task {
    struct task *next;
    const char *name;
    uint64_t id;
    bool stream, paused, over;
    int rc;
    yyjson_doc *end;
    yyjson_doc *values[8192];
    size_t read, count;
};

/* A call to what is served. */
struct serving {
    struct serving *next;
    uint64_t id, n, to;
    size_t pad;
    bool counts, fails, done;
};

static struct {
    const char *url, *token;
    alk_host *host;
    uint64_t connection;
    yyjson_doc *closed; /* the end of the last one */
    bool up;
    struct task *tasks;
    struct serving *serving;
    int waiting, cancelled, counting, left;
    char why[1024];
} run;

static bool failed(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(run.why, sizeof run.why, format, args);
    va_end(args);
    return false;
}

static uint64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static yyjson_doc *parse(const char *text, size_t len)
{
    char why[200];
    yyjson_doc *doc =
        text ? alk_json_read(text, len, 1024, UINT32_MAX, why, sizeof why) : parse("null", 4);

    if (!doc) {
        printf("not ok %.200s: %s\n", text, why);
        exit(1);
    }
    return doc;
}

/* What a function says at once, as an end. */
static yyjson_doc *refusal(int rc)
{
    char text[200];
    int n = snprintf(text, sizeof text, "{\"code\":\"%s\",\"message\":\"%s\"}", alk_err_name(rc),
                     alk_strerror(rc));

    return parse(text, (size_t)n);
}

/* ---- what is served -------------------------------------------------------------------------- */

#define REFUSED "[{\"code\":\"UI_REFUSED\",\"description\":\"as asked\",\"schema\":true}]"
enum { ECHO, FAIL, BROKEN, LARGE, ADD, WAIT, COUNT };
static const alk_operation served[] = {
    [ECHO] = {.name = "ui/echo"},
    [FAIL] = {.name = "ui/fail", .error_schemas = REFUSED},
    [BROKEN] = {.name = "ui/broken"},
    [LARGE] = {.name = "ui/large",
               .description = "before\0behind",
               .description_len = sizeof "before\0behind" - 1},
    [ADD] = {.name = "ui/add",
             .input_schema = "{\"type\":\"object\",\"required\":[\"a\",\"b\"],\"properties\":{"
                             "\"a\":{\"type\":\"integer\"},\"b\":{\"type\":\"integer\"}}}"},
    [WAIT] = {.name = "ui/wait", .type = ALK_MUTATION},
    [COUNT] = {.name = "ui/count", .type = ALK_SUBSCRIPTION, .error_schemas = REFUSED},
};

static void count_on(struct serving *s)
{
    static char text[8192];

    for (; s->n < s->to; s->n++) {
        int len = snprintf(text, sizeof text, "%llu", (unsigned long long)s->n);

        if (s->pad) {
            memset(text, 'x', s->pad + 2);
            text[0] = text[s->pad + 1] = '"';
            len = (int)s->pad + 2;
        }
        if (alk_host_emit(run.host, s->id, text, (size_t)len))
            return; /* there will be room, or it has ended */
    }
    s->done = true;
    if (s->fails)
        alk_host_fail(run.host, s->id, "{\"code\":\"UI_REFUSED\",\"message\":\"as asked\"}", 42);
    else
        alk_host_complete(run.host, s->id);
}

static void keep(const alk_host_event *e, yyjson_val *input)
{
    struct serving *s = calloc(1, sizeof *s);
    yyjson_val *to = yyjson_obj_get(input, "to");

    s->id = e->id;
    s->counts = e->tag == COUNT;
    s->to = to ? yyjson_get_uint(to) : UINT64_MAX;
    s->pad = yyjson_get_uint(yyjson_obj_get(input, "pad"));
    s->fails = yyjson_get_bool(yyjson_obj_get(input, "fail"));
    s->next = run.serving;
    run.serving = s;
    s->counts ? run.counting++ : run.waiting++;
    if (s->counts)
        count_on(s);
}

static void on_call(const alk_host_event *e)
{
    yyjson_doc *doc = parse(e->text, e->text_len);
    yyjson_val *input = yyjson_doc_get_root(doc);
    size_t bytes = yyjson_get_uint(yyjson_obj_get(input, "bytes")) + 2;
    char sum[24], *text;

    switch (e->tag) {
    case ECHO:
        alk_host_reply(run.host, e->id, e->text, e->text_len);
        break;
    case FAIL:
        alk_host_fail(run.host, e->id, e->text, e->text_len);
        break;
    case BROKEN:
        alk_host_reply(run.host, e->id, "secret", 6);
        break;
    case LARGE:
        text = memset(malloc(bytes), 'x', bytes);
        text[0] = text[bytes - 1] = '"';
        alk_host_reply(run.host, e->id, text, bytes);
        free(text);
        break;
    case ADD:
        alk_host_reply(run.host, e->id, sum,
                       (size_t)snprintf(sum, sizeof sum, "%lld",
                                        (long long)(yyjson_get_sint(yyjson_obj_get(input, "a")) +
                                                    yyjson_get_sint(yyjson_obj_get(input, "b")))));
        break;
    default:
        keep(e, input);
    }
    yyjson_doc_free(doc);
}

/* ---- events ---------------------------------------------------------------------------------- */

static void on_serving_end(const alk_host_event *e)
{
    for (struct serving **at = &run.serving, *s; (s = *at) != NULL; at = &s->next) {
        if (s->id != e->id)
            continue;
        s->counts ? run.counting-- : run.waiting--;
        run.left += s->counts && !s->done;
        run.cancelled += !s->counts;
        *at = s->next;
        free(s);
        return;
    }
}

static void on_value(struct task *t, const alk_host_event *e)
{
    if (!t || t->over)
        return;
    t->values[t->count++] = parse(e->text, e->text_len);
    if (!t->paused && t->count - t->read > KEPT) {
        t->paused = true;
        alk_host_pause(run.host, t->id, 1);
    }
}

static void on_event(const alk_host_event *e)
{
    struct task *t = run.tasks;

    while (t && t->id != e->id)
        t = t->next;
    switch (e->kind) {
    case ALK_HOST_CALL:
        on_call(e);
        break;
    case ALK_HOST_VALUE:
        on_value(t, e);
        break;
    case ALK_HOST_ROOM:
        for (struct serving *s = run.serving; s; s = s->next)
            if (s->id == e->id)
                count_on(s);
        break;
    case ALK_HOST_UP:
        run.up = true;
        break;
    case ALK_HOST_DOWN:
        run.up = false;
        break;
    case ALK_HOST_END:
        if (e->id == run.connection) {
            run.closed = parse(e->text, e->text_len);
        } else if (t) {
            t->over = true;
            t->rc = e->rc;
            t->end = parse(e->text, e->text_len);
        } else {
            on_serving_end(e);
        }
    }
}

/* Events, for at most so long. */
static void pump(uint64_t ms)
{
    alk_host_event e[64];
    size_t n;

    alk_host_wait(run.host, (uint32_t)ms);
    n = alk_host_drain(run.host, e, sizeof *e, 64);
    for (size_t i = 0; i < n; i++)
        on_event(&e[i]);
    alk_host_release(run.host, e, sizeof *e, n);
}

/* ---- outcomes -------------------------------------------------------------------------------- */

static bool differ(const char *what, yyjson_val *wanted, yyjson_val *got)
{
    char *a, *b;

    if (wanted && got && yyjson_equals(wanted, got))
        return true;
    a = yyjson_val_write(wanted, 0, NULL);
    b = yyjson_val_write(got, 0, NULL);
    failed("%s should be %.300s, not %.300s", what, a ? a : "nothing", b ? b : "nothing");
    free(a);
    free(b);
    return false;
}

static bool says(yyjson_val *texts, yyjson_val *error)
{
    char *all = yyjson_val_write(error, 0, NULL);
    yyjson_val *text;
    size_t i, n;
    bool found = false;

    yyjson_arr_foreach(texts, i, n, text) found |= strstr(all, yyjson_get_str(text)) != NULL;
    if (!found)
        failed("%s says nothing of it", all);
    free(all);
    return found;
}

static bool same_error(yyjson_val *wanted, yyjson_val *error)
{
    yyjson_val *name, *value;
    size_t i, n;

    yyjson_obj_foreach(wanted, i, n, name, value)
    {
        yyjson_val *got = yyjson_obj_get(error, yyjson_get_str(name));

        if (yyjson_equals_str(name, "says")
                ? !says(value, error)
                : !(yyjson_is_null(value) && !got) && !differ(yyjson_get_str(name), value, got))
            return false;
    }
    return true;
}

static bool come(struct task *t)
{
    uint64_t end = now_ms() + PATIENCE_MS;

    while (!t->over && t->read == t->count) {
        if (now_ms() > end)
            return failed("nothing comes");
        pump(100);
    }
    return true;
}

static void read_on(struct task *t)
{
    t->read++;
    if (t->paused && t->count - t->read < KEPT / 4) {
        t->paused = false;
        alk_host_pause(run.host, t->id, 0);
    }
}

static bool values_match(struct task *t, yyjson_val *step)
{
    yyjson_val *value;
    size_t i, n;

    yyjson_arr_foreach(yyjson_obj_get(step, "values"), i, n, value)
    {
        if (!come(t) ||
            !differ("the next value", value,
                    t->read < t->count ? yyjson_doc_get_root(t->values[t->read]) : NULL))
            return false;
        read_on(t);
    }
    if (yyjson_get_bool(yyjson_obj_get(step, "rest"))) {
        while (come(t) && t->read < t->count)
            read_on(t);
    }
    return true;
}

static bool matches(struct task *t, yyjson_val *step)
{
    yyjson_val *error = yyjson_obj_get(step, "error"), *value = yyjson_obj_get(step, "value");

    if (t->stream && !values_match(t, step))
        return false;
    if (t->stream && !error && !yyjson_obj_get(step, "end"))
        return true;
    if (!come(t))
        return false;
    if (t->read < t->count)
        return failed("there is one more value");
    if (yyjson_get_bool(yyjson_obj_get(step, "cancelled")))
        return t->rc == ALK_END_ABORTED || failed("its end is %d", t->rc);
    if ((t->rc == ALK_END_OK) == (error != NULL)) {
        char *text = yyjson_val_write(yyjson_doc_get_root(t->end), 0, NULL);

        failed("it has ended with %.300s", text);
        free(text);
        return false;
    }
    return error ? same_error(error, yyjson_doc_get_root(t->end))
                 : t->stream || differ("the value", value, yyjson_doc_get_root(t->end));
}

/* ---- steps ----------------------------------------------------------------------------------- */

static struct task *start(yyjson_val *step)
{
    struct task *t = calloc(1, sizeof *t);
    yyjson_val *call = yyjson_obj_get(step, "call"), *input = yyjson_obj_get(step, "input");
    yyjson_val *name = call ? call : yyjson_obj_get(step, "subscribe");
    alk_host_call_options o = {.size = sizeof o, .stream = !call, .connection = run.connection};
    size_t len = 0;
    char *text = input ? yyjson_val_write(input, 0, &len) : NULL;

    o.timeout_ms = (uint32_t)yyjson_get_uint(yyjson_obj_get(step, "timeout_ms"));
    t->name = yyjson_get_str(yyjson_obj_get(step, "start"));
    t->stream = !call;
    t->rc =
        alk_host_call(run.host, yyjson_get_str(name), yyjson_get_len(name), text, len, &o, &t->id);
    if (t->rc) {
        t->over = true;
        t->end = refusal(t->rc);
    }
    t->next = run.tasks;
    run.tasks = t;
    free(text);
    return t;
}

static struct task *begun(yyjson_val *name)
{
    struct task *t = run.tasks;

    while (!t->name || !yyjson_equals_str(name, t->name))
        t = t->next;
    return t;
}

static bool dial(yyjson_val *how, yyjson_val *error)
{
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *entry = yyjson_mut_obj(doc);
    yyjson_val *url = yyjson_obj_get(how, "url"), *token = yyjson_obj_get(how, "token");
    uint64_t end = now_ms() + PATIENCE_MS;
    char why[200] = "", *text;
    int rc;

    yyjson_mut_doc_set_root(doc, entry);
    yyjson_mut_obj_add_str(doc, entry, "url", url ? yyjson_get_str(url) : run.url);
    if (token)
        yyjson_mut_obj_add_str(doc, entry, "token", yyjson_get_str(token));
    if (!yyjson_get_bool(yyjson_obj_get(how, "reconnect")))
        yyjson_mut_obj_add_bool(doc, entry, "reconnect", false);
    yyjson_mut_obj_add_uint(doc, entry, "spread", 200);
    if (run.connection)
        alk_host_abort(run.host, run.connection);
    yyjson_doc_free(run.closed);
    run.closed = NULL;
    run.up = false;
    text = yyjson_mut_write(doc, 0, NULL);
    rc = alk_host_dial(run.host, text, strlen(text), 0, &run.connection, why, sizeof why);
    free(text);
    yyjson_mut_doc_free(doc);
    if (rc)
        return failed("%s", why);
    while (!run.up && !run.closed) {
        if (now_ms() > end)
            return failed("it does not open");
        pump(100);
    }
    if (error)
        return run.up ? failed("it has opened")
                      : same_error(error, yyjson_doc_get_root(run.closed));
    return run.up || failed("it does not open");
}

static bool seen(yyjson_val *counts)
{
    return yyjson_get_int(yyjson_obj_get(counts, "waiting")) == run.waiting &&
                   yyjson_get_int(yyjson_obj_get(counts, "cancelled")) == run.cancelled &&
                   yyjson_get_int(yyjson_obj_get(counts, "counting")) == run.counting &&
                   yyjson_get_int(yyjson_obj_get(counts, "left")) == run.left
               ? true
               : failed("%d wait, %d cancelled, %d count, %d left", run.waiting, run.cancelled,
                        run.counting, run.left);
}

static bool attempt(yyjson_val *step)
{
    yyjson_val *counts = yyjson_obj_get(step, "seen");

    return counts ? seen(counts) : matches(start(step), step);
}

static bool take(yyjson_val *step)
{
    uint64_t end = now_ms() + PATIENCE_MS;
    yyjson_val *v;

    if ((v = yyjson_obj_get(step, "sleep_ms")) != NULL) {
        for (end = now_ms() + yyjson_get_uint(v); now_ms() < end;)
            pump(end - now_ms());
        return true;
    }
    if ((v = yyjson_obj_get(step, "connect")) != NULL)
        return dial(v, yyjson_obj_get(step, "error"));
    if (yyjson_obj_get(step, "close"))
        return alk_host_abort(run.host, run.connection) == 0 || failed("it cannot be closed");
    if ((v = yyjson_obj_get(step, "cancel")) != NULL)
        return alk_host_abort(run.host, begun(v)->id) != ALK_EINVAL ||
               failed("it cannot be aborted");
    if (yyjson_obj_get(step, "start"))
        return start(step) != NULL;
    if ((v = yyjson_obj_get(step, "await")) != NULL)
        return matches(begun(v), step);
    while (!attempt(step)) {
        if (!yyjson_obj_get(step, "until") && !yyjson_obj_get(step, "seen"))
            return false;
        if (now_ms() > end)
            return false;
        pump(20);
    }
    return true;
}

/* ---- cases ----------------------------------------------------------------------------------- */

static void clean_up(void)
{
    for (struct task *t = run.tasks, *next; t; t = next) {
        next = t->next;
        for (size_t i = 0; i < t->count; i++)
            yyjson_doc_free(t->values[i]);
        yyjson_doc_free(t->end);
        free(t);
    }
    for (struct serving *s = run.serving, *next; s; s = next) {
        next = s->next;
        free(s);
    }
    alk_host_free(run.host);
    yyjson_doc_free(run.closed);
    run.host = NULL;
    run.tasks = NULL;
    run.serving = NULL;
    run.closed = NULL;
    run.connection = 0;
    run.waiting = run.cancelled = run.counting = run.left = 0;
}

static bool begin(void)
{
    alk_host_options o = {.size = sizeof o};
    char how[200], why[200] = "";
    yyjson_doc *doc;
    bool good;
    int rc = alk_host_new(&run.host, &o, why, sizeof why);

    for (size_t i = 0; rc == 0 && i < sizeof served / sizeof *served; i++) {
        alk_operation op = served[i];

        op.size = sizeof op;
        op.visibility = ALK_EXTERNAL;
        op.type = op.type ? op.type : ALK_QUERY;
        rc = alk_host_add(run.host, &op, i, why, sizeof why);
    }
    rc = rc ? rc : alk_host_start(run.host, why, sizeof why);
    if (rc)
        return failed("%s", why);
    snprintf(how, sizeof how, "{\"token\":\"%s\"}", run.token);
    doc = parse(how, strlen(how));
    good = dial(yyjson_doc_get_root(doc), NULL);
    yyjson_doc_free(doc);
    return good;
}

static bool case_passes(yyjson_val *steps)
{
    yyjson_val *step;
    size_t i, n;

    if (!begin())
        return false;
    yyjson_arr_foreach(steps, i, n, step)
    {
        char why[sizeof run.why], *text;

        if (take(step))
            continue;
        text = yyjson_val_write(step, 0, NULL);
        memcpy(why, run.why, sizeof why);
        failed("%.300s: %s", text, why);
        free(text);
        return false;
    }
    return true;
}

static void judge(yyjson_val *one)
{
    const char *name = yyjson_get_str(yyjson_obj_get(one, "name")), *lack = NULL;
    yyjson_val *need = yyjson_obj_get(one, "needs");
    bool good = case_passes(yyjson_obj_get(one, "steps"));

    clean_up();
    for (size_t i = 0; need && i < sizeof lacks / sizeof *lacks; i++)
        if (yyjson_equals_str(need, lacks[i].need))
            lack = lacks[i].why;
    if (lack && good)
        printf("not ok %s: it works, and yet the runner says: %s\n", name, lack);
    else if (lack)
        printf("ok %s: not here, since %s\n", name, lack);
    else
        printf(good ? "ok %s\n" : "not ok %s: %s\n", name, run.why);
    fflush(stdout);
}

static char *read_file(const char *name, size_t *len)
{
    FILE *file = fopen(name, "rb");
    char *text = NULL;
    size_t n = 0;

    *len = 0;
    do {
        text = realloc(text, *len + (1 << 20));
        *len += n = fread(text + *len, 1, 1 << 20, file);
    } while (n);
    fclose(file);
    return text;
}

int main(int argc, char **argv)
{
    size_t len, i, n;
    char *text = read_file(argc == 4 ? argv[1] : "/dev/null", &len);
    yyjson_doc *doc = parse(text, len);
    yyjson_val *one;

    run.url = argv[2];
    run.token = argv[3];
    yyjson_arr_foreach(yyjson_doc_get_root(doc), i, n, one) judge(one);
    yyjson_doc_free(doc);
    free(text);
    return 0;
}
