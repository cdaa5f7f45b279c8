/* Bodies of requests, from the member `body` of an input. */
#ifndef ALK_ADAPT_OPENAPI_BODY_H
#define ALK_ADAPT_OPENAPI_BODY_H

#include "adapt/openapi_write.h"

/* v is not null but for JSON; boundary: of a multipart body. */
void oas_body(struct oas_writer *w, const struct oas_plan *plan, yyjson_val *v,
              const char *boundary);
/* openapi_multipart.c */
void oas_multipart(struct oas_writer *w, const struct oas_plan *plan, yyjson_val *v,
                   const char *boundary);
/* The bytes of base64. */
void oas_binary(struct oas_writer *w, yyjson_val *v);

#endif
