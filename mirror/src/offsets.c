/* offsets - the pair of a lane and its check on every acknowledgement. */
#include "mirror/src/offsets.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/err.h"

#define HEAD "kafka-mirror/1 dst="

void pair_encode(const struct pair *pair, char text[PAIR_TEXT_SIZE])
{
    (void)snprintf(text, PAIR_TEXT_SIZE, HEAD "%" PRId64, pair->dst);
}

static bool parse_i64(const char *p, const char *end, int64_t *out)
{
    int64_t value = 0;

    if (p == end || (*p == '0' && end - p > 1))
        return false;
    for (; p < end; p++) {
        if (*p < '0' || *p > '9' || value > (INT64_MAX - (*p - '0')) / 10)
            return false;
        value = value * 10 + (*p - '0');
    }
    *out = value;
    return true;
}

int pair_decode(int64_t committed, const void *text, size_t len, struct pair *out,
                struct err *err)
{
    const char *p = text;
    const size_t head = sizeof(HEAD) - 1;
    int64_t dst;

    if (committed < 0 || len <= head || memcmp(p, HEAD, head) != 0 ||
        !parse_i64(p + head, p + len, &dst))
        return err_set(err, ERR_CORRUPT, 0,
                       "committed offset %" PRId64 " with metadata '%.*s' is no position of a "
                       "mirror",
                       committed, (int)(len < 64 ? len : 64), len ? p : "");
    *out = (struct pair){.src = committed, .dst = dst};
    return 0;
}

enum ack pair_ack(struct pair *next, int64_t src, int64_t dst, bool settling, int64_t *doubled,
                  struct err *err)
{
    enum ack ack = ACK_EXPECTED;

    if (src < next->src) {
        (void)err_set(err, ERR_CORRUPT, 0,
                      "acknowledged source offset %" PRId64 " again, %" PRId64 " is next", src,
                      next->src);
        return ACK_DIVERGED;
    }
    if (dst < 0)
        dst = next->dst;
    if (dst < next->dst) {
        (void)err_set(err, ERR_CORRUPT, 0,
                      "target lost records: source offset %" PRId64 " was written at target "
                      "offset %" PRId64 ", %" PRId64 " was expected",
                      src, dst, next->dst);
        return ACK_DIVERGED;
    }
    if (dst > next->dst && !settling) {
        (void)err_set(err, ERR_CORRUPT, 0,
                      "foreign writer: source offset %" PRId64 " was written at target offset "
                      "%" PRId64 ", %" PRId64 " was expected: target offsets [%" PRId64
                      ",%" PRId64 ") are not from this mirror",
                      src, dst, next->dst, next->dst, dst);
        return ACK_DIVERGED;
    }
    if (dst > next->dst) {
        *doubled = dst - next->dst;
        ack = ACK_DOUBLED;
    }
    next->src = src + 1;
    next->dst = dst + 1;
    return ack;
}
