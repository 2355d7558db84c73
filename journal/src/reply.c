/* reply - see reply.h. */
#include "journal/src/reply.h"
#include "common/err.h"
#include "common/mem.h"

#include <ctype.h>
#include <hiredis/hiredis.h>
#include <string.h>
#include <strings.h>

#define READER_PIECE 4096
#define READER_DEPTH 32
#define READER_ITEMS 16384

/* ---- lines ---- */

void reply_line_init(struct reply_line *l)
{
    l->len = 0;
    l->done = false;
}

ptrdiff_t reply_line_feed(struct reply_line *l, const uint8_t *data, size_t len, bool *done,
                          struct err *err)
{
    *done = false;
    if (l->done)
        reply_line_init(l);
    for (size_t i = 0; i < len; i++) {
        uint8_t c = data[i];

        if (c == '\n' && l->len == 0)
            continue;
        if (c == '\n') {
            if (l->text[l->len - 1] == '\r')
                l->len--;
            l->text[l->len] = '\0';
            l->done = l->len != 0;
            *done = l->done;
            if (l->done)
                return (ptrdiff_t)i + 1;
            continue;
        }
        if (l->len != 0 && l->text[l->len - 1] == '\r')
            return err_set(err, ERR_AGAIN, 0, "broken reply: a lone carriage return");
        if (c < ' ' && c != '\r' && c != '\t')
            return err_set(err, ERR_AGAIN, 0, "broken reply: byte 0x%02x in a line", c);
        if (l->len == REPLY_LINE_MAX)
            return err_set(err, ERR_AGAIN, 0, "broken reply: a line of more than %d bytes",
                           REPLY_LINE_MAX);
        l->text[l->len++] = (char)c;
    }
    return (ptrdiff_t)len;
}

/* ---- values ---- */

void reply_value_init(struct reply_value *v)
{
    v->reader = NULL;
    v->seen = 0;
}

void reply_value_release(struct reply_value *v)
{
    if (v->reader != NULL)
        redisReaderFree(v->reader);
    reply_value_init(v);
}

static int reader_failed(const struct redisReader *r, struct err *err)
{
    return err_set(err, ERR_AGAIN, 0, "broken reply: %s",
                   r->errstr[0] != '\0' ? r->errstr : "not a reply");
}

/* In small pieces, so that the depth of nesting is seen before it becomes a depth of recursion
 * when the reply is freed. */
static int feed_reader(struct reply_value *v, const uint8_t *data, size_t len, void **reply,
                       struct err *err)
{
    *reply = NULL;
    while (len != 0) {
        size_t piece = len < READER_PIECE ? len : READER_PIECE;

        if (*reply != NULL)
            return err_set(err, ERR_AGAIN, 0, "broken reply: bytes behind its end");
        if (redisReaderFeed(v->reader, (const char *)data, piece) != REDIS_OK ||
            redisReaderGetReply(v->reader, reply) != REDIS_OK)
            return reader_failed(v->reader, err);
        if (v->reader->ridx > READER_DEPTH)
            return err_set(err, ERR_AGAIN, 0, "broken reply: nested too deep");
        data += piece;
        len -= piece;
    }
    return 0;
}

int reply_value_feed(struct reply_value *v, const uint8_t *data, size_t len,
                     struct redisReply **out, struct err *err)
{
    void *reply = NULL;
    int rc;

    *out = NULL;
    while (v->seen == 0 && len != 0 && *data == '\n') {
        data++;
        len--;
    }
    if (len == 0)
        return 0;
    if (len > REPLY_VALUE_MAX - v->seen)
        return err_set(err, ERR_AGAIN, 0, "broken reply: more than %u bytes", REPLY_VALUE_MAX);
    if (v->reader == NULL) {
        v->reader = redisReaderCreate();
        if (v->reader == NULL)
            return err_set(err, ERR_FATAL, 0, "out of memory");
        v->reader->maxelements = READER_ITEMS;
    }
    v->seen += len;
    rc = feed_reader(v, data, len, &reply, err);
    if (rc == 0 && reply != NULL && v->reader->pos != v->reader->len)
        rc = err_set(err, ERR_AGAIN, 0, "broken reply: bytes behind its end");
    if (rc != 0) {
        if (reply != NULL)
            freeReplyObject(reply);
        return -1;
    }
    if (reply != NULL)
        reply_value_release(v);
    *out = reply;
    return 0;
}

