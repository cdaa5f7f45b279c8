/* NKeys of NATS: an Ed25519 key in base32, behind a prefix that says whose it is, and with a CRC.
 * libnats signs with a seed and wants to be told the public key that belongs to it. */
#include "base/base64.h"
#include "base/mem.h"
#include "uv/nats_int.h"
#include "wire/quic_tls.h"

#include <stdio.h>
#include <string.h>

#define FILE_MAX 4096u
#define SEED_LETTERS 58u /* of 2 bytes of prefix, 32 of seed and 2 of CRC */
#define SEED_BYTES 36u
#define PUBLIC_BYTES 35u
#define PREFIX_USER 0xa0u /* the letter U */

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

static void encode(char *out, const uint8_t *bytes, size_t len)
{
    for (size_t bit = 0; bit < 8 * len; bit += 5) {
        unsigned pair =
            (unsigned)bytes[bit / 8] << 8 | (bit / 8 + 1 < len ? bytes[bit / 8 + 1] : 0);

        *out++ = alphabet[pair >> (11 - bit % 8) & 31];
    }
    *out = 0;
}

static bool decode(uint8_t out[SEED_BYTES], const char *letters)
{
    memset(out, 0, SEED_BYTES);
    for (size_t i = 0; i < SEED_LETTERS; i++) {
        const char *at = letters[i] ? strchr(alphabet, letters[i]) : NULL;
        size_t bit = 5 * i;
        unsigned value = at ? (unsigned)(at - alphabet) << (11 - bit % 8) : 0;

        if (!at)
            return false;
        out[bit / 8] |= (uint8_t)(value >> 8);
        if (bit / 8 + 1 < SEED_BYTES)
            out[bit / 8 + 1] |= (uint8_t)value;
    }
    return true;
}

static unsigned crc16(const uint8_t *bytes, size_t len)
{
    unsigned crc = 0;

    while (len--) {
        crc ^= (unsigned)*bytes++ << 8;
        for (int i = 0; i < 8; i++)
            crc = (crc & 0x8000 ? crc << 1 ^ 0x1021 : crc << 1) & 0xffff;
    }
    return crc;
}

/* By way of PKCS #8, which is a fixed head and the seed. */
static bool public_of(const uint8_t seed[32], uint8_t out[32])
{
    static const uint8_t head[] = {0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06,
                                   0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20};
    uint8_t der[sizeof head + 32];
    char body[BASE64_SIZE(sizeof der)], pem[160], fingerprint[ALK_TLS_FINGERPRINT];
    struct tls_text text = {.text = pem};
    unsigned byte;

    memcpy(der, head, sizeof head);
    memcpy(der + sizeof head, seed, 32);
    base64_encode(body, der, sizeof der);
    text.len = (size_t)snprintf(pem, sizeof pem,
                                "-----BEGIN PRIVATE KEY-----\n%.*s\n-----END PRIVATE KEY-----\n",
                                (int)sizeof body, body);
    bool good = quic_key_fingerprint(&text, fingerprint) == 0;
    for (unsigned i = 0; good && i < 32; i++) {
        good = sscanf(strchr(fingerprint, ':') + 1 + (size_t)2 * i, "%2x", &byte) == 1;
        out[i] = (uint8_t)byte;
    }
    mem_wipe(der, sizeof der);
    mem_wipe(body, sizeof body);
    mem_wipe(pem, sizeof pem);
    return good;
}

/* The seed is on a line of its own, and decorations may be around it. */
static bool find_seed(const char *text, uint8_t seed[32])
{
    uint8_t bytes[SEED_BYTES];
    bool good = false;

    for (const char *at = text; at && !good; at = strchr(at, '\n')) {
        at += strspn(at, " \t\r\n");
        good = !strncmp(at, "SU", 2) && strspn(at, alphabet) == SEED_LETTERS && decode(bytes, at) &&
               bytes[0] == (0x90 | PREFIX_USER >> 5) && !bytes[1] &&
               crc16(bytes, 34) == (bytes[34] | (unsigned)bytes[35] << 8);
    }
    if (good)
        memcpy(seed, bytes + 2, 32);
    mem_wipe(bytes, sizeof bytes);
    return good;
}

int nats_key_public(const char *file, char out[NATS_KEY_SIZE], char *why, size_t size)
{
    char text[FILE_MAX + 1];
    uint8_t seed[32], key[PUBLIC_BYTES] = {PREFIX_USER};
    FILE *f = fopen(file, "re");
    size_t len = 0;

    if (f) {
        setvbuf(f, NULL, _IONBF, 0); /* no second copy */
        len = fread(text, 1, FILE_MAX, f);
        fclose(f);
    }
    text[len] = 0;
    bool good = find_seed(text, seed) && public_of(seed, key + 1);
    mem_wipe(text, sizeof text);
    mem_wipe(seed, sizeof seed);
    if (!good) {
        snprintf(why, size, "%s %s", file, f ? "holds no seed of a user's NKey" : "cannot be read");
        return -1;
    }
    unsigned crc = crc16(key, 33);
    key[33] = (uint8_t)crc;
    key[34] = (uint8_t)(crc >> 8);
    encode(out, key, sizeof key);
    return 0;
}
