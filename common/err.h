/*
 * err - the one error object. A fallible function returns 0/-1 and takes a caller-owned
 * `struct err *` last; library code fills it and never logs; on success it stays untouched.
 */
#ifndef COMMON_ERR_H
#define COMMON_ERR_H

/* What the caller should do; nobody parses the text. */
enum err_kind {
    ERR_NONE,
    ERR_AGAIN,   /* transient: back off and retry the same thing */
    ERR_INPUT,   /* the user's configuration or arguments: exit 2 */
    ERR_AUTH,    /* refused credentials or rights: exit 1, or wait for a person */
    ERR_CORRUPT, /* proven loss, damage or divergence: stop, a human decides; exit 5 */
    ERR_FENCED,  /* somebody else owns this now: stand by */
    ERR_FATAL,   /* nothing can go on: exit 1 */
};

/* Exit codes of all programs; documented in README.md. */
enum exit_code {
    EXIT_OK = 0,
    EXIT_RUNTIME = 1,
    EXIT_CONFIG = 2,
    EXIT_DIFFERS = 3,     /* verify found differences */
    EXIT_NOT_REACHED = 4, /* replay: the target position or time was not reached */
    EXIT_DAMAGED = 5,     /* a proven gap, a damaged frame, or divergence */
};

struct err {
    enum err_kind kind;
    int sys;       /* errno at the point of failure, 0 if none */
    char msg[512]; /* outermost context first: "a: b: c", cut if too long */
};

/* Both give -1, so that a failing function can `return err_set(...)`. */
int err_set(struct err *err, enum err_kind kind, int sys, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Prepends "<fmt>: " to the message, keeps kind and sys. */
int err_wrap(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The exit code that a program ends with because of *err. */
enum exit_code err_exit_code(const struct err *err);

#endif
