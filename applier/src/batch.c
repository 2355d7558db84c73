/* batch - what goes to the target in one transaction. */
#include "applier/src/batch.h"
#include "applier/src/wire.h"
#include "common/mem.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A batch that once was larger gives its memory back. */
#define KEPT_BYTES ((size_t)8 * 1024 * 1024)

void batch_init(struct batch *b)
{
    *b = (struct batch){.db = 0};
    buf_init(&b->bytes);
    position_init(&b->position);
}

void batch_release(struct batch *b)
{
    buf_release(&b->bytes);
    position_release(&b->position);
    free(b->cmd);
    free(b->entry);
    batch_init(b);
}

void batch_begin(struct batch *b, uint32_t db)
{
    if (b->bytes.cap > KEPT_BYTES)
        buf_release(&b->bytes);
    buf_reset(&b->bytes);
    b->cmd_cnt = 0;
    b->entry_cnt = 0;
    b->log_entry_cnt = 0;
    b->log_cmd_cnt = 0;
    b->db = db;
    b->max_db = db;
    wire_command(&b->bytes, "MULTI", NULL);
}

void batch_add_cmd(struct batch *b, uint32_t entry)
{
    if (b->cmd_cnt == b->cmd_cap) {
        b->cmd_cap = b->cmd_cap != 0 ? b->cmd_cap * 2 : 256;
        b->cmd = xrealloc(b->cmd, b->cmd_cap * sizeof(*b->cmd));
    }
    b->cmd[b->cmd_cnt++] = (struct batch_cmd){.at = b->bytes.len, .entry = entry};
}

uint32_t batch_add_entry(struct batch *b, const struct batch_entry *e)
{
    if (b->entry_cnt == b->entry_cap) {
        b->entry_cap = b->entry_cap != 0 ? b->entry_cap * 2 : 256;
        b->entry = xrealloc(b->entry, b->entry_cap * sizeof(*b->entry));
    }
    b->entry[b->entry_cnt] = *e;
    return (uint32_t)b->entry_cnt++;
}

void batch_select(struct batch *b, uint32_t db)
{
    if (b->db == db)
        return;
    batch_add_cmd(b, BATCH_OWN);
    wire_select(&b->bytes, db);
    b->db = db;
    if (db > b->max_db)
        b->max_db = db;
}

struct batch_mark batch_mark(const struct batch *b)
{
    return (struct batch_mark){.bytes_len = b->bytes.len,
                               .cmd_cnt = b->cmd_cnt,
                               .entry_cnt = b->entry_cnt,
                               .log_entry_cnt = b->log_entry_cnt,
                               .log_cmd_cnt = b->log_cmd_cnt,
                               .db = b->db,
                               .max_db = b->max_db};
}

void batch_undo(struct batch *b, const struct batch_mark *mark)
{
    b->bytes.len = mark->bytes_len;
    b->cmd_cnt = mark->cmd_cnt;
    b->entry_cnt = mark->entry_cnt;
    b->log_entry_cnt = mark->log_entry_cnt;
    b->log_cmd_cnt = mark->log_cmd_cnt;
    b->db = mark->db;
    b->max_db = mark->max_db;
}

/* Copies the bulk at *p, upper case, and moves *p behind it. */
static size_t take_word(const uint8_t **p, char *out, size_t size)
{
    size_t len = 0;
    size_t n = 0;

    for (++*p; **p != '\r'; ++*p)
        len = len * 10 + (size_t)(**p - '0');
    *p += 2;
    for (; n < len && n + 1 < size; n++)
        out[n] = (char)(isprint((*p)[n]) ? toupper((*p)[n]) : '?');
    out[n] = 0;
    *p += len + 2;
    return n;
}

void batch_cmd_name(const struct batch *b, size_t cmd, char *out, size_t size)
{
    static const char *const container[] = {"XGROUP", "FUNCTION", "SCRIPT"};
    const uint8_t *p = buf_data(&b->bytes) + b->cmd[cmd].at;
    bool more = p[1] != '1' || p[2] != '\r';
    size_t len;

    p = (const uint8_t *)memchr(p, '\n', 32) + 1;
    len = take_word(&p, out, size);
    for (size_t i = 0; more && i < sizeof(container) / sizeof(container[0]); i++) {
        if (strcmp(out, container[i]) == 0 && len + 2 < size) {
            out[len] = ' ';
            (void)take_word(&p, out + len + 1, size - len - 1);
            return;
        }
    }
}
