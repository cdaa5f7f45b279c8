/* Lines are built on the stack and written under a mutex.
 *
 * A pipe, terminal or socket is written without blocking: through a file description of our own
 * where one can be had (a flag on the inherited one would change it for everyone who shares it), by
 * MSG_DONTWAIT on a socket. A rest that a terminal or a socket did not take is kept and goes out
 * before the next line, so that lines stay whole. */
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum target { PLAIN_FILE, OWN_NONBLOCKING, SOCKET, SHARED };

struct log {
    pthread_mutex_t mutex;
    uint32_t json, level;
    char *file;
    int fd;
    enum target target;
    uint64_t dropped;
    size_t rest_len;
    char rest[LOG_LINE_MAX];
};

struct line {
    bool json;
    size_t len;
    char text[LOG_LINE_MAX];
};

/* ---- building a line ------------------------------------------------------------------------- */

/* Room for the end of the line is always left. */
#define ROOM(l) (sizeof(l)->text - 8 - (l)->len)

static void put(struct line *l, const char *text, size_t len)
{
    if (len <= ROOM(l)) {
        memcpy(l->text + l->len, text, len);
        l->len += len;
    }
}

static void put_format(struct line *l, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void put_format(struct line *l, const char *format, ...)
{
    char text[96];
    va_list args;

    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (n > 0 && (size_t)n < sizeof text)
        put(l, text, (size_t)n);
}

/* The length of the UTF-8 sequence at s and its code point; 0 when there is none. */
static size_t decode(const unsigned char *s, uint32_t *code)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t len = *s < 0x80 ? 1 : *s < 0xc2 ? 0 : *s < 0xe0 ? 2 : *s < 0xf0 ? 3 : *s < 0xf5 ? 4 : 0;

    *code = len == 1 ? *s : *s & (0x7fu >> len);
    for (size_t i = 1; i < len; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        *code = *code << 6 | (s[i] & 0x3f);
    }
    if (len > 1 && (*code < least[len] || *code > 0x10ffff || (*code & ~0x7ffu) == 0xd800))
        return 0;
    return len;
}

/* What a terminal acts on, or what reorders or breaks a line where it is shown. */
static bool is_control(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x2028 || c == 0x2029 || c == 0xfeff ||
           c == 0x061c || (c >= 0x200e && c <= 0x200f) || (c >= 0x202a && c <= 0x202e) ||
           (c >= 0x2066 && c <= 0x2069);
}

/* What stands for a character that cannot stand for itself; its length, 0 when it can. len is 0 for
 * a byte that is no UTF-8. */
static size_t escape_of(bool json, unsigned char byte, uint32_t code, size_t len, char out[16])
{
    if (len == 0)
        return (size_t)snprintf(out, 16, json ? "\\ufffd" : "\\x%02x", byte);
    if (code == '"' || code == '\\')
        return (size_t)snprintf(out, 16, "\\%c", (int)code);
    return is_control(code) ? (size_t)snprintf(out, 16, "\\u%04x", code) : 0;
}

/* Writes text escaped, in at most max bytes; cut text ends in "…". A NUL is behind text. */
static void put_escaped(struct line *l, const char *text, size_t n, size_t max)
{
    const unsigned char *s = (const unsigned char *)text;
    size_t end = l->len + (max < ROOM(l) ? max : ROOM(l));

    while (s < (const unsigned char *)text + n) {
        char escape[16];
        uint32_t code;
        size_t len = decode(s, &code), escaped = escape_of(l->json, *s, code, len, escape);
        size_t out = escaped ? escaped : len;

        if (l->len + out + 3 > end) {
            put(l, "\xe2\x80\xa6", 3);
            return;
        }
        put(l, escaped ? escape : (const char *)s, out);
        s += len ? len : 1;
    }
}

static void put_time(struct line *l)
{
    struct timespec now;
    struct tm utc;

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    put_format(l, "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ", utc.tm_year + 1900, utc.tm_mon + 1,
               utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec, now.tv_nsec / 1000000);
}

