/* Input is checked here, before anything is sent, so that a mistake costs no request; but it is
 * sent as it was written, so that numbers stay exact.
 *
 * The rule for operands, in this order: none is {}; `-` is standard input; what begins with { [ or
 * " is JSON; KEY:=JSON and KEY=VALUE make members of one object; the rest is JSON (a number, true,
 * false, null) or an error. The key ends at the first `=`. */
#include "input.h"
#include "options.h"
#include "print.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_STEP 65536u
#define SHOWN_MAX 60

yyjson_doc *json_read(const char *text, size_t len, char *why)
{
    return alk_json_read(text, len, DEPTH_MAX, VALUES_MAX, why, WHY_SIZE);
}

static bool is_json(const char *text, size_t len, char *why)
{
    yyjson_doc *doc = json_read(text, len, why);

    yyjson_doc_free(doc);
    return doc != NULL;
}

bool is_utf8(const char *text, size_t len)
{
    struct buffer quoted = {0};
    char why[WHY_SIZE];
    bool ok;

    buffer_json_string(&quoted, text, len);
    ok = is_json(buffer_text(&quoted), quoted.len, why);
    buffer_free(&quoted);
    return ok;
}

static int open_input(const char *path, bool secret, const char **name)
{
    struct stat st;
    int fd =
        strcmp(path, "-") == 0 && !secret ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);

    *name = strcmp(path, "-") == 0 && !secret ? "standard input" : path;
    if (fd < 0 || fstat(fd, &st)) {
        complain("cannot read %s: %s", *name, strerror(errno));
    } else if (isatty(fd)) {
        complain("%s is a terminal, and nothing is read from there: pipe it in, or give a file",
                 *name);
    } else if (S_ISDIR(st.st_mode)) {
        complain("cannot read %s: it is a directory", *name);
    } else if (secret && (st.st_mode & 077)) {
        complain("%s is refused, because others than its owner can read or write it: chmod 600 it",
                 *name);
    } else if (secret && st.st_uid != geteuid() && st.st_uid != 0) {
        complain("%s is refused, because it belongs to another user", *name);
    } else {
        return fd;
    }
    if (fd >= 0)
        close(fd);
    return -1;
}

/* Editors put a byte order mark at the beginning, which says nothing. */
static void drop_mark(struct buffer *text)
{
    if (text->len >= 3 && memcmp(text->data, "\xef\xbb\xbf", 3) == 0) {
        memmove(text->data, text->data + 3, text->len - 3);
        buffer_truncate(text, text->len - 3);
    }
}

int input_file(struct buffer *out, const char *path, size_t max, bool secret)
{
    const char *name;
    int fd = open_input(path, secret, &name);
    ssize_t n = 1;

    if (fd < 0)
        return OUTCOME_USAGE;
    while (n && out->len <= max) {
        n = read(fd, buffer_reserve(out, READ_STEP), READ_STEP);
        if (n < 0 && errno != EINTR) {
            complain("cannot read %s: %s", name, strerror(errno));
            close(fd);
            return OUTCOME_USAGE;
        }
        buffer_commit(out, n > 0 ? (size_t)n : 0);
    }
    close(fd);
    if (out->len > max) {
        complain("%s is larger than %zu bytes", name, max);
        return OUTCOME_USAGE;
    }
    drop_mark(out);
    return 0;
}

static int take_json(struct buffer *out, const char *text, const char *what)
{
    char why[WHY_SIZE];

    if (!is_json(text, strlen(text), why)) {
        complain("%s is not JSON: %s", what, why);
        return OUTCOME_USAGE;
    }
    buffer_puts(out, text);
    return 0;
}

static int take_stdin(struct buffer *out)
{
    char why[WHY_SIZE];

    if (input_file(out, "-", INPUT_MAX, false))
        return OUTCOME_USAGE;
    if (!is_json(buffer_text(out), out->len, why)) {
        complain("standard input is not JSON: %s", why);
        return OUTCOME_USAGE;
    }
    return 0;
}

static int take_member(struct buffer *out, const char *operand)
{
    const char *eq = strchr(operand, '='), *value = eq + 1;
    bool json = eq > operand && eq[-1] == ':';
    size_t len = (size_t)(eq - operand) - json;
    char why[WHY_SIZE];

    if (!len) {
        complain("'%.*s' has no key before the =", SHOWN_MAX, operand);
        return OUTCOME_USAGE;
    }
    if (!is_utf8(operand, strlen(operand))) {
        complain("'%.*s' is not UTF-8", SHOWN_MAX, operand);
        return OUTCOME_USAGE;
    }
    buffer_json_string(out, operand, len);
    buffer_puts(out, ":");
    if (is_json(value, strlen(value), why)) {
        buffer_puts(out, value);
    } else if (json) {
        complain("the value of '%.*s' is not JSON: %s", (int)len, operand, why);
        return OUTCOME_USAGE;
    } else {
        buffer_json_string(out, value, strlen(value));
    }
    return 0;
}

static int take_members(struct buffer *out, char **operands, int count)
{
    buffer_puts(out, "{");
    for (int i = 0; i < count; i++) {
        if (!strchr(operands[i], '=')) {
            complain("'%.*s' is not KEY=VALUE", SHOWN_MAX, operands[i]);
            return OUTCOME_USAGE;
        }
        if (i)
            buffer_puts(out, ",");
        if (take_member(out, operands[i]))
            return OUTCOME_USAGE;
    }
    buffer_puts(out, "}");
    return 0;
}

int input_operands(struct buffer *out, char **operands, int count)
{
    const char *first = count ? operands[0] + strspn(operands[0], " \t\r\n") : "{}";
    bool json = strchr("{[\"", *first) || !strchr(first, '=');
    char why[WHY_SIZE];

    if (!json) {
        if (take_members(out, operands, count))
            return OUTCOME_USAGE;
        /* A key given twice is all that can be wrong with it. */
        if (!is_json(buffer_text(out), out->len, why)) {
            complain("the input is wrong: %s", why);
            return OUTCOME_USAGE;
        }
        return 0;
    }
    if (count > 1) {
        complain("an input is one JSON text, or -, or KEY=VALUE...: '%.*s' is one too many",
                 SHOWN_MAX, operands[1]);
        return OUTCOME_USAGE;
    }
    if (count && strcmp(operands[0], "-") == 0)
        return take_stdin(out);
    return take_json(out, first, "the input");
}
