/* One recursive walk over table and value side by side; as deep as the tables, not as deep as the
 * input. */
#include "config/check.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define STRING_MAX 4096u
#define NAME_SHOWN 48u

struct check {
    const struct config_text *text;
    struct config_error *err;
    char place[256];
};

struct unit {
    const char *name;
    uint32_t factor;
};

static const struct unit size_units[] = {
    {"B", 1}, {"KiB", 1u << 10}, {"MiB", 1u << 20}, {"GiB", 1u << 30}, {NULL, 0}};
static const struct unit time_units[] = {
    {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {NULL, 0}};

static int check_mapping(struct check *c, yyjson_val *value, const struct config_shape *shape,
                         void *into);

static int fail(struct check *c, const yyjson_val *value, const char *message)
{
    return config_fail(c->err, c->text->file, config_text_line(c->text, value), c->place, "%s",
                       message);
}

/* Appends to the place; returns what to cut it back to. */
static size_t enter(struct check *c, const char *name, size_t index)
{
    size_t len = strlen(c->place);

    if (name)
        snprintf(c->place + len, sizeof c->place - len, "%s%s", len ? "." : "", name);
    else
        snprintf(c->place + len, sizeof c->place - len, "[%zu]", index);
    return len;
}

static void leave(struct check *c, size_t len)
{
    c->place[len] = 0;
}

/* A name as it may be shown: not too much of it. */
static void shorten(char out[NAME_SHOWN + 4], const char *name, size_t len)
{
    snprintf(out, NAME_SHOWN + 4, "%.*s%s", (int)NAME_SHOWN, name, len > NAME_SHOWN ? "..." : "");
}

/* Levenshtein's distance; a is at most NAME_SHOWN long. */
static uint32_t distance(const char *a, size_t a_len, const char *b)
{
    uint32_t row[NAME_SHOWN + 1];

    for (size_t i = 0; i <= a_len; i++)
        row[i] = (uint32_t)i;
    for (size_t j = 0; b[j]; j++) {
        uint32_t diagonal = row[0];

        row[0] = (uint32_t)j + 1;
        for (size_t i = 1; i <= a_len; i++) {
            uint32_t best = diagonal + (a[i - 1] != b[j]);

            diagonal = row[i];
            if (best > row[i] + 1)
                best = row[i] + 1;
            if (best > row[i - 1] + 1)
                best = row[i - 1] + 1;
            row[i] = best;
        }
    }
    return row[a_len];
}

static bool has_member(const struct config_shape *shape, const char *name)
{
    const struct config_member *m = shape->members;

    while (m->name && strcmp(m->name, name))
        m++;
    return m->name != NULL;
}

static int unknown_member(struct check *c, const yyjson_val *name, const struct config_shape *shape)
{
    const char *text = yyjson_get_str((yyjson_val *)name), *nearest = NULL;
    size_t len = yyjson_get_len((yyjson_val *)name);
    uint32_t best = len < 4 ? 2 : (uint32_t)len / 2 + 1;

    for (const struct config_member *m = shape->members; m->name && len <= NAME_SHOWN; m++) {
        uint32_t d = distance(text, len, m->name);

        if (d < best) {
            best = d;
            nearest = m->name;
        }
    }
    char shown[NAME_SHOWN + 4], message[192];
    shorten(shown, text, len);
    if (strcmp(shown, "token") == 0 && has_member(shape, "hash"))
        return fail(c, name,
                    "there is no member \"token\"; write \"hash\", which \"alknet token hash\" "
                    "makes of a token");
    if (nearest)
        snprintf(message, sizeof message, "there is no member \"%s\"; did you mean \"%s\"?", shown,
                 nearest);
    else
        snprintf(message, sizeof message, "there is no member \"%s\"", shown);
    return fail(c, name, message);
}

/* ---- numbers --------------------------------------------------------------------------------- */

static int out_of_range(struct check *c, const yyjson_val *value, const struct config_member *m)
{
    char message[128];

    if (m->type == CONFIG_SIZE)
        snprintf(message, sizeof message,
                 "must be a size from %u to %u bytes, such as 65536, \"64KiB\" or \"4MiB\"", m->min,
                 m->max);
    else if (m->type == CONFIG_TIME)
        snprintf(message, sizeof message,
                 "must be a time from %u to %u ms, such as 200, \"200ms\", \"30s\" or \"5m\"",
                 m->min, m->max);
    else
        snprintf(message, sizeof message, "must be a whole number between %u and %u", m->min,
                 m->max);
    return fail(c, value, message);
}

/* Digits and a unit; UINT64_MAX when it is not that. */
static uint64_t with_unit(const char *text, const struct unit *units)
{
    uint64_t number = 0;
    size_t digits = strspn(text, "0123456789");

    if (digits == 0 || digits > 10)
        return UINT64_MAX;
    for (size_t i = 0; i < digits; i++)
        number = 10 * number + (uint64_t)(text[i] - '0');
    text += digits;
    text += *text == ' ';
    for (; units->name; units++) {
        if (strcmp(text, units->name) == 0)
            return number * units->factor;
    }
    return UINT64_MAX;
}

static bool is_digits(yyjson_val *value)
{
    const char *text = yyjson_get_str(value);

    return text && *text && !text[strspn(text, "0123456789")];
}

static int check_number(struct check *c, yyjson_val *value, const struct config_member *m,
                        uint32_t *into)
{
    uint64_t number = UINT64_MAX;

    if (yyjson_is_uint(value))
        number = yyjson_get_uint(value);
    else if (yyjson_is_str(value) && m->type == CONFIG_SIZE)
        number = with_unit(yyjson_get_str(value), size_units);
    else if (yyjson_is_str(value) && m->type == CONFIG_TIME)
        number = with_unit(yyjson_get_str(value), time_units);
    else if (m->words && yyjson_equals_str(value, m->words[0])) {
        *into = 0;
        return 0;
    }
    if (m->type == CONFIG_NUMBER && is_digits(value))
        return fail(c, value, "must be a whole number: write it without quotes");
    if (number < m->min || number > m->max)
        return out_of_range(c, value, m);
    *into = (uint32_t)number;
    return 0;
}

/* ---- strings --------------------------------------------------------------------------------- */

static int check_string(struct check *c, yyjson_val *value, uint32_t min, uint32_t max,
                        const char **into)
{
    size_t len = yyjson_get_len(value);
    char message[80];

    if (yyjson_is_num(value) || yyjson_is_bool(value))
        return fail(c, value, "must be a string: write it in quotes");
    if (!yyjson_is_str(value))
        return fail(c, value, "must be a string");
    if (strlen(yyjson_get_str(value)) != len)
        return fail(c, value, "must not contain NUL");
    if (len < min && len == 0)
        return fail(c, value, "must not be empty");
    if (len < min || len > max) {
        snprintf(message, sizeof message, "must have %u to %u bytes", min, max);
        return fail(c, value, message);
    }
    *into = yyjson_get_str(value);
    return 0;
}

/* A number has lost its leading zero, or is octal by another rule. */
static int check_mode(struct check *c, yyjson_val *value, uint32_t *into)
{
    const char *text = yyjson_get_str(value);
    char message[96];

    if (yyjson_is_uint(value) && yyjson_get_uint(value) <= 777) {
        snprintf(message, sizeof message,
                 "must be a string of octal digits: write \"%04u\", in quotes",
                 (unsigned)yyjson_get_uint(value));
        return fail(c, value, message);
    }
    size_t len = text ? strspn(text, "01234567") : 0;
    *into = len == 3 || len == 4 ? (uint32_t)strtoul(text, NULL, 8) : 0;
    if (*into == 0 || *into > 0777 || len != yyjson_get_len(value))
        return fail(c, value, "must be a string of octal digits, such as \"0660\"");
    return 0;
}

static int check_word(struct check *c, yyjson_val *value, const struct config_member *m,
                      uint32_t *into)
{
    char message[160] = "must be one of";

    for (uint32_t i = 0; m->words[i]; i++) {
        if (yyjson_equals_str(value, m->words[i])) {
            *into = i + m->min;
            return 0;
        }
        size_t len = strlen(message);
        snprintf(message + len, sizeof message - len, "%s %s", i ? "," : "", m->words[i]);
    }
    return fail(c, value, message);
}

static int check_strings(struct check *c, yyjson_val *value)
{
    if (!yyjson_is_arr(value))
        return fail(c, value, "must be a list of strings");
    size_t i, max;
    yyjson_val *item;
    yyjson_arr_foreach(value, i, max, item)
    {
        const char *unused;
        size_t len = enter(c, NULL, i);

        if (check_string(c, item, 1, STRING_MAX, &unused) < 0)
            return -1;
        leave(c, len);
    }
    return 0;
}

static int check_string_lists(struct check *c, yyjson_val *value)
{
    if (!yyjson_is_obj(value))
        return fail(c, value, "must be a mapping of lists of strings");
    size_t i, max;
    yyjson_val *name, *list;
    yyjson_obj_foreach(value, i, max, name, list)
    {
        char shown[NAME_SHOWN + 4];

        shorten(shown, yyjson_get_str(name), yyjson_get_len(name));
        size_t len = enter(c, shown, 0);
        if (check_strings(c, list) < 0)
            return -1;
        leave(c, len);
    }
    return 0;
}

static int check_string_map(struct check *c, yyjson_val *value)
{
    if (!yyjson_is_obj(value))
        return fail(c, value, "must be a mapping of strings");
    size_t i, max;
    yyjson_val *name, *text;
    yyjson_obj_foreach(value, i, max, name, text)
    {
        const char *unused;

        if (check_string(c, name, 1, STRING_MAX, &unused) < 0)
            return -1;
        char shown[NAME_SHOWN + 4];
        shorten(shown, yyjson_get_str(name), yyjson_get_len(name));
        size_t len = enter(c, shown, 0);
        if (check_string(c, text, 1, STRING_MAX, &unused) < 0)
            return -1;
        leave(c, len);
    }
    return 0;
}

/* ---- lists and mappings ---------------------------------------------------------------------- */

static int check_list(struct check *c, yyjson_val *value, const struct config_member *m,
                      struct config_list *into)
{
    const struct config_shape *shape = m->shape;
    size_t count = yyjson_arr_size(value), i, max;
    char message[64];

    if (!yyjson_is_arr(value))
        return fail(c, value, "must be a list: each of its entries begins with \"- \"");
    if (count < m->min || (m->max && count > m->max)) {
        snprintf(message, sizeof message, "must have %u to %u items", m->min, m->max);
        return fail(c, value, message);
    }
    if (shape->item_size) {
        into->items = calloc(count ? count : 1, shape->item_size);
        if (!into->items)
            return fail(c, value, "out of memory");
        into->count = count;
    }
    yyjson_val *item;
    yyjson_arr_foreach(value, i, max, item)
    {
        void *slot = shape->item_size ? (char *)into->items + i * shape->item_size : NULL;

        if (shape->item_init)
            shape->item_init(slot);
        size_t len = enter(c, NULL, i);
        if (check_mapping(c, item, shape, slot) < 0)
            return -1;
        leave(c, len);
    }
    return 0;
}

static int not_a_bool(struct check *c, yyjson_val *value)
{
    static const struct {
        const char *word, *hint;
    } words[] = {{"yes", "a string: write true"},
                 {"on", "a string: write true"},
                 {"y", "a string: write true"},
                 {"no", "a string: write false"},
                 {"off", "a string: write false"},
                 {"n", "a string: write false"},
                 {"true", "a string: write it without quotes"},
                 {"false", "a string: write it without quotes"}};
    const char *text = yyjson_get_str(value);
    char message[96];

    for (size_t i = 0; text && i < sizeof words / sizeof *words; i++) {
        if (strcasecmp(text, words[i].word) == 0) {
            snprintf(message, sizeof message, "must be true or false; \"%s\" is %s", text,
                     words[i].hint);
            return fail(c, value, message);
        }
    }
    return fail(c, value, "must be true or false");
}

static int check_value(struct check *c, yyjson_val *value, const struct config_member *m,
                       void *into)
{
    union {
        uint32_t number;
        const char *string;
        yyjson_val *value;
        struct config_list list;
    } unused;
    void *slot = m->offset == CONFIG_CHECK_ONLY ? (void *)&unused : (char *)into + m->offset;

    if (yyjson_is_null(value) && m->type != CONFIG_ANY)
        return fail(c, value, "has no value: give it one, or take the line out");
    switch (m->type) {
    case CONFIG_BOOL:
        if (!yyjson_is_bool(value))
            return not_a_bool(c, value);
        *(uint32_t *)slot = yyjson_get_bool(value);
        return 0;
    case CONFIG_NUMBER:
    case CONFIG_SIZE:
    case CONFIG_TIME:
        return check_number(c, value, m, slot);
    case CONFIG_MODE:
        return check_mode(c, value, slot);
    case CONFIG_WORD:
        return check_word(c, value, m, slot);
    case CONFIG_STRING:
        return check_string(c, value, m->min, m->max ? m->max : STRING_MAX, slot);
    case CONFIG_STRINGS:
        *(yyjson_val **)slot = value;
        return check_strings(c, value);
    case CONFIG_STRING_LISTS:
        *(yyjson_val **)slot = value;
        return check_string_lists(c, value);
    case CONFIG_STRING_MAP:
        *(yyjson_val **)slot = value;
        return check_string_map(c, value);
    case CONFIG_MAPPING:
        return check_mapping(c, value, m->shape, into);
    case CONFIG_LIST:
        return check_list(c, value, m, slot);
    default:
        *(yyjson_val **)slot = value;
        return 0;
    }
}

static const struct config_member *member_named(const struct config_shape *shape, yyjson_val *name)
{
    for (const struct config_member *m = shape->members; m->name; m++) {
        if (yyjson_equals_str(name, m->name))
            return m;
    }
    return NULL;
}

static int check_mapping(struct check *c, yyjson_val *value, const struct config_shape *shape,
                         void *into)
{
    if (!yyjson_is_obj(value))
        return fail(c, value, "must be a mapping, of lines \"NAME: VALUE\" or {NAME: VALUE}");
    size_t i, max;
    yyjson_val *name, *item;
    yyjson_obj_foreach(value, i, max, name, item)
    {
        const struct config_member *m = member_named(shape, name);

        if (!m)
            return unknown_member(c, name, shape);
        size_t len = enter(c, m->name, 0);
        if (check_value(c, item, m, into) < 0)
            return -1;
        leave(c, len);
    }
    for (const struct config_member *m = shape->members; m->name; m++) {
        char message[80];

        if (m->required && !yyjson_obj_get(value, m->name)) {
            snprintf(message, sizeof message, "member \"%s\" is missing", m->name);
            return fail(c, value, message);
        }
    }
    return 0;
}

int config_check(const struct config_text *text, yyjson_val *value, const char *place,
                 const struct config_shape *shape, void *into, struct config_error *err)
{
    struct check c = {.text = text, .err = err};

    snprintf(c.place, sizeof c.place, "%s", place);
    return check_mapping(&c, value, shape, into);
}
