/* Implements dial_options.h. The URL's parts and the token end up in the head of a request, so what
 * could break out of a line there is refused here, where the program can still be told. Their form
 * is checked no further than that: a host that is no name is found out by the resolver. */
#include "adapt/dial_options.h"

#include "base/abi.h"
#include "base/mem.h"
#include "wire/tls.h"
#include "wire/ws_handshake.h"

#include <stdio.h>
#include <string.h>

#define HOST_MAX 255u /* of a name in DNS, RFC 1035, 2.3.4 */
/* Below the time in which a person gives up, above that of a few lost packets. */
#define CONNECT_MS 10000u
/* A server that restarts is found again at once, one that is gone costs two attempts a minute. */
#define RETRY_MIN_MS 250u
#define RETRY_MAX_MS 30000u

static const alk_dial_options options_defaults = {.size = sizeof(alk_dial_options),
                                                  .reconnect = 1,
                                                  .connect_timeout_ms = CONNECT_MS,
                                                  .retry_min_ms = RETRY_MIN_MS,
                                                  .retry_max_ms = RETRY_MAX_MS};
static const struct abi abi_dial_options = ABI(alk_dial_options, ud, &options_defaults);

void alk_dial_options_init(alk_dial_options *o, size_t size)
{
    abi_fill(&abi_dial_options, o, size, &options_defaults);
}

/* Begins with the name of the option: the text is shown beside others. */
static int invalid(char *err, size_t size, const char *what)
{
    if (err && size)
        snprintf(err, size, "%s", what);
    return ALK_EINVAL;
}

/* Printable ASCII without blanks: fit for a request line or a field. */
static bool clean(const char *s)
{
    for (; *s; s++) {
        if (*s <= 0x20 || *s >= 0x7f)
            return false;
    }
    return true;
}

/* Digits only, five at most, so that nothing overflows: strtoul takes signs and blanks as well.
 * Port 0 is none. */
static bool read_port(const char *p, const char *end, uint32_t *out)
{
    uint32_t v = 0;

    if (p == end || end - p > 5)
        return false;
    for (; p < end; p++) {
        if (*p < '0' || *p > '9')
            return false;
        v = v * 10 + (uint32_t)(*p - '0');
    }
    *out = v;
    return v > 0 && v <= 65535;
}

static const struct scheme {
    const char *prefix;
    uint32_t port; /* by default; 0: a path follows, of a Unix-domain socket */
    bool tls, framed, quic;
} schemes[] = {
    {"alknet://", 4780, true, true, true},      {"ws://", 80, false, false, false},
    {"wss://", 443, true, false, false},        {"ws+unix:", 0, false, false, false},
    {"alknet+tls://", 4780, true, true, false}, {"alknet+unix:", 0, false, true, false},
};

static const struct scheme *scheme_of(const char *url)
{
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
        if (!strncmp(url, schemes[i].prefix, strlen(schemes[i].prefix)))
            return &schemes[i];
    }
    return NULL;
}

/* host[:port][/path], host in brackets when it is an IPv6 address (RFC 3986, 3.2.2): its colons
 * would be read as a port's otherwise. A fragment is forbidden by RFC 6455, 3; a user would be a
 * secret that ends up in logs; a query has no meaning at a gateway. The Host field gets what the
 * URL has, brackets and port included (RFC 6455, 4.1); without a path the one is meant where
 * gateways take calls. */
static int read_host(struct dial_url *out, struct arena *arena, const char *p, char *err,
                     size_t size)
{
    const char *end, *host_end, *slash = strpbrk(p, "/?");
    bool bracket = *p == '[';

    if (!clean(p) || strchr(p, '#') || strchr(p, '@'))
        return invalid(err, size, "url: a blank, a fragment or a user does not belong there");
    if (slash && strchr(slash, '?'))
        return invalid(err, size, "url: a query does not belong there");
    end = slash ? slash : p + strlen(p);
    host_end = bracket ? memchr(p, ']', (size_t)(end - p)) : memchr(p, ':', (size_t)(end - p));
    if (!host_end)
        host_end = bracket ? p : end;
    out->remote = out->host_field = arena_dup(arena, p, (size_t)(end - p));
    out->to.host =
        arena_dup(arena, p + bracket, (size_t)(host_end - p) - (host_end > p && bracket));
    out->path = slash && slash[1] ? arena_dup(arena, slash, strlen(slash)) : WS_CALL_PATH;
    if (!out->host_field || !out->to.host || !out->path)
        return ALK_ENOMEM;
    host_end += bracket && host_end > p;
    if (!*out->to.host || strlen(out->to.host) > HOST_MAX)
        return invalid(err, size, "url: the host is missing or too long");
    if (host_end != end && (*host_end != ':' || !read_port(host_end + 1, end, &out->to.port)))
        return invalid(err, size, "url: the port must be 1 to 65535");
    if (out->framed && slash)
        return invalid(err, size, "url: a path does not belong there");
    return ALK_OK;
}

