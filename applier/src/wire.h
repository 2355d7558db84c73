/*
 * wire - writing of RESP commands (arrays of bulk strings) into a buffer.
 *
 * The caller announces the number of arguments and then adds exactly that many.
 */
#ifndef APPLIER_WIRE_H
#define APPLIER_WIRE_H

#include <stddef.h>
#include <stdint.h>

struct buf;

void wire_array(struct buf *b, uint64_t argc);
void wire_bulk(struct buf *b, const void *data, size_t len);
void wire_text(struct buf *b, const char *text);
void wire_u64(struct buf *b, uint64_t v);
void wire_i64(struct buf *b, int64_t v);

/* A whole command of texts; the list ends with NULL. */
void wire_command(struct buf *b, const char *name, ...) __attribute__((sentinel));
void wire_select(struct buf *b, uint32_t db);

#endif
