/* The identity provider that reads configuration: what a token or fingerprint proves, what a
 * configuration may not say and with which words that is told, and that a new one takes the place
 * of the old at once. */
#include "support/node.h"
#include "support/suite.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define TOKEN_A "alk_AAAAaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define TOKEN_B "alk_BBBBbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define TOKEN_C "alk_CCCCcccccccccccccccccccccccccccc"
#define PRINT_1 "ed25519:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define PRINT_2 "SHA256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

struct fixture {
    alk_identities *ids;
    alk_identity_provider p;
    char err[256];
};

static void setup(struct fixture *f)
{
    f->ids = alk_identities_new();
    ck_assert_ptr_nonnull(f->ids);
    alk_identities_provider(f->ids, &f->p, sizeof f->p);
}

/* Loads a configuration in which $A, $B and $C stand for the hashes of the tokens and ' for ". */
static int load_at(struct fixture *f, const char *config, int64_t now)
{
    static const char *const tokens[] = {TOKEN_A, TOKEN_B, TOKEN_C};
    struct mem mem;
    struct buf b;
    char hash[65];
    int rc;

    mem_init(&mem, NULL, NULL);
    buf_init(&b, &mem);
    for (; *config; config++) {
        if (*config == '$') {
            const char *token = tokens[*++config - 'A'];

            alk_token_hash(TEXT(token), hash);
            must(!buf_puts(&b, hash));
        } else {
            must(!buf_append(&b, *config == '\'' ? "\"" : config, 1));
        }
    }
    rc = alk_identities_load(f->ids, b.len ? buf_at(&b) : "", b.len, now, NULL, f->err,
                             sizeof f->err);
    buf_fini(&b);
    return rc;
}

static void load(struct fixture *f, const char *config)
{
    int rc = load_at(f, config, 1000);

    ck_assert_msg(rc == ALK_OK, "%s: %s", alk_err_name(rc), f->err);
    ck_assert_str_eq(f->err, "");
}

/* "KIND JSON" of what the token proves, or "none". */
static const char *proves(struct fixture *f, const char *token)
{
    static char text[512];
    alk_identity *who = NULL;
    size_t len;
    int kind = f->p.by_token(f->p.ud, TEXT(token), &who);

    ck_assert_int_eq(kind == ALK_KIND_NONE, who == NULL);
    if (!who)
        return "none";
    snprintf(text, sizeof text, "%x %s", (unsigned)kind, alk_identity_json(who, &len));
    alk_identity_unref(who);
    return text;
}

static const char *print_proves(struct fixture *f, const char *print)
{
    static char text[512];
    alk_identity *who = NULL;
    int kind = f->p.by_fingerprint(f->p.ud, TEXT(print), &who);

    ck_assert_int_eq(kind == ALK_KIND_NONE, who == NULL);
    if (!who)
        return "none";
    snprintf(text, sizeof text, "%x %s", (unsigned)kind, alk_identity_id(who));
    alk_identity_unref(who);
    return text;
}

/* ---- tokens ---------------------------------------------------------------------------------- */

START_TEST(new_tokens_are_alk_and_32_characters_of_64_and_differ)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    char seen[200][ALK_TOKEN_SIZE];
    unsigned used[128] = {0};

    for (int i = 0; i < 200; i++) {
        memset(seen[i], 'x', sizeof seen[i]);
        ck_assert_int_eq(alk_token_new(seen[i]), ALK_OK);
        ck_assert_uint_eq(strlen(seen[i]), 36);
        ck_assert_int_eq(strncmp(seen[i], "alk_", 4), 0);
        ck_assert_uint_eq(strspn(seen[i] + 4, digits), 32);
        for (int k = 4; k < 36; k++)
            used[(unsigned char)seen[i][k]]++;
        for (int k = 0; k < i; k++)
            ck_assert_str_ne(seen[i], seen[k]);
    }
    /* 6,400 characters of 64: that one stays away has a chance of 1 in 10^42. */
    for (int i = 0; i < 64; i++)
        ck_assert_uint_gt(used[(unsigned char)digits[i]], 0);
}
END_TEST

