/* Tokens: how one is made, and the hash by which a configuration knows it, so that no file has the
 * token. */
#include "base/host.h"
#include "base/mem.h"

#include <alknet/alknet.h>
#include <string.h>

/* In the form that the provider takes: lower-case hexadecimal, so that a hash has one spelling. */
void alk_token_hash(const char *token, size_t len, char out[65])
{
    static const char hex[] = "0123456789abcdef";
    uint8_t hash[32];

    host_default()->sha256(token, len, hash);
    for (size_t i = 0; i < 32; i++) {
        out[2 * i] = hex[hash[i] >> 4];
        out[2 * i + 1] = hex[hash[i] & 15];
    }
    out[64] = 0;
}

/* 192 bits of randomness (32 times 6), so that guessing is hopeless at any rate. 64 digits, so that
 * none of them is likelier than another. The prefix lets scanners of leaked secrets find one. */
int alk_token_new(char out[ALK_TOKEN_SIZE])
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint8_t random[32];

    if (host_default()->random(random, sizeof random))
        return ALK_ESYSTEM;
    memcpy(out, "alk_", 4);
    for (size_t i = 0; i < 32; i++)
        out[4 + i] = digits[random[i] & 63];
    out[36] = 0;
    /* It is the token, in another form. */
    mem_wipe(random, sizeof random);
    return ALK_OK;
}
