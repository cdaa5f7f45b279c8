/* A call is answered once: by what its command wrote and how it ended, or by what went wrong
 * first; `answered` is set in every case, and also when the call has ended without us. A command
 * counts as ended when its process and both of its outputs have, since output may arrive behind
 * the exit; what keeps an output open for longer than RUN_GRACE_MS does not count.
 *
 * While the caller has no room for a value, the command's output is not read: the pipe fills, and
 * the command waits. */
#include "run.h"
#include "print.h"

#include <alknet/alknet.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define READ_STEP 65536u
#define COMMAND_FAILED "COMMAND_FAILED"
#define BAD_OUTPUT "BAD_OUTPUT"

struct job {
    TAILQ_ENTRY(job) link; /* in the runner's waiting or jobs */
    struct runner *r;
    alk_call *call; /* until it has ended */
    int refs;       /* the call's, and the command's */
    bool stream, running, exited, answered, blocked, out_ended, err_ended, closing;
    int64_t status;
    int signal;
    uint64_t began;
    uv_process_t process;
    uv_pipe_t in, out, err;
    uv_timer_t timer;
    uv_write_t write;
    unsigned handles;
    char *input;
    struct buffer output, json, said;
    char line[RUN_MESSAGE_MAX], last[RUN_MESSAGE_MAX]; /* of standard error */
    size_t line_len, last_len;
};

static void start(struct job *j);
static void check(struct job *j);

static void job_unref(struct job *j)
{
    if (--j->refs)
        return;
    free(j->input);
    buffer_free(&j->output);
    buffer_free(&j->json);
    buffer_free(&j->said);
    free(j);
}

/* ---- answering ------------------------------------------------------------------------------- */

static void fault(struct job *j, const char *code, const char *message, const char *details)
{
    alk_fault f = {.size = sizeof f, .code = code, .message = message, .details = details};

    if (j->answered)
        return;
    j->answered = true;
    if (!j->r->quiet)
        complain("%s: %s", alk_call_operation(j->call), message);
    alk_call_fail(j->call, &f);
}

static void too_large(struct job *j)
{
    fault(j, BAD_OUTPUT,
          j->stream ? "a line of the output is larger than 4 MiB"
                    : "the output is larger than 4 MiB",
          NULL);
}

/* The JSON text of what was written; NULL after a fault. */
static const char *value_of(struct job *j, const char *text, size_t *len)
{
    if (j->r->text) {
        buffer_truncate(&j->json, 0);
        buffer_json_string(&j->json, text, *len);
        text = buffer_text(&j->json);
        *len = j->json.len;
    }
    if (*len <= RUN_OUTPUT_MAX)
        return text;
    too_large(j);
    return NULL;
}

static void refused(struct job *j, int rc)
{
    if (rc == ALK_EJSON)
        fault(j, BAD_OUTPUT,
              j->r->text  ? "the output is not UTF-8"
              : j->stream ? "a line of the output is not JSON"
                          : "the output is not JSON",
              NULL);
    else
        j->answered = true; /* by the library */
}

static bool blank(const char *text, size_t len)
{
    while (len && strchr(" \t\r\n", text[len - 1]) && text[len - 1])
        len--;
    return !len;
}

static void reply(struct job *j)
{
    const char *text = buffer_text(&j->output);
    size_t len = j->output.len;
    int rc;

    if (j->r->text)
        len -= len && text[len - 1] == '\n';
    else if (blank(text, len))
        len = strlen(text = "null");
    text = value_of(j, text, &len);
    rc = text ? alk_call_reply(j->call, text, len) : 0;
    if (rc)
        refused(j, rc);
}

static void failed(struct job *j)
{
    char details[48];

    buffer_truncate(&j->said, 0);
    if (j->last_len)
        print_plain(&j->said, j->last, j->last_len);
    else if (j->signal)
        buffer_printf(&j->said, "the command was ended by signal %d", j->signal);
    else
        buffer_printf(&j->said, "the command ended with status %lld", (long long)j->status);
    snprintf(details, sizeof details, j->signal ? "{\"signal\":%lld}" : "{\"status\":%lld}",
             j->signal ? (long long)j->signal : (long long)j->status);
    fault(j, COMMAND_FAILED, buffer_text(&j->said), details);
}

static void answer(struct job *j)
{
    if (j->answered)
        return;
    if (j->status || j->signal)
        failed(j);
    else if (j->stream)
        alk_call_complete(j->call);
    else
        reply(j);
    if (!j->answered && j->r->verbose)
        remark("%s %s: ok, %.1f ms", alk_call_operation(j->call), alk_call_id(j->call),
               (double)(uv_hrtime() - j->began) / 1e6);
    j->answered = true;
}

static void on_room(alk_call *call, void *ud);

