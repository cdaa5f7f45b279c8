/* Two tables say everything: what a command takes and what an option means to which commands. The
 * parser, the help, the completion and the complaints are made from them, so that they cannot
 * disagree. */
#ifndef ALK_CLI_ALKNET_TABLE_H
#define ALK_CLI_ALKNET_TABLE_H

#include "options.h"

#define OPTIONS_MAX 64
#define BIT(command) (1u << (command))
/* `openapi` with an operand. */
#define DOCUMENT BIT(COMMAND_COUNT)

struct command_spec {
    const char *name, *operands, *summary;
    int min, max; /* operands; max -1: any number */
    const char *text;
};

struct option_spec {
    int letter;
    const char *name, *argument;
    unsigned commands;
    const char *text;
};

extern const struct command_spec command_specs[COMMAND_COUNT];
extern const struct option_spec option_specs[];
extern const size_t option_spec_count;

/* COMMAND_COUNT: there is none of that name. */
enum command command_named(const char *name);
/* NULL: there is none. */
const struct option_spec *option_spec_of(int letter);
/* len: of the name, without its value. */
const struct option_spec *option_spec_named(const char *name, size_t len);

#endif
