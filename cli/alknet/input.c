/* Implements input.h.
 *
 * The rule for operands, in this order: none is {}; `-` is standard input; what begins with { [ or " is JSON; KEY:=JSON
 * and KEY=VALUE make members of one object; the rest is JSON (a number, true, false, null) or an error. The key
 * ends at the first `=`. JSON is sent as it was written, so that numbers stay exact. */
#include "input.h"
#include "options.h"
#include "print.h"
#include "base/json.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_STEP 65536u
#define WHY_SIZE 96u
#define SHOWN_MAX 60

/* Memory that yyjson asks for. */
static void *alc_malloc(void *ctx, size_t size)
{
    (void)ctx;
    return malloc(size);
}

static void *alc_realloc(void *ctx, void *ptr, size_t old, size_t size)
{
    (void)ctx;
    (void)old;
    return realloc(ptr, size);
}

static void alc_free(void *ctx, void *ptr)
{
    (void)ctx;
    free(ptr);
}

yyjson_doc *json_read_buf(struct buf *text, char *why)
{
    static const yyjson_alc alc = {alc_malloc, alc_realloc, alc_free, NULL};
    static const struct json_limits limits = {.depth = JSON_MAX_DEPTH, .values = VALUES_MAX};
    struct json_error err;
    yyjson_doc *doc;
    size_t len = text->len;

    if (!buf_reserve(text, JSON_PADDING) ||
        json_parse(text->data + text->head, len, &limits, &alc, &doc, &err)) {
        snprintf(why, WHY_SIZE, "%s", err.text);
        return NULL;
    }
    return doc;
}

yyjson_doc *json_read_copy(struct buf *copy, const char *text, size_t len, char *why)
{
    buf_append(copy, text, len);
    return json_read_buf(copy, why);
}

/* 0, or -1 with the reason. */
static int check_json(struct mem *mem, const char *text, size_t len, char *why)
{
    struct buf copy;
    yyjson_doc *doc;

    buf_init(&copy, mem);
    doc = json_read_copy(&copy, text, len, why);
    yyjson_doc_free(doc);
    buf_fini(&copy);
    return doc ? 0 : -1;
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

int input_file(struct buf *out, const char *path, size_t max, bool secret)
{
    const char *name;
    int fd = open_input(path, secret, &name);
    ssize_t n = 1;

    if (fd < 0)
        return OUTCOME_USAGE;
    while (n && out->len <= max) {
        n = read(fd, buf_reserve(out, READ_STEP), READ_STEP);
        if (n < 0 && errno != EINTR) {
            complain("cannot read %s: %s", name, strerror(errno));
            close(fd);
            return OUTCOME_USAGE;
        }
        buf_commit(out, n > 0 ? (size_t)n : 0);
    }
    close(fd);
    if (out->len > max) {
        complain("%s is larger than %zu bytes", name, max);
        return OUTCOME_USAGE;
    }
    return 0;
}

static int take_json(struct buf *out, const char *text, const char *what)
{
    char why[WHY_SIZE];

    if (check_json(out->mem, text, strlen(text), why)) {
        complain("%s is not JSON: %s", what, why);
        return OUTCOME_USAGE;
    }
    buf_puts(out, text);
    return 0;
}

static int take_stdin(struct buf *out)
{
    char why[WHY_SIZE];

    if (input_file(out, "-", INPUT_MAX, false))
        return OUTCOME_USAGE;
    if (check_json(out->mem, buf_at(out), out->len, why)) {
        complain("standard input is not JSON: %s", why);
        return OUTCOME_USAGE;
    }
    return 0;
}

/* Whether s can be the inside of a JSON string: valid UTF-8. */
static bool is_utf8(struct mem *mem, const char *s, size_t n)
{
    struct buf quoted;
    char why[WHY_SIZE];
    bool ok;

    buf_init(&quoted, mem);
    buf_json_string(&quoted, s, n);
    ok = check_json(mem, buf_at(&quoted), quoted.len, why) == 0;
    buf_fini(&quoted);
    return ok;
}

static int take_member(struct buf *out, const char *operand)
{
    const char *eq = strchr(operand, '='), *value = eq + 1;
    bool json = eq > operand && eq[-1] == ':';
    size_t len = (size_t)(eq - operand) - json;
    char why[WHY_SIZE];

    if (!len) {
        complain("'%.*s' has no key before the =", SHOWN_MAX, operand);
        return OUTCOME_USAGE;
    }
    if (!is_utf8(out->mem, operand, strlen(operand))) {
        complain("'%.*s' is not UTF-8", SHOWN_MAX, operand);
        return OUTCOME_USAGE;
    }
    buf_json_string(out, operand, len);
    buf_puts(out, ":");
    if (check_json(out->mem, value, strlen(value), why) == 0) {
        buf_puts(out, value);
    } else if (json) {
        complain("the value of '%.*s' is not JSON: %s", (int)len, operand, why);
        return OUTCOME_USAGE;
    } else {
        buf_json_string(out, value, strlen(value));
    }
    return 0;
}

static int take_members(struct buf *out, char **operands, int count)
{
    buf_puts(out, "{");
    for (int i = 0; i < count; i++) {
        if (!strchr(operands[i], '=')) {
            complain("'%.*s' is not KEY=VALUE", SHOWN_MAX, operands[i]);
            return OUTCOME_USAGE;
        }
        if (i)
            buf_puts(out, ",");
        if (take_member(out, operands[i]))
            return OUTCOME_USAGE;
    }
    buf_puts(out, "}");
    return 0;
}

int input_operands(struct buf *out, char **operands, int count)
{
    const char *first = count ? operands[0] + strspn(operands[0], " \t\r\n") : "{}";
    bool json = strchr("{[\"", *first) || !strchr(first, '=');
    char why[WHY_SIZE];

    if (!json) {
        if (take_members(out, operands, count))
            return OUTCOME_USAGE;
        /* A key given twice is all that can be wrong with it. */
        if (check_json(out->mem, buf_at(out), out->len, why)) {
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
