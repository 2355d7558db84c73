/*
 * restore - an item of a snapshot as the Redis command that makes the same key or library again.
 *
 * The value's bytes are copied, not interpreted: RESTORE takes what DUMP gives, which is the type
 * and body as in the RDB file, a version, and a checksum. The version is the lowest that knows the
 * type, so that an older Redis refuses a value only when it really can't read it.
 */
#ifndef APPLIER_RESTORE_H
#define APPLIER_RESTORE_H

#include "common/rdb.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;
struct err;
struct restore;

#define RESTORE_EXPIRY_MAX INT64_MAX

/* Bytes of the payload that RESTORE is given; the target takes it up to its proto-max-bulk-len
 * (512 MB unless configured). A compressed hash with expiring fields is sent plain and is larger. */
uint64_t restore_payload_size(const struct rdb_item *item);

/* One can read any number of items. */
struct restore *restore_new(void);
void restore_free(struct restore *rs);

/*
 * Parses `bytes`, one whole RDB_KEY item, which belongs to `db`. Returns 0 and sets *item, whose
 * key is valid until the next call; or -1 with ERR_CORRUPT: not a whole item, more than one, or
 * not a key.
 */
int restore_parse(struct restore *rs, uint32_t db, const uint8_t *bytes, size_t len,
                  struct rdb_item *item, struct err *err);

/*
 * Appends to `out` `RESTORE key ttl payload REPLACE [ABSTTL] [IDLETIME s | FREQ n]` in RESP for the
 * item *item at `bytes`. The expiry is written guard_ms later than it is and at most
 * RESTORE_EXPIRY_MAX; one that lies before 1970 as 1 ms, since 0 means none. An expiry that has
 * passed on the target's clock makes RESTORE delete the key, not create it. An item with idle time
 * and frequency gives the frequency: RESTORE takes one.
 * The same guard is put on a hash's fields that expire by themselves (restore_fields.h).
 * The caller skips what rdb_is_empty().
 * Returns 0, or -1 with ERR_CORRUPT and nothing appended: a key longer than RDB_KEY_KEPT,
 * or such a hash, is damaged.
 */
int restore_put_key(struct buf *out, const uint8_t *bytes, const struct rdb_item *item,
                    int64_t guard_ms, struct err *err);

/*
 * Appends to `out` `FUNCTION LOAD REPLACE code` for `bytes`, one whole RDB_FUNCTION item, and
 * to `name` the library's name, as the first line of the code says it. Returns 0, or -1 with
 * ERR_CORRUPT and nothing appended: not such an item, or no name in its first line.
 */
int restore_put_function(struct buf *out, struct buf *name, const uint8_t *bytes, size_t len,
                         struct err *err);

#endif
