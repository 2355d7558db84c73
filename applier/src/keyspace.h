/* keyspace - which databases hold keys, as INFO keyspace says it. */
#ifndef APPLIER_KEYSPACE_H
#define APPLIER_KEYSPACE_H

#include <stddef.h>
#include <stdint.h>

struct keyspace_db {
    uint32_t db;
    uint64_t key_cnt;
};

/* Fills out[0, max) from the text of INFO keyspace; returns how many there are. */
size_t keyspace_parse(const char *text, size_t len, struct keyspace_db *out, size_t max);

#endif
