/* What a remote chose is printed through `escape`, but for strings in the raw format that do not
 * go to a terminal, and the bytes of numbers, which the parser has checked. A value is laid out in
 * a buffer that is written when it is full, so that a small answer cannot grow large in memory.
 * Recursion is bounded by the depth that the parser allows. */
#include "print.h"

#include "input.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MESSAGE_MAX 4096u
#define PIECE 65536u   /* bytes that are laid out before they are written */
#define INDENT_MAX 64u /* levels: what lies deeper is indented no further */

enum paint { PAINT_KEY, PAINT_STRING, PAINT_NUMBER, PAINT_WORD, PAINT_FAULT };
static const char *const paints[] = {
    [PAINT_KEY] = "\033[34m",  [PAINT_STRING] = "\033[32m",  [PAINT_NUMBER] = "\033[36m",
    [PAINT_WORD] = "\033[33m", [PAINT_FAULT] = "\033[1;31m",
};
#define PAINT_END "\033[0m"

static bool may_colour(void)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

    return !(no && *no) && !(term && strcmp(term, "dumb") == 0);
}

void print_open(struct printer *p, FILE *out, enum format format)
{
    *p = (struct printer){.out = out, .format = format, .terminal = isatty(fileno(out))};
    p->colour = p->terminal && format != FORMAT_RAW && may_colour();
}

void print_close(struct printer *p)
{
    buffer_wipe(&p->text); /* of `token new` */
}

/* To the stream, which may keep it. */
static void write_out(struct printer *p)
{
    size_t len = p->text.len;

    errno = 0;
    if (p->outlet)
        outlet_put(p->outlet, buffer_text(&p->text), len);
    else if (len && fwrite(buffer_text(&p->text), 1, len, p->out) != len && !p->error)
        p->error = errno ? errno : EIO;
    buffer_truncate(&p->text, 0);
}

int print_flush(struct printer *p)
{
    write_out(p);
    if (p->outlet) {
        outlet_flush(p->outlet);
        p->error = p->outlet->error;
    } else if (fflush(p->out) && !p->error)
        p->error = errno;
    return p->error ? -1 : 0;
}

/* The length of the UTF-8 sequence at s, 0 if it is none. */
static size_t sequence(const unsigned char *s, size_t n, uint32_t *point)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t len = s[0] < 0x80 ? 1 : s[0] < 0xC2 ? 0 : s[0] < 0xE0 ? 2 : s[0] < 0xF0 ? 3 : 4;
    uint32_t c = len == 1 ? s[0] : s[0] & (0x7Fu >> len);

    if (len == 0 || len > n || s[0] > 0xF4)
        return 0;
    for (size_t i = 1; i < len; i++) {
        if ((s[i] & 0xC0) != 0x80)
            return 0;
        c = c << 6 | (s[i] & 0x3Fu);
    }
    if (c < least[len] || c > 0x10FFFF || (c >= 0xD800 && c < 0xE000))
        return 0;
    *point = c;
    return len;
}

/* A terminal acts on it, or shows by it what follows in another place than where it stands. */
static bool is_control(uint32_t c)
{
    return c < 0x20 || (c >= 0x7F && c < 0xA0) || c == 0x061C || (c >= 0x200E && c <= 0x200F) ||
           (c >= 0x202A && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069);
}

/* Appends s; quoted: as the inside of a JSON string. */
static void escape(struct buffer *out, const char *s, size_t n, bool quoted)
{
    static const char *const named[] = {
        ['\b'] = "\\b", ['\t'] = "\\t", ['\n'] = "\\n", ['\f'] = "\\f", ['\r'] = "\\r"};

    for (size_t i = 0, len; i < n; i += len) {
        const unsigned char *at = (const unsigned char *)s + i;
        uint32_t c = 0;

        len = sequence(at, n - i, &c);
        if (len == 0) {
            buffer_printf(out, "\\x%02x", *at);
            len = 1;
        } else if (c < sizeof named / sizeof *named && named[c]) {
            buffer_puts(out, named[c]);
        } else if (is_control(c)) {
            buffer_printf(out, "\\u%04x", (unsigned)c);
        } else if (quoted && (c == '"' || c == '\\')) {
            buffer_printf(out, "\\%c", (char)c);
        } else {
            buffer_append(out, at, len);
        }
    }
}

void print_plain(struct buffer *out, const char *text, size_t len)
{
    escape(out, text, len, false);
}

void print_first_line(struct buffer *out, yyjson_val *text)
{
    const char *at = yyjson_get_str(text);
    size_t all = yyjson_get_len(text), len = 0;

    while (len < all && at[len] != '\r' && at[len] != '\n')
        len++;
    print_plain(out, at, len);
}

void print_text(struct buffer *out, const char *text, size_t len)
{
    const char *end = text + len;

    while (text < end) {
        const char *at = text;

        while (at < end && *at != '\n' && *at != '\t')
            at++;
        escape(out, text, (size_t)(at - text), false);
        buffer_append(out, at, at < end);
        text = at + (at < end);
    }
}

