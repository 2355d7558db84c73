/* cat - prints the log's frames. Data on stdout, talk on stderr. */
#include "journal/src/cat.h"

#include <ctype.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/conf.h"
#include "common/err.h"
#include "common/frame.h"
#include "common/kafka.h"
#include "common/mem.h"
#include "journal/src/options.h"

enum { CALL_MS = 15000, POLL_MS = 200, SHOWN = 80 };

struct cat {
    const char *config;
    bool json, entries, values, follow;
    int64_t partition; /* -1: all */
    int64_t from;      /* offset; -1: the begin of the log */
    struct journal_conf conf;
    rd_kafka_t *rk;
    rd_kafka_queue_t *queue;
    int64_t *high; /* where each partition ends, unless following */
    uint32_t partition_cnt, open;
};

static void usage(FILE *to)
{
    (void)fprintf(
        to,
        "Prints the log's frames, one line each.\n\n"
        "Usage: redis-journal cat --config FILE [OPTION]...\n\n"
        "  --config FILE     the journal's configuration: topic.name and kafka.* are used\n"
        "  --partition N     only this partition\n"
        "  --from OFFSET     begin at this offset of each partition (default: the log's "
        "begin)\n"
        "  --entries         also one line for each entry\n"
        "  --values          with --entries: the first bytes of each, as they are (they are "
        "users' data)\n"
        "  --json            one JSON object a line\n"
        "  --follow          go on at the end instead of stopping there\n"
        "  --help\n\n"
        "Exit codes: 0 done, 1 Kafka failed, 2 usage or configuration, 5 a frame is damaged\n");
}

static bool number(const char *text, int64_t *out)
{
    char *end;
    long long n = strtoll(text, &end, 10);

    *out = n;
    return *text != '\0' && *end == '\0' && n >= 0;
}

/* 0: go on; else *code is the exit code. */
static int options(struct cat *c, int argc, char **argv, int *code)
{
    static const struct option list[] = {{"config", required_argument, NULL, 'c'},
                                         {"partition", required_argument, NULL, 'p'},
                                         {"from", required_argument, NULL, 'o'},
                                         {"entries", no_argument, NULL, 'e'},
                                         {"values", no_argument, NULL, 'v'},
                                         {"json", no_argument, NULL, 'j'},
                                         {"follow", no_argument, NULL, 'f'},
                                         {"help", no_argument, NULL, 'h'},
                                         {NULL, 0, NULL, 0}};
    int opt;

    *code = EXIT_CONFIG;
    optind = 1;
    while ((opt = getopt_long(argc, argv, "", list, NULL)) != -1) {
        bool fine = true;

        switch (opt) {
        case 'c':
            c->config = optarg;
            break;
        case 'p':
            fine = number(optarg, &c->partition);
            break;
        case 'o':
            fine = number(optarg, &c->from);
            break;
        case 'e':
            c->entries = true;
            break;
        case 'v':
            c->values = true;
            break;
        case 'j':
            c->json = true;
            break;
        case 'f':
            c->follow = true;
            break;
        case 'h':
            usage(stdout);
            *code = EXIT_OK;
            return -1;
        default:
            (void)fputs("try 'redis-journal cat --help'\n", stderr);
            return -1;
        }
        if (!fine) {
            (void)fprintf(
                stderr,
                "redis-journal cat: '%s' is no number; try 'redis-journal cat --help'\n",
                optarg);
            return -1;
        }
    }
    if (optind < argc || c->config == NULL) {
        (void)fprintf(stderr, "redis-journal cat: %s%s; try 'redis-journal cat --help'\n",
                      optind < argc ? "unexpected argument " : "option --config is missing",
                      optind < argc ? argv[optind] : "");
        return -1;
    }
    return 0;
}

static const char *kind_name(enum entry_kind kind)
{
    switch (kind) {
    case ENTRY_COMMAND:
        return "command";
    case ENTRY_TXN:
        return "transaction";
    case ENTRY_LINK:
        return "link";
    case ENTRY_RDB_META:
        return "rdb-meta";
    case ENTRY_RDB_FUNCTION:
        return "rdb-function";
    case ENTRY_RDB_KEY:
        return "rdb-key";
    case ENTRY_RDB_END:
        return "rdb-end";
    }
    return "unknown";
}

/* The first bytes, what can't be printed as \xHH. */
static void printable(const struct entry *e, char *out)
{
    size_t n = e->len < SHOWN ? e->len : SHOWN;

    for (size_t i = 0; i < n; i++) {
        if (isprint(e->data[i]) && e->data[i] != '\\')
            *out++ = (char)e->data[i];
        else
            out += snprintf(out, 5, "\\x%02x", (unsigned)e->data[i]);
    }
    *out = '\0';
}

