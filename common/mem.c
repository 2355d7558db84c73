/* mem - allocation that dies with a clear line. */
#include "common/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *checked(void *p, size_t size)
{
    if (p != NULL)
        return p;
    (void)fprintf(stderr, "level=fatal msg=\"out of memory\" bytes=%zu\n", size);
    abort();
}

void *xmalloc(size_t size)
{
    return checked(malloc(size != 0 ? size : 1), size);
}

void *xcalloc(size_t cnt, size_t size)
{
    return checked(calloc(cnt != 0 ? cnt : 1, size != 0 ? size : 1), size);
}

void *xrealloc(void *p, size_t size)
{
    return checked(realloc(p, size != 0 ? size : 1), size);
}

char *xstrdup(const char *s)
{
    return checked(strdup(s), strlen(s) + 1);
}

char *xasprintf(const char *fmt, ...)
{
    va_list ap;
    char *s = NULL;
    int n;

    va_start(ap, fmt);
    n = vasprintf(&s, fmt, ap);
    va_end(ap);
    return checked(n < 0 ? NULL : s, 0);
}
