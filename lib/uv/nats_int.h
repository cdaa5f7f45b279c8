/* What the files of NATS share; others see nats.h. */
#ifndef ALK_UV_NATS_INT_H
#define ALK_UV_NATS_INT_H

#include "uv/nats.h"
#include "uv/nats_api.h"

/* The public key of the seed in a file, as NATS writes it ("U…"). 0, or -1 with the reason in why,
 * which shows nothing of the file. */
#define NATS_KEY_SIZE 57u
int nats_key_public(const char *file, char out[NATS_KEY_SIZE], char *why, size_t size);

#endif
