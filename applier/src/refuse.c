/* refuse - what an error of the target means for the one who sent the command. */
#include "applier/src/refuse.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* First words of errors, as in Redis 7.2 server.c createSharedObjects() and its callers. */
static const char *const passing[] = {
    "OOM",
    "LOADING",
    "READONLY",
    "MISCONF",
    "NOREPLICAS",
    "BUSY",
    "MASTERDOWN",
    "TRYAGAIN",
    "CLUSTERDOWN",
    "ERR max number of clients",
    "ERR Server closed",
};
static const char *const rights[] = {"NOPERM", "NOAUTH", "WRONGPASS", "DENIED"};

static bool begins(const char *text, const char *word)
{
    size_t len = strlen(word);

    return strncmp(text, word, len) == 0 && (text[len] == 0 || text[len] == ' ');
}

enum err_kind refuse_kind(const char *text)
{
    for (size_t i = 0; i < sizeof(passing) / sizeof(passing[0]); i++) {
        if (begins(text, passing[i]))
            return ERR_AGAIN;
    }
    for (size_t i = 0; i < sizeof(rights) / sizeof(rights[0]); i++) {
        if (begins(text, rights[i]))
            return ERR_AUTH;
    }
    return ERR_CORRUPT;
}

const char *refuse_cause(const char *text)
{
    static const char because[] = "because of: ";
    const char *at = begins(text, "EXECABORT") ? strstr(text, because) : NULL;

    return at != NULL ? at + sizeof(because) - 1 : text;
}
