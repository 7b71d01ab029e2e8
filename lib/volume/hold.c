/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Holds: one instant without changes.
 *
 *   volume->holds ──▶ FIRST ──▶ STOPPING ──▶ HELD ──▶ released ──▶ the next
 *   (in order)    a sequence │ no change   │ none is under way
 *                 is kept    │ begins      │
 *
 * A hold asks for its sequence before it stops anything: a reservation is a transaction of the
 * metadata, and nobody is to wait for that.
 */
#include "volume/inside.h"

static void hold_tell(struct volume *volume, struct volume_hold *hold, int result)
{
    assert(hold != NULL);
    hold->result = result;
    list_push_back(&volume->engine->held, &hold->node);
}

static void hold_leave(struct volume *volume)
{
    volume->holder = NULL;
    volume->hold_state = HOLD_NONE;
}

/* Keeps a sequence for the cut, and stops what would begin. */
static void hold_stop(struct volume *volume)
{
    int refused = volume->writable ? volume->refused : -EROFS;
    if (volume->writable && volume_has_sequence(volume)) {
        volume->sequences_promised++;
        volume->hold_state = HOLD_STOPPING;
    } else if (refused != 0) {
        struct volume_hold *hold = volume->holder;
        hold_leave(volume);
        hold_tell(volume, hold, refused);
    } else {
        volume_want_sequences(volume);
    }
}

void volume_hold_advance(struct volume *volume)
{
    if (!list_empty(&volume->hold_later))
        return;
    while (volume->holder == NULL && !list_empty(&volume->holds)) {
        volume->holder = LIST_ENTRY(list_pop_front(&volume->holds), struct volume_hold, node);
        volume->hold_state = HOLD_FIRST;
        hold_stop(volume);
    }
    if (volume->hold_state == HOLD_FIRST)
        hold_stop(volume);
    if (volume->hold_state == HOLD_STOPPING && (volume->changes == 0 || MUTANT(130))) {
        volume->hold_state = HOLD_HELD;
        hold_tell(volume, volume->holder, 0);
    }
}

void volume_hold(struct volume *volume, struct volume_hold *hold)
{
    assert(hold->done != NULL);
    hold->volume = volume;
    hold->result = 0;
    list_push_back(&volume->holds, &hold->node);
    volume_hold_advance(volume);
}

uint64_t volume_take_cut(struct volume *volume)
{
    assert(volume->hold_state == HOLD_HELD && !volume->cut_taken);
    volume->cut_taken = true;
    volume->sequences_promised--;
    volume->cut = volume->sequence++;
    volume->views = true;
    return volume->cut;
}

void volume_release(struct volume *volume, struct volume_hold *hold)
{
    list_remove(&hold->node);
    if (volume->holder != hold)
        return;
    struct volume_engine *engine = volume->engine;
    if (volume->hold_state != HOLD_FIRST && !volume->cut_taken)
        volume->sequences_promised--;
    volume->cut_taken = false;
    hold_leave(volume);
    /* What waited begins in the next turn, before anybody holds again: holds starve nobody. */
    if (list_empty(&volume->stopped) && list_empty(&volume->holds))
        return;
    list_splice_back(&engine->ready, &volume->stopped);
    list_push_back(&engine->holds_later, &volume->hold_later);
    engine->again = true;
}

void volume_holds_turn(struct volume_engine *engine)
{
    struct list held;
    list_init(&held);
    list_splice_back(&held, &engine->held);
    for (struct list *node; (node = list_pop_front(&held)) != NULL;) {
        struct volume_hold *hold = LIST_ENTRY(node, struct volume_hold, node);
        hold->done(hold);
    }
}

void volume_holds_later(struct volume_engine *engine)
{
    for (struct list *node; (node = list_pop_front(&engine->holds_later)) != NULL;)
        volume_hold_advance(LIST_ENTRY(node, struct volume, hold_later));
}
