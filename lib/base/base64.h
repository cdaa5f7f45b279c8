/* Base64 of RFC 4648, section 4. What is read may lack the padding, and may have nothing else that
 * is not in the alphabet: two readers that skip different bytes can be told two things by one
 * text. */
#ifndef ALK_BASE_BASE64_H
#define ALK_BASE_BASE64_H

#include <stdbool.h>
#include <stddef.h>

#define BASE64_SIZE(n) (((n) + 2) / 3 * 4) /* of n bytes as text, without a NUL */
#define BASE64_BYTES(n) ((n) / 4 * 3 + 2)  /* room that n characters may need as bytes */

void base64_encode(char *out, const void *bytes, size_t n);
/* false: it is none; out then holds anything. */
bool base64_decode(char *out, size_t *len, const char *text, size_t n);

#endif