/* ---- errors ---- */

static bool has_code(const char *text, const char *code)
{
    size_t n = strlen(code);

    return strncmp(text, code, n) == 0 && (text[n] == '\0' || text[n] == ' ');
}

/* As managed services, proxies and `rename-command` say it. */
static bool says_unknown(const char *text)
{
    return strcasestr(text, "unknown command") != NULL ||
           strcasestr(text, "unsupported") != NULL ||
           strcasestr(text, "not supported") != NULL ||
           strcasestr(text, "not allowed") != NULL || strcasestr(text, "disabled") != NULL;
}

int reply_refused(const char *cmd, const char *text, const char *acl, struct err *err)
{
    bool is_auth = strcmp(cmd, "AUTH") == 0;

    if (has_code(text, "NOPERM"))
        return err_set(err, ERR_AUTH, 0, "%s refused: '%.200s'; run: %s", cmd, text, acl);
    if (has_code(text, "NOAUTH") || strcasestr(text, "operation not permitted") != NULL)
        return err_set(err, ERR_AUTH, 0, "%s refused: '%.200s'; a password is needed", cmd,
                       text);
    if (has_code(text, "WRONGPASS") || has_code(text, "DENIED") ||
        (is_auth && has_code(text, "ERR")))
        return err_set(err, ERR_AUTH, 0, "%s refused: '%.300s'", cmd, text);
    if (has_code(text, "ERR") && says_unknown(text))
        return err_set(err, ERR_INPUT, 0,
                       "%s refused: '%.200s'; a managed service or a proxy that hides "
                       "replication? connect to the Redis itself",
                       cmd, text);
    return err_set(err, ERR_AGAIN, 0, "%s refused: '%.300s'", cmd, text);
}

/* ---- PSYNC ---- */

/* Decimal digits up to a blank or the end; false when there are none or too many. */
static bool parse_u64(const char *p, uint64_t *out)
{
    uint64_t v = 0;

    if (!isdigit((unsigned char)*p))
        return false;
    for (; isdigit((unsigned char)*p); p++) {
        unsigned d = (unsigned)(*p - '0');

        if (v > (UINT64_MAX - d) / 10)
            return false;
        v = v * 10 + d;
    }
    *out = v;
    return *p == '\0' || *p == ' ';
}

static bool parse_replid(const char *p, char out[REPLY_ID + 1])
{
    for (size_t i = 0; i < REPLY_ID; i++)
        if (!isxdigit((unsigned char)p[i]))
            return false;
    if (p[REPLY_ID] != '\0' && p[REPLY_ID] != ' ')
        return false;
    memcpy(out, p, REPLY_ID);
    out[REPLY_ID] = '\0';
    return true;
}

int reply_psync_parse(const char *line, const char *acl, struct reply_psync *out,
                      struct err *err)
{
    struct reply_psync r = {0};

    if (line[0] == '-')
        return reply_refused("PSYNC", line + 1, acl, err);
    if (strcmp(line, "+CONTINUE") == 0) {
        *out = r;
        return 0;
    }
    if (strncmp(line, "+CONTINUE ", 10) == 0 && parse_replid(line + 10, r.replid)) {
        *out = r;
        return 0;
    }
    r.full = true;
    if (strncmp(line, "+FULLRESYNC ", 12) == 0 && parse_replid(line + 12, r.replid) &&
        line[12 + REPLY_ID] == ' ' && parse_u64(line + 12 + REPLY_ID + 1, &r.lsn)) {
        *out = r;
        return 0;
    }
    return err_set(err, ERR_AGAIN, 0, "unexpected reply to PSYNC: '%.200s'", line);
}

