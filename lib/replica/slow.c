/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slow copies, by comparison with their siblings: a slow network or a busy coordinator makes all of
 * them slow, and then nobody is. One that is much slower than the others for long is read last; if
 * it holds writes up by more than evict_ns, it is made stale, one at a time, and comes back after a
 * time that doubles.
 */
#include "replica/internal.h"

/* Smoothed as TCP does: gains 1/8 and 1/4. */
void replica_sample(struct replica_copy *copy, uint64_t took_ns, uint64_t now)
{
    copy->sampled_ns = now;
    took_ns = MAX(took_ns, 1u); /* 0 means that nothing is known. */
    if (copy->latency_ns == 0) {
        copy->latency_ns = took_ns;
        copy->deviation_ns = took_ns / 2;
        return;
    }
    uint64_t off =
        took_ns > copy->latency_ns ? took_ns - copy->latency_ns : copy->latency_ns - took_ns;
    copy->deviation_ns += off / 4;
    copy->deviation_ns -= copy->deviation_ns / 4;
    copy->latency_ns += took_ns / 8;
    copy->latency_ns -= copy->latency_ns / 8;
}

uint64_t replica_hedge_ns(const struct replica *replica, uint8_t index)
{
    const struct replica_copy *copy = &replica->copies[index];
    uint64_t delay = copy->latency_ns + 4 * copy->deviation_ns;
    return MAX(delay, replica->options.hedge_ns);
}

static uint64_t median(uint64_t *values, uint32_t count)
{
    for (uint32_t i = 1; i < count; i++) {
        for (uint32_t j = i; j > 0 && values[j - 1] > values[j]; j--) {
            uint64_t swap = values[j];
            values[j] = values[j - 1];
            values[j - 1] = swap;
        }
    }
    return values[(count - 1) / 2];
}

/* Far beyond what its siblings take: five medians, and five times their own spread. */
static bool slower(const struct replica *replica, const struct replica_copy *copy)
{
    uint64_t values[REPLICA_COPIES_MAX];
    uint32_t count = 0;
    for (uint8_t i = 0; i < REPLICA_COPIES_MAX; i++) {
        const struct replica_copy *other = &replica->copies[i];
        if (other != copy && other->state == REPLICA_IN_SYNC && other->latency_ns != 0)
            values[count++] = other->latency_ns;
    }
    if (count == 0 || copy->latency_ns <= replica->options.slow_ns)
        return false;
    uint64_t middle = median(values, count);
    for (uint32_t i = 0; i < count; i++)
        values[i] = values[i] > middle ? values[i] - middle : middle - values[i];
    uint64_t spread = median(values, count);
    return copy->latency_ns > 5 * middle && copy->latency_ns > middle + 5 * spread;
}

static bool one_is_evicted(const struct replica *replica)
{
    for (uint8_t i = 0; i < REPLICA_COPIES_MAX; i++) {
        if (replica->copies[i].evicted)
            return true;
    }
    return false;
}

static void judge(struct replica *replica, struct replica_copy *copy, uint64_t now)
{
    const struct replica_options *options = &replica->options;
    if (copy->latency_ns != 0 && now - MIN(now, copy->sampled_ns) >= options->slow_for_ns) {
        copy->latency_ns /= 2; /* Nothing was asked of it: it may try again. */
        copy->sampled_ns = now;
    }
    if (!slower(replica, copy)) {
        copy->slow_ns = 0;
        if (copy->quick_ns == 0)
            copy->quick_ns = now;
        if (now - copy->quick_ns >= 10 * options->slow_for_ns)
            copy->evictions = 0;
        if (copy->demoted && now - copy->quick_ns >= options->slow_for_ns) {
            copy->demoted = false;
            replica->todo |= TODO_CHANGED;
        }
        return;
    }
    copy->quick_ns = 0;
    if (copy->slow_ns == 0)
        copy->slow_ns = now;
    if (now - copy->slow_ns < options->slow_for_ns)
        return;
    if (!copy->demoted) {
        REACH(replica_demoted);
        copy->demoted = true;
        copy->slow_ns = now;
        replica->todo |= TODO_CHANGED;
        return;
    }
    uint32_t left = copies_count(replica_whole(replica)) - 1;
    if (copy->latency_ns <= options->evict_ns || replica->transacting || one_is_evicted(replica) ||
        left < options->min_copies || left == 0)
        return;
    REACH(replica_evicted);
    copy->evicted = true;
    copy->evictions++;
    replica_mark_failed(replica, copy, now);
}

void replica_slow_tick(struct replica *replica, uint64_t now)
{
    if (replica->phase != REPLICA_ACTIVE)
        return;
    EACH_COPY(replica, copy)
    if (copy->state == REPLICA_IN_SYNC && !copy->lost)
        judge(replica, copy, now);
}
