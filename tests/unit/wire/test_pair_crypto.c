/* The cryptography of pairs of hubs: vectors of RFC 7748 and RFC 8032, and of another
 * implementation; and whatever is changed is refused. */
#include "base/hex.h"
#include "support/must.h"
#include "support/suite.h"
#include "wire/pair_crypto.h"

#include <string.h>

#define PEM                                                                                        \
    "-----BEGIN PRIVATE KEY-----\n"                                                                \
    "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n"                           \
    "-----END PRIVATE KEY-----\n"
#define PUBLIC "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"

static void unhex(uint8_t *out, const char *digits)
{
    for (; *digits; digits += 2)
        *out++ = (uint8_t)(hex_value(digits[0]) << 4 | hex_value(digits[1]));
}

static void is_hex(const void *got, const char *digits)
{
    uint8_t want[256];

    unhex(want, digits);
    ck_assert_mem_eq(got, want, strlen(digits) / 2);
}

START_TEST(agreement_is_x25519)
{
    uint8_t secret[PAIR_KEY], point[PAIR_KEY], shared[PAIR_KEY], other[PAIR_KEY];
    uint8_t mine[PAIR_KEY], theirs[PAIR_KEY];

    unhex(secret, "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4");
    unhex(point, "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c");
    ck_assert(pair_agree(secret, point, shared));
    is_hex(shared, "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552");
    for (int i = 0; i < 20; i++) {
        ck_assert(pair_ephemeral(mine, point) && pair_ephemeral(theirs, other));
        ck_assert(pair_agree(theirs, point, shared) && pair_agree(mine, other, secret));
        ck_assert_mem_eq(shared, secret, PAIR_KEY);
    }
}
END_TEST

/* Points of small order. */
static const char *const small_points[] = {
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
};

START_TEST(points_that_make_no_secret_are_refused)
{
    uint8_t secret[PAIR_KEY], key[PAIR_KEY], point[PAIR_KEY], shared[PAIR_KEY];

    ck_assert(pair_ephemeral(secret, key));
    for (size_t i = 0; i < sizeof small_points / sizeof *small_points; i++) {
        unhex(point, small_points[i]);
        ck_assert_msg(!pair_agree(secret, point, shared), "%s", small_points[i]);
    }
}
END_TEST

START_TEST(signatures_are_ed25519)
{
    struct pair_identity *k;
    struct mem mem;
    uint8_t signature[PAIR_SIGNATURE];
    char print[ALK_TLS_FINGERPRINT], data[] = "what is signed";
    uint8_t key[PAIR_KEY];

    mem_init(&mem, NULL, NULL);
    ck_assert_int_eq(pair_identity_new(&k, &mem, PEM, strlen(PEM)), ALK_OK);
    memcpy(key, pair_identity_public(k), PAIR_KEY);
    is_hex(key, PUBLIC);
    pair_fingerprint(key, print);
    ck_assert_str_eq(print, "ed25519:" PUBLIC);
    ck_assert(pair_sign(k, str_of(""), signature));
    is_hex(signature, "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a3"
                      "3bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b");
    ck_assert(pair_verify(key, str_of(""), signature));
    ck_assert(pair_sign(k, str_of(data), signature));
    ck_assert(pair_verify(key, str_of(data), signature));
    data[3] ^= 1;
    ck_assert(!pair_verify(key, str_of(data), signature));
    data[3] ^= 1;
    for (unsigned i = 0; i < PAIR_SIGNATURE; i++) {
        signature[i] ^= 4;
        ck_assert(!pair_verify(key, str_of(data), signature));
        signature[i] ^= 4;
    }
    key[0] ^= 1;
    ck_assert(!pair_verify(key, str_of(data), signature));
    pair_identity_free(k);
    ck_assert_uint_eq(mem.live, 0);
}
END_TEST

