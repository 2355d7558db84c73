/* fuzz_frame - whatever the decoder accepts can be read to its end and encoded again. */
#include "common/frame.h"

#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/crc.h"
#include "common/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition)
{
    if (!condition)
        abort();
}

static void encode_again(const struct frame *f, struct buf *b)
{
    struct heartbeat h;
    struct entry_cursor c;
    struct entry e;
    struct frame_writer w;
    struct err err;

    if (f->type == FRAME_START && frame_start(f, &h.start, &err) == 0) {
        frame_put_start(b, f, &h.start);
    } else if (f->type == FRAME_HEARTBEAT && frame_heartbeat(f, &h, &err) == 0) {
        frame_put_heartbeat(b, f, &h);
    } else if (f->type == FRAME_DATA) {
        frame_begin(&w, b);
        entry_first(&c, f);
        while (entry_next(&c, &e))
            frame_add(&w, &e);
        must(!c.failed && w.cnt == f->entry_cnt && w.base == f->base && w.end == f->end);
        frame_end(&w, f);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size + 1);
    struct frame f;
    struct err err;
    struct buf b;

    must(copy != NULL);
    memcpy(copy, data, size);
    /* The CRC is made right, else nothing would ever pass it. */
    if (size >= FRAME_HEAD)
        put_u32le(copy + 8, crc32c(crc32c(0, copy, 8), copy + 12, size - 12));
    buf_init(&b);
    if (frame_decode(copy, size, &f, &err) == 0) {
        encode_again(&f, &b);
        /* Extensions are not written, a refused control block is not either. */
        if (get_u32le(copy + 12) == 0 && b.len != 0) {
            /* In control frames the phase says nothing and is written as 0. */
            if (f.type != FRAME_DATA) {
                copy[6] &= (uint8_t)~1U;
                put_u32le(copy + 8, crc32c(crc32c(0, copy, 8), copy + 12, size - 12));
            }
            must(b.len == size && memcmp(buf_data(&b), copy, size) == 0);
        }
    }
    buf_release(&b);
    free(copy);
    return 0;
}
