/* open - where a lane goes on. */
#include "mirror/src/open.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/kafka.h"
#include "common/mem.h"
#include "mirror/src/match.h"
#include "mirror/src/record.h"

#define READ_SLICE_MS 200

static int fail(struct open_job *job, enum side side)
{
    job->side = side;
    return -1;
}

static rd_kafka_topic_partition_list_t *one_partition(const struct open_job *job,
                                                      rd_kafka_topic_partition_t **elem)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);

    *elem = rd_kafka_topic_partition_list_add(list, job->topic, job->partition);
    return list;
}

/* job->pair from the target; *found is false where none was ever stored (or it expired). */
static int read_pair(struct open_job *job, bool *found)
{
    rd_kafka_topic_partition_t *elem;
    rd_kafka_topic_partition_list_t *list = one_partition(job, &elem);
    rd_kafka_resp_err_t code = rd_kafka_committed(job->target, list, job->timeout_ms);
    int rc = -1;

    if (!code)
        code = elem->err;
    if (code) {
        (void)kafka_err(&job->err, code, "read position of '%s' partition %d", job->topic,
                        (int)job->partition);
        goto out;
    }
    *found = elem->offset >= 0;
    if (*found && pair_decode(elem->offset, elem->metadata, elem->metadata_size, &job->pair,
                              &job->err) != 0)
        goto out;
    rc = 0;
out:
    rd_kafka_topic_partition_list_destroy(list);
    return rc == 0 ? 0 : fail(job, SIDE_TARGET);
}

/* Must be stored before the first record is sent: a target that is not empty and has no pair is
 * refused. */
static int store_first_pair(struct open_job *job)
{
    char text[PAIR_TEXT_SIZE];
    rd_kafka_topic_partition_t *elem;
    rd_kafka_topic_partition_list_t *list = one_partition(job, &elem);
    rd_kafka_resp_err_t code;

    pair_encode(&job->pair, text);
    elem->offset = job->pair.src;
    elem->metadata = xstrdup(text); /* the list frees it */
    elem->metadata_size = strlen(text);
    code = rd_kafka_commit(job->target, list, 0);
    if (!code)
        code = elem->err;
    rd_kafka_topic_partition_list_destroy(list);
    if (!code)
        return 0;
    (void)kafka_err(&job->err, code, "store first position of '%s' partition %d", job->topic,
                    (int)job->partition);
    return fail(job, SIDE_TARGET);
}