/* Whether it was taken, or is never going to be. */
static bool emit(struct job *j, const char *line, size_t len)
{
    int rc;

    if (!j->r->text && blank(line, len))
        return true;
    line = value_of(j, line, &len);
    if (!line)
        return true;
    rc = alk_call_emit(j->call, line, len);
    if (rc == ALK_EAGAIN) {
        j->blocked = true;
        uv_read_stop((uv_stream_t *)&j->out);
        alk_call_on_drain(j->call, on_room, j);
        return false;
    }
    if (rc)
        refused(j, rc);
    return true;
}

/* Passes on the lines that are whole, and at the end what is left. */
static void pump(struct job *j)
{
    while (!j->answered && !j->blocked && j->output.len) {
        const char *text = buffer_text(&j->output), *end = memchr(text, '\n', j->output.len);
        size_t len = end ? (size_t)(end - text) : j->output.len;

        if (len > RUN_OUTPUT_MAX)
            too_large(j);
        else if (!end && !j->out_ended)
            return;
        else if (emit(j, text, len))
            buffer_consume(&j->output, len + (end != NULL));
    }
    if (j->answered)
        buffer_truncate(&j->output, 0);
}

/* ---- reading --------------------------------------------------------------------------------- */

static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *out)
{
    struct job *j = h->data;
    struct buffer *b = h == (uv_handle_t *)&j->out ? &j->output : &j->said;

    (void)suggested;
    *out = uv_buf_init(buffer_reserve(b, READ_STEP), READ_STEP);
}

static void on_output(uv_stream_t *s, ssize_t n, const uv_buf_t *bytes)
{
    struct job *j = s->data;

    (void)bytes;
    if (n < 0) {
        uv_read_stop(s);
        j->out_ended = true;
    } else {
        buffer_commit(&j->output, (size_t)n);
    }
    if (j->stream)
        pump(j);
    else if (!j->answered && j->output.len > RUN_OUTPUT_MAX + 1)
        too_large(j);
    if (j->answered)
        buffer_truncate(&j->output, 0);
    check(j);
}

/* Keeps the last line that is not empty. */
static void take_errors(struct job *j, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (text[i] != '\n') {
            if (j->line_len < RUN_MESSAGE_MAX)
                j->line[j->line_len++] = text[i];
            continue;
        }
        if (!blank(j->line, j->line_len)) {
            memcpy(j->last, j->line, j->line_len);
            j->last_len = j->line_len;
        }
        j->line_len = 0;
    }
}

/* A command may say what a caller has chosen. */
static void show_errors(const char *text, size_t len)
{
    struct buffer shown = {0};

    if (isatty(STDERR_FILENO))
        print_text(&shown, text, len);
    else
        buffer_append(&shown, text, len);
    fwrite(buffer_text(&shown), 1, shown.len, stderr);
    buffer_free(&shown);
}

static void on_errors(uv_stream_t *s, ssize_t n, const uv_buf_t *bytes)
{
    struct job *j = s->data;

    if (n >= 0) {
        take_errors(j, bytes->base, (size_t)n);
        if (j->r->verbose)
            show_errors(bytes->base, (size_t)n);
        return;
    }
    uv_read_stop(s);
    take_errors(j, "\n", 1);
    j->err_ended = true;
    check(j);
}

/* ---- the end --------------------------------------------------------------------------------- */

static void on_closed(uv_handle_t *h)
{
    struct job *j = h->data;
    struct runner *r = j->r;

    if (--j->handles)
        return;
    r->running--;
    TAILQ_REMOVE(&r->jobs, j, link);
    job_unref(j);
    if (!TAILQ_EMPTY(&r->waiting) && r->running < r->most)
        start(TAILQ_FIRST(&r->waiting));
}

static void close_handle(void *handle)
{
    if (!uv_is_closing(handle))
        uv_close(handle, on_closed);
}

/* Once the command and its output have ended, the call is answered. */
static void check(struct job *j)
{
    if (!j->exited || !j->out_ended || !j->err_ended || j->blocked || j->closing)
        return;
    if (j->stream)
        pump(j);
    if (j->blocked)
        return;
    answer(j);
    j->closing = true;
    close_handle(&j->process);
    close_handle(&j->in);
    close_handle(&j->out);
    close_handle(&j->err);
    close_handle(&j->timer);
}

static void on_time(uv_timer_t *t)
{
    struct job *j = t->data;

    kill(-j->process.pid, SIGKILL);
    if (!j->exited)
        return;
    /* Somebody else has its output open, and does not count. */
    uv_read_stop((uv_stream_t *)&j->out);
    uv_read_stop((uv_stream_t *)&j->err);
    take_errors(j, "\n", 1);
    j->out_ended = j->err_ended = true;
    check(j);
}

/* The command has ended: what is still written gets a little time. */
static void linger(struct job *j)
{
    if (j->exited && !j->blocked && !j->closing && !(j->out_ended && j->err_ended))
        uv_timer_start(&j->timer, on_time, RUN_GRACE_MS, 0);
}