START_TEST(hashes_are_lower_case_hex_sha_256)
{
    char hash[65];

    alk_token_hash("abc", 3, hash);
    ck_assert_str_eq(hash, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    alk_token_hash("", 0, hash);
    ck_assert_str_eq(hash, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}
END_TEST

START_TEST(a_peer_is_proved_by_any_of_its_tokens_and_fingerprints)
{
    struct fixture f;

    setup(&f);
    load(&f,
         "{'peers':[{'peer_id':'hub-1','auth_token_hashes':['$A','$B'],"
         "'fingerprints':['" PRINT_1 "','" PRINT_2 "'],'scopes':['a:*'],'resources':{'t':['1']},"
         "'display_name':'The Hub'}]}");
    ck_assert_str_eq(proves(&f, TOKEN_A),
                     "1 {\"id\":\"hub-1\",\"scopes\":[\"a:*\"],\"resources\":{\"t\":[\"1\"]}}");
    ck_assert_str_eq(proves(&f, TOKEN_B),
                     "1 {\"id\":\"hub-1\",\"scopes\":[\"a:*\"],\"resources\":{\"t\":[\"1\"]}}");
    ck_assert_str_eq(proves(&f, TOKEN_C), "none");
    ck_assert_str_eq(print_proves(&f, PRINT_1), "1 hub-1");
    ck_assert_str_eq(print_proves(&f, PRINT_2), "1 hub-1");
    alk_identities_free(f.ids);
}
END_TEST

START_TEST(a_key_is_proved_by_its_token_and_has_its_prefix_as_id_and_no_resources)
{
    struct fixture f;

    setup(&f);
    load(&f,
         "{'keys':[{'prefix':'alk_AAAA','hash':'$A','scopes':['x','y:z'],'description':'for x'}]}");
    ck_assert_str_eq(proves(&f, TOKEN_A),
                     "2 {\"id\":\"alk_AAAA\",\"scopes\":[\"x\",\"y:z\"],\"resources\":{}}");
    ck_assert_str_eq(proves(&f, "alk_AAAAaaaaaaaaaaaaaaaaaaaaaaaaaaab"), "none");
    ck_assert_str_eq(proves(&f, TOKEN_A "a"), "none");
    ck_assert_str_eq(proves(&f, TOKEN_B), "none");
    ck_assert_int_eq(load_at(&f, "{'keys':[{'prefix':'alk_AAAA','hash':'$A','resources':{}}]}", 0),
                     ALK_ECONFIG);
    ck_assert_str_eq(f.err, "/keys/0/resources: unknown member");
    alk_identities_free(f.ids);
}
END_TEST

static const char *user_proves(struct fixture *f, uint32_t uid)
{
    static char text[512];
    alk_identity *who = NULL;
    size_t len;
    int kind = f->p.by_uid(f->p.ud, uid, &who);

    ck_assert_int_eq(kind == ALK_KIND_NONE, who == NULL);
    if (!who)
        return "none";
    snprintf(text, sizeof text, "%x %s", (unsigned)kind, alk_identity_json(who, &len));
    alk_identity_unref(who);
    return text;
}

START_TEST(a_user_is_known_by_his_number)
{
    struct fixture f;

    setup(&f);
    ck_assert_str_eq(user_proves(&f, 0), "none");
    load(&f, "{'users':[{'uid':0,'description':'root'},{'uid':4294967294},"
             "{'uid':1000,'scopes':['a'],'resources':{'t':['x']}}]}");
    ck_assert_str_eq(user_proves(&f, 1000),
                     "2 {\"id\":\"unix:1000\",\"scopes\":[\"a\"],\"resources\":{\"t\":[\"x\"]}}");
    ck_assert_str_eq(user_proves(&f, 0), "2 {\"id\":\"unix:0\",\"scopes\":[],\"resources\":{}}");
    ck_assert_str_eq(user_proves(&f, 4294967294),
                     "2 {\"id\":\"unix:4294967294\",\"scopes\":[],\"resources\":{}}");
    ck_assert_str_eq(user_proves(&f, 1001), "none");
    load(&f, "{'users':[{'uid':1001}]}");
    ck_assert_str_eq(user_proves(&f, 1000), "none");
    alk_identities_free(f.ids);
}
END_TEST

START_TEST(a_key_whose_prefix_is_not_the_tokens_never_resolves)
{
    struct fixture f;

    setup(&f);
    load(&f, "{'keys':[{'prefix':'alk_ZZZZ','hash':'$A'}]}");
    ck_assert_str_eq(proves(&f, TOKEN_A), "none");
    alk_identities_free(f.ids);
}
END_TEST

START_TEST(a_token_of_less_than_24_bytes_never_resolves)
{
    static const char token[] = "alk_abcdefghijklmnopqrst";
    struct fixture f;

    setup(&f);
    for (size_t n = 1; n <= 24; n++) {
        char config[400], hash[65], shorter[25];
        bool long_enough = n == 24;

        memcpy(shorter, token, n);
        shorter[n] = 0;
        alk_token_hash(shorter, n, hash);
        snprintf(config, sizeof config, "{'peers':[{'peer_id':'p','auth_token_hashes':['%s']}]}",
                 hash);
        load(&f, config);
        ck_assert_str_eq(proves(&f, shorter),
                         long_enough ? "1 {\"id\":\"p\",\"scopes\":[],\"resources\":{}}" : "none");
        if (n < 8)
            continue;
        snprintf(config, sizeof config, "{'keys':[{'prefix':'alk_abcd','hash':'%s'}]}", hash);
        load(&f, config);
        ck_assert_str_eq(proves(&f, shorter),
                         long_enough ? "2 {\"id\":\"alk_abcd\",\"scopes\":[],\"resources\":{}}"
                                     : "none");
    }
    alk_identities_free(f.ids);
}
END_TEST

START_TEST(any_bytes_may_be_asked_as_a_token)
{
    static char big[100000];
    struct fixture f;
    alk_identity *who = NULL;

    setup(&f);
    ck_assert_str_eq(proves(&f, TOKEN_A), "none");
    load(&f, "{'peers':[{'peer_id':'p','auth_token_hashes':['$A']}],'keys':[{'prefix':'alk_BBBB','"
             "hash':'$B'}]}");
    ck_assert_int_eq(f.p.by_token(f.p.ud, big, sizeof big, &who), ALK_KIND_NONE);
    memset(big, 0xff, sizeof big);
    ck_assert_int_eq(f.p.by_token(f.p.ud, big, 30, &who), ALK_KIND_NONE);
    ck_assert_int_eq(f.p.by_token(f.p.ud, "", 0, &who), ALK_KIND_NONE);
    ck_assert_int_eq(f.p.by_token(f.p.ud, TOKEN_A "\0", strlen(TOKEN_A) + 1, &who), ALK_KIND_NONE);
    ck_assert_ptr_null(who);
    alk_identities_free(f.ids);
}
END_TEST

START_TEST(flags_of_a_peer_go_with_its_kind)
{
    static const struct {
        const char *flags;
        const char *kind;
    } cases[] = {{"", "1 "},
                 {",'may_forward':true", "11 "},
                 {",'websocket':true", "21 "},
                 {",'may_forward':true,'websocket':true,'enabled':true", "31 "},
                 {",'may_forward':false,'websocket':false", "1 "}};
    struct fixture f;

    setup(&f);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char config[400];

        snprintf(config, sizeof config,
                 "{'peers':[{'peer_id':'p','auth_token_hashes':['$A'],'fingerprints':['" PRINT_1
                 "']%s}]}",
                 cases[i].flags);
        load(&f, config);
        ck_assert_int_eq(strncmp(proves(&f, TOKEN_A), cases[i].kind, strlen(cases[i].kind)), 0);
        ck_assert_int_eq(strncmp(print_proves(&f, PRINT_1), cases[i].kind, strlen(cases[i].kind)),
                         0);
    }
    alk_identities_free(f.ids);
}
END_TEST

START_TEST(a_disabled_peer_is_nobody)
{
    struct fixture f;

    setup(&f);
    load(&f, "{'peers':[{'peer_id':'p','auth_token_hashes':['$A'],'fingerprints':['" PRINT_1 "'],"
             "'may_forward':true,'enabled':false}]}");
    ck_assert_str_eq(proves(&f, TOKEN_A), "none");
    ck_assert_str_eq(print_proves(&f, PRINT_1), "none");
    alk_identities_free(f.ids);
}
END_TEST

START_TEST(fingerprints_match_exactly)
{
    static const char *const others[] = {
        "",
        "ed25519:",
        "SHA256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "ed25519:0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef",
        "ed25519:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde0",
        PRINT_1 "0",
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    };
    struct fixture f;

    setup(&f);
    load(&f, "{'peers':[{'peer_id':'p','fingerprints':['" PRINT_1 "']}]}");
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        ck_assert_str_eq(print_proves(&f, others[i]), "none");
    ck_assert_str_eq(print_proves(&f, PRINT_1), "1 p");
    alk_identities_free(f.ids);
}
END_TEST

/* ---- time ------------------------------------------------------------------------------------ */

#define KEY_UNTIL(time) "{'keys':[{'prefix':'alk_AAAA','hash':'$A','expires_at':'" time "'}]}"

START_TEST(a_key_resolves_until_the_second_in_which_it_expires)
{
    struct fixture f;
    uint64_t before;

    setup(&f);
    /* 2027-01-31T12:00:00Z is 1801396800. */
    ck_assert_int_eq(load_at(&f, KEY_UNTIL("2027-01-31T12:00:00Z"), 1801396798), ALK_OK);
    ck_assert_str_ne(proves(&f, TOKEN_A), "none");
    before = f.p.generation(f.p.ud);
    alk_identities_tick(f.ids, 1801396799);
    ck_assert_str_ne(proves(&f, TOKEN_A), "none");
    ck_assert_uint_eq(f.p.generation(f.p.ud), before);
    alk_identities_tick(f.ids, 1801396800);
    ck_assert_str_eq(proves(&f, TOKEN_A), "none");
    ck_assert_uint_ne(f.p.generation(f.p.ud), before);
    ck_assert_int_eq(load_at(&f, KEY_UNTIL("2027-01-31T12:00:00Z"), 1801396800), ALK_OK);
    ck_assert_str_eq(proves(&f, TOKEN_A), "none");
    alk_identities_free(f.ids);
}
END_TEST

START_TEST(times_are_read_exactly)
{
    static const struct {
        const char *text;
        int64_t unix_time;
    } cases[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"1970-01-01T00:00:01Z", 1},
        {"1999-12-31T23:59:59Z", 946684799},
        {"2000-02-29T00:00:00Z", 951782400},
        {"2000-03-01T00:00:00Z", 951868800},
        {"2024-02-29T12:30:45Z", 1709209845},
        {"2038-01-19T03:14:08Z", 2147483648},
        {"2100-03-01T00:00:00Z", 4107542400},
        {"9999-12-31T23:59:59Z", 253402300799},
        {"1969-12-31T23:59:59Z", -1},
        {"2027-06-30T00:00:00Z", 1814313600},
    };
    static const char *const bad[] = {
        "",
        "2027-01-31",
        "2027-01-31T12:00:00",
        "2027-01-31 12:00:00Z",
        "2027-13-01T00:00:00Z",
        "2027-00-01T00:00:00Z",
        "2027-01-00T00:00:00Z",
        "2027-01-32T00:00:00Z",
        "2027-04-31T00:00:00Z",
        "2027-02-29T00:00:00Z",
        "2100-02-29T00:00:00Z",
        "2027-02-30T00:00:00Z",
        "2027-01-31T24:00:00Z",
        "2027-01-31T12:60:00Z",
        "2027-01-31T12:00:61Z",
        "2027-1-31T12:00:00Z",
        "+027-01-31T12:00:00Z",
        "2027-01-31T12:00:00Z ",
        "1801396800",
        "soon",
    };
    char config[200];
    struct fixture f;

    setup(&f);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        snprintf(config, sizeof config,
                 "{'keys':[{'prefix':'alk_AAAA','hash':'$A','expires_at':'%s'}]}", cases[i].text);
        ck_assert_msg(load_at(&f, config, cases[i].unix_time - 1) == ALK_OK, "%s", cases[i].text);
        ck_assert_msg(strcmp(proves(&f, TOKEN_A), "none"), "%s ends early", cases[i].text);
        alk_identities_tick(f.ids, cases[i].unix_time);
        ck_assert_msg(!strcmp(proves(&f, TOKEN_A), "none"), "%s ends late", cases[i].text);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        snprintf(config, sizeof config,
                 "{'keys':[{'prefix':'alk_AAAA','hash':'$A','expires_at':'%s'}]}", bad[i]);
        ck_assert_msg(load_at(&f, config, 0) == ALK_ECONFIG, "%s", bad[i]);
        ck_assert_str_eq(f.err, "/keys/0/expires_at: must be a time like 2027-01-31T12:00:00Z");
    }
    ck_assert_int_eq(
        load_at(&f, "{'keys':[{'prefix':'alk_AAAA','hash':'$A','expires_at':1801396800}]}", 0),
        ALK_ECONFIG);
    alk_identities_free(f.ids);
}
END_TEST

