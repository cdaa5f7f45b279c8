/* Outgoing connections: what `connect` says, the tokens and certificates that it names, and who the
 * remotes are here. What goes with what depends on the scheme of the URL, of which there is a
 * table. */
#include "config/config_int.h"
#include "config/secret.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* So that a hub which restarts with a thousand spokes is not overrun by them. */
#define SPREAD_MS 6000u

#define AT(member) offsetof(struct config_connect, member)
static const struct config_member import_members[] = {
    {.name = "namespace_prefix", .type = CONFIG_STRING, .offset = AT(prefix), .min = 1},
    {.name = "operations", .type = CONFIG_STRINGS, .offset = AT(operations_value)},
    {0}};
static const struct config_shape import_shape = {.members = import_members};

#define MEMBERS                                                                                    \
    {.name = "url", .type = CONFIG_STRING, .required = 1, .offset = AT(url), .min = 1},            \
        {.name = "name", .type = CONFIG_STRING, .offset = AT(name), .min = 1, .max = 64},          \
        {.name = "peer", .type = CONFIG_STRING, .offset = AT(peer), .min = 1},                     \
        {.name = "token_file", .type = CONFIG_STRING, .offset = AT(token_file), .min = 1},         \
        {.name = "ca_file", .type = CONFIG_STRING, .offset = AT(ca_file), .min = 1},               \
        {.name = "pin", .type = CONFIG_STRING, .offset = AT(pin), .min = 1},                       \
        {.name = "certificate", .type = CONFIG_STRING, .offset = AT(own.certificate), .min = 1},   \
        {.name = "key", .type = CONFIG_STRING, .offset = AT(own.key), .min = 1},                   \
        {.name = "spread", .type = CONFIG_TIME, .offset = AT(spread_ms), .max = 3600000},          \
    {                                                                                              \
        .name = "import", .type = CONFIG_MAPPING, .shape = &import_shape                           \
    }
static const struct config_member members[] = {MEMBERS, {0}};
static const struct config_member lone_members[] = {
    MEMBERS,
    {.name = "token", .type = CONFIG_STRING, .offset = AT(token_text)},
    {.name = "reconnect", .type = CONFIG_BOOL, .offset = AT(reconnect)},
    {.name = "announce", .type = CONFIG_BOOL, .offset = AT(announce)},
    {0}};

static void init(void *item)
{
    struct config_connect *c = item;

    c->spread_ms = SPREAD_MS;
    c->reconnect = 1;
    c->announce = CONFIG_NOT_GIVEN;
}

const struct config_shape config_connect_shape = {
    .members = members, .item_size = sizeof(struct config_connect), .item_init = init};
const struct config_shape config_lone_connect_shape = {.members = lone_members, .item_init = init};

static int complain(const struct config *cfg, size_t i, const char *member, const char *message,
                    struct config_error *err)
{
    char pointer[64] = "", place[64] = "";

    if (!cfg->is_connect) {
        snprintf(pointer, sizeof pointer, "/connect/%zu", i);
        snprintf(place, sizeof place, "connect[%zu].", i);
    }
    size_t at = strlen(pointer), in = strlen(place);
    snprintf(pointer + at, sizeof pointer - at, "/%s", member);
    snprintf(place + in, sizeof place - in, "%s", member);
    return config_complain(cfg, pointer, place, message, err);
}

/* ---- the text -------------------------------------------------------------------------------- */

static const struct scheme {
    const char *prefix, *form;
    uint32_t tls, local, framed, quic;
} schemes[] = {
    {"alknet://", "must be alknet://HOST[:PORT][#FINGERPRINT]", 1, 0, 1, 1},
    {"ws://", "must be ws://HOST[:PORT][/PATH]", 0, 0, 0, 0},
    {"wss://", "must be wss://HOST[:PORT][/PATH]", 1, 0, 0, 0},
    {"ws+unix:", NULL, 0, 1, 0, 0},
    {"alknet+tls://", "must be alknet+tls://HOST[:PORT]", 1, 0, 1, 0},
    {"alknet+unix:", NULL, 0, 1, 1, 0},
    {0},
};

/* The last one, which has no prefix, when there is no such scheme. */
static const struct scheme *scheme_of(const char *url)
{
    const struct scheme *s = schemes;

    while (s->prefix && strncmp(url, s->prefix, strlen(s->prefix)) != 0)
        s++;
    return s;
}