START_TEST(only_an_ed25519_key_is_a_hubs)
{
    static const char *const texts[] = {
        "", "x", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        /* of the curve P-256 */
        "-----BEGIN EC PRIVATE KEY-----\n"
        "MHcCAQEEINxSJqcjwPdzKHzzdoLKCRHzQ0mqO9xZxV/ElzkjajE0oAoGCCqGSM49\n"
        "AwEHoUQDQgAEc9lcJKzrJjfQfj77vc17ggPMZj7+vihVLgNP+J6Oe5mdRINyggih\n"
        "PXPmVjc5EPoPbS2gILe+n5LbiAswIg4mtw==\n"
        "-----END EC PRIVATE KEY-----\n"};
    struct pair_identity *k;
    struct mem mem;

    mem_init(&mem, NULL, NULL);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        ck_assert_int_eq(pair_identity_new(&k, &mem, texts[i], strlen(texts[i])), ALK_EINVAL);
        ck_assert_ptr_null(k);
    }
    ck_assert_uint_eq(mem.live, 0);
}
END_TEST

START_TEST(keys_come_from_the_secret_the_salt_and_the_purpose)
{
    uint8_t shared[PAIR_KEY], key[PAIR_KEY], other[PAIR_KEY];
    char salt[13], info[10];

    memset(shared, 11, sizeof shared);
    for (size_t i = 0; i < sizeof salt; i++)
        salt[i] = (char)i;
    for (size_t i = 0; i < sizeof info; i++)
        info[i] = (char)(0xf0 + i);
    ck_assert(pair_derive(shared, (struct str){salt, 13}, (struct str){info, 10}, key));
    is_hex(key, "d4100799f26a09615a72af3e58fa3841a2ff20d5ace3fb392e562e207fe6b718");
    ck_assert(pair_derive(shared, (struct str){salt, 12}, (struct str){info, 10}, other));
    ck_assert_mem_ne(key, other, PAIR_KEY);
    ck_assert(pair_derive(shared, (struct str){salt, 13}, (struct str){info, 9}, other));
    ck_assert_mem_ne(key, other, PAIR_KEY);
}
END_TEST

START_TEST(messages_are_aes_gcm_and_whatever_is_changed_is_refused)
{
    struct pair_cipher *c;
    struct mem mem;
    uint8_t key[PAIR_KEY];
    char sealed[6 + PAIR_TAG], out[6], head[] = "head";
    const struct str all = {sealed, sizeof sealed};

    mem_init(&mem, NULL, NULL);
    for (unsigned i = 0; i < PAIR_KEY; i++)
        key[i] = (uint8_t)i;
    must((c = pair_cipher_new(&mem, key)));
    ck_assert(pair_seal(c, 258, str_of(head), str_of("one"), str_of("two"), sealed));
    is_hex(sealed, "624675e213f36963533b5f883e670bcbb52aae3a99b4");
    ck_assert(pair_open(c, 258, str_of(head), all, out));
    ck_assert_mem_eq(out, "onetwo", 6);
    ck_assert(!pair_open(c, 259, str_of(head), all, out));
    ck_assert(!pair_open(c, 258, str_of("heae"), all, out));
    ck_assert(!pair_open(c, 258, str_of(head), (struct str){sealed, sizeof sealed - 1}, out));
    for (size_t i = 0; i < 8 * sizeof sealed; i++) {
        sealed[i / 8] ^= (char)(1 << i % 8);
        ck_assert(!pair_open(c, 258, str_of(head), all, out));
        sealed[i / 8] ^= (char)(1 << i % 8);
    }
    ck_assert(pair_seal(c, UINT64_MAX, str_of(head), str_of(""), str_of(""), sealed));
    ck_assert(pair_open(c, UINT64_MAX, str_of(head), (struct str){sealed, PAIR_TAG}, out));
    pair_cipher_free(c);
    ck_assert_uint_eq(mem.live, 0);
}
END_TEST

MAIN("pair_crypto", agreement_is_x25519, points_that_make_no_secret_are_refused,
     signatures_are_ed25519, only_an_ed25519_key_is_a_hubs,
     keys_come_from_the_secret_the_salt_and_the_purpose,
     messages_are_aes_gcm_and_whatever_is_changed_is_refused)
