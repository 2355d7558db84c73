/*
 * match - compares the target's tail with the source.
 *
 * The target's tail is the source's sequence with stretches repeated: a former run's records in
 * flight came late, and the next run had sent them again. So each target record is the next
 * source record, or a copy of an earlier one. Records of equal content can't be told apart, and
 * need not be: what counts is that the target has as many of them.
 */
#include "mirror/src/match.h"

#include <stdlib.h>

#include "common/mem.h"

struct seen {
    int64_t offset;
    uint64_t digest;
};

struct seen_list {
    struct seen *item;
    size_t cnt, cap;
};

struct match {
    struct seen_list target;
    size_t at;               /* first target record that is not explained */
    struct seen_list source; /* all that were skipped */
    size_t again; /* behind the source record of the last doubled one: the likely next */
    struct match_run *runs;
    size_t run_cnt, run_cap;
};

struct match *match_new(void)
{
    return xcalloc(1, sizeof(struct match));
}

void match_free(struct match *m)
{
    if (!m)
        return;
    free(m->target.item);
    free(m->source.item);
    free(m->runs);
    free(m);
}

static void push(struct seen_list *list, int64_t offset, uint64_t digest)
{
    if (list->cnt == list->cap) {
        list->cap = list->cap ? list->cap * 2 : 256;
        list->item = xrealloc(list->item, list->cap * sizeof(list->item[0]));
    }
    list->item[list->cnt++] = (struct seen){.offset = offset, .digest = digest};
}

void match_add_target(struct match *m, int64_t dst, uint64_t digest)
{
    push(&m->target, dst, digest);
}

void match_drop_first(struct match *m)
{
    m->at++;
}

/* Index of an earlier source record like the current target record, or source.cnt. */
static size_t find_earlier(const struct match *m)
{
    uint64_t digest = m->target.item[m->at].digest;

    if (m->again < m->source.cnt && m->source.item[m->again].digest == digest)
        return m->again;
    for (size_t i = m->source.cnt; i-- > 0;)
        if (m->source.item[i].digest == digest)
            return i;
    return m->source.cnt;
}

static void note_doubled(struct match *m, size_t source)
{
    const struct seen *target = &m->target.item[m->at];
    struct match_run *last = m->run_cnt ? &m->runs[m->run_cnt - 1] : NULL;

    if (last && last->dst + last->cnt == target->offset && source == m->again) {
        last->cnt++;
    } else {
        if (m->run_cnt == m->run_cap) {
            m->run_cap = m->run_cap ? m->run_cap * 2 : 4;
            m->runs = xrealloc(m->runs, m->run_cap * sizeof(m->runs[0]));
        }
        m->runs[m->run_cnt++] = (struct match_run){
            .dst = target->offset, .cnt = 1, .src = m->source.item[source].offset};
    }
    m->again = source + 1;
    m->at++;
}

enum match_step match_feed(struct match *m, int64_t src, uint64_t digest)
{
    for (; m->at < m->target.cnt;) {
        size_t earlier;

        if (m->target.item[m->at].digest == digest) {
            m->at++;
            push(&m->source, src, digest);
            return MATCH_SKIP;
        }
        earlier = find_earlier(m);
        if (earlier == m->source.cnt)
            return MATCH_BREAK;
        note_doubled(m, earlier);
    }
    return MATCH_SEND;
}

bool match_finish(struct match *m)
{
    while (m->at < m->target.cnt) {
        size_t earlier = find_earlier(m);

        if (earlier == m->source.cnt)
            return false;
        note_doubled(m, earlier);
    }
    return true;
}

size_t match_left(const struct match *m)
{
    return m->target.cnt - m->at;
}

int64_t match_dst(const struct match *m)
{
    return m->at < m->target.cnt ? m->target.item[m->at].offset : -1;
}

size_t match_runs(const struct match *m, const struct match_run **runs)
{
    *runs = m->runs;
    return m->run_cnt;
}