/* ---- what a configuration may not say -------------------------------------------------------- */

#define PEER(members) "{'peers':[{'peer_id':'p'" members "}]}"

static const struct {
    const char *config;
    int rc;
    const char *err; /* a '*' at its end stands for anything */
} refused[] = {
    {"", ALK_EJSON, "*"},
    {"{", ALK_EJSON, "*"},
    {"{'peers':[],'peers':[]}", ALK_EJSON, "duplicate member \"peers\""},
    {"[]", ALK_ECONFIG,
     "must be an object with the arrays peers, keys and users, of at most 100000 entries"},
    {"{'peer':[]}", ALK_ECONFIG, "*"},
    {"{'peers':{}}", ALK_ECONFIG, "*"},
    {"{'keys':5}", ALK_ECONFIG, "*"},
    {"{'peers':[5]}", ALK_ECONFIG, "/peers/0: must be an object"},
    {"{'peers':[{}]}", ALK_ECONFIG,
     "/peers/0/peer_id: must be 1 to 64 of A-Z a-z 0-9 _ . - and not \"local\""},
    {"{'peers':[{'peer_id':''}]}", ALK_ECONFIG, "/peers/0/peer_id: must be 1 to 64*"},
    {"{'peers':[{'peer_id':'local'}]}", ALK_ECONFIG, "/peers/0/peer_id: must be 1 to 64*"},
    {"{'peers':[{'peer_id':'a/b'}]}", ALK_ECONFIG, "/peers/0/peer_id: must be 1 to 64*"},
    {"{'peers':[{'peer_id':'a~b'}]}", ALK_ECONFIG, "/peers/0/peer_id: must be 1 to 64*"},
    {"{'peers':[{'peer_id':'a:b'}]}", ALK_ECONFIG, "/peers/0/peer_id: must be 1 to 64*"},
    {"{'peers':[{'peer_id':'\xc3\xa9'}]}", ALK_ECONFIG, "/peers/0/peer_id: must be 1 to 64*"},
    {"{'peers':[{'peer_id':'a\\u0000'}]}", ALK_ECONFIG, "/peers/0/peer_id: must be 1 to 64*"},
    {"{'peers':[{'peer_id':'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'}]}",
     ALK_ECONFIG, "/peers/0/peer_id: must be 1 to 64*"},
    {"{'peers':[{'peer_id':'a'},{'peer_id':'a'}]}", ALK_ECONFIG,
     "/peers/1/peer_id: the id is taken"},
    {"{'peers':[{'peer_id':'alk_AAAA'}],'keys':[{'prefix':'alk_AAAA','hash':'$A'}]}", ALK_ECONFIG,
     "/keys/0/prefix: the id is taken"},
    {PEER(",'name':'x'"), ALK_ECONFIG, "/peers/0/name: unknown member"},
    {PEER(",'enabled':1"), ALK_ECONFIG, "/peers/0/enabled: must be true or false"},
    {PEER(",'may_forward':'yes'"), ALK_ECONFIG, "/peers/0/may_forward: must be true or false"},
    {PEER(",'websocket':null"), ALK_ECONFIG, "/peers/0/websocket: must be true or false"},
    {PEER(",'display_name':5"), ALK_ECONFIG, "/peers/0/display_name: must be a string"},
    {PEER(",'scopes':'x'"), ALK_ECONFIG, "/peers/0: scopes*"},
    {PEER(",'scopes':[1]"), ALK_ECONFIG, "/peers/0: scopes*"},
    {PEER(",'resources':[]"), ALK_ECONFIG,
     "/peers/0: resources: must be an object of arrays of strings"},
    {PEER(",'resources':{'a':['x'],'b':'y'}"), ALK_ECONFIG,
     "/peers/0: resources: must be an object of arrays of strings"},
    {PEER(",'resources':{'a':[1]}"), ALK_ECONFIG,
     "/peers/0: resources: must be an object of arrays of strings"},
    {PEER(",'auth_token_hashes':'$A'"), ALK_ECONFIG,
     "/peers/0/auth_token_hashes: must be an array"},
    {PEER(",'auth_token_hashes':['abc']"), ALK_ECONFIG,
     "/peers/0/auth_token_hashes: must be lower-case hex SHA-256, as \"alknet token hash\" prints "
     "it"},
    {PEER(",'auth_token_hashes':"
          "['BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD']"),
     ALK_ECONFIG,
     "/peers/0/auth_token_hashes: must be lower-case hex SHA-256, as \"alknet token hash\" prints "
     "it"},
    {PEER(",'auth_token_hashes':['$A','$A']"), ALK_ECONFIG,
     "/peers/0/auth_token_hashes: the same token twice"},
    {"{'peers':[{'peer_id':'a','auth_token_hashes':['$A']},{'peer_id':'b','auth_token_hashes':['$B'"
     ",'$A']}]}",
     ALK_ECONFIG, "/peers/1/auth_token_hashes: the same token twice"},
    {"{'peers':[{'peer_id':'a','auth_token_hashes':['$A']}],'keys':[{'prefix':'alk_AAAA','hash':'$"
     "A'}]}",
     ALK_ECONFIG, "/keys/0/hash: the same token twice"},
    {"{'peers':[{'peer_id':'a','enabled':false,'auth_token_hashes':['$A']},"
     "{'peer_id':'b','auth_token_hashes':['$A']}]}",
     ALK_ECONFIG, "/peers/1/auth_token_hashes: the same token twice"},
    {PEER(",'enabled':false,'auth_token_hashes':['x']"), ALK_ECONFIG,
     "/peers/0/auth_token_hashes: must be lower-case hex SHA-256, as \"alknet token hash\" prints "
     "it"},
    {PEER(",'fingerprints':{}"), ALK_ECONFIG, "/peers/0/fingerprints: must be an array"},
    {PEER(",'fingerprints':[1]"), ALK_ECONFIG,
     "/peers/0/fingerprints: must be ed25519: or SHA256: and 64 lower-case hex digits"},
    {PEER(",'fingerprints':['ed25519:"
          "0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef']"),
     ALK_ECONFIG,
     "/peers/0/fingerprints: must be ed25519: or SHA256: and 64 lower-case hex digits"},
    {PEER(",'fingerprints':['sha256:"
          "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef']"),
     ALK_ECONFIG,
     "/peers/0/fingerprints: must be ed25519: or SHA256: and 64 lower-case hex digits"},
    {PEER(",'fingerprints':['" PRINT_1 "','" PRINT_1 "']"), ALK_ECONFIG,
     "/peers/0/fingerprints: the same fingerprint twice"},
    {"{'keys':[5]}", ALK_ECONFIG, "/keys/0: must be an object"},
    {"{'keys':[{'hash':'$A'}]}", ALK_ECONFIG,
     "/keys/0/prefix: must be the token's first 8 characters"},
    {"{'keys':[{'prefix':'alk_AAA','hash':'$A'}]}", ALK_ECONFIG,
     "/keys/0/prefix: must be the token's first 8 characters"},
    {"{'keys':[{'prefix':'alk_AAAAa','hash':'$A'}]}", ALK_ECONFIG,
     "/keys/0/prefix: must be the token's first 8 characters"},
    {"{'keys':[{'prefix':'alk_AAAA'}]}", ALK_ECONFIG,
     "/keys/0/hash: must be lower-case hex SHA-256, as \"alknet token hash\" prints it"},
    {"{'keys':[{'prefix':'alk_AAAA','hash':'$A'},{'prefix':'alk_AAAA','hash':'$B'}]}", ALK_ECONFIG,
     "/keys/1/prefix: the id is taken"},
    {"{'keys':[{'prefix':'alk_AAAA','hash':'$A'},{'prefix':'alk_BBBB','hash':'$A'}]}", ALK_ECONFIG,
     "/keys/1/hash: the same token twice"},
    {"{'keys':[{'prefix':'alk_AAAA','hash':'$A','description':5}]}", ALK_ECONFIG,
     "/keys/0/description: must be a string"},
    {"{'keys':[{'prefix':'alk_AAAA','hash':'$A','enabled':true}]}", ALK_ECONFIG,
     "/keys/0/enabled: unknown member"},
    {"{'keys':[{'prefix':'alk_AAAA','hash':'$A','scopes':{}}]}", ALK_ECONFIG, "/keys/0: scopes*"},
    {"{'users':{}}", ALK_ECONFIG, "*"},
    {"{'users':[1000]}", ALK_ECONFIG, "/users/0: must be an object"},
    {"{'users':[{}]}", ALK_ECONFIG, "/users/0/uid: must be the number of a user*"},
    {"{'users':[{'uid':'1000'}]}", ALK_ECONFIG, "/users/0/uid: must be the number of a user*"},
    {"{'users':[{'uid':-1}]}", ALK_ECONFIG, "/users/0/uid: must be the number of a user*"},
    {"{'users':[{'uid':1.5}]}", ALK_ECONFIG, "/users/0/uid: must be the number of a user*"},
    {"{'users':[{'uid':65534}]}", ALK_ECONFIG, "/users/0/uid: must be the number of a user*"},
    {"{'users':[{'uid':4294967295}]}", ALK_ECONFIG, "/users/0/uid: must be the number of a user*"},
    {"{'users':[{'uid':4294968296}]}", ALK_ECONFIG, "/users/0/uid: must be the number of a user*"},
    {"{'users':[{'uid':1,'gid':1}]}", ALK_ECONFIG, "/users/0/gid: unknown member"},
    {"{'users':[{'uid':1,'description':1}]}", ALK_ECONFIG, "/users/0/description: must be a str*"},
    {"{'users':[{'uid':1,'scopes':1}]}", ALK_ECONFIG, "/users/0: scopes*"},
    {"{'users':[{'uid':1},{'uid':1}]}", ALK_ECONFIG, "/users/1/uid: the id is taken"},
    {"{'keys':[{'prefix':'unix:100','hash':'$A'}],'users':[{'uid':100}]}", ALK_ECONFIG,
     "/users/0/uid: the id is taken"},
};

