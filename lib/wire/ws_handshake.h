/* The arithmetic of the opening handshake (RFC 6455, section 4) and of tokens in subprotocols, and
 * the names that both sides say in it. */
#ifndef ALK_WIRE_WS_HANDSHAKE_H
#define ALK_WIRE_WS_HANDSHAKE_H

#include <stdbool.h>
#include <stddef.h>

#define WS_CALL_PATH "/alknet/call"
#define WS_CALL_PROTOCOL "alknet.call.v1"
#define WS_EVENTS_PROTOCOL "alknet.events.v1"
#define WS_TOKEN_PREFIX "alknet.bearer." /* of a subprotocol that is a token in base64url */

#define WS_KEY_SIZE 24u    /* of Sec-WebSocket-Key */
#define WS_ACCEPT_SIZE 28u /* of Sec-WebSocket-Accept */

/* 16 bytes in base64. */
bool ws_key_valid(const char *key, size_t n);
/* A random one, with a NUL; false: no randomness. */
bool ws_key_new(char out[WS_KEY_SIZE + 1]);
/* The answer to a valid key, with a NUL. */
void ws_accept(const char *key, char out[WS_ACCEPT_SIZE + 1]);

/* base64url without padding, in its one form. out has room for n bytes. Returns the length; 0: it
 * is not that. */
size_t ws_token_decode(const char *p, size_t n, char *out);

#endif