static const char *level_name(uint32_t level)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};

    return names[level >= ALK_LOG_ERROR && level <= ALK_LOG_DEBUG ? level - ALK_LOG_ERROR : 3];
}

static void begin(struct line *l, bool json, uint32_t level, const char *event)
{
    l->json = json;
    l->len = 0;
    if (json)
        put(l, "{\"time\":\"", 9);
    put_time(l);
    put_format(l, json ? "\",\"level\":\"%s\"" : " %-5s", level_name(level));
    put_format(l, json ? ",\"event\":\"" : " ");
    put_escaped(l, event, strlen(event), 64);
    if (json)
        put(l, "\"", 1);
}

static void add_text(struct line *l, const char *name, const char *value, size_t len, size_t max)
{
    if (!value)
        return;
    put_format(l, l->json ? ",\"%s\":\"" : " %s=\"", name);
    put_escaped(l, value, len, max);
    put(l, "\"", 1);
}

static void add_string(struct line *l, const char *name, const char *value, size_t max)
{
    if (value)
        add_text(l, name, value, strlen(value), max);
}

static void add_number(struct line *l, const char *name, uint64_t value)
{
    put_format(l, l->json ? ",\"%s\":%llu" : " %s=%llu", name, (unsigned long long)value);
}

static void add_duration(struct line *l, uint64_t us)
{
    put_format(l, l->json ? ",\"duration_ms\":%llu.%03llu" : " %llu.%03llu ms",
               (unsigned long long)(us / 1000), (unsigned long long)(us % 1000));
}

static void end(struct line *l)
{
    if (l->json)
        l->text[l->len++] = '}';
    l->text[l->len++] = '\n';
}

/* ---- writing --------------------------------------------------------------------------------- */

