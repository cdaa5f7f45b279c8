/* The cryptography of pairs of hubs (adapt/cluster_pair.h): Ed25519 (RFC 8032) to prove who a hub
 * is, X25519 (RFC 7748) and HKDF-SHA256 (RFC 5869) for the keys of a pair, AES-256-GCM for its
 * messages. On GnuTLS, and X25519 on mbedTLS, as GnuTLS has it for TLS alone. */
#ifndef ALK_WIRE_PAIR_CRYPTO_H
#define ALK_WIRE_PAIR_CRYPTO_H

#include "base/mem.h"
#include "base/str.h"

#include <alknet/tls.h>

#include <stdint.h>

#define PAIR_KEY 32u       /* bytes of every key, public, secret or shared */
#define PAIR_SIGNATURE 64u /* bytes */
#define PAIR_TAG 16u       /* bytes that sealing adds */

/* A hub's own Ed25519 key. ALK_EINVAL (the PEM text is no such key), ALK_ENOMEM. */
struct pair_identity;
int pair_identity_new(struct pair_identity **out, struct mem *mem, const char *pem, size_t len);
/* Of a file. why: when it cannot be read, or is no such key. ALK_ESYSTEM as well. */
int pair_identity_read(struct pair_identity **out, struct mem *mem, const char *file, char *why,
                       size_t size);
void pair_identity_free(struct pair_identity *k);
const uint8_t *pair_identity_public(const struct pair_identity *k);
/* false: out of memory. */
bool pair_sign(const struct pair_identity *k, struct str data, uint8_t signature[PAIR_SIGNATURE]);
bool pair_verify(const uint8_t key[PAIR_KEY], struct str data,
                 const uint8_t signature[PAIR_SIGNATURE]);
void pair_fingerprint(const uint8_t key[PAIR_KEY], char out[ALK_TLS_FINGERPRINT]);

/* A fresh X25519 key. false: there is no randomness, or out of memory. */
bool pair_ephemeral(uint8_t secret[PAIR_KEY], uint8_t key[PAIR_KEY]);
/* false: theirs is none, or out of memory. */
bool pair_agree(const uint8_t secret[PAIR_KEY], const uint8_t theirs[PAIR_KEY],
                uint8_t shared[PAIR_KEY]);
/* A key of its own for each salt and info. false: out of memory. */
bool pair_derive(const uint8_t shared[PAIR_KEY], struct str salt, struct str info,
                 uint8_t out[PAIR_KEY]);

/* Of one direction. A number is used for one message only: two of the same would show both. */
struct pair_cipher;
/* NULL: out of memory. */
struct pair_cipher *pair_cipher_new(struct mem *mem, const uint8_t key[PAIR_KEY]);
/* NULL is fine. */
void pair_cipher_free(struct pair_cipher *c);
/* head is sent as it is, and protected too. out: of both parts and the tag. false: out of
 * memory. */
bool pair_seal(struct pair_cipher *c, uint64_t number, struct str head, struct str first,
               struct str second, char *out);
/* out: of what sealed has without its tag. false: somebody else's, or changed. */
bool pair_open(struct pair_cipher *c, uint64_t number, struct str head, struct str sealed,
               char *out);

#endif
