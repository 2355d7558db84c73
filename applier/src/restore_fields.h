/*
 * restore_fields - expiries inside a hash (RDB types 24 and 25), written later by the guard.
 *
 * Redis drops a field that has expired when it loads the hash, so a later HPEXPIRE or HPERSIST in
 * the log would come too late: the same trap as with keys.
 */
#ifndef APPLIER_RESTORE_FIELDS_H
#define APPLIER_RESTORE_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;
struct err;

/* The guard is cut to this, so that the largest expiry a field can have (2^46 ms) stays below
 * what Redis reads (2^48). */
#define RESTORE_FIELDS_GUARD_MAX ((int64_t)1 << 47)

/* Whether a value of this type has them. */
bool restore_fields_expire(uint8_t type);

/*
 * Appends to `out` the value's body, body[0, len), of such a type, with each expiry guard_ms
 * (not negative) later. What expires in the first 25 days of 1970 is left as it is. Returns 0, or
 * -1 with ERR_CORRUPT and nothing appended: the body is not what its type says.
 */
int restore_fields_guard(struct buf *out, uint8_t type, const uint8_t *body, size_t len,
                         int64_t guard_ms, struct err *err);

#endif
