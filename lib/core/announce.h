/* services/announce: the remote of a connection serves operations, and wants them imported. Its
 * calls wait for the import, and are told who can call what it has brought, as the log is. */
#ifndef ALK_CORE_ANNOUNCE_H
#define ALK_CORE_ANNOUNCE_H

#include "core/call.h"

/* Puts the call into the list of those that wait for the next import. 0, or ALK_ENOMEM. */
int announce_wait(alk_call *call);
/* What c serves has been imported: it is logged, and the calls in the list are answered. */
void announce_done(alk_connection *c, struct list *announced);
/* It has not, and the calls fail with IMPORT_FAILED. */
void announce_failed(struct list *announced, const char *why);

#endif
