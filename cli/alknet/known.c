/* The file is the user's own to write: this program only reads it. Whoever could write it could say
 * who the servers are, so it is refused when others can. */
#include "known.h"
#include "buffer.h"
#include "input.h"
#include "options.h"
#include "print.h"
#include "settings.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define KNOWN_MAX 1048576u
#define BLANKS " \t\r"

static bool is_fingerprint(const char *s)
{
    size_t n = !strncmp(s, "ed25519:", 8) ? 8 : !strncmp(s, "SHA256:", 7) ? 7 : 0;

    return n && strlen(s) == n + 64 && strspn(s + n, "0123456789abcdef") == 64;
}

/* line is NUL-terminated and without its newline. -1: it is none. */
static int read_line(char *line, const char *authority, char **out)
{
    char *save, *name = strtok_r(line, BLANKS, &save);
    char *fingerprint = name ? strtok_r(NULL, BLANKS, &save) : NULL;

    if (!name || *name == '#')
        return 0;
    if (!fingerprint || !is_fingerprint(fingerprint) || strtok_r(NULL, BLANKS, &save))
        return -1;
    if (!*out && !strcasecmp(name, authority))
        *out = xstrndup(fingerprint, strlen(fingerprint));
    return 0;
}

int known_find(const char *authority, char **out)
{
    struct buffer text = {0};
    char *path = settings_path("known_peers"), *line, *next;
    unsigned number = 0;
    int rc = 0;

    *out = NULL;
    if (path && access(path, F_OK) == 0) {
        rc = input_file(&text, path, KNOWN_MAX, true);
        for (line = rc ? NULL : text.data; !rc && line; line = next) {
            next = strchr(line, '\n');
            if (next)
                *next++ = 0;
            number++;
            if (read_line(line, authority, out)) {
                complain("%s:%u: expected 'HOST:PORT FINGERPRINT'", path, number);
                rc = OUTCOME_USAGE;
            }
        }
    }
    buffer_free(&text);
    free(path);
    return rc;
}
