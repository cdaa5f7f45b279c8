/* The one of some names that somebody may have meant who wrote another word. */
#ifndef ALK_CLI_ALKNET_NEAR_H
#define ALK_CLI_ALKNET_NEAR_H

#define NEAR_MAX 64u /* bytes; a longer word or name is near to nothing */

struct near {
    const char *word;
    unsigned distance;       /* of name; at first, what is too far */
    char name[NEAR_MAX + 1]; /* "": none is near */
};

void near_begin(struct near *n, const char *word);
/* Keeps the name when none before was as near. */
void near_try(struct near *n, const char *name);

#endif
