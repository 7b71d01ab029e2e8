/* SPDX-License-Identifier: Apache-2.0 */
/* Reads: which copy may answer, and whether it may be told. */
#include "replica/internal.h"

static bool reads(const struct replica *replica)
{
    return replica->phase == REPLICA_ACTIVE || replica->phase == REPLICA_VIEWING;
}

bool replica_may_answer(const struct replica *replica, uint64_t now)
{
    if (!reads(replica))
        return false;
    /* The old owner may yet answer reads from a copy that was not reached. */
    if (now < replica->answer_from_ns)
        return false;
    return now < replica->bound_ns || MUTANT(208);
}

/* The lower the better; UINT32_MAX: not at all. */
static uint32_t rank(const struct replica_copy *copy)
{
    if (copy->state != REPLICA_IN_SYNC || copy->lost || copy->untold || !copy->connected)
        return UINT32_MAX;
    return (copy->failed ? 2u : 0u) + (copy->demoted ? 1u : 0u);
}

uint8_t replica_read_choose(const struct replica *replica, uint8_t local, uint8_t tried)
{
    uint8_t best = REPLICA_COPIES_MAX;
    if (!reads(replica))
        return best;
    for (uint8_t i = 0; i < REPLICA_COPIES_MAX; i++) {
        const struct replica_copy *copy = &replica->copies[i];
        if (rank(copy) == UINT32_MAX || (tried >> i & 1) != 0)
            continue;
        if (best == REPLICA_COPIES_MAX) {
            best = i;
            continue;
        }
        const struct replica_copy *other = &replica->copies[best];
        uint32_t mine = rank(copy);
        uint32_t its = rank(other);
        bool nearer = i == local || (best != local && copy->reads < other->reads);
        if (mine < its || (mine == its && nearer))
            best = i;
    }
    return best;
}

void replica_read_began(struct replica *replica, uint8_t index)
{
    replica->copies[index].reads++;
}

void replica_read_ended(struct replica *replica, uint8_t index, uint64_t took_ns)
{
    struct replica_copy *copy = &replica->copies[index];
    if (copy->reads > 0)
        copy->reads--;
    if (took_ns != 0)
        replica_sample(copy, took_ns, replica->ticked_ns);
}

bool replica_may_copy_from(const struct replica *replica, uint8_t index, uint32_t generation)
{
    const struct replica_copy *copy = &replica->copies[index];
    return copy->state == REPLICA_IN_SYNC && !copy->lost &&
           replica_counts(replica, index, generation);
}

enum replica_verdict replica_read_told(const struct replica *replica, uint8_t index,
                                       uint32_t generation, uint64_t now)
{
    if (!replica_may_copy_from(replica, index, generation))
        return REPLICA_READ_AGAIN;
    return replica_may_answer(replica, now) ? REPLICA_READ_ANSWER : REPLICA_READ_HOLD;
}
