/* Fuzzes the configuration of identities.
 *
 * It must hold: a configuration that is refused says why, within the buffer, and changes nothing;
 * one that is taken replaces everything, and every hash and fingerprint in it that is not a
 * disabled peer's resolves to an identity that can be written and read again. Tokens cannot be
 * had from hashes, so the token of one well-known hash is asked. */
#include <alknet/alknet.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MUST(x)                                                                                    \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #x);                  \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

#define TOKEN "alk_AAAAaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define PRINT "ed25519:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define KEPT "SHA256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int check_identity(int kind, alk_identity *who)
{
    size_t len;
    const char *json;
    alk_identity *again;

    MUST((kind == ALK_KIND_NONE) == (who == NULL));
    if (!who)
        return kind;
    json = alk_identity_json(who, &len);
    MUST(strlen(json) == len && *alk_identity_id(who));
    again = alk_identity_new(json, len);
    MUST(again && !strcmp(alk_identity_json(again, &len), json));
    MUST((kind & 0xf) == ALK_KIND_PEER ||
         (kind == ALK_KIND_KEY && strlen(alk_identity_id(who)) == 8));
    alk_identity_unref(again);
    alk_identity_unref(who);
    return kind;
}

static int by_print(const alk_identity_provider *p, const char *print)
{
    alk_identity *who = NULL;
    int kind = p->by_fingerprint(p->ud, print, strlen(print), &who);

    return check_identity(kind, who);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char good[] =
        "{\"peers\":[{\"peer_id\":\"kept\",\"fingerprints\":[\"" KEPT "\"]}]}";
    alk_identities *ids = alk_identities_new();
    alk_identity_provider p;
    alk_identity *who = NULL;
    char *copy, err[64];
    uint64_t before;
    int64_t now;
    int rc, kind;

    if (size < 2 || !ids) {
        alk_identities_free(ids);
        return 0;
    }
    alk_identities_provider(ids, &p, sizeof p);
    MUST(!alk_identities_load(ids, good, sizeof good - 1, 0, NULL, NULL, 0));
    MUST(by_print(&p, KEPT) == ALK_KIND_PEER);
    before = p.generation(p.ud);
    now = (int64_t)data[0] * 40000000;
    /* Exactly as long, so that a byte read behind it is seen. */
    copy = malloc(size - 1);
    MUST(copy);
    memcpy(copy, data + 1, size - 1);
    memset(err, 'x', sizeof err);
    rc = alk_identities_load(ids, copy, size - 1, now, NULL, err, sizeof err - 1);
    MUST(err[sizeof err - 1] == 'x' && memchr(err, 0, sizeof err));
    MUST(rc == ALK_OK || rc == ALK_EJSON || rc == ALK_ECONFIG);
    MUST((rc == ALK_OK) == !*err);
    MUST((rc == ALK_OK) == (p.generation(p.ud) != before));
    kind = p.by_token(p.ud, TOKEN, strlen(TOKEN), &who);
    check_identity(kind, who);
    if (rc) {
        MUST(kind == ALK_KIND_NONE && by_print(&p, KEPT) == ALK_KIND_PEER && !by_print(&p, PRINT));
    } else {
        by_print(&p, PRINT);
        by_print(&p, KEPT);
        alk_identities_tick(ids, now + (int64_t)data[0] * 1000000);
        who = NULL;
        kind = p.by_token(p.ud, TOKEN, strlen(TOKEN), &who);
        check_identity(kind, who);
    }
    free(copy);
    alk_identities_free(ids);
    return 0;
}
