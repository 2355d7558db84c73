/* fuzz_resp - a command scanned in two pieces, and byte by byte, is the command scanned whole.
 * The first two input bytes say where to cut. */
#include <stdlib.h>
#include <string.h>

#include "common/err.h"
#include "common/resp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct result {
    struct resp resp;
    struct err err;
    size_t consumed;
    bool done;
};

/* Scans one command of data[0, len), fed in pieces: the first of `first` bytes, then of `piece`. */
static void scan(const uint8_t *data, size_t len, size_t first, size_t piece,
                 struct result *out)
{
    memset(out, 0, sizeof(*out));
    resp_init(&out->resp);
    for (size_t n = first; !out->done && out->consumed < len; n = piece) {
        uint8_t *copy;
        ptrdiff_t used;

        if (n > len - out->consumed)
            n = len - out->consumed;
        copy = malloc(n != 0 ? n : 1);
        if (copy == NULL)
            abort();
        memcpy(copy, data + out->consumed, n);
        used = resp_feed(&out->resp, copy, n, &out->done, &out->err);
        free(copy);
        if (used < 0)
            return;
        if ((size_t)used > n || (!out->done && (size_t)used != n))
            abort();
        out->consumed += (size_t)used;
    }
}

static void must_equal(const struct result *a, const struct result *b)
{
    if (a->err.kind != b->err.kind || strcmp(a->err.msg, b->err.msg) != 0)
        abort();
    if (a->err.kind != ERR_NONE)
        return;
    if (a->done != b->done || a->consumed != b->consumed || a->resp.size != b->resp.size ||
        a->resp.size != a->consumed || a->resp.argc != b->resp.argc ||
        a->resp.argi != b->resp.argi)
        abort();
    for (size_t i = 0; i < a->resp.argi && i < RESP_ARGS; i++)
        if (a->resp.arg[i].off != b->resp.arg[i].off ||
            a->resp.arg[i].len != b->resp.arg[i].len)
            abort();
}

/* Every recorded argument of a whole command lies in it and has its header before it. */
static void must_fit(const struct result *r, const uint8_t *data)
{
    for (size_t i = 0; r->done && i < r->resp.argi && i < RESP_ARGS; i++) {
        const struct resp_arg *arg = &r->resp.arg[i];

        if (arg->off + arg->len + 2 > r->consumed || data[arg->off - 1] != '\n' ||
            data[arg->off + arg->len] != '\r')
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct result whole, parts;
    size_t at;

    if (size < 2)
        return 0;
    at = data[0] | (size_t)data[1] << 8;
    data += 2;
    size -= 2;
    scan(data, size, size, size, &whole);
    must_fit(&whole, data);
    scan(data, size, size != 0 ? at % (size + 1) : 0, size, &parts);
    must_equal(&whole, &parts);
    scan(data, size, 1, 1, &parts);
    must_equal(&whole, &parts);
    return 0;
}