/* One message of the target's log; 1 when the part before job->end is read. */
static int take_target(struct open_job *job, const rd_kafka_message_t *msg)
{
    if (msg->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
        return msg->offset >= job->end;
    if (msg->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        if (msg->offset < job->end)
            match_add_target(job->match, msg->offset, record_digest(msg));
        return msg->offset >= job->end - 1;
    }
    if (kafka_err_kind(msg->err) == ERR_AGAIN)
        return 0;
    return kafka_err(&job->err, msg->err, "read '%s' partition %d", job->topic,
                     (int)job->partition);
}

static int read_until_end(struct open_job *job, rd_kafka_queue_t *queue)
{
    int64_t limit = clock_mono_ms() + job->timeout_ms;
    int done = 0;

    while (done == 0) {
        rd_kafka_message_t *msg = rd_kafka_consume_queue(queue, READ_SLICE_MS);

        if (msg) {
            done = take_target(job, msg);
            rd_kafka_message_destroy(msg);
            limit = clock_mono_ms() + job->timeout_ms;
        } else if (clock_mono_ms() > limit || atomic_load(job->stop)) {
            return err_set(&job->err, ERR_AGAIN, 0, "read '%s' partition %d: no answer",
                           job->topic, (int)job->partition);
        }
    }
    return done < 0 ? -1 : 0;
}

/* The target's records [from, job->end) into job->match. */
static int read_target(struct open_job *job, int64_t from)
{
    rd_kafka_topic_t *topic = rd_kafka_topic_new(job->target, job->topic, NULL);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(job->target);
    int rc = -1;

    if (!topic || rd_kafka_consume_start_queue(topic, job->partition, from, queue) != 0) {
        (void)kafka_err(&job->err, rd_kafka_last_error(), "read '%s' partition %d", job->topic,
                        (int)job->partition);
        goto out;
    }
    rc = read_until_end(job, queue);
    (void)rd_kafka_consume_stop(topic, job->partition);
out:
    rd_kafka_queue_destroy(queue);
    if (topic)
        rd_kafka_topic_destroy(topic);
    return rc == 0 ? 0 : fail(job, SIDE_TARGET);
}

/*
 * What the target has behind the pair, to be compared with the source. One record before the
 * pair serves as anchor, where both sides still have it: it proves that the source is the topic
 * that it was.
 */
static int collect(struct open_job *job, int64_t source_low, int64_t target_low)
{
    int64_t from = job->pair.dst;
    bool anchor = job->pair.dst > target_low && job->pair.src > source_low;

    if (anchor)
        from--;
    if (from < target_low) {
        (void)err_set(&job->err, ERR_CORRUPT, 0,
                      "target no longer has its offsets [%" PRId64 ",%" PRId64
                      ") of '%s' partition %d, which the resume has to compare",
                      from, target_low < job->end ? target_low : job->end, job->topic,
                      (int)job->partition);
        return fail(job, SIDE_TARGET);
    }
    job->match = match_new();
    if (from < job->end && read_target(job, from) != 0)
        return -1;
    job->anchored = anchor && match_dst(job->match) == from;
    job->start = job->anchored ? job->pair.src - 1 : job->pair.src;
    return 0;
}

/* Against the ends of both logs. */
static int check_ranges(struct open_job *job, int64_t source_low, int64_t source_end)
{
    if (job->end < job->pair.dst) {
        job->may_heal = true;
        (void)err_set(&job->err, ERR_CORRUPT, 0,
                      "target lost records or was recreated: '%s' partition %d ends at %" PRId64
                      ", [%" PRId64 ",%" PRId64 ") were written",
                      job->topic, (int)job->partition, job->end, job->end, job->pair.dst);
        return fail(job, SIDE_TARGET);
    }
    if (job->pair.src < source_low) {
        (void)err_set(&job->err, ERR_CORRUPT, 0,
                      "gap: source no longer has its offsets [%" PRId64 ",%" PRId64
                      ") of '%s' partition %d, target ends at %" PRId64,
                      job->pair.src, source_low, job->topic, (int)job->partition, job->end);
        return fail(job, SIDE_SOURCE);
    }
    if (job->pair.src > source_end) {
        job->may_heal = true;
        (void)err_set(&job->err, ERR_CORRUPT, 0,
                      "source was truncated or recreated: '%s' partition %d ends at %" PRId64
                      ", everything below %" PRId64 " was copied",
                      job->topic, (int)job->partition, source_end, job->pair.src);
        return fail(job, SIDE_SOURCE);
    }
    return 0;
}

int open_lane(struct open_job *job)
{
    int64_t source_low, source_end, target_low;
    bool found = true;

    if (!job->known && read_pair(job, &found) != 0)
        return -1;
    job->known = found;
    if (kafka_log_range(job->target, job->topic, job->partition, job->timeout_ms, &target_low,
                        &job->end, &job->err) != 0)
        return fail(job, SIDE_TARGET);
    if (atomic_load(job->stop)) {
        (void)err_set(&job->err, ERR_AGAIN, 0, "stopping");
        return fail(job, SIDE_TARGET);
    }
    if (kafka_log_range(job->source, job->topic, job->partition, job->timeout_ms, &source_low,
                        &source_end, &job->err) != 0)
        return fail(job, SIDE_SOURCE);
    if (found)
        return check_ranges(job, source_low, source_end) != 0
                   ? -1
                   : collect(job, source_low, target_low);
    if (job->end > 0) {
        (void)err_set(&job->err, ERR_CORRUPT, 0,
                      "foreign data: target's '%s' partition %d has offsets [%" PRId64
                      ",%" PRId64 ") and no position of this mirror",
                      job->topic, (int)job->partition, target_low, job->end);
        return fail(job, SIDE_TARGET);
    }
    job->pair = (struct pair){.src = source_low, .dst = 0};
    job->fresh = true;
    return store_first_pair(job);
}
