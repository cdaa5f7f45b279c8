/* What the shells offer while a command line is typed. */
#ifndef ALK_CLI_ALKNET_COMPLETE_H
#define ALK_CLI_ALKNET_COMPLETE_H

/* words: those behind `complete`. */
int command_complete(int count, char **words);

#endif