static bool matches(const char *text, const char *pattern)
{
    size_t n = strlen(pattern);

    return n && pattern[n - 1] == '*' ? *text && !strncmp(text, pattern, n - 1)
                                      : !strcmp(text, pattern);
}

START_TEST(what_is_wrong_is_named_with_its_place_and_changes_nothing)
{
    struct fixture f;
    uint64_t before;

    setup(&f);
    load(&f, "{'peers':[{'peer_id':'kept','auth_token_hashes':['$C']}]}");
    before = f.p.generation(f.p.ud);
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        int rc = load_at(&f, refused[i].config, 5000);

        ck_assert_msg(rc == refused[i].rc, "%s: %s (%s)", refused[i].config, alk_err_name(rc),
                      f.err);
        ck_assert_msg(matches(f.err, refused[i].err), "%s: %s", refused[i].config, f.err);
        ck_assert_str_eq(proves(&f, TOKEN_C), "1 {\"id\":\"kept\",\"scopes\":[],\"resources\":{}}");
        ck_assert_str_eq(proves(&f, TOKEN_A), "none");
    }
    ck_assert_uint_eq(f.p.generation(f.p.ud), before);
    alk_identities_free(f.ids);
}
END_TEST

START_TEST(an_error_text_fits_the_buffer_that_it_is_given)
{
    static const char config[] = "{\"peers\":[{\"peer_id\":\"p\",\"unknown\":1}]}";
    struct fixture f;

    setup(&f);
    for (size_t size = 0; size < 40; size++) {
        char err[64];

        memset(err, 'x', sizeof err);
        ck_assert_int_eq(alk_identities_load(f.ids, TEXT(config), 0, NULL, err, size), ALK_ECONFIG);
        ck_assert_int_eq(err[size], 'x');
        if (size)
            ck_assert_uint_lt(strnlen(err, sizeof err), size);
    }
    ck_assert_int_eq(alk_identities_load(f.ids, TEXT(config), 0, NULL, NULL, 0), ALK_ECONFIG);
    alk_identities_free(f.ids);
}
END_TEST

