/* What the options of a bus become: a copy, and connections of libnats'. */
#include "uv/nats_int.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define CONNECT_MS 2000
#define IO_BYTES 65536
#define PING_MS 5000 /* the broker is asked whether it is there */
#define PINGS_OUT 2  /* without an answer, before it is taken for gone */

/* ---- the copy ---------------------------------------------------------------------------------- */

static const size_t texts[] = {
    offsetof(struct nats_options, name),        offsetof(struct nats_options, user),
    offsetof(struct nats_options, password),    offsetof(struct nats_options, token),
    offsetof(struct nats_options, credentials), offsetof(struct nats_options, nkey_seed),
    offsetof(struct nats_options, ca),          offsetof(struct nats_options, certificate),
    offsetof(struct nats_options, key),
};

static const char **text_at(const struct nats_options *o, size_t i)
{
    return (const char **)((char *)o + texts[i]);
}

void nats_options_drop(struct nats_options *o, struct mem *mem)
{
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char *text = (char *)*text_at(o, i);

        if (text)
            mem_wipe(text, strlen(text));
        mem_free(mem, text);
    }
    for (size_t i = 0; i < o->server_count; i++)
        mem_free(mem, (char *)o->servers[i]);
    mem_free(mem, (void *)o->servers);
}

bool nats_options_keep(struct nats_options *out, const struct nats_options *o, struct mem *mem)
{
    const char **servers = mem_zalloc(mem, o->server_count * sizeof *servers);
    bool good = servers != NULL;

    out->tls = o->tls;
    out->servers = servers;
    for (size_t i = 0; good && i < o->server_count; i++) {
        servers[i] = mem_dup(mem, o->servers[i], strlen(o->servers[i]));
        good = servers[i] != NULL;
        out->server_count += good;
    }
    for (size_t i = 0; good && i < sizeof texts / sizeof *texts; i++) {
        const char *text = *text_at(o, i);

        if (text) {
            *text_at(out, i) = mem_dup(mem, text, strlen(text));
            good = *text_at(out, i) != NULL;
        }
    }
    return good;
}

/* ---- connecting -------------------------------------------------------------------------------- */

static natsStatus set_identity(const struct nats_api *api, const struct nats_options *from,
                               natsOptions *o, char *why, size_t size)
{
    char key[NATS_KEY_SIZE];

    if (from->user)
        return api->natsOptions_SetUserInfo(o, from->user, from->password);
    if (from->token)
        return api->natsOptions_SetToken(o, from->token);
    if (from->credentials)
        return api->natsOptions_SetUserCredentialsFromFiles(o, from->credentials, NULL);
    if (!from->nkey_seed)
        return NATS_OK;
    if (nats_key_public(from->nkey_seed, key, why, size))
        return NATS_ERR;
    return api->natsOptions_SetNKeyFromSeed(o, key, from->nkey_seed);
}

static natsStatus set_tls(const struct nats_api *api, const struct nats_options *from,
                          natsOptions *o, const char *url)
{
    natsStatus s = NATS_OK;

    if (!from->tls && strncmp(url, "tls://", 6))
        return NATS_OK;
    s = api->natsOptions_SetSecure(o, true);
    if (!s && from->ca)
        s = api->natsOptions_LoadCATrustedCertificates(o, from->ca);
    if (!s && from->certificate)
        s = api->natsOptions_LoadCertificatesChain(o, from->certificate, from->key);
    return s;
}

/* SendAsap: libnats asks for the socket to be written at once, and starts no thread for that. */
static natsStatus set_options(const struct nats_api *api, const struct nats_options *from,
                              const struct nats_hooks *h, natsOptions *o, const char *url)
{
    natsStatus s = api->natsOptions_SetURL(o, url);

    if (!s)
        s = api->natsOptions_SetName(o, from->name);
    if (!s)
        s = api->natsOptions_SetTimeout(o, CONNECT_MS);
    if (!s)
        s = api->natsOptions_SetAllowReconnect(o, false);
    if (!s)
        s = api->natsOptions_SetIgnoreDiscoveredServers(o, true);
    if (!s)
        s = api->natsOptions_SetSendAsap(o, true);
    if (!s)
        s = api->natsOptions_SetIOBufSize(o, IO_BYTES);
    if (!s)
        s = api->natsOptions_SetPingInterval(o, PING_MS);
    if (!s)
        s = api->natsOptions_SetMaxPingsOut(o, PINGS_OUT);
    if (!s)
        s = api->natsOptions_SetErrorHandler(o, h->error, h->ud);
    if (!s)
        s = api->natsOptions_SetClosedCB(o, h->released, h->ud);
    if (!s)
        s = api->natsOptions_SetEventLoop(o, h->ud, h->attach, h->read, h->write, h->detach);
    return s;
}

/* libnats puts the place of its own source before its words, and does not tell why a server cannot
 * be reached. */
static const char *reason_of(const struct nats_api *api, natsStatus s)
{
    const char *text = api->nats_GetLastError(NULL), *words;

    if (s == NATS_NO_SERVER)
        return "cannot be reached: there is no such host, or nobody listens there";
    if (s == NATS_TIMEOUT)
        return "does not answer in time";
    if (!text || !*text)
        return api->natsStatus_GetText(s);
    words = *text == '(' ? strstr(text, "): ") : NULL;
    return words ? words + 3 : text;
}

natsConnection *nats_connect(const struct nats_api *api, const struct nats_options *from,
                             const char *url, const struct nats_hooks *h, char *why, size_t size)
{
    natsOptions *o = NULL;
    natsConnection *nc = NULL;
    natsStatus s;
    sigset_t all;

    /* Those threads that libnats starts from here are not to take the program's signals either. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    *why = 0;
    s = api->natsOptions_Create(&o);
    if (!s)
        s = set_options(api, from, h, o, url);
    if (!s)
        s = set_tls(api, from, o, url);
    if (!s)
        s = set_identity(api, from, o, why, size);
    if (!s)
        s = api->natsConnection_Connect(&nc, o);
    /* libnats 3.4 sends a signature that begins with a zero byte as none: one of 256. */
    if (s == NATS_CONNECTION_AUTH_FAILED && (from->credentials || from->nkey_seed))
        s = api->natsConnection_Connect(&nc, o);
    if (s && !*why)
        snprintf(why, size, "%s", reason_of(api, s));
    api->natsOptions_Destroy(o);
    return nc;
}
