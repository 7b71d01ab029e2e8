/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Setting aside what may be one write ahead, in all that a part has.
 *
 *   CLEAR ──▶ WALK ──▶ SEAL ──▶ done
 *
 * What is set aside has no record: replay could meet it with writes before and after it that have
 * the same sequences, in a tree that is ahead of all of them, and could not tell them apart. CLEAR
 * waits for checkpoints until no record of the part can be replayed any more, WALK changes the map
 * pages, one MiB after the other, and SEAL waits for a checkpoint that has them; only then is the
 * role told, and anything taken again. A crash before finds part of it set aside, and the role not
 * changed: it is asked for again. Where nothing is to be set aside nothing waits for a checkpoint.
 */
#ifndef STORE_PART_ASIDE_H
#define STORE_PART_ASIDE_H

#include "store/parts.h"

enum aside_state { ASIDE_SEEK, ASIDE_CLEAR, ASIDE_WALK, ASIDE_SEAL, ASIDE_DONE };

struct part_aside {
    struct store *store;
    struct part *part;
    const struct part_run *runs; /* Borrowed. */
    uint32_t run_count, run;
    enum aside_state state;
    bool waits;
    bool entering;
    bool counts;    /* What is set aside is counted, and nothing changes. */
    uint64_t since; /* What is newer is looked at; */
    uint64_t above; /* and what is newer than this is set aside. */
    uint64_t block;
    uint64_t batch; /* No record up to this one may be replayed. */
    uint64_t asides;
    int result;
    struct tree_path path;
    struct tree_enter enter;
    struct checkpoint_waiter checkpoint;
};

/* `runs` are the part's segments. NULL: no memory. */
struct part_aside *part_aside_begin(struct parts *parts, struct part *part,
                                    const struct part_run *runs, uint32_t run_count, bool counts);
/* Records with watermarks that are not to be trusted any more go first, whatever there is. */
void part_aside_clear(struct part_aside *aside);
/* As far as it goes. 0: done: part->state.aside is right; -EAGAIN: later; or an error. */
int part_aside_step(struct part_aside *aside);
/* It may be left in the middle, if it does not wait for a checkpoint. */
bool part_aside_may_end(const struct part_aside *aside);
void part_aside_end(struct part_aside *aside);

#endif
