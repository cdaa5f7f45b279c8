#include "adapt/options.h"

#include <alknet/alknet.h>
#include <stdio.h>
#include <string.h>

#define OPTION_BYTES 65536u

int option_object(struct arena *a, const char *name, const char *text, const char *const *known,
                  yyjson_val **out, char *why)
{
    static const struct json_limits limits = {8, 65536};
    yyjson_alc alc = arena_alc(a);
    size_t len = text ? strlen(text) : 0;
    yyjson_val *unknown = NULL;
    char shown[JSON_SHOWN];
    struct json_error e;
    yyjson_doc *doc;
    char *copy;
    int rc;

    *out = NULL;
    if (!text)
        return ALK_OK;
    snprintf(why, OPTION_WHY_SIZE, "%s: must be an object of at most %u bytes", name, OPTION_BYTES);
    if (len > OPTION_BYTES)
        return ALK_EINVAL;
    copy = arena_alloc(a, len + JSON_PADDING);
    if (!copy)
        return ALK_ENOMEM;
    memcpy(copy, text, len);
    rc = json_parse(copy, len, &limits, &alc, &doc, &e);
    if (rc == JSON_ENOMEM)
        return ALK_ENOMEM;
    if (rc) {
        snprintf(why, OPTION_WHY_SIZE, "%s: %s", name, e.text);
        return ALK_EINVAL;
    }
    *out = yyjson_doc_get_root(doc);
    if (yyjson_is_obj(*out) && known)
        unknown = json_unknown_member(*out, known);
    if (unknown)
        snprintf(why, OPTION_WHY_SIZE, "%s: unknown member \"%s\"", name,
                 json_show(unknown, shown));
    return yyjson_is_obj(*out) && !unknown ? ALK_OK : ALK_EINVAL;
}

int option_lists(struct arena *a, const char *name, const char *text, const char *const *known,
                 yyjson_val **out, char *why)
{
    int rc = option_object(a, name, text, known, out, why);

    for (; !rc && *known; known++) {
        yyjson_val *list = yyjson_obj_get(*out, *known), *item;
        yyjson_arr_iter it = yyjson_arr_iter_with(list);
        bool right = !list || yyjson_is_arr(list);

        while ((item = yyjson_arr_iter_next(&it)))
            right &= yyjson_is_str(item);
        if (!right) {
            snprintf(why, OPTION_WHY_SIZE, "%s/%s: must be an array of strings", name, *known);
            rc = ALK_EINVAL;
        }
    }
    return rc;
}

bool option_header_value(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f)
            return false;
    }
    return s.n > 0;
}
