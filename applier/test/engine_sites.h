/* engine_sites - the two servers of an engine's test, DC and DR, emptied before each test. */
#ifndef APPLIER_TEST_ENGINE_SITES_H
#define APPLIER_TEST_ENGINE_SITES_H

#include "applier/test/engine_rig.h"

static struct target dc; /* where snapshots are made */
static struct target dr;

static inline int setup(void **state)
{
    (void)state;
    target_new(&dc);
    target_new(&dr);
    return 0;
}

static inline int teardown(void **state)
{
    (void)state;
    target_free(&dc);
    target_free(&dr);
    return 0;
}

static inline void run(struct target *t, const char *line)
{
    char out[256];
    const char *got = target_do(t, out, sizeof(out), line);

    if (strncmp(got, "ERR", 3) == 0 || strncmp(got, "WRONG", 5) == 0)
        fail_msg("%s: %s", line, got);
}

static inline int reset(void **state)
{
    (void)state;
    for (struct target *t = &dc;; t = &dr) {
        run(t, "CONFIG SET maxmemory 0");
        run(t, "FLUSHALL");
        run(t, "FUNCTION FLUSH");
        if (t == &dr)
            return 0;
    }
}

#define TEST(f) cmocka_unit_test_setup(f, reset)

#endif
