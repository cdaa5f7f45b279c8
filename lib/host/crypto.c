/* The host's hash and randomness. Both are reached from every thread, so neither keeps state;
 * crypto.h has the measurements behind the choice. */
#include "host/crypto.h"

#include <errno.h>
#include <mbedtls/sha256.h>
#include <string.h>
#include <sys/random.h>

void crypto_sha256(const void *data, size_t len, uint8_t out[32])
{
    /* Only hardware drivers can fail. No secret hashes to zeros, so that a failed hash matches
     * nothing. */
    if (mbedtls_sha256(data, len, out, 0))
        memset(out, 0, 32);
}

/* From the system and not from a generator of our own, which would have state to protect, to seed
 * and to keep apart after a fork. It waits only in the first moments of a machine. */
int crypto_random(void *out, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = getrandom((char *)out + done, len - done, 0);

        /* Short reads and EINTR are normal for large requests; all else means that there is no
         * source. */
        if (n < 0 && errno != EINTR)
            return -1;
        if (n > 0)
            done += (size_t)n;
    }
    return 0;
}
