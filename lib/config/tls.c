/* TLS: the certificates that `tls` names, or the one that is made, signed by itself, and kept in the
 * folder of the configuration. */
#include "config/config_int.h"

#include <alknet/tls.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define OWN_CERTIFICATE "alknetd.crt"
#define OWN_KEY "alknetd.key"
#define NODE_KEY "alknetd.node.key"
#define OWN_NAMES "[\"localhost\",\"127.0.0.1\",\"::1\"]"

#define AT(member) offsetof(struct config, tls.member)
#define CERTIFICATE_AT(member) offsetof(struct config_certificate, member)
static const struct config_member certificate_members[] = {
    {.name = "certificate",
     .type = CONFIG_STRING,
     .required = 1,
     .offset = CERTIFICATE_AT(certificate),
     .min = 1},
    {.name = "key", .type = CONFIG_STRING, .required = 1, .offset = CERTIFICATE_AT(key), .min = 1},
    {0}};
static const struct config_shape certificate_shape = {
    .members = certificate_members, .item_size = sizeof(struct config_certificate)};

static const char *const asks[] = {"calls", "all", "nobody", NULL};
static const struct config_member members[] = {
    {.name = "certificates",
     .type = CONFIG_LIST,
     .offset = AT(items),
     .min = 1,
     .max = CONFIG_CERTIFICATES_MAX,
     .shape = &certificate_shape},
    {.name = "names", .type = CONFIG_STRINGS, .offset = AT(names_value)},
    {.name = "client_certificates",
     .type = CONFIG_WORD,
     .offset = AT(ask),
     .min = ALK_TLS_ASK_CALLS,
     .words = asks},
    {.name = "tickets", .type = CONFIG_BOOL, .offset = AT(tickets)},
    {0}};
const struct config_shape config_tls_shape = {.members = members};

char *config_certificates_text(const struct config_certificate *items, size_t count)
{
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *list = yyjson_mut_arr(doc);
    bool ok = list != NULL;
    char *text;

    yyjson_mut_doc_set_root(doc, list);
    for (size_t i = 0; i < count && ok; i++) {
        yyjson_mut_val *one = yyjson_mut_arr_add_obj(doc, list);

        ok = yyjson_mut_obj_add_str(doc, one, "certificate", items[i].certificate) &&
             yyjson_mut_obj_add_str(doc, one, "key", items[i].key);
    }
    text = ok ? yyjson_mut_write(doc, 0, NULL) : NULL;
    yyjson_mut_doc_free(doc);
    return text;
}

/* The one that is made, in place of a list. */
static int use_own(struct config *cfg, struct config_error *err)
{
    struct config_certificate *own = calloc(1, sizeof *own);

    if (!own)
        return config_out_of_memory(cfg, err);
    cfg->tls.items = (struct config_list){.items = own, .count = 1};
    cfg->tls.self_signed = 1;
    own->certificate = OWN_CERTIFICATE;
    own->key = OWN_KEY;
    cfg->tls.names = OWN_NAMES;
    if (!cfg->tls.names_value)
        return 0;
    char *names;
    int rc = config_list_text(cfg, cfg->tls.names_value, &names, err);
    cfg->tls.names = names;
    return rc;
}

int config_finish_tls(struct config *cfg, struct config_error *err)
{
    const struct config_listen *listen = cfg->listen.items;

    for (size_t i = 0; i < cfg->listen.count; i++) {
        cfg->tls.used |= listen[i].tls;
        cfg->tls.quic |= listen[i].quic;
    }
    cfg->tls.given = cfg->tls.items.count > 0;
    cfg->node_key_given = cfg->node_key != NULL;
    cfg->node_key_used = cfg->tls.quic;
    if (!cfg->node_key && cfg->has_file)
        cfg->node_key = NODE_KEY;
    if (cfg->node_key && !(cfg->node_key = config_resolve(cfg, cfg->node_key)))
        return config_out_of_memory(cfg, err);
    if (!cfg->node_key && cfg->tls.quic)
        return config_complain(
            cfg, "/node_key", "node_key",
            "is missing: without a configuration file there is no folder to make one in", err);
    cfg->tls.used |= cfg->metrics.tls;
    if (cfg->tls.used && !cfg->tls.given && !cfg->has_file)
        return config_complain(
            cfg, "/tls", "tls.certificates",
            "are missing: without a configuration file there is no folder to make one in", err);
    if (cfg->tls.items.count && cfg->tls.names_value)
        return config_complain(cfg, "/tls/names", "tls.names",
                               "does not go with \"certificates\", which have names of their own",
                               err);
    if (!cfg->tls.items.count && use_own(cfg, err) < 0)
        return -1;
    struct config_certificate *items = cfg->tls.items.items;
    for (size_t i = 0; i < cfg->tls.items.count; i++) {
        items[i].certificate = config_resolve(cfg, items[i].certificate);
        items[i].key = config_resolve(cfg, items[i].key);
        if (!items[i].certificate || !items[i].key)
            return config_out_of_memory(cfg, err);
    }
    cfg->tls.certificates = config_own(cfg, config_certificates_text(items, cfg->tls.items.count));
    return cfg->tls.certificates ? 0 : config_out_of_memory(cfg, err);
}
