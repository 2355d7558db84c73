/* daemon_options - the options that all programs have, and their texts of help. */
#ifndef COMMON_DAEMON_OPTIONS_H
#define COMMON_DAEMON_OPTIONS_H

#include <stdbool.h>
#include <stdio.h>

struct daemon_spec;
struct daemon_verb;
struct err;

struct daemon_options {
    const char *config; /* NULL: environment and defaults only */
    bool help;
    bool version;
    bool check;
    bool dump;
};

/* Reads argv[1..argc). -1 with ERR_INPUT, whose text names the argument and the way to --help. */
int daemon_options_parse(const struct daemon_spec *spec, int argc, char **argv,
                         struct daemon_options *out, struct err *err);
/* The verb of that name, or NULL. */
const struct daemon_verb *daemon_options_verb(const struct daemon_spec *spec, const char *name);
void daemon_options_help(const struct daemon_spec *spec, FILE *to);

#endif
