/* Implements alknet_remote.h. */
#include "alknet_remote.h"
#include "alknet_http.h"
#include "alknet_print.h"

#include <string.h>

static const struct {
    const char *scheme;
    struct remote *(*open)(struct mem *mem, const struct options *o, const struct settings *s);
    struct remote *(*open_curl)(struct mem *mem, const struct options *o, const struct settings *s);
} transports[] = {
    {"http", http_open, curl_command_open},
    {"https", http_open, curl_command_open},
    {"unix", http_open, curl_command_open},
};

void reply_init(struct reply *reply, struct mem *mem)
{
    memset(reply, 0, sizeof *reply);
    buf_init(&reply->text, mem);
}

void reply_fini(struct reply *reply)
{
    yyjson_doc_free(reply->doc);
    buf_fini(&reply->text);
}

int remote_open(struct remote **out, struct mem *mem, const struct options *o,
                const struct settings *settings)
{
    for (size_t i = 0; i < sizeof transports / sizeof *transports; i++) {
        if (strcmp(transports[i].scheme, settings->scheme) == 0) {
            *out = (o->curl ? transports[i].open_curl : transports[i].open)(mem, o, settings);
            return OUTCOME_OK;
        }
    }
    complain("%s: the scheme of a URL is http, https or unix", settings->url);
    return OUTCOME_USAGE;
}
