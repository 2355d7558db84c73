/* rdb_scan - passes over RDB encodings that come in pieces cut at any byte. */
#include "common/rdb_scan.h"
#include "common/err.h"
#include "common/rdb.h"

#include <liblzf/lzf.h>
#include <string.h>

#define MAGIC_LEN 9
/* LZF's best: 264 bytes out of a reference of three. */
#define LZF_RATIO_MAX 88

/* First bytes of the encodings (Redis rdb.h). */
enum {
    LEN_32 = 0x80,
    LEN_64 = 0x81,
    ENC_INT8 = 0xc0,
    ENC_INT16 = 0xc1,
    ENC_INT32 = 0xc2,
    ENC_LZF = 0xc3
};
enum { MODULE_EOF, MODULE_SINT, MODULE_UINT, MODULE_FLOAT, MODULE_DOUBLE, MODULE_STRING };

/* What a step answers besides enum scan_result's meaning: the next element can be read. */
enum step { STEP_ON, STEP_MORE, STEP_BAD };

void scan_init(struct scan *s)
{
    *s = (struct scan){.layout = "."};
    buf_init(&s->raw);
    buf_init(&s->text);
    /* So that an empty string is not NULL. */
    (void)buf_reserve(&s->text, 1);
}

void scan_release(struct scan *s)
{
    buf_release(&s->raw);
    buf_release(&s->text);
}

void scan_begin(struct scan *s, const char *layout)
{
    s->layout = layout;
}

/* ---- heads ---------------------------------------------------------------------------- */

static uint64_t get_be(const uint8_t *p, size_t len)
{
    uint64_t v = 0;

    while (len-- > 0)
        v = v << 8 | *p++;
    return v;
}

int scan_length(const uint8_t *p, size_t len, struct scan_head *out)
{
    int size = 1;

    if (len == 0)
        return 0;
    out->enc = SCAN_PLAIN;
    if (p[0] < 0x40) {
        out->size = p[0];
        return 1;
    }
    if (p[0] < 0x80)
        size = 2;
    else if (p[0] == LEN_32)
        size = 5;
    else if (p[0] == LEN_64)
        size = 9;
    else
        return -1;
    if (len < (size_t)size)
        return 0;
    out->size = size == 2 ? get_be(p, 2) & 0x3fff : get_be(p + 1, (size_t)size - 1);
    return size;
}

static int lzf_head(const uint8_t *p, size_t len, struct scan_head *out)
{
    struct scan_head plain = {0};
    int a = scan_length(p + 1, len - 1, out);
    int b;

    if (a <= 0)
        return a;
    b = scan_length(p + 1 + a, len - 1 - (size_t)a, &plain);
    if (b <= 0)
        return b;
    out->enc = SCAN_LZF;
    out->plain = plain.size;
    return 1 + a + b;
}

int scan_string_head(const uint8_t *p, size_t len, struct scan_head *out)
{
    if (len == 0 || p[0] < 0xc0)
        return scan_length(p, len, out);
    if (p[0] == ENC_LZF)
        return lzf_head(p, len, out);
    if (p[0] > ENC_LZF)
        return -1;
    out->enc = SCAN_INT;
    out->size = (uint64_t)1 << (p[0] - ENC_INT8);
    return 1;
}

/* ---- decoding ------------------------------------------------------------------------- */

static void put_int(const struct scan_head *head, const uint8_t *p, struct buf *out)
{
    uint8_t digits[12];
    size_t at = sizeof(digits);
    int64_t v;
    uint64_t u;

    if (head->size == 1)
        v = (int8_t)p[0];
    else if (head->size == 2)
        v = (int16_t)get_u16le(p);
    else
        v = (int32_t)get_u32le(p);
    u = v < 0 ? (uint64_t)-v : (uint64_t)v;
    do {
        digits[--at] = (uint8_t)('0' + u % 10);
        u /= 10;
    } while (u != 0);
    if (v < 0)
        digits[--at] = '-';
    buf_append(out, digits + at, sizeof(digits) - at);
}

static int put_lzf(const struct scan_head *head, const uint8_t *p, struct buf *out,
                   struct err *err)
{
    /* Before the allocation: the length may be anything. */
    if (head->size == 0 || head->plain == 0 || head->size > UINT32_MAX ||
        head->plain > UINT32_MAX || head->plain / LZF_RATIO_MAX > head->size)
        return err_set(err, ERR_CORRUPT, 0, "impossible lengths of a compressed string");
    if (lzf_decompress(p, (unsigned)head->size, buf_reserve(out, (size_t)head->plain),
                       (unsigned)head->plain) != head->plain)
        return err_set(err, ERR_CORRUPT, 0, "a compressed string is damaged");
    buf_added(out, (size_t)head->plain);
    return 0;
}

int scan_decode(const struct scan_head *head, const uint8_t *p, struct buf *out,
                struct err *err)
{
    if (head->enc == SCAN_LZF)
        return put_lzf(head, p, out, err);
    if (head->enc == SCAN_INT)
        put_int(head, p, out);
    else
        buf_append(out, p, (size_t)head->size);
    return 0;
}

