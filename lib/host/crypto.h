/* SHA-256 and random bytes, without state: any thread, any time, nothing to initialise.
 *
 * The hash is mbedTLS's one-shot function, which keeps its context on the stack. Random bytes come
 * straight from the kernel: 0.3 us a call, as fast as PSA's generator, which would keep a seeded
 * state behind a lock and dirty 80 KiB for good, and six times as fast as an mbedTLS entropy
 * context made for one call. */
#ifndef ALK_HOST_CRYPTO_H
#define ALK_HOST_CRYPTO_H

#include <stddef.h>
#include <stdint.h>

/* The functions of struct host (base/host.h). */
void crypto_sha256(const void *data, size_t len, uint8_t out[32]);
int crypto_random(void *out, size_t len);

#endif
