/* Memory, and bytes that grow in it. What runs out of it ends the program, so that no other file
 * has to look.
 *
 * A buffer that is all zero is empty. Bytes are appended at one end and consumed at the other, and
 * a NUL always follows them: buffer_text gives a string to whoever put text in. */
#ifndef ALK_CLI_ALKNET_BUFFER_H
#define ALK_CLI_ALKNET_BUFFER_H

#include <stddef.h>

void *xcalloc(size_t count, size_t size);
void *xrealloc(void *memory, size_t size);
char *xstrndup(const char *text, size_t len);

struct buffer {
    char *data;
    size_t head, len, cap; /* live bytes are data[head, head + len) */
};

void buffer_free(struct buffer *b);
/* The same for what held a secret: it is overwritten first. */
void buffer_wipe(struct buffer *b);
static inline const char *buffer_text(const struct buffer *b)
{
    return b->data ? b->data + b->head : "";
}
/* Room for that many bytes behind the live ones. Follow with buffer_commit. */
char *buffer_reserve(struct buffer *b, size_t more);
void buffer_commit(struct buffer *b, size_t n);
void buffer_append(struct buffer *b, const void *bytes, size_t n);
void buffer_puts(struct buffer *b, const char *text);
void buffer_printf(struct buffer *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* As a JSON string with its quotes; what is not UTF-8 stays as it is. */
void buffer_json_string(struct buffer *b, const char *text, size_t n);
/* Takes the first n bytes away. */
void buffer_consume(struct buffer *b, size_t n);
/* Leaves the first n bytes. */
void buffer_truncate(struct buffer *b, size_t n);

#endif