/* ---- taking from the input ------------------------------------------------------------- */

static size_t left(const struct scan_input *in)
{
    return (size_t)(in->end - in->p);
}

static bool pass(struct scan *s, struct scan_input *in)
{
    size_t n = left(in);

    if (n > s->skip)
        n = (size_t)s->skip;
    in->p += n;
    s->skip -= n;
    return s->skip == 0;
}

/* `size` bytes in one piece, valid until the next call; NULL: they are not all there yet. */
static const uint8_t *take(struct scan *s, struct scan_input *in, size_t size)
{
    const uint8_t *p = in->p;
    size_t n = left(in);

    if (s->held_len == 0 && n >= size) {
        in->p += size;
        return p;
    }
    if (n > size - s->held_len)
        n = size - s->held_len;
    if (n != 0)
        memcpy(s->held + s->held_len, p, n);
    in->p += n;
    s->held_len = (uint8_t)(s->held_len + n);
    if (s->held_len < size)
        return NULL;
    s->held_len = 0;
    return s->held;
}

typedef int head_fn(const uint8_t *p, size_t len, struct scan_head *out);

static enum step bad_head(struct err *err)
{
    (void)err_set(err, ERR_CORRUPT, 0, "neither a length nor a string");
    return STEP_BAD;
}

/* A head that a piece's end cut: byte by byte, since its size is only known from its bytes. */
static enum step take_cut_head(struct scan *s, struct scan_input *in, head_fn *parse,
                               struct scan_head *out, struct err *err)
{
    while (in->p < in->end) {
        int n;

        s->held[s->held_len++] = *in->p++;
        n = parse(s->held, s->held_len, out);
        if (n < 0)
            return bad_head(err);
        if (n > 0) {
            s->held_len = 0;
            return STEP_ON;
        }
    }
    return STEP_MORE;
}

static inline enum step take_head(struct scan *s, struct scan_input *in, head_fn *parse,
                                  struct scan_head *out, struct err *err)
{
    int n;

    if (s->held_len != 0)
        return take_cut_head(s, in, parse, out, err);
    n = parse(in->p, left(in), out);
    if (n > 0) {
        in->p += n;
        return STEP_ON;
    }
    return n < 0 ? bad_head(err) : take_cut_head(s, in, parse, out, err);
}

static enum step take_length(struct scan *s, struct scan_input *in, struct err *err)
{
    struct scan_head head;
    enum step step = take_head(s, in, scan_length, &head, err);

    if (step == STEP_ON)
        s->num = head.size;
    return step;
}

static enum step take_number(struct scan *s, struct scan_input *in, size_t size)
{
    const uint8_t *p = take(s, in, size);

    if (p == NULL)
        return STEP_MORE;
    s->num = size == 8 ? get_u64le(p) : size == 4 ? get_u32le(p) : p[0];
    return STEP_ON;
}

static enum step take_string_head(struct scan *s, struct scan_input *in, struct err *err)
{
    enum step step = take_head(s, in, scan_string_head, &s->head, err);

    if (step == STEP_ON && s->head.size > SCAN_SIZE_MAX) {
        (void)err_set(err, ERR_CORRUPT, 0, "impossible length %llu of a string",
                      (unsigned long long)s->head.size);
        return STEP_BAD;
    }
    return step;
}

/* ---- elements -------------------------------------------------------------------------- */

static enum step pass_string(struct scan *s, struct scan_input *in, struct err *err)
{
    enum step step = take_string_head(s, in, err);

    if (step == STEP_ON)
        s->skip = s->head.size;
    return step;
}

static void begin_text(struct scan *s)
{
    const struct scan_head *head = &s->head;

    buf_reset(&s->raw);
    buf_reset(&s->text);
    s->text_len = head->enc == SCAN_LZF ? head->plain : head->size;
    s->text_kept = s->text_len <= RDB_KEY_KEPT;
    s->in_text = s->text_kept;
    if (!s->text_kept)
        s->skip = head->size;
}

/* The payload of a text that is kept. */
static enum step finish_text(struct scan *s, struct scan_input *in, struct err *err)
{
    const uint8_t *p = in->p;
    size_t need = (size_t)s->head.size - s->raw.len;
    size_t n = left(in) < need ? left(in) : need;

    if (s->raw.len != 0 || n < need) {
        buf_append(&s->raw, p, n);
        in->p += n;
        if (n < need)
            return STEP_MORE;
        p = buf_data(&s->raw);
    } else {
        in->p += n;
    }
    if (scan_decode(&s->head, p, &s->text, err) != 0)
        return STEP_BAD;
    s->text_len = s->text.len;
    s->in_text = false;
    return STEP_ON;
}

static enum step take_text(struct scan *s, struct scan_input *in, struct err *err)
{
    if (!s->in_text) {
        enum step step = take_string_head(s, in, err);

        if (step != STEP_ON)
            return step;
        begin_text(s);
        if (!s->in_text)
            return STEP_ON;
        /* Else what is gathered of the payload had no bound. */
        if (s->head.size > RDB_KEY_KEPT) {
            (void)err_set(err, ERR_CORRUPT, 0,
                          "a compressed string is longer than its content");
            return STEP_BAD;
        }
    }
    return finish_text(s, in, err);
}

