/*
 * cmd - where the first key of a command is, as the server itself says in its reply to COMMAND.
 * So modules and commands of later versions need no table of ours.
 */
#ifndef COMMON_CMD_H
#define COMMON_CMD_H

#include <stddef.h>
#include <stdint.h>

struct cmd_table;
struct redisReply;
struct resp;

/* From a whole COMMAND reply, which stays the caller's; NULL when it has not COMMAND's form. */
struct cmd_table *cmd_table_new(const struct redisReply *reply);
void cmd_table_free(struct cmd_table *t);

/*
 * Index of the argument that is the first key of the command *r, whose bytes are at `base`; 0:
 * none, or not known. Knows subcommands (XGROUP CREATE), key counts (EVAL, FCALL) and, for
 * PUBLISH and SPUBLISH, gives the channel. A NULL table or an unknown command gives 0.
 */
size_t cmd_first_key(const struct cmd_table *t, const struct resp *r, const uint8_t *base);

#endif
