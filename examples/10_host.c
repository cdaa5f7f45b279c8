/* A node without a loop of one's own: the library runs it, the program answers what comes. Bindings
 * of other languages are made of this. It runs until its input ends, or has a line. */
#include <alknet/host.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char config[] = "{\"listen\":[{\"host\":\"127.0.0.1\",\"port\":0}]}";
static const char schema[] =
    "{\"type\":\"object\",\"required\":[\"a\",\"b\"],"
    "\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":{\"type\":\"integer\"}}}";

/* The schema has been checked, so they are there. */
static long member(const char *json, const char *name)
{
    const char *at = strstr(json, name);

    return at ? strtol(at + strlen(name), NULL, 10) : 0;
}

static void answer(alk_host *h, const alk_host_event *e)
{
    char json[32];
    int n =
        snprintf(json, sizeof json, "%ld", member(e->text, "\"a\":") + member(e->text, "\"b\":"));

    alk_host_reply(h, e->id, json, (size_t)n);
}

int main(void)
{
    alk_host_options o = {.size = sizeof o, .config = config, .config_len = sizeof config - 1};
    char err[640] = "";
    alk_operation op;
    alk_host *h = NULL;

    alk_operation_init(&op, sizeof op);
    op.name = "demo/add";
    op.input_schema = schema;
    if (alk_host_new(&h, &o, err, sizeof err) || alk_host_add(h, &op, 1, err, sizeof err) ||
        alk_host_start(h, err, sizeof err)) {
        fprintf(stderr, "%s\n", err);
        alk_host_free(h);
        return 1;
    }
    struct pollfd p[] = {{.fd = alk_host_fd(h), .events = POLLIN},
                         {.fd = STDIN_FILENO, .events = POLLIN}};
    for (int stopped = 0; !stopped;) {
        alk_host_event events[64];
        size_t n;

        poll(p, 2, -1);
        n = alk_host_drain(h, events, sizeof *events, 64);
        for (size_t i = 0; i < n; i++) {
            if (events[i].kind == ALK_HOST_CALL)
                answer(h, &events[i]);
            else if (events[i].kind == ALK_HOST_LISTENING)
                printf("%s\n", events[i].text);
            stopped |= events[i].kind == ALK_HOST_STOPPED;
        }
        fflush(stdout);
        alk_host_release(h, events, sizeof *events, n);
        if (p[1].revents) { /* a line, or the end of the input */
            p[1].fd = -1;
            alk_host_stop(h, 1);
        }
    }
    alk_host_free(h);
    return 0;
}
