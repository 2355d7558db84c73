/* refuse - what an error of the target means for the one who sent the command. */
#ifndef APPLIER_REFUSE_H
#define APPLIER_REFUSE_H

#include "common/err.h"

/*
 * By the error's first word. ERR_AGAIN: it will pass (no memory, loading, a replica, no disk…);
 * ERR_AUTH: rights are missing; ERR_CORRUPT: every other error, which for a command of the log
 * means that the target is not what the source was.
 */
enum err_kind refuse_kind(const char *text);

/* The error inside an EXECABORT, which names its cause; else the text itself. */
const char *refuse_cause(const char *text);

#endif
