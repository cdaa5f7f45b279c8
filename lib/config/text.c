/* JSON text to values with lines; YAML comes through here once JSON has been made of it. */
#include "config/text.h"
#include "config/secret.h"
#include "host/yaml.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JSON_MAX (64u << 20) /* bytes that a YAML file may become */

int config_fail(struct config_error *err, const char *file, uint32_t line, const char *place,
                const char *format, ...)
{
    char at[16] = "";

    if (line)
        snprintf(at, sizeof at, ":%u", line);
    int n =
        snprintf(err->text, sizeof err->text, "%s%s: %s%s", file, at, place, *place ? ": " : "");
    if (n >= 0 && (size_t)n < sizeof err->text) {
        va_list args;

        va_start(args, format);
        vsnprintf(err->text + n, sizeof err->text - (size_t)n, format, args);
        va_end(args);
    }
    /* What comes from the file must not speak to a terminal. */
    for (char *c = err->text + strnlen(file, sizeof err->text - 1); *c; c++)
        *c = *c >= 0x20 && *c < 0x7f ? *c : '?';
    return -1;
}

static uint32_t line_at(const char *data, size_t pos)
{
    uint32_t line = 1;

    for (size_t i = 0; i < pos; i++)
        line += data[i] == '\n';
    return line;
}

/* Walks over valid JSON and notes the line of every value. The text is known to be valid, so that
 * where a value begins can be told from its first byte. */
static int note_lines(struct config_text *t, const char *json, size_t len, struct config_error *err)
{
    uint32_t line = 1, depth = 0, n = 0;

    for (size_t i = 0; i < len; i++) {
        char c = json[i];

        if (c == '\n')
            line++;
        if (strchr(" \t\r\n,:", c))
            continue;
        if (c == '}' || c == ']') {
            depth--;
            continue;
        }
        t->lines[n++] = line;
        if (c == '{' || c == '[') {
            if (++depth > CONFIG_DEPTH_MAX)
                return config_fail(err, t->file, line, "", "nested deeper than %u",
                                   CONFIG_DEPTH_MAX);
        } else if (c == '"') {
            for (i++; json[i] != '"'; i++)
                i += json[i] == '\\';
        } else {
            while (i + 1 < len && !strchr(" \t\r\n,]}", json[i + 1]))
                i++;
        }
    }
    return 0;
}

static int by_name(const void *a, const void *b)
{
    const yyjson_val *x = *(yyjson_val *const *)a, *y = *(yyjson_val *const *)b;
    size_t x_len = yyjson_get_len((yyjson_val *)x), y_len = yyjson_get_len((yyjson_val *)y);
    size_t len = x_len < y_len ? x_len : y_len;
    int order = memcmp(yyjson_get_str((yyjson_val *)x), yyjson_get_str((yyjson_val *)y), len);

    if (order)
        return order;
    if (x_len != y_len)
        return x_len < y_len ? -1 : 1;
    return x < y ? -1 : x > y;
}

static int refuse_duplicates_of(const struct config_text *t, yyjson_val *object,
                                struct config_error *err)
{
    size_t count = yyjson_obj_size(object), n = 0;

    if (count < 2)
        return 0;
    yyjson_val **names = malloc(count * sizeof *names);
    if (!names)
        return config_fail(err, t->file, 0, "", "out of memory");
    size_t i, max;
    yyjson_val *name, *value;
    yyjson_obj_foreach(object, i, max, name, value) names[n++] = name;
    qsort(names, n, sizeof *names, by_name);
    int rc = 0;
    for (i = 1; i < n && rc == 0; i++) {
        if (yyjson_equals_strn(names[i], yyjson_get_str(names[i - 1]),
                               yyjson_get_len(names[i - 1])))
            rc = config_fail(err, t->file, config_text_line(t, names[i]), "",
                             "member \"%.64s\" appears twice, first on line %u",
                             yyjson_get_str(names[i]), config_text_line(t, names[i - 1]));
    }
    free(names);
    return rc;
}

static int refuse_duplicates(const struct config_text *t, struct config_error *err)
{
    yyjson_val *values = yyjson_doc_get_root(t->doc);
    size_t count = yyjson_doc_get_val_count(t->doc);

    for (size_t i = 0; i < count; i++) {
        if (yyjson_is_obj(values + i) && refuse_duplicates_of(t, values + i, err) < 0)
            return -1;
    }
    return 0;
}

/* It copies the text. */
static int parse_json(struct config_text *t, const char *json, size_t len, struct config_error *err)
{
    yyjson_read_err why;

    t->doc = yyjson_read_opts((char *)json, len, YYJSON_READ_BIGNUM_AS_RAW, &secret_alc, &why);
    if (!t->doc)
        return config_fail(err, t->file, line_at(json, why.pos), "", "%s", why.msg);
    return 0;
}

static int read_json(struct config_text *t, const char *data, size_t len, struct config_error *err)
{
    if (parse_json(t, data, len, err) < 0)
        return -1;
    size_t count = yyjson_doc_get_val_count(t->doc);
    if (count > CONFIG_VALUES_MAX)
        return config_fail(err, t->file, 0, "", "more than %u values", CONFIG_VALUES_MAX);
    t->lines = malloc(count * sizeof *t->lines);
    if (!t->lines)
        return config_fail(err, t->file, 0, "", "out of memory");
    return note_lines(t, data, len, err);
}

static int read_yaml(struct config_text *t, const char *data, size_t len, struct config_error *err)
{
    static const struct yaml_limits limits = {
        .depth = CONFIG_DEPTH_MAX,
        .values = CONFIG_VALUES_MAX,
        .anchors = CONFIG_ANCHORS_MAX,
        .alias_values = CONFIG_ALIAS_VALUES_MAX,
        .bytes = JSON_MAX,
        .alias_bytes = CONFIG_ALIAS_BYTES_MAX,
    };
    struct yaml_error why = {0, "out of memory"};
    struct yaml_text yaml;
    struct mem mem;
    int rc;

    mem_init(&mem, NULL, NULL);
    rc = yaml_read(&yaml, &mem, data, len, &limits, true, true, &why);
    if (rc)
        rc = config_fail(err, t->file, why.line, "", "%s", why.text);
    else
        rc = parse_json(t, buf_at(&yaml.json), yaml.json.len, err);
    if (rc == 0) {
        t->lines = yaml.lines;
        yaml.lines = NULL;
    }
    yaml_fini(&yaml);
    return rc;
}

int config_text_parse(struct config_text *t, const char *file, const char *data, size_t len,
                      int format, struct config_error *err)
{
    memset(t, 0, sizeof *t);
    t->file = file;
    if (len > CONFIG_FILE_MAX)
        return config_fail(err, file, 0, "", "larger than %u bytes", CONFIG_FILE_MAX);
    int rc = format == CONFIG_JSON ? read_json(t, data, len, err) : read_yaml(t, data, len, err);
    return rc == 0 ? refuse_duplicates(t, err) : rc;
}

void config_text_free(struct config_text *t)
{
    yyjson_doc_free(t->doc);
    free(t->lines);
    memset(t, 0, sizeof *t);
}

uint32_t config_text_line(const struct config_text *t, const yyjson_val *val)
{
    size_t i = (size_t)(val - yyjson_doc_get_root(t->doc));

    return i < yyjson_doc_get_val_count(t->doc) ? t->lines[i] : 0;
}