START_TEST(more_than_100000_entries_are_refused)
{
    size_t n = 100001;
    char *config = malloc(3 * n + 32), *p = config, err[128];
    struct fixture f;

    ck_assert_ptr_nonnull(config);
    setup(&f);
    p += sprintf(p, "{\"keys\":[");
    for (size_t i = 0; i < n; i++)
        p += sprintf(p, i ? ",{}" : "{}");
    strcpy(p, "]}");
    ck_assert_int_eq(alk_identities_load(f.ids, TEXT(config), 0, NULL, err, sizeof err),
                     ALK_ECONFIG);
    ck_assert_str_eq(
        err, "must be an object with the arrays peers, keys and users, of at most 100000 entries");
    free(config);
    alk_identities_free(f.ids);
}
END_TEST

START_TEST(an_entry_with_too_many_scopes_is_refused)
{
    char *text =
        repeated(",'s'", 4096, "{'keys':[{'prefix':'alk_AAAA','hash':'$A','scopes':['s'", "]}]}");
    struct fixture f;

    setup(&f);
    ck_assert_int_eq(load_at(&f, text, 5000), ALK_ECONFIG);
    ck_assert_str_eq(f.err, "/keys/0: more than 4,096 scopes and resources");
    free(text);
    alk_identities_free(f.ids);
}
END_TEST

