/* reply - replies of Redis, parsed by hiredis' reader without an allocation per reply. */
#include "applier/src/reply.h"

#include <hiredis/read.h>
#include <stdlib.h>
#include <string.h>

#include "applier/src/position.h"
#include "common/buf.h"
#include "common/err.h"
#include "common/mem.h"

struct replies {
    redisReader *reader;
    enum reply_depth depth;
    bool is_begun; /* something of the next reply was taken; the reader alone can't tell */
    struct reply reply;
    /* REPLY_FULL: texts move while the reply grows, so nodes get their pointers at its end. */
    struct reply_node *node;
    size_t *text_off;
    size_t node_cnt, node_cap;
    struct buf text;
};

static void add_node(struct replies *r, const struct reply_node *node, const char *text)
{
    if (r->node_cnt == r->node_cap) {
        r->node_cap = r->node_cap != 0 ? r->node_cap * 2 : 64;
        r->node = xrealloc(r->node, r->node_cap * sizeof(*r->node));
        r->text_off = xrealloc(r->text_off, r->node_cap * sizeof(*r->text_off));
    }
    r->node[r->node_cnt] = *node;
    r->text_off[r->node_cnt] = r->text.len;
    r->node_cnt++;
    if (node->len != 0)
        buf_append(&r->text, text, node->len);
}

static void note_error(struct replies *r, size_t at, const char *text, size_t len)
{
    struct reply *reply = &r->reply;

    if (reply->error_cnt++ != 0)
        return;
    if (len >= sizeof(reply->error))
        len = sizeof(reply->error) - 1;
    memcpy(reply->error, text, len);
    reply->error[len] = 0;
    reply->error_at = at;
}

/* Called for every value of a reply, its containers first. Never gives NULL, which the reader
 * would take for a lack of memory. */
static void *take(const redisReadTask *task, const struct reply_node *node, const char *text)
{
    struct replies *r = task->privdata;

    r->is_begun = true;
    if (task->parent == NULL) {
        r->reply.type = node->type;
        r->reply.cnt = node->cnt;
        if (node->type == REPLY_ERROR)
            note_error(r, 0, text, node->len);
        r->reply.is_ok = node->type == REPLY_STATUS && node->len == 2 && text[0] == 'O';
        r->reply.is_queued = node->type == REPLY_STATUS && node->len == 6 && text[0] == 'Q';
    } else if (task->parent->parent == NULL && node->type == REPLY_ERROR) {
        note_error(r, (size_t)task->idx, text, node->len);
    }
    if (r->depth == REPLY_FULL)
        add_node(r, node, text);
    return r;
}

static void *on_string(const redisReadTask *task, char *text, size_t len)
{
    struct reply_node node = {.type = REPLY_STRING, .len = len};

    if (task->type == REDIS_REPLY_STATUS)
        node.type = REPLY_STATUS;
    else if (task->type == REDIS_REPLY_ERROR)
        node.type = REPLY_ERROR;
    return take(task, &node, text);
}

static void *on_array(const redisReadTask *task, size_t cnt)
{
    return take(task, &(struct reply_node){.type = REPLY_ARRAY, .cnt = cnt}, NULL);
}

static void *on_integer(const redisReadTask *task, long long v)
{
    return take(task, &(struct reply_node){.type = REPLY_INTEGER, .integer = v}, NULL);
}

static void *on_double(const redisReadTask *task, double v, char *text, size_t len)
{
    (void)v;
    return take(task, &(struct reply_node){.type = REPLY_STRING, .len = len}, text);
}

static void *on_nil(const redisReadTask *task)
{
    return take(task, &(struct reply_node){.type = REPLY_NIL}, NULL);
}

static void *on_bool(const redisReadTask *task, int v)
{
    return take(task, &(struct reply_node){.type = REPLY_INTEGER, .integer = v}, NULL);
}

static void on_free(void *obj)
{
    (void)obj; /* everything belongs to struct replies */
}

struct replies *replies_new(void)
{
    static const redisReplyObjectFunctions functions = {
        .createString = on_string,
        .createArray = on_array,
        .createInteger = on_integer,
        .createDouble = on_double,
        .createNil = on_nil,
        .createBool = on_bool,
        .freeObject = on_free,
    };
    struct replies *r = xcalloc(1, sizeof(*r));

    /* hiredis takes a non-const pointer, but never writes through it. */
    r->reader =
        redisReaderCreateWithFunctions((redisReplyObjectFunctions *)(uintptr_t)&functions);
    if (r->reader == NULL)
        abort();
    r->reader->privdata = r;
    r->reader->maxbuf = 0; /* keeps the buffer: no reallocation for each large reply */
    buf_init(&r->text);
    return r;
}

void replies_free(struct replies *r)
{
    if (r == NULL)
        return;
    redisReaderFree(r->reader);
    free(r->node);
    free(r->text_off);
    buf_release(&r->text);
    free(r);
}

void replies_feed(struct replies *r, const void *data, size_t len)
{
    if (redisReaderFeed(r->reader, data, len) != REDIS_OK && r->reader->err == REDIS_ERR_OOM)
        abort();
}

static void begin(struct replies *r)
{
    r->reply = (struct reply){.type = REPLY_NIL};
    r->node_cnt = 0;
    buf_reset(&r->text);
}

void replies_expect(struct replies *r, enum reply_depth depth)
{
    if (r->is_begun)
        return;
    r->depth = depth;
    begin(r);
}

int replies_next(struct replies *r, const struct reply **out, struct err *err)
{
    void *obj = NULL;

    if (redisReaderGetReply(r->reader, &obj) != REDIS_OK)
        return err_set(err, ERR_AGAIN, 0, "target: %s", r->reader->errstr);
    if (obj == NULL)
        return 0;
    r->is_begun = false;
    for (size_t i = 0; i < r->node_cnt; i++)
        r->node[i].p = (const char *)(r->text.mem + r->text.off + r->text_off[i]);
    r->reply.node = r->node;
    r->reply.node_cnt = r->node_cnt;
    *out = &r->reply;
    return 1;
}

void reply_texts(const struct reply *r, size_t first, struct position_text *out, size_t cnt)
{
    for (size_t i = 0; i < cnt; i++) {
        const struct reply_node *n = &r->node[first + i];
        bool has_text = n->type == REPLY_STRING || n->type == REPLY_STATUS;

        out[i] = (struct position_text){has_text ? n->p : NULL, has_text ? n->len : 0};
    }
}
