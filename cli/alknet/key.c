/* `keygen` and `fingerprint`: the keys by which nodes know each other. Standard output has the
 * fingerprint alone, for a script or a configuration. */
#include "commands.h"
#include "hub.h"
#include "settings.h"
#include "tls.h"

#include <alknet/tls.h>
#include <stdlib.h>
#include <string.h>

static int say(struct cli *cli, const char *fingerprint)
{
    buffer_printf(&cli->printer.text, "%s\n", fingerprint);
    return print_flush(&cli->printer) ? OUTCOME_CONNECTION : OUTCOME_OK;
}

int command_keygen(struct cli *cli)
{
    const char *file = cli->options->operands[0];
    char fingerprint[ALK_TLS_FINGERPRINT], why[256] = "";
    int rc = alk_key_new(file, fingerprint, why, sizeof why);

    if (rc == ALK_OK)
        return say(cli, fingerprint);
    complain("%s", *why ? why : alk_strerror(rc));
    return OUTCOME_USAGE;
}

struct look {
    char fingerprint[ALK_TLS_FINGERPRINT];
    bool done;
};

static void on_event(void *ud, const alk_dial_event *e)
{
    struct look *look = ud;

    look->done = true;
    if (e->fingerprint)
        snprintf(look->fingerprint, sizeof look->fingerprint, "%s", e->fingerprint);
}

/* What the server shows, whoever it is: nothing is said to it, and nothing is believed. */
static int of_session(struct cli *cli, const struct settings *s)
{
    alk_registry *none = alk_registry_new();
    alk_limits limits;
    alk_dial_options o;
    struct look look = {0};
    struct hub h;
    int rc;

    if (!none || alk_registry_freeze(none)) {
        complain("out of memory");
        exit(OUTCOME_CONNECTION);
    }
    alk_limits_init(&limits, sizeof limits);
    hub_init(&h, cli->options, s, none, &limits);
    h.on_event = on_event;
    h.ud = &look;
    hub_dial_options(&h, &o);
    o.request_token = o.token = NULL;
    o.reconnect = 0;
    rc = hub_dial(&h, &o);
    hub_guard(&h);
    while (rc == 0 && !look.done && !h.caught)
        hub_step(&h, NULL, -1);
    hub_release(&h);
    if (rc == 0 && !*look.fingerprint) {
        complain("%s: %s", s->url, h.message);
        rc = OUTCOME_CONNECTION;
    }
    hub_fini(&h);
    alk_registry_unref(none);
    return rc ? rc : say(cli, look.fingerprint);
}

static int of_url(struct cli *cli, const char *url)
{
    struct options look = *cli->options;
    struct cli as = *cli;
    struct settings s;
    int rc;

    look.url = url;
    look.quiet = true;
    look.insecure = !strncmp(url, "alknet://", 9); /* or its key would have to be known already */
    as.options = &look;
    rc = settings_load(&s, &look);
    look.insecure = true;
    if (rc == 0 && !tls_spoken(&s)) {
        complain("%s: is not encrypted, and shows no key", url);
        rc = OUTCOME_USAGE;
    } else if (rc == 0 && !strncmp(s.scheme, "alknet", 6)) {
        rc = of_session(&as, &s);
    } else if (rc == 0) {
        char fingerprint[ALK_TLS_FINGERPRINT];

        rc = tls_fingerprint_of(&s, &look, fingerprint);
        rc = rc ? rc : say(&as, fingerprint);
    }
    settings_fini(&s);
    cli->printer = as.printer;
    return rc;
}

int command_fingerprint(struct cli *cli)
{
    const char *what = cli->options->operands[0];
    char fingerprint[ALK_TLS_FINGERPRINT], why[256] = "";
    int rc;

    if (strstr(what, "://"))
        return of_url(cli, what);
    rc = alk_key_fingerprint(what, fingerprint, why, sizeof why);
    if (rc == ALK_OK)
        return say(cli, fingerprint);
    complain("%s: %s", what, *why ? why : alk_strerror(rc));
    return OUTCOME_USAGE;
}