START_TEST(ids_of_composition_authorities_are_taken)
{
    alk_registry *reg = alk_registry_new();
    alk_operation op;
    struct fixture f;
    char hash[65], config[200], err[128];

    alk_operation_init(&op, sizeof op);
    op.name = "t/x";
    op.handler = serve_echo;
    op.authority = "{\"label\":\"x\"}";
    ck_assert_int_eq(alk_registry_add(reg, &op), ALK_OK);
    ck_assert_int_eq(alk_registry_freeze(reg), ALK_OK);
    setup(&f);
    /* The id of an authority, "handler:x", has nine bytes and a colon: no peer and no key can
     * have it. */
    alk_token_hash(TEXT(TOKEN_A), hash);
    snprintf(config, sizeof config, "{\"keys\":[{\"prefix\":\"handler:\",\"hash\":\"%s\"}]}", hash);
    ck_assert_int_eq(alk_identities_load(f.ids, TEXT(config), 0, reg, err, sizeof err), ALK_OK);
    snprintf(config, sizeof config, "{\"peers\":[{\"peer_id\":\"handler:x\"}]}");
    ck_assert_int_eq(alk_identities_load(f.ids, TEXT(config), 0, reg, err, sizeof err),
                     ALK_ECONFIG);
    alk_identities_free(f.ids);
    alk_registry_unref(reg);
}
END_TEST

