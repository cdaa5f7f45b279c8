/* The HTTP transport: requests to the gateway's routes, built once for both that send them
 * (http_open) and that print them as curl commands (curl_command_open). */
#ifndef ALK_CLI_ALKNET_HTTP_H
#define ALK_CLI_ALKNET_HTTP_H

#include "remote.h"

#define CONNECT_TIMEOUT_MS 10000
#define ANSWER_TIMEOUT_MS 60000 /* where no --timeout is given; not for subscriptions */
#define TIMEOUT_GRACE_MS 1000   /* what the answer `TIMEOUT` gets to arrive */
#define HEADER_MAX 65536u       /* bytes of an answer's headers */

struct http_request {
    const char *route;  /* "/call" */
    struct buffer body; /* a POST when not empty */
    bool stream;        /* a subscription */
    bool open;          /* without token and deadline */
};

/* None of these fails: memory that runs out ends the program. */
struct remote *http_open(const struct options *o, const struct settings *s);
struct remote *curl_command_open(const struct options *o, const struct settings *s);

/* Makes the body of /call and /subscribe. */
void http_request_body(struct http_request *q, const char *op, const struct buffer *input);
/* The deadline to send, 0: none; and the time after which to give up, 0: never. */
int64_t http_deadline_ms(const struct http_request *q, const struct options *o);
int64_t http_limit_ms(const struct http_request *q, const struct options *o);

#endif
