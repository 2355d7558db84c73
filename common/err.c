/* err - the one error object. */
#include "common/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int err_set(struct err *err, enum err_kind kind, int sys, const char *fmt, ...)
{
    va_list ap;

    err->kind = kind;
    err->sys = sys;
    va_start(ap, fmt);
    (void)vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
    va_end(ap);
    return -1;
}

int err_wrap(struct err *err, const char *fmt, ...)
{
    char old[sizeof(err->msg)];
    va_list ap;
    int n;

    memcpy(old, err->msg, sizeof(old));
    va_start(ap, fmt);
    n = vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof(err->msg))
        (void)snprintf(err->msg + n, sizeof(err->msg) - (size_t)n, ": %s", old);
    return -1;
}

enum exit_code err_exit_code(const struct err *err)
{
    switch (err->kind) {
    case ERR_NONE:
        return EXIT_OK;
    case ERR_INPUT:
        return EXIT_CONFIG;
    case ERR_CORRUPT:
        return EXIT_DAMAGED;
    case ERR_AGAIN:
    case ERR_AUTH:
    case ERR_FENCED:
    case ERR_FATAL:
        break;
    }
    return EXIT_RUNTIME;
}
