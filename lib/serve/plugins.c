/* Loading shared objects. A file that others may write to is refused: it is code that runs as this
 * process. */
#include "serve/plugins.h"

#include <alknet/plugin.h>
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int (*register_fn)(alk_registry *reg, const char *config, size_t config_len, char *err,
                           size_t err_size);

static int check_file(const struct config *cfg, size_t i, const char *path,
                      struct config_error *err)
{
    struct stat st;
    char pointer[48];
    int rc = stat(path, &st) < 0 ? config_fail(err, path, 0, "", "%s", strerror(errno))
                                 : config_check_file(path, &st, 0, err);

    snprintf(pointer, sizeof pointer, "/plugins/%zu/path", i);
    return rc < 0 ? config_blame(cfg, pointer, err) : 0;
}

/* A name without a slash would be searched for elsewhere. */
static void *load(const char *path)
{
    char here[PATH_MAX];

    if (strchr(path, '/'))
        return dlopen(path, RTLD_NOW | RTLD_LOCAL);
    snprintf(here, sizeof here, "./%s", path);
    return dlopen(here, RTLD_NOW | RTLD_LOCAL);
}

static int call_register(void *handle, const struct config_plugin *p, alk_registry *reg,
                         struct config_error *err)
{
    char why[300] = "";
    register_fn fn;
    void *symbol = dlsym(handle, "alk_plugin_register");
    const uint32_t *abi = dlsym(handle, "alk_plugin_abi");

    if (!symbol || !abi)
        return config_fail(err, p->path, 0, "", "is no plugin: it has no %s",
                           abi ? "alk_plugin_register" : "alk_plugin_abi");
    if (*abi != ALK_PLUGIN_ABI)
        return config_fail(err, p->path, 0, "", "is built for plugin ABI %u, this is %u", *abi,
                           ALK_PLUGIN_ABI);
    memcpy(&fn, &symbol, sizeof fn);
    int rc = fn(reg, p->config, p->config_len, why, sizeof why);
    why[sizeof why - 1] = 0;
    if (rc == 0)
        return 0;
    const char *reason = *why ? why : alk_registry_error(reg);
    return config_fail(err, p->path, 0, "", "could not register: %s",
                       *reason ? reason : alk_strerror(rc));
}

int plugins_open(struct plugins *p, const struct config *cfg, alk_registry *reg,
                 struct config_error *err)
{
    const struct config_plugin *items = cfg->plugins.items;

    *p = (struct plugins){0};
    p->handles = calloc(cfg->plugins.count + 1, sizeof *p->handles);
    if (!p->handles)
        return config_fail(err, "plugins", 0, "", "out of memory");
    for (size_t i = 0; i < cfg->plugins.count; i++) {
        if (check_file(cfg, i, items[i].path, err) < 0)
            return -1;
        void *handle = load(items[i].path);
        if (!handle)
            return config_fail(err, items[i].path, 0, "", "%s", dlerror());
        p->handles[p->count++] = handle;
        if (call_register(handle, &items[i], reg, err) < 0)
            return -1;
    }
    return 0;
}

void plugins_close(struct plugins *p)
{
    while (p->count)
        dlclose(p->handles[--p->count]);
    free(p->handles);
    p->handles = NULL;
}
