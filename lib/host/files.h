/* Whole files, and what may be believed of them. */
#ifndef ALK_HOST_FILES_H
#define ALK_HOST_FILES_H

#include "base/str.h"

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

/* ---- files below a folder, by names that strangers choose ---- */

#define FOLDER_PATH_MAX 4096u /* with its NUL */

/* Stays the one that was opened, whatever its name means later. */
struct folder {
    int fd;
};

/* Symbolic links in path are followed. ALK_ESYSTEM (err). */
int folder_open(struct folder *f, const char *path, char *err, size_t err_size);
void folder_close(struct folder *f);
/* The path of a file below a folder, as the file `from` there (empty: the folder itself) says it:
 * relative, with '/', without empty and dot segments. What is wrong with it, or NULL: it is
 * absolute, leads out of the folder, names no file, has a backslash or a control character, is not
 * UTF-8, or is too long. */
const char *folder_path(struct str from, struct str path, char out[FOLDER_PATH_MAX]);
/* As file_read, of a path by folder_path, on which no symbolic link is followed. */
int folder_read(const struct folder *f, const char *path, size_t most, char **data, size_t *len,
                char *err, size_t err_size);

#endif
