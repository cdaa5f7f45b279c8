/* Structs that cross the border between a program and the library, either of which may be the older
 * one. Each begins with uint32_t size, the sizeof of whoever made it, and grows at its end only;
 * where the last member leaves padding, the program's init has put the newer member's default
 * there. */
#ifndef ALK_BASE_ABI_H
#define ALK_BASE_ABI_H

#include <stddef.h>
#include <stdint.h>

struct abi {
    const char *name;
    const char *start; /* how a program is to begin one, for messages */
    uint32_t size;
    uint32_t first;       /* up to the end of the first version's last member */
    const void *defaults; /* of size bytes */
};

/* last: the last member of the first version, never changed again. */
#define ABI_(type, last, begun, all)                                                               \
    {                                                                                              \
        .name = #type, .start = begun, .size = sizeof(type),                                       \
        .first = offsetof(type, last) + sizeof(((type *)0)->last), .defaults = all                 \
    }
/* One that a program begins with alk_X_init. */
#define ABI(type, last, defaults) ABI_(type, last, #type "_init", defaults)
/* One whose defaults are zeros, for ever, so that a program may begin it with an initializer. */
#define ABI_PLAIN(type, last)                                                                      \
    ABI_(type, last, ".size = sizeof(" #type ")", (&(const type){.size = sizeof(type)}))

/* Writes as much of own as the program's struct of size bytes holds, and zeros into the rest of
 * it. */
void abi_fill(const struct abi *a, void *theirs, size_t size, const void *own);
/* What the program passed, in our size: theirs itself, or own, made of it and of defaults; the
 * defaults for NULL. NULL when it was not initialised or asks for what we do not know (ALK_EINVAL):
 * err, where given, then names the struct, and own holds what can be trusted. */
const void *abi_take(const struct abi *a, void *own, const void *theirs, char *err,
                     size_t err_size);

#endif
