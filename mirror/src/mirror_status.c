/* mirror_status - what people and monitors see of the mirror. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/clock.h"
#include "mirror/src/mirror_priv.h"

static json_t *text_or_null(const char *text)
{
    return text ? json_string(text) : json_null();
}

/* Not known is null, and not a number that somebody may add up. */
static json_t *count_or_null(int64_t count)
{
    return count >= 0 ? json_integer(count) : json_null();
}

static json_t *lane_json(const struct route *route, struct lane *lane, int64_t now)
{
    struct lane_view view;
    json_t *json = json_object();

    lane_view(lane, &view);
    (void)json_object_set_new(json, "topic", json_string(route->topic.name));
    (void)json_object_set_new(json, "partition", json_integer(view.partition));
    (void)json_object_set_new(json, "state", json_string(view.state));
    (void)json_object_set_new(json, "since_ms", json_integer(now - view.since_ms));
    (void)json_object_set_new(json, "source_offset", count_or_null(view.src));
    (void)json_object_set_new(json, "target_offset", count_or_null(view.dst));
    (void)json_object_set_new(json, "lag_records", count_or_null(view.lag));
    (void)json_object_set_new(json, "records", json_integer((json_int_t)view.records));
    (void)json_object_set_new(json, "bytes", json_integer((json_int_t)view.bytes));
    (void)json_object_set_new(json, "doubled", json_integer((json_int_t)view.doubled));
    (void)json_object_set_new(json, "error", text_or_null(view.error));
    return json;
}

static json_t *side_json(const char *name, int64_t down_ms, int64_t now, const char *state)
{
    json_t *json = json_object();

    (void)json_object_set_new(json, "name", json_string(name));
    (void)json_object_set_new(json, "state", json_string(down_ms ? state : "AVAILABLE"));
    (void)json_object_set_new(json, "unavailable_ms",
                              json_integer(down_ms ? now - down_ms : 0));
    return json;
}

static json_t *topic_json(const struct route *route)
{
    json_t *json = json_object();

    (void)json_object_set_new(json, "name", json_string(route->topic.name));
    (void)json_object_set_new(json, "partitions", json_integer(route->lane_cnt));
    (void)json_object_set_new(
        json, "error", text_or_null(route->err.kind == ERR_NONE ? NULL : route->err.msg));
    return json;
}

void mirror_status(struct mirror *m, struct buf *out)
{
    int64_t now = clock_mono_ms();
    json_t *json = json_object(), *topics = json_array(), *lanes = json_array();
    const char *why = mirror_not_ready(m);
    char *text;

    for (size_t i = 0; i < m->route_cnt; i++) {
        (void)json_array_append_new(topics, topic_json(&m->route[i]));
        for (int32_t p = 0; p < m->route[i].lane_cnt; p++)
            (void)json_array_append_new(lanes,
                                        lane_json(&m->route[i], m->route[i].lane[p], now));
    }
    (void)json_object_set_new(json, "ready", json_boolean(why == NULL));
    (void)json_object_set_new(json, "not_ready", text_or_null(why));
    (void)json_object_set_new(
        json, "source",
        side_json(m->conf->source_name, m->env.source_down_ms, now, "SOURCE_UNAVAILABLE"));
    (void)json_object_set_new(
        json, "target",
        side_json(m->conf->target_name, m->env.target_down_ms, now, "TARGET_UNAVAILABLE"));
    (void)json_object_set_new(json, "inflight_bytes", json_integer(m->env.inflight_bytes));
    (void)json_object_set_new(json, "topics", topics);
    (void)json_object_set_new(json, "lanes", lanes);
    text = json_dumps(json, JSON_COMPACT);
    if (text)
        buf_printf(out, "%s", text);
    free(text);
    json_decref(json);
}

const char *mirror_not_ready(struct mirror *m)
{
    struct lane_view view;

    for (size_t i = 0; i < m->route_cnt; i++) {
        const struct route *route = &m->route[i];

        if (route->lane_cnt == 0) {
            (void)snprintf(m->not_ready, sizeof(m->not_ready), "topic '%.200s': %.250s",
                           route->topic.name,
                           route->err.kind == ERR_NONE ? "not looked up yet" : route->err.msg);
            return m->not_ready;
        }
        for (int32_t p = 0; p < route->lane_cnt; p++) {
            lane_view(route->lane[p], &view);
            if (strcmp(view.state, "RUNNING") == 0)
                continue;
            (void)snprintf(m->not_ready, sizeof(m->not_ready),
                           "topic '%.200s' partition %d: %s", route->topic.name, (int)p,
                           view.state);
            return m->not_ready;
        }
    }
    return NULL;
}

void mirror_scrape(struct mirror *m)
{
    for (size_t i = 0; i < m->route_cnt; i++)
        for (int32_t p = 0; p < m->route[i].lane_cnt; p++)
            lane_scrape(m->route[i].lane[p]);
}
