/* What the commands of a runner have in common: whether there is such a command, and its
 * environment. That is the program's own, but for the token and for variables of the names that a
 * call's have. */
#include "buffer.h"
#include "run.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OWN_VARIABLES 3u

extern char **environ;

static const char *const own_names[] = {
    "ALKNET_OPERATION=", "ALKNET_REQUEST_ID=", "ALKNET_IDENTITY="};
/* The hub knows us by it; a command that is to call has one of its own. */
#define SECRET_NAME "ALKNET_TOKEN="

static bool kept(const char *variable)
{
    for (size_t i = 0; i < OWN_VARIABLES; i++) {
        if (!strncmp(variable, own_names[i], strlen(own_names[i])))
            return false;
    }
    return strncmp(variable, SECRET_NAME, strlen(SECRET_NAME)) != 0;
}

void runner_init(struct runner *r, char **command)
{
    size_t n = 0;

    memset(r, 0, sizeof *r);
    r->command = command;
    r->most = 1;
    TAILQ_INIT(&r->waiting);
    TAILQ_INIT(&r->jobs);
    while (environ[n])
        n++;
    r->environment = xcalloc(n + 1, sizeof *r->environment);
    for (size_t i = 0; i < n; i++) {
        if (kept(environ[i]))
            r->environment[r->variables++] = environ[i];
    }
}

void runner_fini(struct runner *r)
{
    free(r->environment);
}

static char *variable(const char *name, const char *value, size_t len)
{
    struct buffer b = {0};

    buffer_puts(&b, name);
    buffer_append(&b, value, len);
    return b.data;
}

char **runner_environment(const struct runner *r, const alk_call *call)
{
    const alk_identity *who = alk_call_identity(call);
    const char *op = alk_call_operation(call), *id = alk_call_id(call);
    char **all = xcalloc(r->variables + OWN_VARIABLES + 1, sizeof *all);
    size_t len = 4;
    const char *json = who ? alk_identity_json(who, &len) : "null";

    memcpy(all, r->environment, r->variables * sizeof *all);
    all[r->variables] = variable(own_names[0], op, strlen(op));
    all[r->variables + 1] = variable(own_names[1], id, strlen(id));
    all[r->variables + 2] = variable(own_names[2], json, len);
    return all;
}

void runner_environment_free(const struct runner *r, char **environment)
{
    for (size_t i = 0; i < OWN_VARIABLES; i++)
        free(environment[r->variables + i]);
    free(environment);
}

bool runner_finds_command(const struct runner *r)
{
    const char *path = getenv("PATH"), *name = r->command[0];
    struct buffer file = {0};
    bool found = false;

    if (strchr(name, '/') || !path)
        return access(name, X_OK) == 0 || !path;
    for (const char *at = path, *end; !found; at = end + 1) {
        end = at + strcspn(at, ":");
        buffer_truncate(&file, 0);
        buffer_printf(&file, "%.*s/%s", end > at ? (int)(end - at) : 1, end > at ? at : ".", name);
        found = access(buffer_text(&file), X_OK) == 0;
        if (!*end)
            break;
    }
    buffer_free(&file);
    return found;
}
