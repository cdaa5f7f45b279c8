/* Peers, keys and users: their shape, the file that may hold more of them, and the way back from a
 * complaint of the library to a line.
 *
 * The library judges what they mean; the tables here only make sure that a misspelt member is not
 * silently ignored. Entries of identities_file follow those of the configuration, so that an index
 * tells which file an entry is from. */
#include "config/config_int.h"
#include "config/secret.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOWHERE CONFIG_CHECK_ONLY

static const struct config_member peer_members[] = {
    {.name = "peer_id", .type = CONFIG_STRING, .required = 1, .offset = NOWHERE, .min = 1},
    {.name = "fingerprints", .type = CONFIG_STRINGS, .offset = NOWHERE},
    {.name = "auth_token_hashes", .type = CONFIG_STRINGS, .offset = NOWHERE},
    {.name = "scopes", .type = CONFIG_STRINGS, .offset = NOWHERE},
    {.name = "resources", .type = CONFIG_STRING_LISTS, .offset = NOWHERE},
    {.name = "display_name", .type = CONFIG_STRING, .offset = NOWHERE},
    {.name = "enabled", .type = CONFIG_BOOL, .offset = NOWHERE},
    {.name = "may_forward", .type = CONFIG_BOOL, .offset = NOWHERE},
    {.name = "websocket", .type = CONFIG_BOOL, .offset = NOWHERE},
    {0}};
static const struct config_member key_members[] = {
    {.name = "prefix", .type = CONFIG_STRING, .required = 1, .offset = NOWHERE, .min = 1},
    {.name = "hash", .type = CONFIG_STRING, .required = 1, .offset = NOWHERE, .min = 1},
    {.name = "scopes", .type = CONFIG_STRINGS, .offset = NOWHERE},
    {.name = "description", .type = CONFIG_STRING, .offset = NOWHERE},
    {.name = "expires_at", .type = CONFIG_STRING, .offset = NOWHERE, .min = 1},
    {0}};
static const struct config_member user_members[] = {
    {.name = "uid", .type = CONFIG_NUMBER, .required = 1, .offset = NOWHERE, .max = UINT32_MAX},
    {.name = "scopes", .type = CONFIG_STRINGS, .offset = NOWHERE},
    {.name = "resources", .type = CONFIG_STRING_LISTS, .offset = NOWHERE},
    {.name = "description", .type = CONFIG_STRING, .offset = NOWHERE},
    {0}};
const struct config_shape config_peer_shape = {.members = peer_members};
const struct config_shape config_key_shape = {.members = key_members};
const struct config_shape config_user_shape = {.members = user_members};

static const struct config_member file_members[] = {
    {.name = "peers", .type = CONFIG_LIST, .offset = NOWHERE, .shape = &config_peer_shape},
    {.name = "keys", .type = CONFIG_LIST, .offset = NOWHERE, .shape = &config_key_shape},
    {.name = "users", .type = CONFIG_LIST, .offset = NOWHERE, .shape = &config_user_shape},
    {0}};
static const struct config_shape file_shape = {.members = file_members};

static int read_file(struct config *cfg, struct config_error *err)
{
    char *data;
    size_t len;
    const char *path = cfg->identities_file;

    if (config_read_file(path, 0, &data, &len, err) < 0)
        return config_blame(cfg, "/identities_file", err);
    int rc = config_text_parse(&cfg->identities_text, path, data, len, config_format_of(path), err);
    secret_free(data);
    if (rc < 0)
        return -1;
    yyjson_val *root = yyjson_doc_get_root(cfg->identities_text.doc);
    return config_check(&cfg->identities_text, root, "", &file_shape, NULL, err);
}

static bool append(yyjson_mut_doc *doc, yyjson_mut_val *list, const struct config_text *from,
                   const char *member)
{
    size_t i, max;
    yyjson_val *item, *items = yyjson_obj_get(yyjson_doc_get_root(from->doc), member);

    yyjson_arr_foreach(items, i, max, item)
    {
        if (!yyjson_mut_arr_append(list, yyjson_val_mut_copy(doc, item)))
            return false;
    }
    return true;
}

int config_join_identities(struct config *cfg, struct config_error *err)
{
    static const char *const members[] = {"peers", "keys", "users"};

    if (cfg->identities_file && read_file(cfg, err) < 0)
        return -1;
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *root = yyjson_mut_obj(doc);
    bool ok = root != NULL;
    yyjson_mut_doc_set_root(doc, root);
    for (size_t i = 0; i < sizeof members / sizeof *members && ok; i++) {
        yyjson_mut_val *list = yyjson_mut_obj_add_arr(doc, root, members[i]);

        ok = list && append(doc, list, &cfg->text, members[i]);
        if (ok && cfg->identities_text.doc)
            ok = append(doc, list, &cfg->identities_text, members[i]);
    }
    char *text = ok ? yyjson_mut_write(doc, 0, &cfg->identities_len) : NULL;
    yyjson_mut_doc_free(doc);
    cfg->identities = config_own(cfg, text);
    if (!cfg->identities)
        return config_fail(err, cfg->text.file, 0, "", "out of memory");
    return 0;
}

/* What "/keys/3/hash: is wrong" complains about, as a line of the file where it stands. */
static int locate(const struct config *cfg, const char *complaint, struct config_error *err)
{
    char list[8], rest[64] = "", place[96];
    unsigned index;
    int end = 0;

    if (sscanf(complaint, "/%7[a-z]/%u%n", list, &index, &end) < 2 || end == 0)
        return config_fail(err, cfg->text.file, 0, "", "%s", complaint);
    const char *colon = strstr(complaint + end, ": ");
    if (!colon || (size_t)(colon - complaint) - (size_t)end >= sizeof rest)
        return config_fail(err, cfg->text.file, 0, "", "%s", complaint);
    memcpy(rest, complaint + end, (size_t)(colon - complaint) - (size_t)end);
    const struct config_text *text = &cfg->text;
    yyjson_val *items = yyjson_obj_get(yyjson_doc_get_root(text->doc), list);
    size_t own = yyjson_arr_size(items);
    if (index >= own && cfg->identities_text.doc) {
        text = &cfg->identities_text;
        items = yyjson_obj_get(yyjson_doc_get_root(text->doc), list);
        index -= (unsigned)own;
    }
    yyjson_val *item = yyjson_arr_get(items, index), *member = yyjson_ptr_get(item, rest);
    uint32_t line = item ? config_text_line(text, member ? member : item) : 0;
    for (char *c = rest; *c; c++)
        *c = *c == '/' ? '.' : *c;
    snprintf(place, sizeof place, "%s[%u]%s", list, index, rest);
    return config_fail(err, text->file, line, place, "%s", colon + 2);
}

int config_give_identities(const struct config *cfg, alk_identities *ids, int64_t unix_time,
                           const alk_registry *reserved, struct config_error *err)
{
    char complaint[400] = "";
    int rc = alk_identities_load(ids, cfg->identities, cfg->identities_len, unix_time, reserved,
                                 complaint, sizeof complaint);

    if (rc == 0)
        return 0;
    return locate(cfg, *complaint ? complaint : alk_strerror(rc), err);
}