/* ---- replacement ----------------------------------------------------------------------------- */

START_TEST(a_new_configuration_replaces_all_of_the_old)
{
    struct fixture f;
    alk_identity *old = NULL;
    uint64_t before;

    setup(&f);
    load(&f, "{'peers':[{'peer_id':'a','auth_token_hashes':['$A']}],'keys':[{'prefix':'alk_BBBB','"
             "hash':'$B'}]}");
    ck_assert_int_eq(f.p.by_token(f.p.ud, TEXT(TOKEN_A), &old), ALK_KIND_PEER);
    before = f.p.generation(f.p.ud);
    load(&f, "{'peers':[{'peer_id':'c','auth_token_hashes':['$C']}]}");
    ck_assert_uint_ne(f.p.generation(f.p.ud), before);
    ck_assert_str_eq(proves(&f, TOKEN_A), "none");
    ck_assert_str_eq(proves(&f, TOKEN_B), "none");
    ck_assert_str_ne(proves(&f, TOKEN_C), "none");
    load(&f, "{}");
    ck_assert_str_eq(proves(&f, TOKEN_C), "none");
    alk_identities_free(f.ids);
    /* What was handed out lives on its own. */
    ck_assert_str_eq(alk_identity_id(old), "a");
    alk_identity_unref(old);
}
END_TEST

