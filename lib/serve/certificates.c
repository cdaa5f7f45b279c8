/* A certificate that is signed by itself is made once and kept: whoever has pinned its fingerprint,
 * or has it as a trust anchor, finds the same one after each start. A reload reads all files or
 * changes nothing: those of connections have been tried, with their configuration, before any is
 * taken. */
#include "serve/certificates.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SELF_SIGNED_DAYS 3650u
#define DAY INT64_C(86400)
#define WARN_DAYS 14

static bool is_absent(const char *path)
{
    return access(path, F_OK) < 0 && errno == ENOENT;
}

static int self_sign(const struct config *cfg, const struct sayer *sayer, struct config_error *err)
{
    const struct config_certificate *own = cfg->tls.items.items;
    char why[256] = "";
    int rc;

    if (!is_absent(own->certificate))
        return 0;
    rc = alk_tls_self_sign(own->certificate, own->key, cfg->tls.names, SELF_SIGNED_DAYS, why,
                           sizeof why);
    if (rc < 0)
        return config_complain(cfg, "/tls", "tls", *why ? why : alk_strerror(rc), err);
    say(sayer, ALK_LOG_INFO, "tls.self_signed", "made %s and %s", own->certificate, own->key);
    return 0;
}

/* The node's key is made once, like the certificate: others know the node by it. */
static int make_node_key(const struct config *cfg, const struct sayer *sayer,
                         struct config_error *err)
{
    char fingerprint[ALK_TLS_FINGERPRINT], why[256] = "";
    int rc;

    if (!cfg->node_key_used || !is_absent(cfg->node_key))
        return 0;
    rc = alk_key_new(cfg->node_key, fingerprint, why, sizeof why);
    if (rc < 0)
        return config_complain(cfg, "/node_key", "node_key", *why ? why : alk_strerror(rc), err);
    say(sayer, ALK_LOG_INFO, "key.made", "made %s", cfg->node_key);
    return 0;
}

/* One that is named is good also where nothing needs it yet. */
static int try_node_key(const struct config *cfg, struct config_error *err)
{
    alk_tls_options o;
    char why[256] = "";
    alk_tls *tls;

    if (!(cfg->node_key_given || cfg->node_key_used) || is_absent(cfg->node_key))
        return 0;
    alk_tls_options_init(&o, sizeof o);
    o.raw_key = cfg->node_key;
    int rc = alk_tls_new(&tls, &o, why, sizeof why);
    alk_tls_unref(tls);
    return rc < 0
               ? config_complain(cfg, "/node_key", "node_key", *why ? why : alk_strerror(rc), err)
               : 0;
}

static int open_streams(alk_tls **out, const struct config *cfg, const struct sayer *sayer,
                        struct config_error *err)
{
    const struct config_certificate *first = cfg->tls.items.items;
    alk_tls_options o;
    char why[256] = "";
    int rc;

    if (cfg->tls.self_signed) {
        /* A configuration that is only looked at has none yet, and will. */
        if (!sayer && is_absent(first->certificate))
            return 0;
        if (sayer && self_sign(cfg, sayer, err) < 0)
            return -1;
    }
    alk_tls_options_init(&o, sizeof o);
    o.certificates = cfg->tls.certificates;
    o.client_certificates = cfg->tls.ask;
    o.tickets = cfg->tls.tickets;
    rc = alk_tls_new(out, &o, why, sizeof why);
    return rc < 0 ? config_complain(cfg, "/tls", "tls", *why ? why : alk_strerror(rc), err) : 0;
}

/* Whoever cannot take a raw key gets the certificate, where one is configured. */
static int open_quic(alk_tls **out, const struct config *cfg, const struct sayer *sayer,
                     struct config_error *err)
{
    alk_tls_options o;
    char why[256] = "";
    /* A configuration that is only looked at has no key yet, and will. */
    bool has_key = sayer || !is_absent(cfg->node_key);
    int rc;

    if (!has_key && !cfg->tls.given)
        return 0;
    alk_tls_options_init(&o, sizeof o);
    o.raw_key = has_key ? cfg->node_key : NULL;
    o.certificates = cfg->tls.given ? cfg->tls.certificates : NULL;
    rc = alk_tls_new(out, &o, why, sizeof why);
    return rc < 0 ? config_complain(cfg, "/tls", "tls", *why ? why : alk_strerror(rc), err) : 0;
}

int certificates_open(struct listener_tls *out, struct config *cfg, const struct sayer *sayer,
                      struct config_error *err)
{
    int rc = sayer ? make_node_key(cfg, sayer, err) : 0;

