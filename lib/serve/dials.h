/* The connections that a service opens itself: `connect` of the configuration.
 *
 * A list of them does not change: a reload makes the next one, which shares what is the same with
 * the one before, so that its connections stay. Lists belong to the service's thread, which
 * changes those that are dialled by a post to the loop that dials. */
#ifndef ALK_SERVE_DIALS_H
#define ALK_SERVE_DIALS_H

#include "config/config.h"
#include "serve/say.h"

#include <alknet/dial.h>
#include <alknet/uv.h>

#define DIAL_TEXTS 7

/* One of `connect`; does not change but for dialer and refs. */
struct dial {
    const struct sayer *sayer;
    alk_dial_options o;       /* its texts are those of texts, its tls is a reference */
    const char *name, *entry; /* entry: its JSON text; NULL: it stands by itself */
    char *texts[DIAL_TEXTS];
    size_t text_count;
    alk_dialer *dialer; /* of the loop's thread; NULL: none */
    uint32_t refs;      /* atomic: of lists and of the dialer */
};

struct dials {
    struct dial *items[CONFIG_CONNECT_MAX];
    size_t count;
    /* Of a list that takes another's place, for the loop's thread: where, and that other. */
    alk_loop *net;
    struct dials *before;
};

/* Of cfg->connect, which has its alk_tls; the token is copied. NULL: out of memory. */
struct dial *dial_new(const struct config *cfg, size_t i, const struct sayer *sayer);
void dial_unref(struct dial *dial); /* NULL is none */
/* What cfg says, whose connections have their alk_tls. What is in before as well (which may be
 * NULL), with the same text and the same token, is shared with it. sayer outlives the list. Returns
 * 0, or -1 with the reason in err. */
int dials_new(struct dials **out, const struct config *cfg, const struct dials *before,
              const struct sayer *sayer, struct config_error *err);
void dials_free(struct dials *list);
/* Whether all that cfg says can be dialled, without doing so: 0, or -1 with the reason in err. The
 * loop must run until what this has opened there is closed. */
int dials_check(const struct config *cfg, alk_node *node, uv_loop_t *loop,
                struct config_error *err);
/* Begins to dial from net, on its thread. Returns 0, or -1 with the reason in err. */
int dials_open(alk_loop *net, const struct dials *list, struct config_error *err);
/* Puts next in the place of *list, from another thread than net's: what next has not is closed, and
 * what is new is dialled. After a failure, ALK_ENOMEM, nothing has changed. */
int dials_replace(alk_loop *net, struct dials **list, struct dials *next);

#endif
