/* How wide things are on a terminal. */
#ifndef ALK_CLI_ALKNET_WIDTH_H
#define ALK_CLI_ALKNET_WIDTH_H

#include <stddef.h>

/* Columns of the terminal that is standard output, or as COLUMNS has it; 0: not known. */
int width_of_terminal(void);
/* How many bytes of the text, UTF-8, take at most that many columns; *used: how many they take. */
size_t width_fit(const char *text, size_t len, int columns, int *used);

#endif
