/*
 * mirror_store - the lanes' pairs as committed offsets of a group on the target.
 *
 * Nobody is ever a member of that group, so the broker takes commits from anyone and forgets
 * them some days after the last one: pairs that do not move are stored again from time to time.
 */
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "mirror/src/mirror_priv.h"

static void add_pair(rd_kafka_topic_partition_list_t *list, const struct route *route,
                     int32_t partition, const struct pair *pair)
{
    rd_kafka_topic_partition_t *elem =
        rd_kafka_topic_partition_list_add(list, route->topic.name, partition);
    char text[PAIR_TEXT_SIZE];

    pair_encode(pair, text);
    elem->offset = pair->src;
    elem->metadata = xstrdup(text); /* freed by the list */
    elem->metadata_size = strlen(text);
}

static struct lane *find_lane(const struct mirror *m, const char *topic, int32_t partition)
{
    for (size_t i = 0; i < m->route_cnt; i++)
        if (strcmp(m->route[i].topic.name, topic) == 0 && partition < m->route[i].lane_cnt)
            return m->route[i].lane[partition];
    return NULL;
}

static void untake(struct mirror *m, const rd_kafka_topic_partition_list_t *list)
{
    for (int i = 0; list && i < list->cnt; i++) {
        struct lane *lane = find_lane(m, list->elems[i].topic, list->elems[i].partition);

        if (lane)
            lane_untake_pair(lane);
    }
}

static void note_result(struct mirror *m, rd_kafka_resp_err_t code)
{
    struct err err;

    if (code) {
        (void)kafka_err(&err, code, "store positions");
        if (!m->store_failing)
            log_warn("positions can't be stored, retrying", F_ERR(&err));
    } else if (m->store_failing) {
        log_info("positions are stored again", F_NONE);
    }
    m->store_failing = code != RD_KAFKA_RESP_ERR_NO_ERROR;
}

void mirror_store(struct mirror *m, bool all)
{
    rd_kafka_topic_partition_list_t *list;
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;
    struct pair pair;

    if (m->store_runs)
        return;
    list = rd_kafka_topic_partition_list_new(16);
    for (size_t i = 0; i < m->route_cnt; i++)
        for (int32_t p = 0; p < m->route[i].lane_cnt; p++)
            if (lane_take_pair(m->route[i].lane[p], all, &pair))
                add_pair(list, &m->route[i], p, &pair);
    if (list->cnt > 0)
        code = rd_kafka_commit_queue(m->env.target, list, m->store_queue, NULL, NULL);
    m->store_runs = list->cnt > 0 && !code;
    if (code) {
        untake(m, list);
        note_result(m, code);
    }
    rd_kafka_topic_partition_list_destroy(list);
}

void mirror_stored(void *arg)
{
    struct mirror *m = arg;
    rd_kafka_event_t *event;

    while ((event = rd_kafka_queue_poll(m->store_queue, 0))) {
        rd_kafka_topic_partition_list_t *list;
        rd_kafka_resp_err_t code = rd_kafka_event_error(event);

        if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_OFFSET_COMMIT) {
            list = rd_kafka_event_topic_partition_list(event);
            for (int i = 0; list && !code && i < list->cnt; i++)
                code = list->elems[i].err;
            m->store_runs = false;
            if (code)
                untake(m, list);
            note_result(m, code);
        }
        rd_kafka_event_destroy(event);
    }
}