START_TEST(a_token_is_rotated_by_way_of_two_hashes)
{
    struct fixture f;

    setup(&f);
    load(&f, PEER(",'auth_token_hashes':['$A']"));
    load(&f, PEER(",'auth_token_hashes':['$A','$B']"));
    ck_assert_str_ne(proves(&f, TOKEN_A), "none");
    ck_assert_str_ne(proves(&f, TOKEN_B), "none");
    load(&f, PEER(",'auth_token_hashes':['$B']"));
    ck_assert_str_eq(proves(&f, TOKEN_A), "none");
    ck_assert_str_ne(proves(&f, TOKEN_B), "none");
    alk_identities_free(f.ids);
}
END_TEST

struct hammer {
    struct fixture f;
    atomic_int done, bad, hits;
};

/* Each configuration has one number in all its places; an answer with two of them is of two
 * configurations. */
static void *hammer(void *ud)
{
    struct hammer *h = ud;

    while (!h->done) {
        alk_identity *who = NULL;
        const char *json, *scope, *resource;
        size_t len;

        if (h->f.p.by_token(h->f.p.ud, TEXT(TOKEN_A), &who) != ALK_KIND_PEER || !who) {
            h->bad++;
            break;
        }
        json = alk_identity_json(who, &len);
        scope = strstr(json, "\"s:");
        resource = strstr(json, "\"r:");
        if (!scope || !resource || strncmp(scope + 3, resource + 3, 8))
            h->bad++;
        alk_identity_unref(who);
        if (h->f.p.by_token(h->f.p.ud, TEXT(TOKEN_B), &who) != ALK_KIND_KEY)
            h->bad++;
        else
            alk_identity_unref(who);
        if (h->f.p.by_token(h->f.p.ud, TEXT(TOKEN_C), &who) != ALK_KIND_NONE)
            h->bad++;
        h->hits++;
    }
    return NULL;
}

START_TEST(readers_on_other_threads_see_one_configuration_or_the_other)
{
    struct hammer h = {0};
    pthread_t threads[2];
    uint64_t generation;
    int loads = 0;

    setup(&h.f);
    for (int i = 0; i < 2; i++) {
        load(&h.f,
             "{'peers':[{'peer_id':'p','auth_token_hashes':['$A'],'scopes':['s:00000000'],"
             "'resources':{'t':['r:00000000']}}],'keys':[{'prefix':'alk_BBBB','hash':'$B'}]}");
        ck_assert_int_eq(pthread_create(&threads[i], NULL, hammer, &h), 0);
    }
    generation = h.f.p.generation(h.f.p.ud);
    for (; loads < 2000 || (h.hits < 2000 && loads < 200000); loads++) {
        char config[400];

        snprintf(config, sizeof config,
                 "{'peers':[{'peer_id':'p','auth_token_hashes':['$A'],'scopes':['s:%08d'],"
                 "'resources':{'t':['r:%08d']}}],'keys':[{'prefix':'alk_BBBB','hash':'$B'}%s]}",
                 loads, loads, loads % 3 ? "" : ",{'prefix':'bad'}");
        must(load_at(&h.f, config, loads) == (loads % 3 ? ALK_OK : ALK_ECONFIG));
        alk_identities_tick(h.f.ids, loads);
    }
    h.done = 1;
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    ck_assert_int_eq(h.bad, 0);
    ck_assert_int_ge(h.hits, 2000);
    ck_assert_uint_ge(h.f.p.generation(h.f.p.ud), generation + (uint64_t)(loads - loads / 3 - 1));
    alk_identities_free(h.f.ids);
}
END_TEST

MAIN("identities", new_tokens_are_alk_and_32_characters_of_64_and_differ,
     hashes_are_lower_case_hex_sha_256, a_peer_is_proved_by_any_of_its_tokens_and_fingerprints,
     a_key_is_proved_by_its_token_and_has_its_prefix_as_id_and_no_resources,
     a_user_is_known_by_his_number, a_key_whose_prefix_is_not_the_tokens_never_resolves,
     a_token_of_less_than_24_bytes_never_resolves, any_bytes_may_be_asked_as_a_token,
     flags_of_a_peer_go_with_its_kind, a_disabled_peer_is_nobody, fingerprints_match_exactly,
     a_key_resolves_until_the_second_in_which_it_expires, times_are_read_exactly,
     what_is_wrong_is_named_with_its_place_and_changes_nothing,
     an_error_text_fits_the_buffer_that_it_is_given, more_than_100000_entries_are_refused,
     an_entry_with_too_many_scopes_is_refused, ids_of_composition_authorities_are_taken,
     a_new_configuration_replaces_all_of_the_old, a_token_is_rotated_by_way_of_two_hashes,
     readers_on_other_threads_see_one_configuration_or_the_other)
