/* What the files of NATS share; others see nats.h. */
#ifndef ALK_UV_NATS_INT_H
#define ALK_UV_NATS_INT_H

#include "uv/nats.h"
#include "uv/nats_api.h"

/* The options, with texts of their own, which are wiped in the end. false: out of memory; what is
 * there is to be dropped in both cases. */
bool nats_options_keep(struct nats_options *out, const struct nats_options *o, struct mem *mem);
void nats_options_drop(struct nats_options *o, struct mem *mem);

/* Whom libnats calls, on any thread; attach has ud as its loop, the others as what it is. */
struct nats_hooks {
    void *ud;
    natsEvLoop_Attach attach;
    natsEvLoop_ReadAddRemove read;
    natsEvLoop_WriteAddRemove write;
    natsEvLoop_Detach detach;
    natsConnectionHandler released; /* the last call of a connection that there has been */
    natsErrHandler error;
};

/* Connects, which takes its time: for a thread that is there for that. NULL: why says why, and
 * nothing of the secrets. */
natsConnection *nats_connect(const struct nats_api *api, const struct nats_options *from,
                             const char *url, const struct nats_hooks *h, char *why, size_t size);

/* The public key of the seed in a file, as NATS writes it ("U…"). 0, or -1 with the reason in why,
 * which shows nothing of the file. */
#define NATS_KEY_SIZE 57u
int nats_key_public(const char *file, char out[NATS_KEY_SIZE], char *why, size_t size);

#endif
