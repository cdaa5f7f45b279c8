/* Implements width.h. Columns are those of wcwidth in the locale C.UTF-8. */
#include "width.h"

#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

#define COLUMNS_MAX 10000

int width_of_terminal(void)
{
    const char *columns = getenv("COLUMNS");
    struct winsize size = {0};
    long n = columns ? strtol(columns, NULL, 10) : 0;

    if (n > 0 && n <= COLUMNS_MAX)
        return (int)n;
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) ? 0 : size.ws_col;
}

size_t width_fit(const char *text, size_t len, int columns, int *used)
{
    size_t at = 0;

    setlocale(LC_CTYPE, "C.UTF-8");
    *used = 0;
    while (at < len) {
        mbstate_t state = {0};
        wchar_t c = 0;
        size_t n = mbrtowc(&c, text + at, len - at, &state);
        int wide;

        if (n == 0 || n > len - at)
            n = 1;
        wide = wcwidth(c);
        if (wide < 0)
            wide = 1;
        if (*used + wide > columns)
            break;
        *used += wide;
        at += n;
    }
    return at;
}