static enum step take_magic(struct scan *s, struct scan_input *in)
{
    const uint8_t *p = take(s, in, MAGIC_LEN);

    if (p == NULL)
        return STEP_MORE;
    buf_reset(&s->text);
    buf_append(&s->text, p, MAGIC_LEN);
    return STEP_ON;
}

/* One byte says how many digits follow; the three largest values are NaN and the infinities. */
static enum step pass_old_double(struct scan *s, struct scan_input *in)
{
    const uint8_t *p = take(s, in, 1);

    if (p == NULL)
        return STEP_MORE;
    if (*p < 253)
        s->skip = *p;
    return STEP_ON;
}

static enum step pass_uint_mark(struct scan *s, struct scan_input *in, struct err *err)
{
    enum step step = take_length(s, in, err);

    if (step == STEP_ON && s->num != MODULE_UINT) {
        (void)err_set(err, ERR_CORRUPT, 0, "module opcode %llu where 2 must be",
                      (unsigned long long)s->num);
        return STEP_BAD;
    }
    return step;
}

/* One module opcode with its operand. */
static enum step pass_module(struct scan *s, struct scan_input *in, bool *eof, struct err *err)
{
    enum step step = STEP_ON;

    if (s->module_op == 0) {
        step = take_length(s, in, err);
        if (step != STEP_ON)
            return step;
        if (s->num > MODULE_STRING) {
            (void)err_set(err, ERR_CORRUPT, 0, "unknown module opcode %llu",
                          (unsigned long long)s->num);
            return STEP_BAD;
        }
        s->module_op = (uint8_t)s->num;
    }
    switch (s->module_op) {
    case MODULE_EOF:
        *eof = true;
        break;
    case MODULE_FLOAT:
        s->skip = 4;
        break;
    case MODULE_DOUBLE:
        s->skip = 8;
        break;
    case MODULE_STRING:
        step = pass_string(s, in, err);
        break;
    default:
        step = take_length(s, in, err);
        break;
    }
    if (step == STEP_ON)
        s->module_op = 0;
    return step;
}

/* Behind the ']' that belongs to the '[' before `layout`. */
static const char *loop_end(const char *layout)
{
    for (unsigned depth = 1; depth > 0; layout++)
        depth += *layout == '[' ? 1U : *layout == ']' ? -1U : 0U;
    return layout;
}

static enum step enter_loop(struct scan *s, struct scan_input *in, struct err *err)
{
    enum step step = take_length(s, in, err);

    if (step != STEP_ON)
        return step;
    if (s->num > SCAN_SIZE_MAX) {
        (void)err_set(err, ERR_CORRUPT, 0, "impossible count %llu", (unsigned long long)s->num);
        return STEP_BAD;
    }
    s->layout++;
    if (s->num == 0)
        s->layout = loop_end(s->layout);
    else
        s->loop[s->depth++] = (struct scan_loop){.body = s->layout, .left = s->num};
    return STEP_ON;
}

static void next_round(struct scan *s)
{
    struct scan_loop *loop = &s->loop[s->depth - 1];

    if (--loop->left != 0) {
        s->layout = loop->body;
    } else {
        s->depth--;
        s->layout++;
    }
}

/* Elements that are not a string, a length or a loop; *again: the same element once more. */
static enum step rare_element(struct scan *s, struct scan_input *in, bool *again,
                              struct err *err)
{
    bool eof = false;
    enum step step;

    switch (*s->layout) {
    case 'b':
        return take_number(s, in, 1);
    case 'w':
        return take_number(s, in, 4);
    case 'D':
        return pass_old_double(s, in);
    case 'H':
        return take_magic(s, in);
    case 'U':
        return pass_uint_mark(s, in, err);
    default: /* M */
        step = pass_module(s, in, &eof, err);
        *again = !eof;
        return step;
    }
}

enum scan_result scan_run(struct scan *s, struct scan_input *in, struct err *err)
{
    for (;;) {
        enum step step = STEP_ON;
        bool again = false;

        if (s->skip != 0 && !pass(s, in))
            return SCAN_MORE;
        switch (*s->layout) {
        case '.':
            return SCAN_DONE;
        case 'S':
            step = pass_string(s, in, err);
            break;
        case 'T':
            step = take_text(s, in, err);
            break;
        case 'L':
        case 'N':
            step = take_length(s, in, err);
            break;
        case 'q':
            step = take_number(s, in, 8);
            break;
        case 'x':
            s->skip = 16;
            break;
        case '[':
            step = enter_loop(s, in, err);
            again = true; /* it has moved by itself */
            break;
        case ']':
            next_round(s);
            again = true;
            break;
        default:
            step = rare_element(s, in, &again, err);
            break;
        }
        if (step != STEP_ON)
            return step == STEP_MORE ? SCAN_MORE : SCAN_BAD;
        if (!again)
            s->layout++;
    }
}
