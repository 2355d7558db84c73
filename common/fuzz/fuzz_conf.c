/* fuzz_conf - any bytes as a configuration file: loaded or refused with a message; what was loaded
 * is dumped, and the dump must load again and give the same dump. */
#include "common/conf.h"
#include "common/err.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct settings {
    char *text;
    char *choice;
    bool flag;
    int64_t number, time_ms, size_bytes;
    struct conf_list list;
    struct conf_map map;
};

#define KEY(key, t, member)                                                                    \
    .name = (key), .type = (t), .offset = offsetof(struct settings, member)

static const struct conf_key keys[] = {
    {KEY("a.text", CONF_STR, text)},
    {KEY("a.choice", CONF_CHOICE, choice), .def = "x", .choices = "x|y|zz"},
    {KEY("a.b.flag", CONF_BOOL, flag), .def = "true"},
    {KEY("n", CONF_INT, number), .def = "5", .min = -100, .max = 100},
    {KEY("t", CONF_TIME, time_ms), .def = "1s"},
    {KEY("s", CONF_SIZE, size_bytes), .def = "1KiB"},
    {KEY("list", CONF_LIST, list)},
    {KEY("map", CONF_MAP, map)},
    CONF_KEYS_END,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Loads the bytes by way of a file in memory; the dump, or NULL when they were refused. */
static char *load_and_dump(const void *data, size_t size)
{
    struct settings s = {0};
    struct err err = {0};
    char path[64], *text = NULL;
    int fd = memfd_create("conf", MFD_CLOEXEC);
    size_t len = 0;
    FILE *to;

    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (conf_load(keys, path, "FUZZ_CONF", &s, &err) == 0) {
        to = open_memstream(&text, &len);
        if (to == NULL)
            abort();
        conf_dump(keys, &s, to);
        (void)fclose(to);
    } else if (err.kind != ERR_INPUT || err.msg[0] == '\0') {
        abort();
    }
    conf_free(keys, &s);
    (void)close(fd);
    return text;
}

/* file: would read files of the machine, and a run could not be repeated. */
static bool has_reference(const uint8_t *data, size_t size)
{
    return memmem(data, size, "file", 4) != NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *first, *second;

    if (has_reference(data, size))
        return 0;
    first = load_and_dump(data, size);
    if (first == NULL)
        return 0;
    second = load_and_dump(first, strlen(first));
    if (second == NULL || strcmp(first, second) != 0) {
        (void)fprintf(stderr, "first:\n%s\nsecond:\n%s\n", first,
                      second != NULL ? second : "(refused)");
        abort();
    }
    free(first);
    free(second);
    return 0;
}
