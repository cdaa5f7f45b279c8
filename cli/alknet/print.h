/* What reaches the terminal. Nothing that a remote chose can control it: control characters (of C1
 * too) and those that change the direction of text are escaped in JSON, names and messages alike;
 * only the raw format, when it goes to a program, has strings as they are. Numbers are written with
 * the bytes that came. Colours only where the stream is a terminal. */
#ifndef ALK_CLI_ALKNET_PRINT_H
#define ALK_CLI_ALKNET_PRINT_H

#include "options.h"
#include "outlet.h"
#include "buffer.h"

#include <alknet/yyjson.h>
#include <stdbool.h>
#include <stdio.h>

struct printer {
    FILE *out;
    struct buffer text; /* of the value being printed */
    enum format format;
    bool terminal, colour;
    int error;             /* errno of the first write that failed */
    struct outlet *outlet; /* takes what is written, when out must not be waited for; NULL: none */
};

void print_open(struct printer *p, FILE *out, enum format format);
void print_close(struct printer *p);
/* The value and a newline, at once. 0, or -1 and p->error. */
int print_value(struct printer *p, yyjson_val *value);
/* The same of JSON that was made here, so that the printer does with it what it does with values.
 * text is freed. */
int print_made(struct printer *p, struct buffer *text);
/* len bytes with control characters and invalid UTF-8 escaped. */
void print_plain(struct buffer *out, const char *text, size_t len);
/* Likewise of a string, up to its first line end. */
void print_first_line(struct buffer *out, yyjson_val *text);
/* The same, but line breaks and tabs stay. */
void print_text(struct buffer *out, const char *text, size_t len);
/* Writes out what is in p->text. 0, or -1 and p->error. */
int print_flush(struct printer *p);
/* To standard error: "CODE: message", then the details. prefix: "" or what to begin with. */
void print_fault(const char *prefix, yyjson_val *fault);
/* To standard error: "alknet: ", the escaped text, a newline. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same without "alknet: ". */
void remark(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
