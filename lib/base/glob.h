/* Patterns in which a star stands for any text, as filters of names have them. */
#ifndef ALK_BASE_GLOB_H
#define ALK_BASE_GLOB_H

#include "base/str.h"

/* In time of the product of the lengths. */
bool glob_match(struct str pattern, struct str text);

#endif
