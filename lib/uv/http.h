/* The HTTP client of a loop, as the loop knows it. */
#ifndef ALK_UV_HTTP_H
#define ALK_UV_HTTP_H

#include "uv/plumbing.h"

/* Costs nothing until the first request. */
void http_init(struct alk_loop *l);
/* Does what was asked for since the last turn. */
void http_step(struct alk_loop *l, uint64_t now);
/* Ends all requests; its handles close in a later turn. */
void http_close(struct alk_loop *l);

#endif
