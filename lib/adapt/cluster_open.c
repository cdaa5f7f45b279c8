/* alk_cluster_open: a cluster's engine on a bus of the loop's, for as long as the loop is open. */
#include "adapt/cluster.h"
#include "adapt/cluster_pair.h"
#include "adapt/options.h"
#include "wire/transport.h"

#include <alknet/cluster.h>
#include <stdio.h>

struct alk_cluster {
    struct dialing dialing; /* the loop closes it by this */
    struct transport *t;
    struct pair_identity *identity;
    struct bus *bus;
    struct cluster *cluster;
};

static const struct abi abi_cluster_options = ABI_PLAIN(alk_cluster_options, key);

void alk_cluster_close(alk_cluster *c)
{
    struct mem *mem = &c->t->d->mem;

    list_del(&c->dialing.link);
    if (c->cluster)
        cluster_close(c->cluster);
    if (c->bus)
        c->bus->ops->close(c->bus);
    pair_identity_free(c->identity);
    mem_free(mem, c);
}

static void on_loop_close(struct dialing *x)
{
    alk_cluster_close(container_of(x, struct alk_cluster, dialing));
}

static int refuse(char *err, size_t size, int rc, const char *why)
{
    snprintf(err, size, "%s", why);
    return rc;
}

static int check(const alk_cluster_options *o, char *err, size_t size)
{
    if (!o->name || !hub_name_good(o->name))
        return refuse(err, size, ALK_EINVAL, "name: must be 1 to 64 letters, digits, _ and -");
    if (o->prefix && !bus_prefix_good(o->prefix))
        return refuse(err, size, ALK_EINVAL, "prefix: must be words with dots between them");
    if (!o->servers || !o->server_count)
        return refuse(err, size, ALK_EINVAL, "servers: is missing");
    if (!o->node_key)
        return refuse(err, size, ALK_EINVAL, "node_key: is missing");
    return ALK_OK;
}

static int start(struct alk_cluster *c, const alk_cluster_options *o, char *err, size_t size)
{
    const struct nats_options no = {.servers = o->servers,
                                    .server_count = o->server_count,
                                    .name = o->name,
                                    .user = o->user,
                                    .password = o->password,
                                    .token = o->token,
                                    .credentials = o->credentials,
                                    .nkey_seed = o->nkey_seed,
                                    .tls = o->tls != 0,
                                    .ca = o->ca,
                                    .certificate = o->certificate,
                                    .key = o->key};
    struct cluster_options co = {.name = o->name, .prefix = o->prefix ? o->prefix : "alknet"};
    int rc = pair_identity_read(&c->identity, &c->t->d->mem, o->node_key, err, size);

    if (rc)
        return rc;
    rc = c->t->open_bus(c->t, &no, &c->bus, err, size);
    if (rc)
        return rc;
    co.bus = c->bus;
    co.identity = c->identity;
    return cluster_new(&c->cluster, c->t->d, &co);
}

int alk_cluster_open(alk_cluster **out, alk_loop *l, const alk_cluster_options *o, char *err,
                     size_t err_size)
{
    struct transport *t = loop_transport(l);
    alk_cluster_options own;
    struct alk_cluster *c;
    char why[256] = "";
    int rc;

    *out = NULL;
    o = node_take(t->d->node, &abi_cluster_options, &own, o);
    rc = !o ? ALK_EINVAL : t->leaving ? ALK_ECLOSED : check(o, why, sizeof why);
    c = rc ? NULL : mem_zalloc(&t->d->mem, sizeof *c);
    if (!rc && !c)
        rc = ALK_ENOMEM;
    if (!rc) {
        c->t = t;
        c->dialing.close = on_loop_close;
        list_push(&t->dialers, &c->dialing.link);
        rc = start(c, o, why, sizeof why);
    }
    if (err)
        snprintf(err, err_size, "%s", rc && !*why ? alk_strerror(rc) : why);
    if (!rc)
        *out = c;
    else if (c)
        alk_cluster_close(c);
    return rc;
}