    *out = (struct listener_tls){0};
    if (rc == 0)
        rc = try_node_key(cfg, err);
    if (rc == 0 && (cfg->tls.used || cfg->tls.given))
        rc = open_streams(&out->streams, cfg, sayer, err);
    if (rc == 0 && cfg->tls.quic)
        rc = open_quic(&out->quic, cfg, sayer, err);
    return rc;
}

/* A node has one key, that which was named first, also after a reload whose text names another; and
 * once it has been used, no other is made in its place. */
static int share_node_key(struct config *cfg, struct config *start, struct config_error *err)
{
    if (!start->node_key && cfg->node_key &&
        !(start->node_key = config_own(start, strdup(cfg->node_key))))
        return config_fail(err, cfg->text.file, 0, "node_key", "out of memory");
    cfg->node_key = start->node_key;
    return 0;
}

int certificates_connect(struct config *cfg, struct config *start, const struct sayer *sayer,
                         struct config_error *err)
{
    struct config_connect *connect = cfg->connect.items;
    const char *named = cfg->node_key;

    if (share_node_key(cfg, start, err) < 0)
        return -1;
    bool other = named && strcmp(named, cfg->node_key) != 0;
    if (sayer && !start->node_key_used && make_node_key(cfg, sayer, err) < 0)
        return -1;
    for (size_t i = 0; i < cfg->connect.count; i++) {
        if (other && connect[i].quic && !connect[i].own.key) {
            alk_tls_unref(connect[i].tls);
            connect[i].tls = NULL;
        }
        if (!connect[i].tls && config_connect_tls(cfg, i, &connect[i].tls, err) < 0)
            return -1;
        if (sayer && connect[i].quic && !connect[i].tls)
            return config_fail(err, cfg->node_key, 0, "", "is gone");
    }
    start->node_key_used |= cfg->node_key_used;
    return 0;
}

void certificates_close(struct listener_tls *t)
{
    alk_tls_unref(t->streams);
    alk_tls_unref(t->quic);
}

static int reload(alk_tls *tls, const struct config *cfg, const char *place,
                  struct config_error *err)
{
    char why[256] = "";
    int rc = alk_tls_reload(tls, why, sizeof why);

    return rc < 0 ? config_fail(err, cfg->text.file, 0, place, "%s", *why ? why : alk_strerror(rc))
                  : 0;
}

int certificates_reload(const struct listener_tls *t, const struct config *cfg,
                        const struct dials *dials, struct config_error *err)
{
    int rc = 0;

    if (t->streams)
        rc = reload(t->streams, cfg, "tls", err);
    if (rc == 0 && t->quic)
        rc = reload(t->quic, cfg, "node_key", err);
    for (size_t i = 0; i < dials->count && rc == 0; i++) {
        if (dials->items[i]->o.tls)
            rc = reload(dials->items[i]->o.tls, cfg, "connect", err);
    }
    return rc;
}

/* whose, colon: of a connection its name and ": ". One that has none is silent. */
static void tell(const alk_tls *tls, const char *whose, const char *colon,
                 const struct sayer *sayer, int64_t unix_time)
{
    char fingerprint[ALK_TLS_FINGERPRINT], day[32];
    int64_t end;
    int rc = alk_tls_fingerprint(tls, fingerprint, &end);
    int64_t left = (end - unix_time) / DAY;
    time_t t = (time_t)end;
    struct tm tm;

    if (rc < 0)
        return;
    if (!strncmp(fingerprint, "ed25519:", 8)) {
        say(sayer, ALK_LOG_INFO, "tls.key", "%s%s%s", whose, colon, fingerprint);
        return;
    }
    strftime(day, sizeof day, "%Y-%m-%d", gmtime_r(&t, &tm));
    say(sayer,
        end <= unix_time   ? ALK_LOG_ERROR
        : left < WARN_DAYS ? ALK_LOG_WARN
                           : ALK_LOG_INFO,
        "tls.certificate", "%s%s%s, %s %s", whose, colon, fingerprint,
        end <= unix_time ? "EXPIRED on" : "valid until", day);
}

void certificates_tell(const struct listener_tls *t, const struct dials *dials,
                       const struct sayer *sayer, int64_t unix_time)
{
    if (t->streams)
        tell(t->streams, "", "", sayer, unix_time);
    if (t->quic)
        tell(t->quic, "", "", sayer, unix_time);
    for (size_t i = 0; i < dials->count; i++) {
        if (dials->items[i]->o.tls)
            tell(dials->items[i]->o.tls, dials->items[i]->name, ": ", sayer, unix_time);
    }
}