/* ---- snapshot ---- */

void reply_snapshot_init(struct reply_snapshot *s)
{
    s->state = SNAPSHOT_HEAD;
    s->left = 0;
    s->held = 0;
    reply_line_init(&s->line);
}

static int parse_head(struct reply_snapshot *s, struct err *err)
{
    const char *text = s->line.text;

    if (text[0] == '-')
        return err_set(err, ERR_AGAIN, 0, "the server made no snapshot: '%.300s'", text + 1);
    if (strncmp(text, "$EOF:", 5) == 0 && s->line.len == 5 + REPLY_MARK) {
        memcpy(s->mark, text + 5, REPLY_MARK);
        s->state = SNAPSHOT_MARKED;
        return 0;
    }
    if (text[0] == '$' && parse_u64(text + 1, &s->left)) {
        s->state = SNAPSHOT_SIZED;
        return 0;
    }
    return err_set(err, ERR_AGAIN, 0, "unexpected header of the snapshot: '%.200s'", text);
}

/* Length of the longest end of data[0, len), shorter than the mark, that the mark begins with. */
static size_t mark_suffix(const uint8_t *mark, const uint8_t *data, size_t len)
{
    size_t n = len < REPLY_MARK - 1 ? len : REPLY_MARK - 1;

    while (n != 0 && memcmp(data + len - n, mark, n) != 0)
        n--;
    return n;
}

/*
 * Looks for the mark: behind it may come the stream at once, from servers that do not wait for
 * the first ACK. The bytes held back are always the mark's first ones, so they need no copy.
 */
static size_t feed_marked(struct reply_snapshot *s, const uint8_t *data, size_t len,
                          const uint8_t **out, size_t *out_len)
{
    const uint8_t *found;
    size_t n = 0;

    if (s->held != 0) {
        while (n < len && s->held < REPLY_MARK && data[n] == s->mark[s->held]) {
            n++;
            s->held++;
        }
        if (n < len && s->held < REPLY_MARK) {
            /* Not the mark, but its end may begin one. */
            size_t keep = mark_suffix(s->mark, s->mark + 1, s->held - 1);

            *out = s->mark;
            *out_len = s->held - keep;
            s->held = keep;
        }
        return n;
    }
    found = memmem(data, len, s->mark, REPLY_MARK);
    *out = data;
    if (found != NULL) {
        *out_len = (size_t)(found - data);
        s->held = REPLY_MARK;
        return *out_len + REPLY_MARK;
    }
    s->held = mark_suffix(s->mark, data, len);
    *out_len = len - s->held;
    return len;
}

ptrdiff_t reply_snapshot_feed(struct reply_snapshot *s, const uint8_t *data, size_t len,
                              const uint8_t **out, size_t *out_len, bool *end, struct err *err)
{
    size_t n = 0;

    *out = data;
    *out_len = 0;
    if (s->state == SNAPSHOT_HEAD) {
        bool done;
        ptrdiff_t taken = reply_line_feed(&s->line, data, len, &done, err);

        if (taken < 0 || (done && parse_head(s, err) != 0))
            return -1;
        *end = done && s->state == SNAPSHOT_SIZED && s->left == 0;
        if (*end)
            s->state = SNAPSHOT_ENDED;
        return taken;
    }
    if (s->state == SNAPSHOT_SIZED) {
        n = s->left < len ? (size_t)s->left : len;
        *out_len = n;
        s->left -= n;
    } else if (s->state == SNAPSHOT_MARKED) {
        n = feed_marked(s, data, len, out, out_len);
    }
    *end = s->state == SNAPSHOT_SIZED ? s->left == 0 : s->held == REPLY_MARK;
    if (*end)
        s->state = SNAPSHOT_ENDED;
    return (ptrdiff_t)n;
}