/* As write, but never waits for a reader. */
static ssize_t write_now(const struct log *log, const char *text, size_t len)
{
    ssize_t n;

    if (log->target == SHARED) {
        struct pollfd p = {.fd = log->fd, .events = POLLOUT};

        if (poll(&p, 1, 0) != 1 || !(p.revents & POLLOUT))
            return 0;
    }
    do {
        n = log->target == SOCKET ? send(log->fd, text, len, MSG_DONTWAIT | MSG_NOSIGNAL)
                                  : write(log->fd, text, len);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? 0 : n;
}

static bool write_rest(struct log *log)
{
    if (log->rest_len == 0)
        return true;
    size_t n = (size_t)write_now(log, log->rest, log->rest_len);
    memmove(log->rest, log->rest + n, log->rest_len - n);
    log->rest_len -= n;
    return log->rest_len == 0;
}

/* False when nothing was taken. */
static bool write_line(struct log *log, const struct line *l)
{
    if (!write_rest(log))
        return false;
    size_t n = (size_t)write_now(log, l->text, l->len);
    if (n == 0)
        return false;
    log->rest_len = l->len - n;
    memcpy(log->rest, l->text + n, log->rest_len);
    return true;
}

static bool report_dropped(struct log *log)
{
    struct line l;

    if (log->dropped == 0)
        return true;
    begin(&l, log->json, ALK_LOG_WARN, "log.dropped");
    add_number(&l, "count", log->dropped);
    end(&l);
    if (!write_line(log, &l))
        return false;
    log->dropped = 0;
    return true;
}

static void emit(struct log *log, struct line *l)
{
    end(l);
    pthread_mutex_lock(&log->mutex);
    if (!report_dropped(log) || !write_line(log, l))
        log->dropped++;
    pthread_mutex_unlock(&log->mutex);
}

/* ---- the target ------------------------------------------------------------------------------ */

static int use_standard_error(struct log *log)
{
    char path[32];
    struct stat st;

    log->fd = STDERR_FILENO;
    log->target = PLAIN_FILE;
    if (fstat(STDERR_FILENO, &st) < 0 || S_ISREG(st.st_mode))
        return 0;
    log->target = S_ISSOCK(st.st_mode) ? SOCKET : SHARED;
    if (log->target == SOCKET)
        return 0;
    snprintf(path, sizeof path, "/proc/self/fd/%d", STDERR_FILENO);
    int own = open(path, O_WRONLY | O_APPEND | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (own >= 0) {
        log->fd = own;
        log->target = OWN_NONBLOCKING;
    }
    return 0;
}

static int open_file(struct log *log, char *err, size_t err_size)
{
    int fd =
        open(log->file, O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK | O_CLOEXEC | O_NOCTTY, 0640);

    if (fd < 0) {
        snprintf(err, err_size, "%s: %s", log->file, strerror(errno));
        return ALK_ESYSTEM;
    }
    if (log->fd >= 0)
        close(log->fd);
    log->fd = fd;
    log->target = OWN_NONBLOCKING;
    return 0;
}

int log_open(struct log **out, uint32_t json, uint32_t level, const char *file, char *err,
             size_t err_size)
{
    struct log *log = calloc(1, sizeof *log);

    *out = NULL;
    if (log && file)
        log->file = strdup(file);
    if (!log || (file && !log->file)) {
        free(log);
        snprintf(err, err_size, "out of memory");
        return ALK_ENOMEM;
    }
    log->json = json;
    log->level = level;
    log->fd = -1;
    pthread_mutex_init(&log->mutex, NULL);
    int rc = file ? open_file(log, err, err_size) : use_standard_error(log);
    if (rc) {
        log_close(log);
        return rc;
    }
    *out = log;
    return 0;
}

int log_reopen(struct log *log, char *err, size_t err_size)
{
    if (!log->file)
        return 0;
    pthread_mutex_lock(&log->mutex);
    write_rest(log);
    int rc = open_file(log, err, err_size);
    pthread_mutex_unlock(&log->mutex);
    return rc;
}

void log_close(struct log *log)
{
    if (!log)
        return;
    if (log->fd >= 0) {
        write_rest(log);
        report_dropped(log);
    }
    if (log->fd >= 0 && log->fd != STDERR_FILENO)
        close(log->fd);
    pthread_mutex_destroy(&log->mutex);
    free(log->file);
    free(log);
}

/* ---- events ---------------------------------------------------------------------------------- */

/* A listener is at a port, or it has a path. */
static void add_address(struct line *l, const alk_log_event *e)
{
    if (!e->port) {
        add_string(l, "path", e->address, 512);
        return;
    }
    add_string(l, "address", e->address, 256);
    add_number(l, "port", e->port);
    if (!l->json)
        put_format(l, strchr(e->address, ':') ? " %s://[%.46s]:%u" : " %s://%.46s:%u", e->scheme,
                   e->address, e->port);
}

void log_event(void *ud, const alk_log_event *e)
{
    struct log *log = ud;
    struct line l;

    if (e->level > log->level)
        return;
    begin(&l, log->json, e->level, e->event);
    add_address(&l, e);
    if (e->code)
        add_number(&l, "code", e->code);
    add_text(&l, "operation", e->operation, e->operation_len, 512);
    add_text(&l, "outcome", e->outcome, e->outcome_len, 128);
    if (e->outcome)
        add_duration(&l, e->duration_us);
    if (e->count)
        add_number(&l, "count", e->count);
    add_text(&l, "request_id", e->request_id, e->request_id_len, 512);
    add_string(&l, "identity", e->identity, 256);
    add_string(&l, "claim", e->claim, 256);
    add_string(&l, "tenant", e->tenant, 256);
    add_string(&l, "traceparent", e->traceparent, 64);
    add_string(&l, "remote", e->remote, 256);
    add_text(&l, "message", e->message, e->message_len, 1024);
    emit(log, &l);
}

void log_say(struct log *log, uint32_t level, const char *event, const char *format, ...)
{
    char message[1200];
    struct line l;
    va_list args;

    if (level > log->level)
        return;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    begin(&l, log->json, level, event);
    add_string(&l, "message", message, 1200);
    emit(log, &l);
}
