/* What is configured of the HTTP client. All that can be wrong with it is said here, and not by
 * each request. */
#include "uv/http.h"
#include "uv/http_int.h"

#include <stdio.h>
#include <string.h>

#define CONNECTIONS_MAX 65536u

static const alk_http_options options_defaults = {
    .size = sizeof(alk_http_options),
    .connect_ms = 10000,
    .idle_ms = 60000,
    .retries = 2,
    .host_connections = 16,
    .connections = 256,
    .response_bytes = 16u << 20,
    .header_bytes = 64u << 10,
    .user_agent = "alknet/" ALK_VERSION,
};
static const struct abi abi_http_options = ABI(alk_http_options, user_agent, &options_defaults);

void alk_http_options_init(alk_http_options *o, size_t size)
{
    abi_fill(&abi_http_options, o, size, &options_defaults);
}

static int invalid(char *err, size_t size, const char *text)
{
    if (err)
        snprintf(err, size, "%s", text);
    return ALK_EINVAL;
}

static bool printable(const char *s)
{
    for (; *s; s++) {
        if (*s < 0x20 || *s == 0x7f)
            return false;
    }
    return true;
}

/* Half of the connections are for event streams, so there is one of each kind at least. */
static int check_numbers(const alk_http_options *o, char *err, size_t size)
{
    if (!o->connect_ms || !o->idle_ms)
        return invalid(err, size, "connect_ms, idle_ms: must be above 0");
    if (!o->host_connections || o->host_connections > CONNECTIONS_MAX)
        return invalid(err, size, "host_connections: must be 1 to 65536");
    if (o->connections < 2 || o->connections > CONNECTIONS_MAX)
        return invalid(err, size, "connections: must be 2 to 65536");
    if (!o->response_bytes || o->header_bytes < 1024)
        return invalid(err, size, "response_bytes: must be above 0; header_bytes: at least 1024");
    if (o->retries > 10)
        return invalid(err, size, "retries: must be at most 10");
    return ALK_OK;
}

static bool proxy_valid(const char *proxy)
{
    CURLU *u = curl_url();
    char *host = NULL;
    bool ok = u && printable(proxy) &&
              !curl_url_set(u, CURLUPART_URL, proxy, CURLU_NON_SUPPORT_SCHEME) &&
              !curl_url_get(u, CURLUPART_HOST, &host, 0) && *host;

    curl_free(host);
    curl_url_cleanup(u);
    return ok;
}

static int check_texts(const alk_http_options *o, char *err, size_t size)
{
    if (o->proxy && strncmp(o->proxy, "http://", 7) && strncmp(o->proxy, "socks5h://", 10))
        return invalid(err, size, "proxy: must begin with http:// or socks5h://");
    if (o->proxy && !proxy_valid(o->proxy))
        return invalid(err, size, "proxy: must be http://[user:password@]host:port, or socks5h://");
    if (!o->certificate_file != !o->key_file)
        return invalid(err, size, "certificate_file, key_file: one needs the other");
    if (o->user_agent && !printable(o->user_agent))
        return invalid(err, size, "user_agent: must be printable");
    return ALK_OK;
}

static bool readable(const char *path)
{
    FILE *f = fopen(path, "re");
    bool ok = f && fgetc(f) != EOF;

    if (f)
        fclose(f);
    return ok;
}

/* They are read for each connection, so that new ones count; here it is only seen that they are
 * there. */
static int check_files(const alk_http_options *o, char *err, size_t size)
{
    const char *const files[] = {o->ca_file, o->certificate_file, o->key_file};

    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        if (files[i] && !readable(files[i])) {
            if (err)
                snprintf(err, size, "%s cannot be read", files[i]);
            return ALK_ESYSTEM;
        }
    }
    return ALK_OK;
}

static int keep(struct arena *a, const char **s)
{
    if (*s && !(*s = arena_dup(a, *s, strlen(*s))))
        return ALK_ENOMEM;
    return ALK_OK;
}

static int make_agent_line(struct http_options *own)
{
    static const char name[] = "User-Agent: ";
    const char *agent = own->o.user_agent;

    if (!agent || !*agent)
        return ALK_OK;
    own->agent_line = arena_alloc(&own->memory, sizeof name + strlen(agent));
    if (!own->agent_line)
        return ALK_ENOMEM;
    strcpy(stpcpy(own->agent_line, name), agent);
    return ALK_OK;
}

int http_options_read(struct http_options *own, struct mem *mem, const alk_http_options *o,
                      char *err, size_t size)
{
    alk_http_options full;
    int rc;

    o = abi_take(&abi_http_options, &full, o, err, size);
    if (!o)
        return ALK_EINVAL;
    if ((rc = check_numbers(o, err, size)) || (rc = check_texts(o, err, size)) ||
        (rc = check_files(o, err, size)))
        return rc;
    own->o = *o;
    arena_init(&own->memory, mem, 256);
    if ((rc = keep(&own->memory, &own->o.proxy)) || (rc = keep(&own->memory, &own->o.no_proxy)) ||
        (rc = keep(&own->memory, &own->o.ca_file)) ||
        (rc = keep(&own->memory, &own->o.certificate_file)) ||
        (rc = keep(&own->memory, &own->o.key_file)) ||
        (rc = keep(&own->memory, &own->o.user_agent)) || (rc = make_agent_line(own)))
        http_options_fini(own);
    return rc;
}

/* A proxy's URL may have a password. */
void http_options_fini(struct http_options *own)
{
    if (own->o.proxy)
        mem_wipe((char *)own->o.proxy, strlen(own->o.proxy));
    arena_fini(&own->memory);
}
