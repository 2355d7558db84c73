/* keyspace - lines like "db0:keys=3,expires=0,avg_ttl=0". */
#include "applier/src/keyspace.h"

#include <stdbool.h>
#include <string.h>

static bool take_number(const char **p, const char *end, uint64_t *out)
{
    const char *from = *p;
    uint64_t n = 0;

    for (; *p < end && **p >= '0' && **p <= '9' && n < UINT64_MAX / 16; ++*p)
        n = n * 10 + (uint64_t)(**p - '0');
    *out = n;
    return *p > from;
}

static bool take_text(const char **p, const char *end, const char *text)
{
    size_t len = strlen(text);

    if ((size_t)(end - *p) < len || memcmp(*p, text, len) != 0)
        return false;
    *p += len;
    return true;
}

size_t keyspace_parse(const char *text, size_t len, struct keyspace_db *out, size_t max)
{
    const char *p = text;
    const char *end = text + len;
    size_t cnt = 0;

    while (p < end && cnt < max) {
        const char *eol = memchr(p, '\n', (size_t)(end - p));
        uint64_t db, keys;

        if (eol == NULL)
            eol = end;
        if (take_text(&p, eol, "db") && take_number(&p, eol, &db) && db <= INT32_MAX &&
            take_text(&p, eol, ":keys=") && take_number(&p, eol, &keys) && keys != 0)
            out[cnt++] = (struct keyspace_db){.db = (uint32_t)db, .key_cnt = keys};
        p = eol < end ? eol + 1 : end;
    }
    return cnt;
}
