/* What completing a configuration needs again and again: memory that lives as long as it does,
 * paths relative to its folder, and complaints that name a line. */
#include "config/config_int.h"
#include "config/secret.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *config_own(struct config *cfg, char *memory)
{
    char **more = memory ? realloc(cfg->owned.items, (cfg->owned.count + 1) * sizeof *more) : NULL;

    if (!more) {
        secret_free(memory);
        return NULL;
    }
    more[cfg->owned.count++] = memory;
    cfg->owned.items = more;
    return memory;
}

const char *config_resolve(struct config *cfg, const char *path)
{
    if (*path == '/' || !cfg->folder)
        return path;
    size_t size = strlen(cfg->folder) + strlen(path) + 1;
    char *joined = malloc(size);
    if (joined)
        snprintf(joined, size, "%s%s", cfg->folder, path);
    return config_own(cfg, joined);
}

int config_list_text(struct config *cfg, yyjson_val *list, char **out, struct config_error *err)
{
    if (!list)
        return 0;
    *out = config_own(cfg, yyjson_val_write(list, 0, NULL));
    return *out ? 0 : config_out_of_memory(cfg, err);
}

int config_complain(const struct config *cfg, const char *pointer, const char *place,
                    const char *message, struct config_error *err)
{
    char at[64];

    snprintf(at, sizeof at, "%s", pointer);
    yyjson_val *root = yyjson_doc_get_root(cfg->text.doc), *value = yyjson_ptr_get(root, at);
    while (!value && *at) {
        *strrchr(at, '/') = 0;
        value = yyjson_ptr_get(root, at);
    }
    return config_fail(err, cfg->text.file, config_text_line(&cfg->text, value ? value : root),
                       place, "%s", message);
}

/* As complaints name what a pointer leads to: "plugins[0].path". */
static void place_of(const char *pointer, char *out, size_t size)
{
    size_t n = 0;

    while (*pointer && n + 3 < size) {
        bool index = isdigit((unsigned char)pointer[1]);

        if (index)
            out[n++] = '[';
        else if (n)
            out[n++] = '.';
        for (pointer++; *pointer && *pointer != '/' && n + 2 < size; pointer++)
            out[n++] = *pointer;
        if (index)
            out[n++] = ']';
    }
    out[n] = 0;
}

int config_blame(const struct config *cfg, const char *pointer, struct config_error *err)
{
    struct config_error file = *err;
    char place[80];

    place_of(pointer, place, sizeof place);
    return config_complain(cfg, pointer, place, file.text, err);
}

int config_out_of_memory(const struct config *cfg, struct config_error *err)
{
    return config_fail(err, cfg->text.file, 0, "", "out of memory");
}
