/* Input is checked here, before anything is sent, so that a mistake costs no request; but it is
 * sent as it was written, so that numbers stay exact.
 *
 * The rule for operands, in this order: none is {}; `-` is standard input; what begins with { [ or
 * " is JSON; KEY:=JSON and KEY=VALUE make members of one object, where a VALUE @FILE is what the
 * file holds, and dots in a KEY lead into objects; @FILE is the JSON of a file; the rest is JSON (a
 * number, true, false, null) or an error. The key ends at the first `=`. */
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
#define MEMBERS_MAX 10000 /* of operands: each name is compared with those before it */

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

/* A file, or standard input for "-". */
static int take_file(struct buffer *out, const char *path)
{
    char why[WHY_SIZE];

    if (input_file(out, path, INPUT_MAX, false))
        return OUTCOME_USAGE;
    if (!is_json(buffer_text(out), out->len, why)) {
        complain("%s is not JSON: %s", strcmp(path, "-") ? path : "standard input", why);
        return OUTCOME_USAGE;
    }
    return 0;
}

/* ---- members --------------------------------------------------------------------------------- */

/* One operand KEY=VALUE: KEY is [key, key + key_len). */
struct member {
    const char *operand, *value;
    size_t key_len;
    bool json; /* := */
};

/* The JSON text of the value. */
static int value_text(struct buffer *out, const struct member *m)
{
    struct buffer file = {0};
    char why[WHY_SIZE];
    int rc = 0;

    if (m->value[0] == '@' && m->json)
        return take_file(out, m->value + 1);
    if (m->value[0] == '@') {
        rc = input_file(&file, m->value + 1, INPUT_MAX, false);
        if (rc == 0 && !is_utf8(buffer_text(&file), file.len)) {
            complain("the text of %s is not UTF-8", m->value + 1);
            rc = OUTCOME_USAGE;
        }
        if (rc == 0)
            buffer_json_string(out, buffer_text(&file), file.len);
        buffer_free(&file);
    } else if (is_json(m->value, strlen(m->value), why)) {
        buffer_puts(out, m->value);
    } else if (m->json) {
        complain("the value of '%.*s' is not JSON: %s", (int)m->key_len, m->operand, why);
        rc = OUTCOME_USAGE;
    } else {
        buffer_json_string(out, m->value, strlen(m->value));
    }
    return rc;
}

/* The next part of a key: up to a dot that has no backslash before it. Returns what follows, NULL
 * at the end. */
static const char *next_part(struct buffer *part, const char *at, const char *end)
{
    buffer_truncate(part, 0);
    for (; at < end && *at != '.'; at++) {
        if (*at == '\\' && at + 1 < end && (at[1] == '.' || at[1] == '\\'))
            at++;
        buffer_append(part, at, 1);
    }
    return at < end ? at + 1 : NULL;
}

/* What is at the place already leaves no room. */
static int clash(const struct member *m, const char *name, yyjson_mut_val *there, bool last)
{
    if (!last)
        complain("'%.*s': '%s' has a value already, and gets no members", SHOWN_MAX, m->operand,
                 name);
    else if (yyjson_mut_is_obj(there))
        complain("'%.*s': '%s' has members already, and gets no value", SHOWN_MAX, m->operand,
                 name);
    else
        complain("'%.*s': duplicate member \"%s\"", SHOWN_MAX, m->operand, name);
    return OUTCOME_USAGE;
}

static int put_member(yyjson_mut_doc *doc, const struct member *m, const struct buffer *json)
{
    yyjson_mut_val *object = yyjson_mut_doc_get_root(doc), *there, *key;
    const char *at = m->operand, *end = at + m->key_len;
    struct buffer part = {0};
    int rc = 0;

    while (rc == 0 && at) {
        at = next_part(&part, at, end);
        there = yyjson_mut_obj_getn(object, buffer_text(&part), part.len);
        if (!part.len) {
            complain("'%.*s' has an empty name in its key: a dot that is part of a name is written "
                     "\\.",
                     SHOWN_MAX, m->operand);
            rc = OUTCOME_USAGE;
        } else if (there && (!at || !yyjson_mut_is_obj(there))) {
            rc = clash(m, buffer_text(&part), there, !at);
        } else if (there) {
            object = there;
        } else {
            there =
                at ? yyjson_mut_obj(doc) : yyjson_mut_rawncpy(doc, buffer_text(json), json->len);
            key = yyjson_mut_strncpy(doc, buffer_text(&part), part.len);
            if (!yyjson_mut_obj_add(object, key, there)) {
                complain("out of memory");
                exit(OUTCOME_CONNECTION);
            }
            object = there;
        }
    }
    buffer_free(&part);
    return rc;
}

static int take_member(yyjson_mut_doc *doc, const char *operand)
{
    const char *eq = strchr(operand, '=');
    bool json = eq && eq > operand && eq[-1] == ':';
    struct member m = {operand, eq + 1, (size_t)(eq - operand) - json, json};
    struct buffer text = {0};
    int rc;

    if (!eq) {
        complain("'%.*s' is not KEY=VALUE", SHOWN_MAX, operand);
        return OUTCOME_USAGE;
    }
    if (!m.key_len) {
        complain("'%.*s' has no key before the =", SHOWN_MAX, operand);
        return OUTCOME_USAGE;
    }
    if (!is_utf8(operand, strlen(operand))) {
        complain("'%.*s' is not UTF-8", SHOWN_MAX, operand);
        return OUTCOME_USAGE;
    }
    rc = value_text(&text, &m);
    if (rc == 0)
        rc = put_member(doc, &m, &text);
    buffer_free(&text);
    return rc;
}

static int take_members(struct buffer *out, char **operands, int count)
{
    yyjson_mut_doc *doc;
    char *text = NULL, why[WHY_SIZE];
    size_t len = 0;
    int rc = 0;

    if (count > MEMBERS_MAX) {
        complain("an input of more than %d operands is refused: give it as a file, @FILE",
                 MEMBERS_MAX);
        return OUTCOME_USAGE;
    }
    doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_doc_set_root(doc, yyjson_mut_obj(doc));
    for (int i = 0; i < count && rc == 0; i++)
        rc = take_member(doc, operands[i]);
    if (rc == 0) {
        text = yyjson_mut_write(doc, YYJSON_WRITE_ALLOW_INVALID_UNICODE, &len);
        buffer_append(out, text, len);
    }
    /* Together they may be too much. */
    if (rc == 0 && !is_json(buffer_text(out), out->len, why)) {
        complain("the input is wrong: %s", why);
        rc = OUTCOME_USAGE;
    }
    free(text);
    yyjson_mut_doc_free(doc);
    return rc;
}

int input_operands(struct buffer *out, char **operands, int count)
{
    const char *first = count ? operands[0] + strspn(operands[0], " \t\r\n") : "{}";
    bool json = strchr("{[\"", *first) || !strchr(first, '=');

    if (!json)
        return take_members(out, operands, count);
    if (count > 1) {
        complain("'%.*s' is one too many: an input is one JSON text, or @FILE, or -, or "
                 "KEY=VALUE...",
                 SHOWN_MAX, operands[1]);
        return OUTCOME_USAGE;
    }
    if (count && strcmp(operands[0], "-") == 0)
        return take_file(out, "-");
    if (count && operands[0][0] == '@')
        return take_file(out, operands[0] + 1);
    return take_json(out, first, "the input");
}
