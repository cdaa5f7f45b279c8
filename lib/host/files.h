/* Whole files, and what may be believed of them. */
#ifndef ALK_HOST_FILES_H
#define ALK_HOST_FILES_H

#include <stddef.h>

/* The content of a regular file of at most `most` bytes, with a NUL behind it, for file_free.
 * secret: refused unless its owner is root or who runs this, and nobody else may read it.
 * ALK_ESYSTEM, ALK_EINVAL (err, where given, says what and of which file), ALK_ENOMEM. */
int file_read(const char *path, int secret, size_t most, char **data, size_t *len, char *err,
              size_t err_size);
/* Wipes it. NULL is fine. */
void file_free(char *data, size_t len);
/* Makes a file with that mode that does not exist yet. ALK_EEXIST, ALK_ESYSTEM (err). */
int file_write(const char *path, unsigned mode, const char *data, size_t len, char *err,
               size_t err_size);

#endif