static void on_exit_of_command(uv_process_t *p, int64_t status, int signal)
{
    struct job *j = p->data;

    j->exited = true;
    j->status = status;
    j->signal = signal;
    linger(j);
    check(j);
}

static void resume(struct job *j)
{
    j->blocked = false;
    pump(j);
    if (!j->blocked && !j->out_ended)
        uv_read_start((uv_stream_t *)&j->out, on_alloc, on_output);
    linger(j);
    check(j);
}

static void on_room(alk_call *call, void *ud)
{
    struct job *j = ud;

    (void)call;
    if (j->blocked)
        resume(j);
}

static void on_call_end(alk_call *call, int why, const alk_fault *f, void *ud)
{
    struct job *j = ud;

    (void)call;
    (void)why;
    (void)f;
    j->call = NULL;
    j->answered = true;
    if (!j->running) {
        TAILQ_REMOVE(&j->r->waiting, j, link);
    } else if (!j->closing) {
        kill(-j->process.pid, SIGTERM);
        uv_timer_start(&j->timer, on_time, RUN_GRACE_MS, 0);
        if (j->blocked)
            resume(j);
    }
    job_unref(j);
}

/* ---- starting -------------------------------------------------------------------------------- */

static void on_written(uv_write_t *w, int status)
{
    struct job *j = w->data;

    (void)status; /* not every command reads its input */
    close_handle(&j->in);
}

static void give_input(struct job *j)
{
    static char newline[] = "\n";
    size_t len;
    const char *text = alk_value_text(alk_call_input(j->call), &len);
    uv_buf_t parts[2];

    j->input = xstrndup(text ? text : "", text ? len : 0);
    parts[0] = uv_buf_init(j->input, text ? (unsigned)len : 0);
    parts[1] = uv_buf_init(newline, 1);
    j->write.data = j;
    if (uv_write(&j->write, (uv_stream_t *)&j->in, parts, 2, on_written))
        close_handle(&j->in);
}

static int spawn(struct job *j)
{
    struct runner *r = j->r;
    uv_stdio_container_t stdio[3] = {
        {UV_CREATE_PIPE | UV_READABLE_PIPE, {.stream = (uv_stream_t *)&j->in}},
        {UV_CREATE_PIPE | UV_WRITABLE_PIPE, {.stream = (uv_stream_t *)&j->out}},
        {UV_CREATE_PIPE | UV_WRITABLE_PIPE, {.stream = (uv_stream_t *)&j->err}}};
    uv_process_options_t o = {.exit_cb = on_exit_of_command,
                              .file = r->command[0],
                              .args = r->command,
                              .env = runner_environment(r, j->call),
                              .flags = UV_PROCESS_DETACHED, /* a session of its own, thus a group */
                              .stdio_count = 3,
                              .stdio = stdio};
    int rc = uv_spawn(alk_call_loop(j->call), &j->process, &o);

    runner_environment_free(r, o.env);
    return rc;
}

static void start(struct job *j)
{
    uv_loop_t *loop = alk_call_loop(j->call);
    int rc;

    TAILQ_REMOVE(&j->r->waiting, j, link);
    TAILQ_INSERT_TAIL(&j->r->jobs, j, link);
    j->r->running++;
    j->refs++;
    j->running = true;
    j->began = uv_hrtime();
    j->handles = 5;
    j->process.data = j->in.data = j->out.data = j->err.data = j->timer.data = j;
    uv_pipe_init(loop, &j->in, 0);
    uv_pipe_init(loop, &j->out, 0);
    uv_pipe_init(loop, &j->err, 0);
    uv_timer_init(loop, &j->timer);
    rc = spawn(j);
    if (rc) {
        buffer_printf(&j->said, "cannot run %s: %s", j->r->command[0], uv_strerror(rc));
        fault(j, COMMAND_FAILED, buffer_text(&j->said), NULL);
        j->exited = j->out_ended = j->err_ended = true;
        check(j);
        return;
    }
    uv_read_start((uv_stream_t *)&j->out, on_alloc, on_output);
    uv_read_start((uv_stream_t *)&j->err, on_alloc, on_errors);
    give_input(j);
}

static int handle(struct runner *r, alk_call *call, bool stream)
{
    struct job *j = xcalloc(1, sizeof *j);

    j->r = r;
    j->call = call;
    j->stream = stream;
    j->refs = 1;
    alk_call_on_end(call, on_call_end, j);
    TAILQ_INSERT_TAIL(&r->waiting, j, link);
    if (r->running < r->most)
        start(j);
    return 0;
}

int run_single(alk_call *call, void *ud)
{
    return handle(ud, call, false);
}

int run_stream(alk_call *call, void *ud)
{
    return handle(ud, call, true);
}

void runner_kill(struct runner *r)
{
    struct job *j;

    TAILQ_FOREACH(j, &r->jobs, link)
    {
        if (!j->exited)
            kill(-j->process.pid, SIGKILL);
    }
}
