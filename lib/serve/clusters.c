/* Implements clusters.h. A loop closes its cluster when it closes; what a reload has posted by then
 * finds that it is over. */
#include "serve/clusters.h"

#include "base/str.h"
#include "config/secret.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXTS 12

struct membership {
    alk_cluster_options o; /* name NULL: none */
    const char *servers[CONFIG_SERVERS_MAX];
    struct sayer sayer;
    alk_loop *net;
    alk_cluster *cluster; /* of the loop's thread; NULL: not joined */
    bool over;
    bool failed;               /* atomic: it could not join */
    struct membership *before; /* until the loop has taken this one */
};

static void texts_of(alk_cluster_options *o, const char **at[TEXTS])
{
    const char **const all[TEXTS] = {&o->name,        &o->prefix,    &o->node_key,
                                     &o->user,        &o->password,  &o->token,
                                     &o->credentials, &o->nkey_seed, &o->certificate,
                                     &o->ca,          &o->key,       &o->services_token};

    memcpy(at, all, sizeof all);
}

void membership_free(struct membership *m)
{
    const char **at[TEXTS];

    if (!m)
        return;
    texts_of(&m->o, at);
    for (size_t i = 0; i < TEXTS; i++)
        secret_free((char *)(uintptr_t)*at[i]);
    for (uint32_t i = 0; i < m->o.server_count; i++)
        secret_free((char *)(uintptr_t)m->servers[i]);
    free(m);
}

static bool copy(const char **text)
{
    *text = *text ? strdup(*text) : NULL;
    return *text;
}

/* What could not be copied is NULL, so that all of it can be freed. */
static bool copy_all(struct membership *m, const char *const *servers, size_t count)
{
    const char **at[TEXTS];
    bool whole = true;

    texts_of(&m->o, at);
    for (size_t i = 0; i < TEXTS; i++)
        whole &= !*at[i] || copy(at[i]);
    for (size_t i = 0; i < count; i++) {
        m->servers[i] = servers[i];
        whole &= copy(&m->servers[i]);
    }
    m->o.servers = m->servers;
    m->o.server_count = (uint32_t)count;
    return whole;
}

struct membership *membership_new(const struct config *cfg, const struct sayer *sayer)
{
    struct membership *m = calloc(1, sizeof *m);

    if (!m)
        return NULL;
    m->sayer = *sayer;
    m->o.size = sizeof m->o;
    if (!cfg->cluster.given)
        return m;
    m->o.tls = cfg->cluster.tls;
    m->o.name = cfg->cluster.name;
    m->o.prefix = cfg->cluster.prefix;
    m->o.node_key = cfg->node_key;
    m->o.user = cfg->cluster.user;
    m->o.password = cfg->cluster.password;
    m->o.token = cfg->cluster.token;
    m->o.credentials = cfg->cluster.credentials;
    m->o.nkey_seed = cfg->cluster.nkey_seed_file;
    m->o.ca = cfg->cluster.ca;
    m->o.certificate = cfg->cluster.certificate;
    m->o.key = cfg->cluster.key;
    m->o.services = cfg->cluster.services;
    m->o.services_token = cfg->cluster.services_token;
    if (copy_all(m, cfg->cluster.servers, cfg->cluster.server_count))
        return m;
    membership_free(m);
    return NULL;
}

int membership_join(struct membership *m, alk_loop *net, struct config_error *err)
{
    char why[256] = "";
    int rc = m->o.name ? alk_cluster_open(&m->cluster, net, &m->o, why, sizeof why) : ALK_OK;

    return rc < 0 ? config_fail(err, "cluster", 0, "", "%s", *why ? why : alk_strerror(rc)) : 0;
}

static void change(void *ud)
{
    struct membership *m = ud, *before = m->before;
    struct config_error err;

    m->before = NULL;
    m->over = before->over;
    if (!m->over) {
        if (before->cluster)
            alk_cluster_close(before->cluster);
        if (membership_join(m, m->net, &err) < 0) {
            __atomic_store_n(&m->failed, true, __ATOMIC_RELAXED);
            say(&m->sayer, ALK_LOG_ERROR, "cluster.failed", "%s", err.text);
        }
    }
    membership_free(before);
}

/* b adds nothing to a, which has been taken. Secrets included, of which a configuration has the files' names only. */
static bool same(struct membership *a, struct membership *b)
{
    const char **of_a[TEXTS], **of_b[TEXTS];
    bool yes = !__atomic_load_n(&a->failed, __ATOMIC_RELAXED) && a->o.tls == b->o.tls &&
               a->o.services == b->o.services && a->o.server_count == b->o.server_count;

    texts_of(&a->o, of_a);
    texts_of(&b->o, of_b);
    for (size_t i = 0; i < TEXTS; i++)
        yes = yes && str_same(*of_a[i], *of_b[i]);
    for (uint32_t i = 0; yes && i < a->o.server_count; i++)
        yes = !strcmp(a->servers[i], b->servers[i]);
    return yes;
}

int membership_replace(struct membership **now, struct membership *next, alk_loop *net)
{
    int rc;

    if (same(*now, next)) {
        membership_free(next);
        return ALK_OK;
    }
    next->net = net;
    next->before = *now;
    rc = alk_loop_post(net, change, next);
    if (rc == ALK_OK)
        *now = next;
    return rc;
}

/* One that a reload has posted has it from the one before, when it comes. */
void membership_over(struct membership *m)
{
    for (; m; m = m->before)
        m->over = true;
}