static const char *host_fault(const struct scheme *scheme, const char *rest)
{
    if (strchr(rest, '@'))
        return "must not have a user or a password: the token comes from token_file";
    if (!*rest || strchr("/:", *rest) ||
        strpbrk(rest, scheme->quic     ? "?/"
                      : scheme->framed ? "?#/"
                                       : "?#"))
        return scheme->form;
    for (; *rest; rest++) {
        if (!isgraph((unsigned char)*rest))
            return scheme->form;
    }
    return NULL;
}

/* The path of a socket is relative to the configuration, as others are. */
static int finish_socket(struct config *cfg, struct config_connect *c, size_t prefix,
                         struct config_error *err)
{
    const char *path = config_resolve(cfg, c->url + prefix);
    size_t len = path ? strlen(path) : 0;
    char *url = path ? malloc(prefix + len + 1) : NULL;

    if (!url)
        return config_out_of_memory(cfg, err);
    memcpy(url, c->url, prefix);
    memcpy(url + prefix, path, len + 1);
    c->url = config_own(cfg, url);
    return c->url ? 0 : config_out_of_memory(cfg, err);
}

static int finish_url(struct config *cfg, size_t i, struct config_connect *c,
                      struct config_error *err)
{
    const struct scheme *scheme = scheme_of(c->url);
    size_t prefix = scheme->prefix ? strlen(scheme->prefix) : 0;
    const char *fault = NULL;

    if (!scheme->prefix)
        fault = "must begin with alknet://, ws://, wss://, alknet+tls://, ws+unix: or "
                "alknet+unix:";
    else if (!scheme->local)
        fault = host_fault(scheme, c->url + prefix);
    else if (!c->url[prefix])
        fault = "has no path";
    if (fault)
        return complain(cfg, i, "url", fault, err);
    c->framed = scheme->framed;
    c->local = scheme->local;
    c->quic = scheme->quic;
    if (c->quic && !c->own.key && !cfg->node_key)
        return complain(cfg, i, "key", "is missing, and there is no \"node_key\" in its place",
                        err);
    cfg->node_key_used |= c->quic && !c->own.key;
    return scheme->local ? finish_socket(cfg, c, prefix, err) : 0;
}

static int finish_tls(struct config *cfg, size_t i, struct config_connect *c,
                      struct config_error *err)
{
    const char **const files[] = {&c->ca_file, &c->own.certificate, &c->own.key};
    const char *given = c->ca_file           ? "ca_file"
                        : c->pin             ? "pin"
                        : c->own.certificate ? "certificate"
                        : c->own.key         ? "key"
                                             : NULL;

    if (given && !scheme_of(c->url)->tls)
        return complain(cfg, i, given, "is for alknet://, wss:// and alknet+tls://", err);
    if (c->pin && c->ca_file)
        return complain(cfg, i, "pin", "does not go with \"ca_file\"", err);
    if (c->pin && c->quic && strchr(c->url, '#'))
        return complain(cfg, i, "pin", "is in the URL already", err);
    if (!c->own.certificate != !c->own.key && !(c->quic && c->own.key))
        return complain(cfg, i, c->own.key ? "key" : "certificate",
                        "does not go alone: give a certificate and its key, or neither", err);
    for (size_t n = 0; n < sizeof files / sizeof *files; n++) {
        if (*files[n] && !(*files[n] = config_resolve(cfg, *files[n])))
            return config_out_of_memory(cfg, err);
    }
    return 0;
}

int config_finish_connect(struct config *cfg, struct config_error *err)
{
    struct config_connect *items = cfg->connect.items;
    yyjson_val *root = yyjson_doc_get_root(cfg->text.doc), *list = yyjson_obj_get(root, "connect");

    for (size_t i = 0; i < cfg->connect.count; i++) {
        yyjson_val *entry = cfg->is_connect ? root : yyjson_arr_get(list, i);

        if (!items[i].name)
            items[i].name = items[i].url;
        if (finish_url(cfg, i, &items[i], err) < 0 || finish_tls(cfg, i, &items[i], err) < 0)
            return -1;
        items[i].import = yyjson_obj_get(entry, "import") != NULL;
        if (items[i].token_file && items[i].token_text)
            return complain(cfg, i, "token", "does not go with \"token_file\"", err);
        if (items[i].token_file &&
            !(items[i].token_file = config_resolve(cfg, items[i].token_file)))
            return config_out_of_memory(cfg, err);
        if (config_list_text(cfg, items[i].operations_value, &items[i].operations, err) < 0)
            return -1;
    }
    return 0;
}

/* ---- files ----------------------------------------------------------------------------------- */

