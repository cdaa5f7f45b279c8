/* Outgoing connections: what `connect` says, the tokens that it names, and whom the remotes are
 * here. */
#include "parts.h"
#include "secret.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOKEN_MIN 24u
#define TOKEN_MAX 4096u

#define AT(member) offsetof(struct config_connect, member)
static const struct config_member import_members[] = {
    {.name = "namespace_prefix", .type = CONFIG_STRING, .offset = AT(prefix), .min = 1},
    {.name = "operations", .type = CONFIG_STRINGS, .offset = AT(operations_value)},
    {0}};
static const struct config_shape import_shape = {.members = import_members};

static const struct config_member members[] = {
    {.name = "url", .type = CONFIG_STRING, .required = 1, .offset = AT(url), .min = 1},
    {.name = "name", .type = CONFIG_STRING, .offset = AT(name), .min = 1, .max = 64},
    {.name = "peer", .type = CONFIG_STRING, .offset = AT(peer), .min = 1},
    {.name = "token_file", .type = CONFIG_STRING, .offset = AT(token_file), .min = 1},
    {.name = "import", .type = CONFIG_MAPPING, .shape = &import_shape},
    {0}};
const struct config_shape config_connect_shape = {.members = members,
                                                  .item_size = sizeof(struct config_connect)};

static int complain(const struct config *cfg, size_t i, const char *member, const char *message,
                    struct config_error *err)
{
    char pointer[64], place[64];

    snprintf(pointer, sizeof pointer, "/connect/%zu/%s", i, member);
    snprintf(place, sizeof place, "connect[%zu].%s", i, member);
    return config_complain(cfg, pointer, place, message, err);
}

static const char *url_fault(const char *url)
{
    if (strncmp(url, "ws://", 5) != 0)
        return "must begin with \"ws://\"";
    url += 5;
    if (strchr(url, '@'))
        return "must not have a user or a password: the token comes from token_file";
    if (!*url || strchr("/?#:", *url) || strchr(url, '#'))
        return "must be ws://HOST[:PORT][/PATH]";
    for (; *url; url++) {
        if (!isgraph((unsigned char)*url))
            return "must be ws://HOST[:PORT][/PATH]";
    }
    return NULL;
}

int config_finish_connect(struct config *cfg, struct config_error *err)
{
    struct config_connect *items = cfg->connect.items;
    yyjson_val *list = yyjson_obj_get(yyjson_doc_get_root(cfg->text.doc), "connect");

    for (size_t i = 0; i < cfg->connect.count; i++) {
        const char *fault = url_fault(items[i].url);

        if (fault)
            return complain(cfg, i, "url", fault, err);
        items[i].import = yyjson_obj_get(yyjson_arr_get(list, i), "import") != NULL;
        if (!items[i].name)
            items[i].name = items[i].url;
        if (items[i].token_file &&
            !(items[i].token_file = config_resolve(cfg, items[i].token_file)))
            return config_out_of_memory(cfg, err);
        if (config_list_text(cfg, items[i].operations_value, &items[i].operations, err) < 0)
            return -1;
    }
    return 0;
}

/* The complaint names the file and shows nothing of it. */
static int read_token(struct config *cfg, struct config_connect *c, struct config_error *err)
{
    char *data;
    size_t len;

    if (config_read_file(c->token_file, 1, &data, &len, err) < 0)
        return -1;
    if (len && data[len - 1] == '\n')
        data[--len] = 0;
    size_t good = 0;
    while (good < len && isgraph((unsigned char)data[good]))
        good++;
    int rc = 0;
    if (good < len || len < TOKEN_MIN || len > TOKEN_MAX)
        rc = config_fail(err, c->token_file, 0, "",
                         "holds no token: one line of %u to %u printable characters without spaces",
                         TOKEN_MIN, TOKEN_MAX);
    else if (!(c->token = config_own(cfg, strdup(data))))
        rc = config_out_of_memory(cfg, err);
    secret_free(data);
    return rc;
}

static yyjson_val *find_peer(const struct config_text *text, const char *id)
{
    size_t i, max;
    yyjson_val *item, *peers = yyjson_obj_get(yyjson_doc_get_root(text->doc), "peers");

    yyjson_arr_foreach(peers, i, max, item)
    {
        if (yyjson_equals_str(yyjson_obj_get(item, "peer_id"), id))
            return item;
    }
    return NULL;
}

static int join_peer(struct config *cfg, size_t i, const struct config_connect *c,
                     struct config_error *err)
{
    yyjson_val *peer = find_peer(&cfg->text, c->peer);

    if (!peer && cfg->identities_text.doc)
        peer = find_peer(&cfg->identities_text, c->peer);
    if (!peer)
        return complain(cfg, i, "peer", "is none of the peers", err);
    /* One that is disabled is not dialled until it is enabled again; see
     * alk_dial_options.peer_id. */
    if (!yyjson_is_false(yyjson_obj_get(peer, "enabled")) &&
        !yyjson_is_true(yyjson_obj_get(peer, "websocket")))
        return complain(cfg, i, "peer", "is a peer whose entry does not say \"websocket: true\"",
                        err);
    return 0;
}

int config_join_connect(struct config *cfg, struct config_error *err)
{
    struct config_connect *items = cfg->connect.items;

    for (size_t i = 0; i < cfg->connect.count; i++) {
        if (items[i].token_file && read_token(cfg, &items[i], err) < 0)
            return -1;
        if (items[i].peer && join_peer(cfg, i, &items[i], err) < 0)
            return -1;
    }
    return 0;
}