/* A path is all that is behind the scheme. It gets into no request. */
static int read_path(struct dial_url *out, struct arena *arena, const char *path, char *err,
                     size_t size)
{
    size_t n = strlen(path);

    if (!n || n > SOCKET_PATH_MAX)
        return invalid(err, size, "url: the path of the socket is missing or too long");
    out->remote = out->to.path = arena_dup(arena, path, n);
    out->host_field = "localhost";
    out->path = WS_CALL_PATH;
    return out->to.path ? ALK_OK : ALK_ENOMEM;
}

static int read_url(struct dial_url *out, struct arena *arena, const char *url, char *err,
                    size_t size)
{
    const struct scheme *scheme = url ? scheme_of(url) : NULL;
    const char *rest, *hash;

    if (!scheme)
        return invalid(err, size,
                       "url: must begin with alknet://, ws://, wss://, ws+unix:, alknet+tls:// or "
                       "alknet+unix:");
    rest = url + strlen(scheme->prefix);
    out->to.port = scheme->port;
    out->tls = scheme->tls;
    out->framed = scheme->framed;
    out->quic = scheme->quic;
    if (out->quic && (hash = strchr(rest, '#'))) {
        if (!tls_is_pin(hash + 1))
            return invalid(err, size,
                           "url: behind # must be ed25519: or SHA256: and 64 hexadecimal digits "
                           "in lower case");
        out->pin = arena_dup(arena, hash + 1, strlen(hash + 1));
        rest = arena_dup(arena, rest, (size_t)(hash - rest));
        if (!out->pin || !rest)
            return ALK_ENOMEM;
    }
    return scheme->port ? read_host(out, arena, rest, err, size)
                        : read_path(out, arena, rest, err, size);
}

static int trust_system(alk_tls **out, char *err, size_t size)
{
    alk_tls_options o;

    alk_tls_options_init(&o, sizeof o);
    o.client = 1;
    return alk_tls_new(out, &o, err, size);
}

/* NULL stays NULL: an option that was not given. */
static int keep(struct arena *arena, const char **to, const char *s)
{
    if (s && !(*to = arena_dup(arena, s, strlen(s))))
        return ALK_ENOMEM;
    return ALK_OK;
}

/* Nothing of own points into the program's memory at any moment, so that a failure halfway can be
 * undone like a success. */
int dial_options_read(alk_dial_options *own, struct dial_url *url, struct arena *arena,
                      const alk_dial_options *o, char *err, size_t size)
{
    alk_dial_options full;
    int rc;

    o = abi_take(&abi_dial_options, &full, o, err, size);
    if (!o)
        return ALK_EINVAL;
    if (!o->connect_timeout_ms || !o->retry_min_ms || o->retry_max_ms < o->retry_min_ms)
        return invalid(err, size, "times: must be above 0, retry_max_ms not below retry_min_ms");
    if (o->identity && o->peer_id)
        return invalid(err, size, "peer_id: there is an identity already");
    if (o->token && (!*o->token || !clean(o->token)))
        return invalid(err, size, "token: must be printable, without blanks");
    *own = *o;
    own->url = own->token = own->request_token = own->namespace_prefix = own->operation_filter =
        own->peer_id = NULL;
    own->identity = o->identity ? alk_identity_ref(o->identity) : NULL;
    own->tls = o->tls ? alk_tls_ref(o->tls) : NULL;
    own->ud_free = NULL;
    if ((rc = read_url(url, arena, o->url, err, size)) ||
        (rc = keep(arena, &own->token, o->token)) ||
        (rc = keep(arena, &own->peer_id, o->peer_id)) ||
        (rc = keep(arena, &own->request_token, o->request_token)) ||
        (rc = keep(arena, &own->namespace_prefix, o->namespace_prefix)) ||
        (rc = keep(arena, &own->operation_filter, o->operation_filter)))
        return rc;
    if (url->framed && o->token)
        return invalid(err, size, "token: there is no upgrade that could carry it");
    if (url->tls && !own->tls && (rc = trust_system(&own->tls, err, size)))
        return rc;
    if (url->tls && !url->quic && !tls_has_streams(own->tls))
        return invalid(err, size, "tls: a raw key is for alknet:// alone");
    own->ud_free = o->ud_free;
    return ALK_OK;
}

/* The arena's blocks go back to the allocator as they are, so tokens are wiped first. */
void dial_options_fini(alk_dial_options *own)
{
    alk_identity_unref(own->identity);
    alk_tls_unref(own->tls);
    if (own->token)
        mem_wipe((char *)own->token, strlen(own->token));
    if (own->request_token)
        mem_wipe((char *)own->request_token, strlen(own->request_token));
}
