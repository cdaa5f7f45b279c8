/* Loads libnats: the one that was compiled against, whose interface its file name says. */
#include "uv/nats_api.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)
#define LIBRARY "libnats.so." TEXT(NATS_VERSION_MAJOR) "." TEXT(NATS_VERSION_MINOR)

static struct nats_api api;
static char failure[200]; /* "": it is loaded */

static void load(void)
{
    static const struct {
        const char *name;
        void *to;
    } functions[] = {
#define FUNCTION(name) {#name, &api.name},
        NATS_FUNCTIONS(FUNCTION)
#undef FUNCTION
    };
    void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);

    if (!library) {
        snprintf(failure, sizeof failure, "NATS needs %s: %s", LIBRARY, dlerror());
        return;
    }
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        void *symbol = dlsym(library, functions[i].name);

        if (!symbol) {
            snprintf(failure, sizeof failure, "%s has no %s", LIBRARY, functions[i].name);
            return;
        }
        memcpy(functions[i].to, &symbol, sizeof symbol);
    }
}

const struct nats_api *nats_api_get(char *why, size_t size)
{
    static uv_once_t once = UV_ONCE_INIT;

    uv_once(&once, load);
    snprintf(why, size, "%s", failure);
    return *failure ? NULL : &api;
}
