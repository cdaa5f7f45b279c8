/* What a configuration says, running: a node with its workers, its connections and its imports.
 *
 * The thread that opens a service owns it: but for service_dial and service_node all functions are
 * called on it, or all later ones on another that runs its loop from then on. */
#ifndef ALK_SERVE_SERVICE_H
#define ALK_SERVE_SERVICE_H

#include "serve/dials.h"
#include "serve/options.h"

struct service;

/* Opens all, in the order of the configuration, and starts the threads, which have the signal mask
 * of this one. 0, or -1 with the reason in err; then nothing is open. */
int service_open(struct service **out, const struct service_options *o, struct config_error *err);
/* Tries all that can be tried without effect. Of o, cfg and reg count, which are gone after it. */
int service_check(const struct service_options *o, struct config_error *err);
/* Takes cfg, also on failure, in place of the configuration before: all of it that can change, or
 * nothing and -1 with the reason in err. changed: the members that differ and are read at the start
 * alone, as "listen, log". */
int service_reload(struct service *s, struct config *cfg, char *changed, size_t size,
                   struct config_error *err);
/* Drains; at_once, and any second time: without waiting for what runs. on_stopped follows, and the
 * loop ends when nothing else keeps it alive. */
void service_stop(struct service *s, bool at_once);
/* After on_stopped; runs the loop until what is left there is closed. */
void service_free(struct service *s);
/* What one entry of `connect`, JSON, says (config_load_connect), for alk_dial on the first worker's
 * loop: (*out)->o, which on_event, ud_free and ud are to be added to. Then for dial_unref. From any
 * thread. Returns 0, or -1 with the reason in err. */
int service_dial(struct service *s, const char *json, size_t len, struct dial **out,
                 struct config_error *err);
alk_node *service_node(struct service *s);

#endif
