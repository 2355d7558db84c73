/*
 * source - the log's topic in Kafka: all partitions of it, by assign(), from the offsets that the
 * engine names, into the engine.
 *
 * It keeps no position: groups and committed offsets are only for tools that watch lag.
 */
#ifndef APPLIER_SOURCE_H
#define APPLIER_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct conf_map;
struct engine;
struct err;
struct source;
struct source_ops;

struct source_conf {
    const struct conf_map *kafka; /* the user's properties; borrowed, as the texts */
    const char *topic;
    const char *group;
};

/* Of struct engine_conf. */
extern const struct source_ops source_kafka_ops;

/* -1 with ERR_INPUT: a property is not accepted. */
int source_new(uv_loop_t *loop, const struct source_conf *conf, struct source **out,
               struct err *err);
/* Looks the topic up until it is found, then calls engine_source_ready(). */
void source_run(struct source *s, struct engine *engine);
/* Whether source_free() may be called now: no call to Kafka runs in a thread. When false,
 * `closed` is called as soon as it may. */
bool source_close(struct source *s, void (*closed)(void *arg), void *arg);
void source_free(struct source *s);
/* Whether the topic was found and no error stands; else why. */
const char *source_not_ready(const struct source *s);
/* For --check. */
int source_check(const struct source_conf *conf, struct err *err);

#endif
