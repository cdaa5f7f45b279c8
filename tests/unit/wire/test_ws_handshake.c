/* The arithmetic of the opening handshake: keys, their answer, and tokens in subprotocols. */
#include "support/must.h"
#include "support/suite.h"
#include "wire/ws_handshake.h"

#include <stdio.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* ---- keys -------------------------------------------------------------------------------------- */

START_TEST(the_answer_to_the_key_of_the_rfc)
{
    static const char *const rows[][2] = {
        {"dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="}, /* RFC 6455, section 1.3 */
        {"x3JJHMbDL1EzLkh9GBhXDw==", "HSmrc0sMlYUkAGmm5OPpG2HaGWk="}, /* of the common examples */
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        char out[WS_ACCEPT_SIZE + 1];

        memset(out, '#', sizeof out);
        ck_assert(ws_key_valid(rows[i][0], strlen(rows[i][0])));
        ws_accept(rows[i][0], out);
        ck_assert_str_eq(out, rows[i][1]);
    }
}
END_TEST

static const struct {
    const char *key;
    bool valid;
} keys[] = {
    {"AAAAAAAAAAAAAAAAAAAAAA==", true},      {"/+/+/+/+/+/+/+/+/+/+/w==", true},
    {"AQIDBAUGBwgJCgsMDQ4PEA==", true},      {"", false},
    {"AAAAAAAAAAAAAAAAAAAAAA=", false},      {"AAAAAAAAAAAAAAAAAAAAAA", false},
    {"AAAAAAAAAAAAAAAAAAAAAAA=", false}, /* 17 bytes */
    {"AAAAAAAAAAAAAAAAAAAAAAAA", false}, /* 18 bytes */
    {"AAAAAAAAAAAAAAAAAAAAA===", false},     {"AAAAAAAAAAAAAAAAAAAA====", false},
    {"========================", false},     {"AAAAAAAAAAAA==AAAAAAAAAA", false},
    {"=AAAAAAAAAAAAAAAAAAAAAA=", false},     {"AAAAAAAAAAAAAAAAAAAAAA=A", false},
    {"AAAAAAAAAAAAAAAAAAAAA-==", false},     {"AAAAAAAAAAAAAAAAAAAAA_==", false},
    {"AAAAAAAAAAA AAAAAAAAAA==", false},     {" AAAAAAAAAAAAAAAAAAAAA==", false},
    {"AAAAAAAAAAAAAAAAAAAAAA= ", false},     {"AAAAAAAAAAAAAAAAAAAAAA\r\n", false},
    {"AAAAAAAAAA\r\nAAAAAAAAAA==", false},   {"AAAAAAAAAAAAAAAAAAAAA\xc3==", false},
    {"AAAAAAAAAAAAAAAAAAAAAAAAAA==", false}, {"the sample nonce", false},
};

START_TEST(a_key_is_16_bytes_in_base64)
{
    for (size_t i = 0; i < COUNT(keys); i++)
        ck_assert_msg(ws_key_valid(keys[i].key, strlen(keys[i].key)) == keys[i].valid, "%s",
                      keys[i].key);
    ck_assert(!ws_key_valid("AAAAAAAAAAA\0AAAAAAAAAA==", 24));
}
END_TEST

/* Each byte value at each place: valid exactly when it is of the alphabet, and at the two last places '='. */
START_TEST(each_byte_of_a_key_counts)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    for (size_t at = 0; at < WS_KEY_SIZE; at++) {
        for (int c = 0; c < 256; c++) {
            char key[] = "dGhlIHNhbXBsZSBub25jZQ==";
            bool want = at < 22 ? c && strchr(alphabet, c) : c == '=';

            key[at] = (char)c;
            must(ws_key_valid(key, WS_KEY_SIZE) == want);
        }
    }
}
END_TEST

START_TEST(new_keys_are_valid_and_differ)
{
    char made[100][WS_KEY_SIZE + 1];

    for (size_t i = 0; i < COUNT(made); i++) {
        ck_assert(ws_key_new(made[i]));
        ck_assert_uint_eq(strlen(made[i]), WS_KEY_SIZE);
        ck_assert(ws_key_valid(made[i], WS_KEY_SIZE));
        for (size_t j = 0; j < i; j++)
            ck_assert_str_ne(made[i], made[j]);
    }
}
END_TEST

/* ---- tokens ------------------------------------------------------------------------------------ */

static size_t encode(const unsigned char *p, size_t n, char *out)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    size_t len = 0;

    for (size_t bit = 0; bit < 8 * n; bit += 6) {
        unsigned v = 0;

        for (size_t i = bit; i < bit + 6; i++)
            v = v << 1 | (i < 8 * n ? p[i / 8] >> (7 - i % 8) & 1 : 0);
        out[len++] = alphabet[v];
    }
    return len;
}

START_TEST(a_token_comes_back_from_base64url)
{
    unsigned char token[300];
    char text[400], out[400];

    srand(7);
    for (size_t n = 1; n <= sizeof token; n++) {
        size_t len;

        for (size_t i = 0; i < n; i++)
            token[i] = (unsigned char)rand();
        len = encode(token, n, text);
        memset(out, '#', sizeof out);
        ck_assert_uint_eq(ws_token_decode(text, len, out), n);
        ck_assert_mem_eq(out, token, n);
    }
}
END_TEST

START_TEST(tokens_of_the_wrong_form_are_refused)
{
    static const char *const rows[] = {"",      "A",      "AAAAA", "AAA=", "AA==", "QQ==", "AB",
                                       "AAB",   "Q-A+",   "Q/AA",  "AA A", "AA\n", "AA.A", "AA\xff",
                                       "AAAAA", "alk_x.", "A%41A", "==",   "QUJ"};
    char out[100];

    for (size_t i = 0; i < COUNT(rows); i++)
        ck_assert_msg(ws_token_decode(rows[i], strlen(rows[i]), out) == 0, "%s", rows[i]);
    ck_assert_uint_eq(ws_token_decode("AA\0A", 4, out), 0);
}
END_TEST

/* Of 64 last characters only those without stray bits are the one form. */
START_TEST(a_token_has_one_form)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    char out[8];

    for (size_t i = 0; i < 64; i++) {
        const char two[] = {'Q', alphabet[i]}, three[] = {'Q', 'U', alphabet[i]};

        ck_assert_uint_eq(ws_token_decode(two, 2, out), i % 16 ? 0 : 1);
        ck_assert_uint_eq(ws_token_decode(three, 3, out), i % 4 ? 0 : 2);
    }
}
END_TEST

MAIN("ws_handshake", the_answer_to_the_key_of_the_rfc, a_key_is_16_bytes_in_base64,
     each_byte_of_a_key_counts, new_keys_are_valid_and_differ, a_token_comes_back_from_base64url,
     tokens_of_the_wrong_form_are_refused, a_token_has_one_form)
