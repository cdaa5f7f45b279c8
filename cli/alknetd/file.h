/* The file of the configuration, which decides who may do what: whoever can write it rules the
 * node. */
#ifndef ALK_CLI_ALKNETD_FILE_H
#define ALK_CLI_ALKNETD_FILE_H

#include <stddef.h>

/* The whole content, for file_free: of a regular file of root or of who runs this, which nobody
 * else may write to. NULL with the reason, which begins with the path, in err. */
char *file_read(const char *path, size_t *len, char *err, size_t err_size);
/* Wipes it first. NULL is fine. */
void file_free(char *data, size_t len);

#endif