static json_t *entry_json(const struct cat *c, const struct entry *e)
{
    char text[SHOWN * 4 + 1];
    json_t *o = json_pack("{s:s, s:I, s:I, s:I, s:I, s:b, s:b}", "kind", kind_name(e->kind),
                          "start", (json_int_t)e->start, "len", (json_int_t)e->len, "db",
                          (json_int_t)e->db, "db_end", (json_int_t)e->db_end, "continues",
                          (e->flags & ENTRY_CONTINUES) != 0, "continued",
                          (e->flags & ENTRY_CONTINUED) != 0);

    if (c->values) {
        printable(e, text);
        (void)json_object_set_new(o, "bytes", json_string(text));
    }
    return o;
}

static void print_json(const struct cat *c, const rd_kafka_message_t *msg,
                       const struct frame *f, const struct start *s)
{
    static const char *const types[] = {"", "data", "start", "heartbeat"};
    json_t *o = json_pack(
        "{s:i, s:I, s:s, s:I, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:s, s:I}", "partition",
        msg->partition, "offset", (json_int_t)msg->offset, "type", types[f->type], "epoch",
        (json_int_t)f->epoch, "replid", f->replid, "phase",
        f->phase == PHASE_STREAM ? "stream" : "snapshot", "base", (json_int_t)f->base, "end",
        (json_int_t)f->end, "entries", (json_int_t)f->entry_cnt, "recv_ms",
        (json_int_t)f->recv_ms, "d_epoch", (json_int_t)f->d.epoch, "d_phase",
        f->d.phase == PHASE_STREAM ? "stream" : "snapshot", "d_position", (json_int_t)f->d.lsn);

    if (s != NULL)
        (void)json_object_set_new(
            o, "start",
            json_pack("{s:s, s:I, s:I, s:I, s:I, s:b, s:I, s:s}", "kind",
                      s->kind == START_STREAM ? "stream" : "snapshot", "base",
                      (json_int_t)s->base, "db", (json_int_t)s->db, "prev_epoch",
                      (json_int_t)s->prev_epoch, "prev_end", (json_int_t)s->prev_end,
                      "has_prev_end", s->has_prev_end, "snapshot_epoch",
                      (json_int_t)s->snapshot_epoch, "owner", s->owner));
    if (c->entries && f->type == FRAME_DATA) {
        json_t *list = json_array();
        struct entry_cursor cur;
        struct entry e;

        entry_first(&cur, f);
        while (entry_next(&cur, &e))
            (void)json_array_append_new(list, entry_json(c, &e));
        (void)json_object_set_new(o, "list", list);
    }
    (void)json_dumpf(o, stdout, JSON_COMPACT);
    (void)putchar('\n');
    json_decref(o);
}

static void print_text(const struct cat *c, const rd_kafka_message_t *msg,
                       const struct frame *f, const struct start *s)
{
    struct entry_cursor cur;
    struct entry e;

    (void)printf("%" PRId32 ":%" PRId64 " epoch=%" PRIu64, msg->partition, msg->offset,
                 f->epoch);
    if (s != NULL)
        (void)printf(" %s kind=%s base=%" PRIu64 " prev_epoch=%" PRIu64 " prev_end=%s%" PRIu64
                     " owner=%s",
                     f->type == FRAME_START ? "START" : "heartbeat",
                     s->kind == START_STREAM ? "stream" : "snapshot", s->base, s->prev_epoch,
                     s->has_prev_end ? "" : "none/", s->prev_end, s->owner);
    else
        (void)printf(" %s [%" PRIu64 ", %" PRIu64 ") entries=%" PRIu32,
                     f->phase == PHASE_STREAM ? "stream" : "snapshot", f->base, f->end,
                     f->entry_cnt);
    (void)printf(" d=%" PRIu64 "/%s/%" PRIu64 " recv_ms=%" PRId64 "\n", f->d.epoch,
                 f->d.phase == PHASE_STREAM ? "stream" : "snapshot", f->d.lsn, f->recv_ms);
    if (!c->entries || f->type != FRAME_DATA)
        return;
    entry_first(&cur, f);
    while (entry_next(&cur, &e)) {
        char text[SHOWN * 4 + 1] = "";

        if (c->values)
            printable(&e, text);
        (void)printf("    %s%s%s db=%" PRIu32 " [%" PRIu64 ", %" PRIu64 ")%s%s\n",
                     kind_name(e.kind), e.flags & ENTRY_CONTINUES ? " (continues)" : "",
                     e.flags & ENTRY_CONTINUED ? " (continued)" : "", e.db, e.start,
                     e.start + e.len, c->values ? " " : "", text);
    }
}

