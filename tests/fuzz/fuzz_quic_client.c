/* Fuzzes the QUIC engine as a client, against a bare ngtcp2 and strangers (support/quic_fuzz.h).
 *
 * The first byte says whether the handshake is over before the script begins. */
#include "support/quic_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz f = {0};
    struct quic_target to = {.host = "localhost", .any = true};

    if (!fuzz_tls[0])
        fuzz_set_up();
    if (!size || size > 4096)
        return 0;
    fuzz_begin(&f, NULL);
    to.local = &f.here;
    to.remote = &f.there;
    to.tls = fuzz_tls[1];
    f.c = quic_connect(f.q, &to, &fuzz_events, NULL, f.now);
    MUST(f.c);
    if (data[0] & 1) {
        settle(&f);
        MUST(f.readies);
        for (int i = 0; i < 8; i++)
            raw_open(f.r);
    }
    script(&f, data + 1, size - 1);
    fuzz_end(&f);
    return 0;
}
