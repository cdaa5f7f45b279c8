/* The parsed form of values, for C programs that use yyjson: no second parse, no second copy.
 *
 * In parsed values, integers that fit 64 bits are yyjson integers; every other number is a
 * yyjson raw value with the text that came ("1.10", "1e400"), so that nothing is lost by passing
 * it on. Read those with alk_value_double. */
#ifndef ALKNET_YYJSON_H
#define ALKNET_YYJSON_H

#include <alknet/alknet.h>
#include <yyjson.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The parsed value; NULL when out of memory. Read-only; lives as long as the value. */
ALK_API yyjson_val *alk_value_yyjson(const alk_value *value);
/* Parses text by the library's rules, for programs that take JSON from strangers: RFC 8259, no
 * member twice in one object, at most depth (up to 1024) containers within each other and values
 * values in all; numbers as above. NULL with the reason in why, such as "unexpected character at
 * byte 17". Free with yyjson_doc_free; text may go before. */
ALK_API yyjson_doc *alk_json_read(const char *text, size_t len, uint32_t depth, uint32_t values,
                                  char *why, size_t why_size);
/* Any number as a double, 0 for what is none. */
ALK_API double alk_value_double(const yyjson_val *number);
/* A parsed or a built value as what a subscription emits, or else as the answer. It is written at
 * once and stays the caller's. Codes as of alk_call_emit and alk_call_reply; a built value is
 * trusted to have no member twice. */
ALK_API int alk_call_output_yyjson(alk_call *call, const yyjson_val *value);
ALK_API int alk_call_output_built(alk_call *call, const yyjson_mut_val *value);

#ifdef __cplusplus
}
#endif

#endif