static bool is_token(const char *text, size_t len)
{
    size_t good = 0;

    while (good < len && isgraph((unsigned char)text[good]))
        good++;
    return good == len && len >= ALK_TOKEN_MIN && len <= ALK_TOKEN_MAX;
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
    if (len && data[len - 1] == '\r')
        data[--len] = 0;
    int rc = 0;
    if (!is_token(data, len))
        rc = config_fail(err, c->token_file, 0, "",
                         "holds no token: one line of %u to %u printable characters without spaces",
                         ALK_TOKEN_MIN, ALK_TOKEN_MAX);
    else if (!(c->token = strdup(data)))
        rc = config_out_of_memory(cfg, err);
    secret_free(data);
    return rc;
}

static int take_token(struct config *cfg, size_t i, struct config_connect *c,
                      struct config_error *err)
{
    char message[96];

    snprintf(message, sizeof message, "is no token: %u to %u printable characters without spaces",
             ALK_TOKEN_MIN, ALK_TOKEN_MAX);
    if (!is_token(c->token_text, strlen(c->token_text)))
        return complain(cfg, i, "token", message, err);
    c->token = strdup(c->token_text);
    return c->token ? 0 : config_out_of_memory(cfg, err);
}

/* Whether the remote may learn who this node is. On a Unix-domain socket it can see that by
 * itself. */
static bool proves_itself(const struct config_connect *c)
{
    return c->token || c->own.certificate || c->local || c->quic;
}

void config_forget_tokens(struct config *cfg)
{
    struct config_connect *items = cfg->connect.items;

    for (size_t i = 0; i < cfg->connect.count; i++) {
        secret_free(items[i].token);
        items[i].token = NULL;
    }
}

int config_connect_tls(const struct config *cfg, size_t i, alk_tls **out, struct config_error *err)
{
    const struct config_connect *c = (struct config_connect *)cfg->connect.items + i;
    char why[256] = "", place[32], pointer[32], *certificates = NULL;
    alk_tls_options o;
    int rc = ALK_OK;

    *out = NULL;
    if (!scheme_of(c->url)->tls ||
        (c->quic && !c->own.key && access(cfg->node_key, F_OK) && errno == ENOENT))
        return 0;
    alk_tls_options_init(&o, sizeof o);
    o.client = 1;
    o.ca_file = c->ca_file;
    o.pin = c->pin;
    if (c->quic && !c->own.certificate)
        o.raw_key = c->own.key ? c->own.key : cfg->node_key;
    if (c->own.certificate && !(certificates = config_certificates_text(&c->own, 1)))
        rc = ALK_ENOMEM;
    o.certificates = certificates;
    if (!rc)
        rc = alk_tls_new(out, &o, why, sizeof why);
    free(certificates);
    *place = *pointer = 0;
    if (!cfg->is_connect) {
        snprintf(place, sizeof place, "connect[%zu]", i);
        snprintf(pointer, sizeof pointer, "/connect/%zu", i);
    }
    return rc ? config_complain(cfg, pointer, place, *why ? why : alk_strerror(rc), err) : 0;
}

/* ---- peers ----------------------------------------------------------------------------------- */

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

static int join_peer(const struct config *cfg, size_t i, const struct config_connect *c,
                     const struct config *within, struct config_error *err)
{
    yyjson_val *peer = find_peer(&within->text, c->peer);

    if (!peer && within->identities_text.doc)
        peer = find_peer(&within->identities_text, c->peer);
    if (!peer)
        return complain(cfg, i, "peer", "is none of the peers", err);
    /* One that is disabled is not dialled until it is enabled again; see
     * alk_dial_options.peer_id. */
    if (!c->framed && !yyjson_is_false(yyjson_obj_get(peer, "enabled")) &&
        !yyjson_is_true(yyjson_obj_get(peer, "websocket")))
        return complain(cfg, i, "peer", "is a peer whose entry does not say \"websocket: true\"",
                        err);
    return 0;
}

int config_join_connect(struct config *cfg, const struct config *within, struct config_error *err)
{
    struct config_connect *items = cfg->connect.items;

    for (size_t i = 0; i < cfg->connect.count; i++) {
        if (items[i].token_file && read_token(cfg, &items[i], err) < 0) {
            struct config_error file = *err;

            return complain(cfg, i, "token_file", file.text, err);
        }
        if (items[i].token_text && take_token(cfg, i, &items[i], err) < 0)
            return -1;
        if (items[i].announce == CONFIG_NOT_GIVEN)
            items[i].announce = proves_itself(&items[i]);
        if (config_connect_tls(cfg, i, &items[i].tls, err) < 0)
            return -1;
        if (items[i].peer && join_peer(cfg, i, &items[i], within, err) < 0)
            return -1;
    }
    return 0;
}
