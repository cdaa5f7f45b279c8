/* Hexadecimal digits, of configuration, URIs, patterns and HTTP alike. Not isxdigit: that asks the
 * locale, and takes no negative char. */
#ifndef ALK_BASE_HEX_H
#define ALK_BASE_HEX_H

/* The value of a digit of either case, -1 for what is none. */
static inline int hex_value(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

#endif
