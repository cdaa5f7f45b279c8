/* Fills the table of base/host.h: the only place where the core's needs and the libraries meet. Who
 * builds the core without mbedTLS or PCRE2 replaces this folder. */
#include "base/host.h"

#include "host/crypto.h"
#include "host/mutex.h"
#include "host/process.h"
#include "host/regex.h"

const struct host *host_default(void)
{
    static const struct host host = {
        .sha256 = crypto_sha256,
        .random = crypto_random,
        .regex_new = regex_new,
        .regex_match = regex_match,
        .regex_size = regex_size,
        .regex_free = regex_free,
        .mutex_new = mutex_new,
        .mutex_lock = mutex_lock,
        .mutex_unlock = mutex_unlock,
        .mutex_free = mutex_free,
        .process = process_read,
    };

    return &host;
}
