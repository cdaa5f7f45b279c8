/* Operations of other services: `imports` of the configuration, from their documents into the
 * node's discovery overlay (alk_node_set_discovered), a source for each.
 *
 * A list of them is made from a configuration without changing anything that is served; then it
 * takes the place of the list before. So a reload can still fail. All of this belongs to the
 * service's thread and its loop, since a large document takes a while. */
#ifndef ALK_SERVE_IMPORTS_H
#define ALK_SERVE_IMPORTS_H

#include "config/config.h"
#include "serve/say.h"

#include <stdbool.h>
#include <uv.h>

struct imports;
struct importer;

/* What cfg says, whose secrets the list takes. Documents in files are imported here; one that has a
 * URL is when before (NULL: there is none) has had it from there, and is otherwise still to come.
 * Returns 0, or -1 with the reason in err. */
int imports_new(struct imports **out, struct config *cfg, const struct imports *before,
                struct config_error *err);
void imports_free(struct imports *list);

struct importer_options {
    alk_node *node;
    const struct sayer *sayer;
    uv_loop_t *loop;
    const alk_http_options *http;
    void (*on_come)(void *ud); /* a document has come from its URL */
    void *ud;
};

/* NULL: out of memory. What o points to outlives it. */
struct importer *importer_new(const struct importer_options *o);
/* Puts list, which is the importer's from here on, in the place of the one before. */
void importer_take(struct importer *im, struct imports *list);
/* NULL: there is none yet. */
const struct imports *importer_list(const struct importer *im);
/* Fetches what is due; to be called each second. */
void importer_tick(struct importer *im);
/* Whether some document has not come yet. */
bool importer_waits(const struct importer *im);
/* Fetches no more, and closes what it has on the loop, which must run until then. */
void importer_close(struct importer *im);
/* NULL is none. */
void importer_free(struct importer *im);

#endif
