/* A WebSocket session with a hub, and the loop that it runs on.
 *
 * Nothing happens but in hub_step, which waits for the loop, for signals and for room in an outlet
 * at once, so that Ctrl-C works whatever else waits. Between hub_guard and hub_release SIGINT,
 * SIGTERM and SIGHUP are taken there, unless the program was started with them ignored; otherwise
 * they do what they always do. While an outlet is full the loop stands still: what the hub sends
 * then waits in the network and holds it back. */
#ifndef ALK_CLI_ALKNET_HUB_H
#define ALK_CLI_ALKNET_HUB_H

#include "options.h"
#include "outlet.h"
#include "settings.h"

#include <alknet/uv.h>
#include <signal.h>

#define HUB_CLOSE_MS 1000 /* for what is polite before the end */
#define HUB_MESSAGE_MAX 256u

enum hub_state { HUB_DOWN, HUB_DIALLING, HUB_OPEN };

struct hub {
    const struct options *options;
    const struct settings *settings;
    uv_loop_t uv;
    alk_registry *registry;
    alk_node *node;
    alk_loop *loop;
    alk_tls *tls;       /* NULL: no TLS is spoken */
    alk_dialer *dialer; /* NULL: none */
    unsigned dialers;   /* of them and of those before that are not gone yet */
    enum hub_state state;
    bool opened;       /* there was a session */
    bool closed;       /* the loop is */
    int status;        /* of the last failure, as in alk_dial_event */
    uint64_t retry_ms; /* likewise */
    unsigned failures; /* how many there were */
    char message[HUB_MESSAGE_MAX];
    /* NULL: nobody else is told of events. */
    void (*on_event)(void *ud, const alk_dial_event *e);
    void *ud;
    int signal_fd;
    sigset_t signals, before;
    bool guarded;
    int caught; /* the signal that came, 0: none */
};

/* registry is frozen; a reference is kept. limits: NULL for the defaults. Memory that runs out ends
 * the program. */
void hub_init(struct hub *h, const struct options *o, const struct settings *s,
              alk_registry *registry, const alk_limits *limits);
/* Closes the session, waiting at most HUB_CLOSE_MS for the hub, and frees everything. */
void hub_fini(struct hub *h);
/* With the URL, the token and the time limits of the command line. */
void hub_dial_options(const struct hub *h, alk_dial_options *o);
/* In place of the dialer that there is. OUTCOME_USAGE after a message. */
int hub_dial(struct hub *h, alk_dial_options *o);
/* Ends the session, and what runs for it. */
void hub_hang_up(struct hub *h);
/* NULL: there is none now. */
alk_connection *hub_connection(const struct hub *h);
/* Whether trying again is useless: the hub does not want us, or has had a certificate that will not
 * do from the beginning. One that comes later may be replaced. */
bool hub_refused(const struct hub *h);

/* From now on one of them ends the program with status 0, but where it is guarded. */
void hub_end_by_signals(void);
void hub_guard(struct hub *h);
void hub_release(struct hub *h);
/* Waits, max_ms at most (-1: for ever), and does what there is to do. out may be NULL. What has
 * been asked of the library from outside begins with the next step: with 0, it is not waited for
 * first. */
void hub_step(struct hub *h, struct outlet *out, int max_ms);
/* Steps until that time has passed or a signal has come. */
void hub_pause(struct hub *h, int ms);
/* Takes leave of the hub and ends the program by the signal that was caught. */
void hub_die(struct hub *h);

#endif
