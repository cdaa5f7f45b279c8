/* Fuzzes the QUIC engine as a server, against a bare ngtcp2 and strangers (support/quic_fuzz.h).
 *
 * The first byte says whether the handshake is over before the script begins, and whether so many
 * are under way that addresses have to be proved. */
#include "support/quic_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz f = {0};

    if (!fuzz_tls[0])
        fuzz_set_up();
    if (!size || size > 4096)
        return 0;
    fuzz_begin(&f, fuzz_tls[0]);
    if (data[0] & 2)
        f.limits.handshakes = 3;
    if (data[0] & 1) {
        MUST(!raw_dial(f.r, fuzz_tls[1], f.now));
        settle(&f);
        MUST(f.readies);
        for (int i = 0; i < 8; i++)
            raw_open(f.r);
    } else if (data[0] & 4) {
        MUST(!raw_dial(f.r, fuzz_tls[1], f.now));
    }
    script(&f, data + 1, size - 1);
    fuzz_end(&f);
    return 0;
}
