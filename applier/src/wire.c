/* wire - writing of RESP commands into a buffer. */
#include "applier/src/wire.h"
#include "common/buf.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void put_header(struct buf *b, char mark, uint64_t v)
{
    char text[32];
    int len = snprintf(text, sizeof(text), "%c%" PRIu64 "\r\n", mark, v);

    buf_append(b, text, (size_t)len);
}

void wire_array(struct buf *b, uint64_t argc)
{
    put_header(b, '*', argc);
}

void wire_bulk(struct buf *b, const void *data, size_t len)
{
    put_header(b, '$', len);
    if (len != 0)
        buf_append(b, data, len);
    buf_append(b, "\r\n", 2);
}

void wire_text(struct buf *b, const char *text)
{
    wire_bulk(b, text, strlen(text));
}

void wire_u64(struct buf *b, uint64_t v)
{
    char text[24];
    int len = snprintf(text, sizeof(text), "%" PRIu64, v);

    wire_bulk(b, text, (size_t)len);
}

void wire_i64(struct buf *b, int64_t v)
{
    char text[24];
    int len = snprintf(text, sizeof(text), "%" PRId64, v);

    wire_bulk(b, text, (size_t)len);
}

void wire_command(struct buf *b, const char *name, ...)
{
    va_list ap;
    uint64_t argc = 1;

    va_start(ap, name);
    while (va_arg(ap, const char *) != NULL)
        argc++;
    va_end(ap);
    wire_array(b, argc);
    wire_text(b, name);
    va_start(ap, name);
    for (uint64_t i = 1; i < argc; i++)
        wire_text(b, va_arg(ap, const char *));
    va_end(ap);
}

void wire_select(struct buf *b, uint32_t db)
{
    wire_array(b, 2);
    wire_text(b, "SELECT");
    wire_u64(b, db);
}
