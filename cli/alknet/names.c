/* Implements names.h. */
#include "names.h"
#include "near.h"
#include "peers.h"

#include <string.h>
#include <uv.h>

static int fetch(struct remote *r, const struct buffer *input, struct reply *reply)
{
    int rc = r->ops->call(r, "/services/list", input, reply);

    return rc == OUTCOME_OK && !reply->output ? OUTCOME_CONNECTION : rc;
}

int names_each(struct remote *r, void (*take)(void *ud, const char *name, const char *type),
               void *ud)
{
    struct buffer input = {0};
    uint64_t end = uv_hrtime() + NAMES_NS;
    bool more = true;
    int rc = OUTCOME_OK;

    buffer_puts(&input, "{}");
    for (unsigned page = 0; more && rc == OUTCOME_OK && page < NAMES_PAGES_MAX && uv_hrtime() < end;
         page++) {
        struct reply reply = {0};
        yyjson_val *op, *cursor;
        size_t i, n;

        rc = fetch(r, &input, &reply);
        yyjson_arr_foreach(yyjson_obj_get(reply.output, "operations"), i, n, op)
        {
            const char *name = yyjson_get_str(yyjson_obj_get(op, "name"));
            const char *type = yyjson_get_str(yyjson_obj_get(op, "op_type"));

            if (name)
                take(ud, name + (*name == '/'), type ? type : "");
        }
        cursor = yyjson_obj_get(reply.output, "next_cursor");
        more = yyjson_get_len(cursor) > 0;
        buffer_truncate(&input, 0);
        buffer_puts(&input, "{\"cursor\":");
        buffer_json_string(&input, more ? yyjson_get_str(cursor) : "", yyjson_get_len(cursor));
        buffer_puts(&input, "}");
        reply_free(&reply);
    }
    buffer_free(&input);
    return rc;
}

static void try_name(void *ud, const char *name, const char *type)
{
    (void)type;
    near_try(ud, name);
}

void names_suggest(struct cli *cli, const char *name, const struct reply *failed)
{
    const struct options *o = cli->options;
    const char *command = o->command == COMMAND_CALL ? "subscribe" : "call";
    struct near near;

    name += *name == '/';
    if (o->peer || o->any_peer)
        return;
    if (peers_failed_by(failed, "INVALID_OPERATION_TYPE")) {
        complain("perhaps 'alknet %s %s' is meant", command, name);
        return;
    }
    if (!peers_failed_by(failed, "NOT_FOUND"))
        return;
    near_begin(&near, name);
    if (names_each(cli->remote, try_name, &near) == OUTCOME_OK && near.name[0] &&
        strcmp(near.name, name))
        complain("did you mean '%s'?", near.name);
}