static int print_frame(const struct cat *c, const rd_kafka_message_t *msg, struct err *err)
{
    struct heartbeat h;
    struct frame f;
    bool control;

    if (frame_decode(msg->payload, msg->len, &f, err) != 0 ||
        (f.type == FRAME_START && frame_start(&f, &h.start, err) != 0) ||
        (f.type == FRAME_HEARTBEAT && frame_heartbeat(&f, &h, err) != 0))
        return err_wrap(err, "partition %" PRId32 " offset %" PRId64, msg->partition,
                        msg->offset);
    control = f.type != FRAME_DATA;
    if (c->json)
        print_json(c, msg, &f, control ? &h.start : NULL);
    else
        print_text(c, msg, &f, control ? &h.start : NULL);
    return 0;
}

static int open_log(struct cat *c, struct err *err)
{
    static const struct kafka_prop forced[] = {{"isolation.level", "read_uncommitted"},
                                               {"enable.auto.commit", "false"},
                                               {"enable.partition.eof", "true"},
                                               {"auto.offset.reset", "earliest"},
                                               {NULL, NULL}};
    static const struct kafka_prop defaults[] = {{"group.id", "redis-journal-cat"},
                                                 {NULL, NULL}};
    rd_kafka_topic_partition_list_t *list;
    struct kafka_topic topic;
    int64_t low;

    if (kafka_new(RD_KAFKA_CONSUMER, "cat", &c->conf.kafka, defaults, forced, NULL, NULL,
                  &c->rk, err) != 0)
        return -1;
    (void)rd_kafka_poll_set_consumer(c->rk);
    c->queue = rd_kafka_queue_get_consumer(c->rk);
    if (kafka_topic_describe(c->rk, c->conf.topic, CALL_MS, &topic, err) != 0)
        return -1;
    c->partition_cnt = (uint32_t)topic.partition_cnt;
    if (c->partition >= topic.partition_cnt)
        return err_set(err, ERR_INPUT, 0,
                       "topic '%s' has no partition %" PRId64 ", only 0 to %" PRId32,
                       c->conf.topic, c->partition, topic.partition_cnt - 1);
    c->high = xcalloc(c->partition_cnt, sizeof(*c->high));
    list = rd_kafka_topic_partition_list_new(topic.partition_cnt);
    for (int32_t i = 0; i < topic.partition_cnt; i++) {
        if (c->partition >= 0 && i != c->partition)
            continue;
        if (kafka_log_range(c->rk, c->conf.topic, i, CALL_MS, &low, &c->high[i], err) != 0) {
            rd_kafka_topic_partition_list_destroy(list);
            return -1;
        }
        if (!c->follow && (c->high[i] == low || c->from >= c->high[i]))
            continue;
        rd_kafka_topic_partition_list_add(list, c->conf.topic, i)->offset =
            c->from > low ? c->from : low;
        c->open++;
    }
    (void)rd_kafka_assign(c->rk, list);
    rd_kafka_topic_partition_list_destroy(list);
    return 0;
}

static int print_log(struct cat *c, struct err *err)
{
    while (c->follow || c->open > 0) {
        rd_kafka_message_t *msg = rd_kafka_consume_queue(c->queue, POLL_MS);
        int rc = 0;

        if (msg == NULL)
            continue;
        if (msg->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
            if (c->follow || msg->offset < c->high[msg->partition])
                rc = print_frame(c, msg, err);
            if (c->follow)
                (void)fflush(stdout);
        } else if (msg->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
            if (!c->follow && msg->offset >= c->high[msg->partition])
                c->open--;
        } else if (kafka_err_kind(msg->err) != ERR_AGAIN) {
            rc = kafka_err(err, msg->err, "read '%s'", c->conf.topic);
        }
        rd_kafka_message_destroy(msg);
        if (rc != 0)
            return -1;
    }
    return 0;
}

int cat_run(int argc, char **argv)
{
    struct cat c = {.partition = -1, .from = -1};
    struct err err = {0};
    int code;

    if (options(&c, argc, argv, &code) != 0)
        return code;
    if (conf_load(journal_keys, c.config, "JOURNAL", &c.conf, &err) != 0 ||
        journal_conf_check(&c.conf, &err) != 0 || open_log(&c, &err) != 0 ||
        print_log(&c, &err) != 0)
        (void)fprintf(stderr, "redis-journal cat: %s\n", err.msg);
    if (c.queue != NULL)
        rd_kafka_queue_destroy(c.queue);
    if (c.rk != NULL)
        kafka_free(c.rk);
    free(c.high);
    conf_free(journal_keys, &c.conf);
    return (int)err_exit_code(&err);
}
