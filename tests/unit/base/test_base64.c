/* Base64 of RFC 4648, and what is none. */
#include "base/base64.h"
#include "support/must.h"
#include "support/suite.h"

#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

START_TEST(base64_is_read_as_it_is_written_and_no_other_way)
{
    /* RFC 4648, section 10, and what is none. */
    static const char *const pairs[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"},
                                           {"\xff\xfe\xfb", "//77"},
                                           {"\xfb\xff", "+/8="}};
    static const char *const bad[] = {
        "Z",     "Zg=",    "Zg===", "=",    "==",   "====",  "Zg==Zg==",   "Zh==", "Zm9=",
        "Zm 8=", "Zm8=\n", "Zm-8",  "Zm_8", "Z=g=", "Zm8==", "\xc3\xa9Zg", "A===", "Zm9vYg="};
    char out[64];
    size_t n;

    for (size_t i = 0; i < COUNT(pairs); i++) {
        size_t unpadded = strcspn(pairs[i][1], "=");

        base64_encode(out, pairs[i][0], strlen(pairs[i][0]));
        ck_assert_uint_eq(BASE64_SIZE(strlen(pairs[i][0])), strlen(pairs[i][1]));
        ck_assert(!memcmp(out, pairs[i][1], strlen(pairs[i][1])));
        for (size_t len = strlen(pairs[i][1]);; len = unpadded) {
            char *room = malloc(BASE64_BYTES(len)), *text = malloc(len + 1);

            must(room && text);
            memcpy(text, pairs[i][1], len);
            ck_assert(base64_decode(room, &n, text, len));
            ck_assert_uint_eq(n, strlen(pairs[i][0]));
            ck_assert(!memcmp(room, pairs[i][0], n));
            free(room);
            free(text);
            if (len == unpadded)
                break;
        }
    }
    for (size_t i = 0; i < COUNT(bad); i++)
        ck_assert_msg(!base64_decode(out, &n, bad[i], strlen(bad[i])), "%s", bad[i]);
}
END_TEST

MAIN("base64", base64_is_read_as_it_is_written_and_no_other_way)