static void painted(struct printer *p, enum paint paint, const char *text, size_t len, bool string)
{
    struct buffer *out = &p->text;

    if (p->colour)
        buffer_puts(out, paints[paint]);
    if (string) {
        buffer_puts(out, "\"");
        escape(out, text, len, true);
        buffer_puts(out, "\"");
    } else {
        buffer_append(out, text, len);
    }
    if (p->colour)
        buffer_puts(out, PAINT_END);
}

static void write_scalar(struct printer *p, yyjson_val *v)
{
    char number[24];
    int len;

    if (yyjson_is_str(v)) {
        painted(p, PAINT_STRING, yyjson_get_str(v), yyjson_get_len(v), true);
    } else if (yyjson_is_raw(v)) {
        painted(p, PAINT_NUMBER, yyjson_get_raw(v), yyjson_get_len(v), false);
    } else if (yyjson_is_num(v)) {
        len = yyjson_is_sint(v) ? snprintf(number, sizeof number, "%" PRId64, yyjson_get_sint(v))
                                : snprintf(number, sizeof number, "%" PRIu64, yyjson_get_uint(v));
        painted(p, PAINT_NUMBER, number, (size_t)len, false);
    } else {
        const char *word = yyjson_is_null(v) ? "null" : yyjson_is_true(v) ? "true" : "false";

        painted(p, PAINT_WORD, word, strlen(word), false);
    }
}

static void line_break(struct printer *p, unsigned depth)
{
    if (p->format == FORMAT_PRETTY)
        buffer_printf(&p->text, "\n%*s", (int)(depth < INDENT_MAX ? depth : INDENT_MAX) * 2, "");
}

static void write_json(struct printer *p, unsigned depth, yyjson_val *v)
{
    bool object = yyjson_is_obj(v);
    size_t n = object ? yyjson_obj_size(v) : yyjson_arr_size(v);
    yyjson_val *at;

    if (!yyjson_is_ctn(v)) {
        write_scalar(p, v);
        return;
    }
    buffer_puts(&p->text, object ? "{" : "[");
    at = n ? unsafe_yyjson_get_first(v) : NULL;
    for (size_t i = 0; i < n && !p->error; i++) {
        if (i)
            buffer_puts(&p->text, ",");
        line_break(p, depth + 1);
        if (object) {
            painted(p, PAINT_KEY, yyjson_get_str(at), yyjson_get_len(at), true);
            buffer_puts(&p->text, p->format == FORMAT_PRETTY ? ": " : ":");
            at++;
        }
        write_json(p, depth + 1, at);
        at = unsafe_yyjson_get_next(at);
        if (p->text.len > PIECE)
            write_out(p);
    }
    if (n)
        line_break(p, depth);
    buffer_puts(&p->text, object ? "}" : "]");
}

int print_value(struct printer *p, yyjson_val *value)
{
    bool raw = p->format == FORMAT_RAW && yyjson_is_str(value);

    if (raw && p->terminal)
        print_text(&p->text, yyjson_get_str(value), yyjson_get_len(value));
    else if (raw)
        buffer_append(&p->text, yyjson_get_str(value), yyjson_get_len(value));
    else
        write_json(p, 0, value);
    buffer_puts(&p->text, "\n");
    return print_flush(p);
}

int print_made(struct printer *p, struct buffer *text)
{
    char why[WHY_SIZE];
    yyjson_doc *doc = json_read(buffer_text(text), text->len, why);
    int rc = doc ? print_value(p, yyjson_doc_get_root(doc)) : -1;

    yyjson_doc_free(doc);
    buffer_free(text);
    return rc;
}

void print_fault(const char *prefix, yyjson_val *fault)
{
    yyjson_val *code = yyjson_obj_get(fault, "code"), *message = yyjson_obj_get(fault, "message");
    yyjson_val *details = yyjson_obj_get(fault, "details");
    struct printer p;

    print_open(&p, stderr, FORMAT_PRETTY);
    buffer_puts(&p.text, prefix);
    if (p.colour)
        buffer_puts(&p.text, paints[PAINT_FAULT]);
    print_plain(&p.text, yyjson_get_str(code), yyjson_get_len(code));
    if (p.colour)
        buffer_puts(&p.text, PAINT_END);
    if (yyjson_get_len(message)) {
        buffer_puts(&p.text, ": ");
        print_plain(&p.text, yyjson_get_str(message), yyjson_get_len(message));
    }
    buffer_puts(&p.text, "\n");
    print_flush(&p);
    if (details && !yyjson_is_null(details))
        print_value(&p, details);
    print_close(&p);
}

static void __attribute__((format(printf, 2, 0)))
message(const char *prefix, const char *format, va_list ap)
{
    char text[MESSAGE_MAX];
    struct buffer line = {0};

    vsnprintf(text, sizeof text, format, ap);
    buffer_puts(&line, prefix);
    print_plain(&line, text, strlen(text));
    buffer_puts(&line, "\n");
    fwrite(buffer_text(&line), 1, line.len, stderr);
    buffer_free(&line);
}

void complain(const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    message("alknet: ", format, ap);
    va_end(ap);
}

void remark(const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    message("", format, ap);
    va_end(ap);
}
