/* Requests to other services: what `http` says of them all. It is alk_http_options as it stands,
 * whose own checks come when a loop gets it; but a proxy's password has no place in a file that
 * everybody may read. */
#include "config/config_int.h"
#include "config/secret.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOUR_MS 3600000u
#define HUGE_SIZE (1u << 30)

#define AT(member) offsetof(struct config, http.member)
#define OPTION(member) AT(o.member)
static const struct config_member members[] = {
    {.name = "proxy", .type = CONFIG_STRING, .offset = OPTION(proxy), .min = 1},
    {.name = "proxy_file", .type = CONFIG_STRING, .offset = AT(proxy_file), .min = 1},
    {.name = "no_proxy", .type = CONFIG_STRINGS, .offset = AT(no_proxy_value)},
    {.name = "ca_file", .type = CONFIG_STRING, .offset = OPTION(ca_file), .min = 1},
    {.name = "certificate", .type = CONFIG_STRING, .offset = OPTION(certificate_file), .min = 1},
    {.name = "key", .type = CONFIG_STRING, .offset = OPTION(key_file), .min = 1},
    {.name = "connect_timeout_ms",
     .type = CONFIG_TIME,
     .offset = OPTION(connect_ms),
     .min = 1,
     .max = HOUR_MS},
    {.name = "idle_timeout_ms",
     .type = CONFIG_TIME,
     .offset = OPTION(idle_ms),
     .min = 1,
     .max = 24 * HOUR_MS},
    {.name = "retries", .type = CONFIG_NUMBER, .offset = OPTION(retries), .max = 10},
    {.name = "host_connections",
     .type = CONFIG_NUMBER,
     .offset = OPTION(host_connections),
     .min = 1,
     .max = 65536},
    {.name = "connections",
     .type = CONFIG_NUMBER,
     .offset = OPTION(connections),
     .min = 1,
     .max = 65536},
    {.name = "response_bytes",
     .type = CONFIG_SIZE,
     .offset = OPTION(response_bytes),
     .min = 1024,
     .max = HUGE_SIZE},
    {.name = "header_bytes",
     .type = CONFIG_SIZE,
     .offset = OPTION(header_bytes),
     .min = 1024,
     .max = 1u << 20},
    {.name = "http2", .type = CONFIG_BOOL, .offset = AT(http2)},
    {.name = "user_agent",
     .type = CONFIG_STRING,
     .offset = OPTION(user_agent),
     .min = 1,
     .max = 256},
    {0}};
const struct config_shape config_http_shape = {.members = members};

void config_init_http(struct config *cfg)
{
    cfg->http.http2 = 1;
    alk_http_options_init(&cfg->http.o, sizeof cfg->http.o);
}

/* "a,b" of [a, b]. */
static int join_no_proxy(struct config *cfg, struct config_error *err)
{
    size_t i, max, len = 1;
    yyjson_val *host, *list = cfg->http.no_proxy_value;
    char *text, *end;

    yyjson_arr_foreach(list, i, max, host)
    {
        len += yyjson_get_len(host) + 1;
        if (strpbrk(yyjson_get_str(host), ", \t")) {
            char pointer[48], place[48];

            snprintf(pointer, sizeof pointer, "/http/no_proxy/%zu", i);
            snprintf(place, sizeof place, "http.no_proxy[%zu]", i);
            return config_complain(cfg, pointer, place, "must be one host", err);
        }
    }
    text = end = config_own(cfg, malloc(len));
    if (!text)
        return config_out_of_memory(cfg, err);
    *text = 0;
    yyjson_arr_foreach(list, i, max, host)
    {
        end += sprintf(end, "%s%s", i ? "," : "", yyjson_get_str(host));
    }
    cfg->http.o.no_proxy = text;
    return 0;
}

int config_finish_http(struct config *cfg, struct config_error *err)
{
    alk_http_options *o = &cfg->http.o;
    const char **const files[] = {&o->ca_file, &o->certificate_file, &o->key_file,
                                  &cfg->http.proxy_file};

    o->no_http2 = !cfg->http.http2;
    if (o->proxy && cfg->http.proxy_file)
        return config_complain(cfg, "/http/proxy_file", "http.proxy_file",
                               "does not go with \"proxy\"", err);
    if (o->proxy && strchr(o->proxy, '@'))
        return config_complain(cfg, "/http/proxy", "http.proxy",
                               "must not have a user or a password: \"proxy_file\" may hold such a "
                               "URL",
                               err);
    if (!o->certificate_file != !o->key_file)
        return config_complain(cfg, o->key_file ? "/http/key" : "/http/certificate",
                               o->key_file ? "http.key" : "http.certificate",
                               "does not go alone: give a certificate and its key, or neither",
                               err);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        if (*files[i] && !(*files[i] = config_resolve(cfg, *files[i])))
            return config_out_of_memory(cfg, err);
    }
    return cfg->http.no_proxy_value ? join_no_proxy(cfg, err) : 0;
}

int config_join_http(struct config *cfg, struct config_error *err)
{
    alk_http_options *o = &cfg->http.o;
    struct stat st;
    size_t len;

    if (cfg->http.proxy_file) {
        char *url;

        if (config_read_secret(cfg->http.proxy_file, &url, &len, err) < 0)
            return config_blame(cfg, "/http/proxy_file", err);
        o->proxy = config_own(cfg, url);
        if (!o->proxy)
            return config_out_of_memory(cfg, err);
    }
    if (o->key_file) {
        int rc = stat(o->key_file, &st) < 0
                     ? config_fail(err, o->key_file, 0, "", "%s", strerror(errno))
                     : config_check_file(o->key_file, &st, 1, err);
        return rc < 0 ? config_blame(cfg, "/http/key_file", err) : 0;
    }
    return 0;
}
