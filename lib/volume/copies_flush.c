/* SPDX-License-Identifier: Apache-2.0 */
/* A flush is one of each group's copies; it has ended when the last group says so. */
#include "volume/copies_inside.h"

static void flush_begin(struct copies *copies, struct store_flush *of)
{
    struct list *node = list_pop_front(&copies->free_flushes);
    if (node == NULL) {
        list_push_back(&copies->flushes_waiting, &of->node);
        return;
    }
    struct copies_flush *flush = LIST_ENTRY(node, struct copies_flush, node);
    flush->flush = of;
    flush->result = copies->ended;
    flush->pending = 0;
    for (uint32_t i = 0; i < copies->options.group_count; i++) {
        const struct copies_group *group = &copies->groups[i];
        if (flush->result == 0 && group->opened && group->replica.phase != REPLICA_ACTIVE)
            flush->result = group->replica.reason; /* It ended, and that is yet to be told. */
    }
    /* What is not open yet has nothing that was done. */
    for (uint32_t i = 0; i < copies->options.group_count && flush->result == 0; i++) {
        struct copies_group *group = &copies->groups[i];
        if (!group->opened)
            continue;
        flush->parts[i] = (struct replica_flush){0};
        flush->pending++;
        replica_flush_start(&group->replica, &flush->parts[i], copies_now(group));
        copies_group_ready(group);
    }
    if (flush->pending == 0)
        list_push_back(&copies->engine->flushed, &flush->node);
}

void copies_flush(struct copies *copies, struct store_flush *of)
{
    copies->ops++;
    flush_begin(copies, of);
}

void copies_flush_done(struct replica_flush *part, struct copies_group *group, int result)
{
    struct copies *copies = group->copies;
    struct replica_flush *first = part - (group - copies->groups);
    struct copies_flush *flush = (void *)((char *)first - offsetof(struct copies_flush, parts));
    if (result != 0 && flush->result == 0)
        flush->result = result;
    if (--flush->pending == 0)
        list_push_back(&copies->engine->flushed, &flush->node);
}

void copies_flushes_turn(struct copies_engine *engine)
{
    for (struct list *node; (node = list_pop_front(&engine->flushed)) != NULL;) {
        struct copies_flush *flush = LIST_ENTRY(node, struct copies_flush, node);
        struct copies *copies = flush->copies;
        struct store_flush *of = flush->flush;
        int result = flush->result;
        list_push_back(&copies->free_flushes, &flush->node);
        struct list *waits = list_pop_front(&copies->flushes_waiting);
        if (waits != NULL)
            flush_begin(copies, LIST_ENTRY(waits, struct store_flush, node));
        copies->ops--;
        of->done(of, result);
    }
}
