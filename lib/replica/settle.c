/* SPDX-License-Identifier: Apache-2.0 */
/* Reconcile, one block of it: what copies that differ shall agree on. */
#include "replica/internal.h"

/*
 * What was acknowledged is on every copy in sync, so where they differ above their watermarks the
 * difference was not, and either is right. The newest is taken: it surprises least. If it cannot be
 * read anywhere, an older one may take its place, under a new sequence (the same one with other
 * bytes would be two truths), but only if a copy in good standing lacks the newest: that proves
 * that it was never acknowledged. A copy whose machine restarted proves nothing by what it lacks.
 */
struct replica_settlement replica_settle(const struct replica *replica, uint8_t copies,
                                         const struct replica_version *versions)
{
    struct replica_settlement settlement = {.source = REPLICA_COPIES_MAX};
    uint64_t newest = 0;
    uint8_t best = REPLICA_COPIES_MAX;
    for (uint8_t i = 0; i < REPLICA_COPIES_MAX; i++) {
        if ((copies >> i & 1) == 0)
            continue;
        newest = MAX(newest, versions[i].sequence);
        if (versions[i].bad)
            continue;
        bool better = best == REPLICA_COPIES_MAX ||
                      (MUTANT(226) ? versions[i].sequence < versions[best].sequence
                                   : versions[i].sequence > versions[best].sequence);
        if (better)
            best = i;
    }
    bool disproved = false;
    for (uint8_t i = 0; i < REPLICA_COPIES_MAX; i++) {
        if ((copies >> i & 1) != 0 && versions[i].sequence < newest &&
            (!replica->copies[i].restarted || MUTANT(242)))
            disproved = true;
    }
    bool newest_readable = best != REPLICA_COPIES_MAX && versions[best].sequence == newest;
    settlement.sequence = newest;
    if (best != REPLICA_COPIES_MAX && (newest_readable || disproved || MUTANT(226)))
        settlement.source = best;
    if (settlement.source != REPLICA_COPIES_MAX && !newest_readable) {
        REACH(replica_rolled_back);
        settlement.restamp = !MUTANT(235);
        settlement.sequence = versions[best].sequence;
        settlement.targets = (uint8_t)(MUTANT(324) ? copies & ~(1u << best) : copies);
        return settlement;
    }
    for (uint8_t i = 0; i < REPLICA_COPIES_MAX; i++) {
        bool as_meant = versions[i].bad == (settlement.source == REPLICA_COPIES_MAX);
        if ((copies >> i & 1) != 0 && (versions[i].sequence != newest || !as_meant))
            settlement.targets |= (uint8_t)(1u << i);
    }
    return settlement;
}
