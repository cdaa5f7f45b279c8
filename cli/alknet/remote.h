/* A remote, over whatever transport its URL names: the commands know only this. A transport is a
 * table of functions and a way to open it; remote.c chooses by scheme. The functions return an enum
 * outcome and print nothing but what --verbose asks for. */
#ifndef ALK_CLI_ALKNET_REMOTE_H
#define ALK_CLI_ALKNET_REMOTE_H

#include "options.h"
#include "settings.h"
#include "buffer.h"

#include <alknet/alknet.h>
#include <alknet/yyjson.h>

#define ANSWER_MAX (64u << 20) /* bytes of one answer */
#define EVENT_MAX (16u << 20)  /* bytes of one value of a subscription */
#define PROBLEM_MAX 1024u

/* What came of a request; all zero at first. With OUTCOME_OK output (NULL: there is nothing to
 * show), with OUTCOME_REMOTE fault, with OUTCOME_CONNECTION problem; that is empty when on_value
 * stopped it. */
struct reply {
    struct buffer text; /* what doc is made from */
    yyjson_doc *doc;
    yyjson_val *output, *fault;
    const char *hint;          /* what may help, or NULL */
    char problem[PROBLEM_MAX]; /* English, complete */
};

struct printer;
struct remote;

/* op has its leading slash; input is JSON. */
struct remote_ops {
    int (*call)(struct remote *r, const char *op, const struct buffer *input, struct reply *reply);
    /* on_value: 0, or -1 to stop. reply as of a call, without an output. */
    int (*subscribe)(struct remote *r, const char *op, const struct buffer *input,
                     int (*on_value)(void *ud, yyjson_val *value), void *ud, struct reply *reply);
    /* calls is the JSON of a batch; the output is the array of results. */
    int (*batch)(struct remote *r, const struct buffer *calls, struct reply *reply);
    /* Sets *us on OUTCOME_OK. */
    int (*ping)(struct remote *r, int64_t *us, struct reply *reply);
    /* What a GET of a route answers, JSON, is the output. NULL: there are no routes. */
    int (*get)(struct remote *r, const char *route, struct reply *reply);
    void (*close)(struct remote *r);
};

struct remote {
    const struct remote_ops *ops;
    const struct options *options;
    const struct settings *settings;
    struct printer
        *printer; /* of values: a transport that must not stand still gives it an outlet */
};

void reply_free(struct reply *reply);
/* Returns OUTCOME_CONNECTION. */
int reply_problem(struct reply *reply, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Where clear text and TLS meet. */
#define HINT_TLS                                                                                   \
    "perhaps the server speaks TLS there: then the URL begins with https://, wss:// or "           \
    "alknet+tls://"
#define HINT_NO_TLS                                                                                \
    "perhaps the server speaks no TLS there: then the URL begins with http:// or ws://"
#define HINT_NO_HOST "nobody knows that name: is it spelled right?"
/* What may help when a connection failed with that errno; NULL: nothing is known. */
const char *remote_hint(int number);
/* As an object. */
void remote_put_fault(struct buffer *out, const alk_fault *f);
/* Whether there are sessions, which can be lost and made again. */
bool remote_lasts(const struct settings *settings);
/* OUTCOME_USAGE after a message when no transport has the scheme, or not the options. Free with
 * ops->close. */
int remote_open(struct remote **out, const struct options *o, const struct settings *settings,
                struct printer *printer);

#endif
