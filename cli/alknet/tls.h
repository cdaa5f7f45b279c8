/* What the command line says of TLS: whom to trust, and who we are. */
#ifndef ALK_CLI_ALKNET_TLS_H
#define ALK_CLI_ALKNET_TLS_H

#include "settings.h"

#include <alknet/tls.h>
#include <curl/curl.h>

/* Whether the options fit each other and the URL; OUTCOME_USAGE after a message. */
int tls_check(const struct options *o, const struct settings *s);
bool tls_spoken(const struct settings *s);
/* What to do about a certificate that a dialer has refused, by its message; NULL: it has refused
 * none. */
const char *tls_hint(const char *message);
/* For a dialer; NULL after a message. */
alk_tls *tls_client(const struct options *o, const struct settings *s);
/* Of the certificate that the server of an https: or wss: URL shows, whoever it is; an outcome,
 * after a message. */
int tls_fingerprint_of(const struct settings *s, const struct options *o,
                       char out[ALK_TLS_FINGERPRINT]);
/* What libcurl is to do. */
struct tls_curl {
    CURL *curl;
    const char *pin;
    int good_port; /* ours, of the last connection that showed the pinned certificate */
};
/* x lives as long as curl. */
void tls_curl(struct tls_curl *x, CURL *curl, const struct options *o);

#endif
