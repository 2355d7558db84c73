/*
 * ttl - writes every expiry of a replayed command later, by a guard.
 *
 * A plain master expires keys by its own clock. A key whose expiry passed while the replay lags
 * would be gone before the command that extends it arrives, and an INCR on it would start from
 * zero. The source sends a DEL for everything that expired there, so the target needs no expiry
 * of its own: what it gets is the source's expiry plus the guard, a net for the case that the
 * source is lost. All expiries move by the same amount, so the conditions NX, XX, GT and LT of
 * PEXPIREAT compare as they did there.
 *
 * Relative times (Redis 6.2 sends them) count from when the journal received the command.
 */
#ifndef APPLIER_TTL_H
#define APPLIER_TTL_H

#include <stdbool.h>
#include <stdint.h>

struct buf;
struct resp;

struct ttl {
    int64_t guard_ms;
    int64_t recv_ms; /* when the journal received the command, Unix time */
};

/* `at_ms` moved by the guard, never past the end of the type. */
int64_t ttl_guarded(int64_t at_ms, int64_t guard_ms);

/*
 * Appends the whole command *r at `base` to `out`, with its expiry rewritten; byte for byte where
 * it has none. Returns whether it was rewritten. A command that only looks like one of the
 * rewritten ones (a time that is no number) is appended as it is: the target will refuse it.
 */
bool ttl_append(const struct ttl *ttl, const struct resp *r, const uint8_t *base,
                struct buf *out);

#endif
