/* alk_cluster_open: a cluster's engine on a bus of the loop's, for as long as the loop is open. */
#include "adapt/cluster.h"
#include "adapt/cluster_offer.h"
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
    struct bus *services_bus; /* NULL: no services */
    struct offering *offer;
};

static const struct abi abi_cluster_options = ABI_PLAIN(alk_cluster_options, services_token);

void alk_cluster_close(alk_cluster *c)
{
    struct mem *mem = &c->t->d->mem;

    list_del(&c->dialing.link);
    if (c->offer)
        offering_close(c->offer);
    if (c->services_bus)
        c->services_bus->ops->close(c->services_bus);
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

/* A hub that may not be there does not take what clients ask of the other one of its name. */
static void on_joined(void *ud, bool yes)
{
    struct alk_cluster *c = ud;

    if (c->offer && yes)
        offering_begin(c->offer);
    else if (c->offer)
        offering_end(c->offer);
}

static int start_services(struct alk_cluster *c, const alk_cluster_options *o,
                          const struct cluster_options *co, struct nats_options no, char *err,
                          size_t size)
{
    char name[HUB_NAME_MAX + sizeof "-services"];
    struct offering_options oo = {
        .name = co->name, .prefix = co->prefix, .token = o->services_token};
    int rc;

    snprintf(name, sizeof name, "%s-services", co->name);
    no.name = name;
    rc = c->t->open_bus(c->t, &no, &c->services_bus, err, size);
    if (rc)
        return rc;
    oo.bus = c->services_bus;
    return offering_new(&c->offer, c->t->d, &oo);
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
    struct cluster_options co = {.name = o->name,
                                 .prefix = o->prefix ? o->prefix : "alknet",
                                 .on_joined = on_joined,
                                 .ud = c};
    int rc = pair_identity_read(&c->identity, &c->t->d->mem, o->node_key, err, size);

    if (rc)
        return rc;
    rc = c->t->open_bus(c->t, &no, &c->bus, err, size);
    if (rc)
        return rc;
    co.bus = c->bus;
    co.identity = c->identity;
    rc = cluster_new(&c->cluster, c->t->d, &co);
    return !rc && o->services ? start_services(c, o, &co, no, err, size) : rc;
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
