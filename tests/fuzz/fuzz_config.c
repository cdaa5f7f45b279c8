/* Fuzzes the configuration: text to values, values to the struct.
 *
 * The first byte chooses YAML or JSON, a capital one of a program's that is not alknetd. It must hold: every value has a line
 * within the text; a fault leaves no configuration and a message of printable
 * characters that begins with the file's name; what is accepted keeps the
 * promises of config/config.h; and JSON that is accepted is accepted again after
 * yyjson has written it. */
#include "config/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MUST(x)                                                                                    \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #x);                  \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static void check_error(const struct config_error *err)
{
    MUST(strncmp(err->text, "file", 4) == 0);
    MUST(strlen(err->text) > 6);
    for (const char *c = err->text; *c; c++)
        MUST(*c >= 0x20 && *c < 0x7f);
}

static void check_text(const char *data, size_t size, int format)
{
    struct config_text t;
    struct config_error err = {""};
    uint32_t lines = 2; /* libyaml may put an empty value behind the last one */
    for (size_t i = 0; i < size; i++)
        lines += data[i] == '\n' || data[i] == '\r' || ((unsigned char)data[i] & 0x80);
    if (config_text_parse(&t, "file", data, size, format, &err) < 0) {
        check_error(&err);
    } else {
        yyjson_val *root = yyjson_doc_get_root(t.doc);
        for (size_t i = 0; i < yyjson_doc_get_val_count(t.doc); i++)
            MUST(config_text_line(&t, root + i) >= 1 && config_text_line(&t, root + i) <= lines);
    }
    config_text_free(&t);
}

static void check_again(const struct config *cfg)
{
    struct config *again;
    struct config_error err;
    size_t len;
    char *json = yyjson_write(cfg->text.doc, 0, &len);
    MUST(json != NULL);
    if (len <= CONFIG_FILE_MAX) {
        struct config_source s = {
            .file = "file.json", .text = json, .len = len, .embedded = cfg->embedded};

        MUST(config_parse(&again, &s, &err) == 0);
        MUST(again->listen.count == cfg->listen.count);
        MUST(memcmp(&again->limits, &cfg->limits, sizeof cfg->limits) == 0);
        config_free(again);
    }
    free(json);
}

static void check_config(const struct config *cfg)
{
    const struct config_listen *l = cfg->listen.items;
    const struct config_plugin *p = cfg->plugins.items;
    const struct config_connect *c = cfg->connect.items;
    MUST(cfg->workers >= 1 && cfg->workers <= CONFIG_WORKERS_MAX);
    MUST(cfg->listen.count >= !cfg->embedded && cfg->listen.count <= CONFIG_LISTEN_MAX);
    MUST(!cfg->embedded || (!cfg->demo && !cfg->core_dumps && !cfg->log.json && !cfg->log.file));
    for (size_t i = 0; i < cfg->connect.count; i++)
        MUST(c[i].name && *c[i].url && !(c[i].pin && c[i].ca_file));
    for (size_t i = 0; i < cfg->listen.count; i++) {
        MUST((l[i].host == NULL) == (l[i].unix_path != NULL));
        MUST(l[i].port <= 65535 && l[i].mode <= 0777);
    }
    for (size_t i = 0; i < cfg->plugins.count; i++)
        MUST(p[i].path && *p[i].path && p[i].config && strlen(p[i].config) <= p[i].config_len);
    const struct config_import *im = cfg->imports.items;
    MUST(cfg->imports.count <= CONFIG_IMPORTS_MAX);
    for (size_t i = 0; i < cfg->imports.count; i++) {
        MUST(im[i].document && *im[i].prefix && !(im[i].is_public && im[i].access));
        MUST(!im[i].auth || im[i].secret_file);
    }
    MUST(!cfg->http.o.proxy || !strchr(cfg->http.o.proxy, '@'));
    MUST(cfg->log.level >= ALK_LOG_ERROR && cfg->log.level <= ALK_LOG_DEBUG && cfg->log.json <= 1);
    MUST(cfg->limits.frame_bytes <= 64u << 20 && cfg->limits.json_depth <= 1024);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config *cfg;
    struct config_error err = {""};
    if (size == 0)
        return 0;
    const char *text = (const char *)data + 1;
    int json = data[0] == 'j' || data[0] == 'J';
    struct config_source s = {.file = json ? "file.json" : "file",
                              .text = text,
                              .len = size - 1,
                              .embedded = data[0] == 'J' || data[0] == 'Y'};
    check_text(text, size - 1, json ? CONFIG_JSON : CONFIG_YAML);
    if (config_parse(&cfg, &s, &err) == 0) {
        check_config(cfg);
        check_again(cfg);
    } else {
        MUST(cfg == NULL);
        check_error(&err);
    }
    config_free(cfg);
    return 0;
}
