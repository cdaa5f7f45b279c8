/* Names and texts of the ALK_E codes. The table is indexed by the negated code, so its order is
 * that of the enumeration in alknet/alknet.h. */
#include <alknet/alknet.h>

static const struct {
    const char *name, *text;
} errors[] = {
    {"ALK_OK", "success"},
    {"ALK_EINVAL", "invalid argument or state"},
    {"ALK_ENOMEM", "out of memory"},
    {"ALK_EAGAIN", "would block"},
    {"ALK_EENDED", "the call has ended"},
    {"ALK_EEXIST", "the name is taken"},
    {"ALK_ENOENT", "no such thing"},
    {"ALK_EFROZEN", "the registry is frozen, or needs to be"},
    {"ALK_ESCHEMA", "invalid JSON Schema"},
    {"ALK_EJSON", "invalid JSON"},
    {"ALK_ECONFIG", "invalid configuration"},
    {"ALK_ELIMIT", "a limit is reached"},
    {"ALK_ECLOSED", "closed"},
    {"ALK_ESYSTEM", "the operating system refused"},
    {"ALK_ECOLLISION", "two imported operations have the same local name"},
    {"ALK_EREMOTE", "the remote failed"},
};

#define COUNT ((int)(sizeof errors / sizeof errors[0]))

/* Any number may come, also one of a newer library: so the answer is always a text, and never
 * NULL. */
const char *alk_strerror(int err)
{
    return err <= 0 && err > -COUNT ? errors[-err].text : "unknown error";
}

const char *alk_err_name(int err)
{
    return err <= 0 && err > -COUNT ? errors[-err].name : "ALK_E?";
}

const char *alk_version(void)
{
    return ALK_VERSION;
}
