/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/worlds.h"

void worlds_open(struct worlds *worlds)
{
    *worlds = (struct worlds){.now_ns = NS_PER_S};
}

/* What its clock says at a time. */
static uint64_t clock_of(const struct worlds *worlds, unsigned number, uint64_t at_ns)
{
    int64_t passed = (int64_t)(at_ns - worlds->offset_at_ns[number]);
    int64_t drift = passed / 1000000 * worlds->drift_ppm[number] +
                    passed % 1000000 * worlds->drift_ppm[number] / 1000000;
    return worlds->offset_ns[number] + (uint64_t)(passed + drift);
}

/* When its clock says so; not before. */
static uint64_t time_of(const struct worlds *worlds, unsigned number, uint64_t clock_ns)
{
    uint64_t offset = worlds->offset_ns[number];
    if (clock_ns <= offset)
        return worlds->offset_at_ns[number];
    double passed = (double)(clock_ns - offset) * 1e6 / (1e6 + worlds->drift_ppm[number]);
    uint64_t at = worlds->offset_at_ns[number] + (uint64_t)passed;
    while (clock_of(worlds, number, at) < clock_ns)
        at++;
    return at;
}

unsigned worlds_add(struct worlds *worlds, struct world *world)
{
    assert(worlds->count < WORLDS_MAX);
    unsigned number = worlds->count++;
    worlds->worlds[number] = world;
    worlds->offset_ns[number] = world->now_ns;
    worlds->offset_at_ns[number] = worlds->now_ns;
    worlds->drift_ppm[number] = 0;
    worlds->stopped[number] = false;
    return number;
}

void worlds_drift(struct worlds *worlds, unsigned number, int32_t ppm)
{
    worlds->offset_ns[number] = clock_of(worlds, number, worlds->now_ns);
    worlds->offset_at_ns[number] = worlds->now_ns;
    worlds->drift_ppm[number] = ppm;
}

void worlds_jump(struct worlds *worlds, unsigned number, uint64_t by_ns)
{
    worlds_drift(worlds, number, worlds->drift_ppm[number]);
    worlds->offset_ns[number] += by_ns;
}

/* Every clock says what time it is. */
static void clocks_set(struct worlds *worlds)
{
    for (unsigned i = 0; i < worlds->count; i++) {
        uint64_t now = clock_of(worlds, i, worlds->now_ns);
        worlds->worlds[i]->now_ns = MAX(worlds->worlds[i]->now_ns, now);
    }
}

int worlds_step(struct worlds *worlds, uint64_t until_ns)
{
    int first = -1;
    uint64_t first_ns = until_ns;
    for (unsigned i = 0; i < worlds->count; i++) {
        uint64_t next = world_next_ns(worlds->worlds[i]);
        if (next == CLOCK_NEVER || worlds->stopped[i])
            continue;
        uint64_t at = MAX(time_of(worlds, i, next), worlds->now_ns);
        if (at < first_ns) {
            first = (int)i;
            first_ns = at;
        }
    }
    worlds->now_ns = MAX(worlds->now_ns, first_ns);
    clocks_set(worlds);
    if (first >= 0)
        (void)world_step(worlds->worlds[first]);
    return first;
}
