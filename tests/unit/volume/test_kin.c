/* SPDX-License-Identifier: Apache-2.0 */
/* Drawn at random: a family of volumes with snapshots, clones of them, deletions, flattenings and
 * rollbacks, and changes of all of them. Each shows what its picture shows, always. */
#include "bench.h"

TestSuite(kin, .init = bench_open, .fini = bench_close);

#define VOLUMES 5u
#define SNAPSHOTS 24u
#define STEPS 60u

struct line {
    struct volume_parent parents[VOLUMES * 4];
    uint32_t count;
};

static struct member {
    struct volume *volume;
    uint64_t id;
    struct line line;
    struct picture picture;
} members[VOLUMES];

static struct snapshot {
    struct member *of; /* NULL: free. */
    uint64_t cut;
    struct line line; /* Of its view. */
    struct picture picture;
} snapshots[SNAPSHOTS];

static uint64_t next_id;

static struct member *draw_member(void)
{
    unsigned count = 0;
    while (count < VOLUMES && members[count].volume != NULL)
        count++;
    return &members[prng_below(&prng, MAX(count, 1))];
}

static struct snapshot *draw_snapshot(const struct member *of)
{
    struct snapshot *drawn = &snapshots[prng_below(&prng, SNAPSHOTS)];
    bool good = drawn->of != NULL && (of == NULL || drawn->of == of);
    return good ? drawn : NULL;
}

static bool line_has(const struct line *line, const struct snapshot *snapshot)
{
    for (uint32_t i = 0; i < line->count; i++) {
        if (line->parents[i].volume == snapshot->of->id && line->parents[i].view == snapshot->cut)
            return true;
    }
    return false;
}

static bool is_parent(const struct snapshot *snapshot)
{
    for (unsigned i = 0; i < VOLUMES; i++) {
        if (members[i].volume != NULL && line_has(&members[i].line, snapshot))
            return true;
    }
    for (unsigned i = 0; i < SNAPSHOTS; i++) {
        if (snapshots[i].of != NULL && line_has(&snapshots[i].line, snapshot))
            return true;
    }
    return false;
}

static uint64_t newest_below(const struct member *member, uint64_t cut)
{
    uint64_t newest = 0;
    for (unsigned i = 0; i < SNAPSHOTS; i++) {
        if (snapshots[i].of == member && snapshots[i].cut < cut)
            newest = MAX(newest, snapshots[i].cut);
    }
    return newest;
}

/* In the middle of writes: those that began before are in it, those that waited are not. */
static void take_of(struct member *member, struct snapshot *snapshot)
{
    struct noted_hold noted;
    for (unsigned i = 0; i < 4; i++)
        change_start_in(&requests[2 + i], member->volume, &member->picture, i * 2);
    hold_start(&noted, member->volume);
    snapshot->of = member;
    snapshot->line = member->line;
    snapshot->picture = member->picture;
    for (unsigned i = 0; i < 4; i++)
        change_start_in(&requests[6 + i], member->volume, &member->picture, i * 2 + 1);
    bench_wait(&noted.waits);
    cr_assert_eq(noted.hold.result, 0);
    snapshot->cut = volume_take_cut(member->volume);
    volume_release(member->volume, &noted.hold);
    if (prng_one_in(&prng, 2))
        change_some(member->volume, &member->picture, 3);
    for (unsigned i = 2; i < 10; i++)
        bench_wait(&requests[i].busy);
}

static void take(void)
{
    struct snapshot *snapshot = snapshots;
    while (snapshot < snapshots + SNAPSHOTS && snapshot->of != NULL)
        snapshot++;
    if (snapshot < snapshots + SNAPSHOTS)
        take_of(draw_member(), snapshot);
}

static void look(void)
{
    struct snapshot *snapshot = draw_snapshot(NULL);
    if (snapshot == NULL)
        return;
    struct volume *view =
        bench_view(snapshot->of->id, snapshot->cut, snapshot->line.parents, snapshot->line.count);
    must_show(view, &snapshot->picture);
    volume_close(view);
}

static void clone(void)
{
    struct snapshot *snapshot = draw_snapshot(NULL);
    struct member *member = members;
    /* Rather of a clone: long families. */
    for (unsigned i = 0; i < 20 && (snapshot == NULL || snapshot->line.count == 0); i++)
        snapshot = draw_snapshot(NULL);
    while (member < members + VOLUMES && member->volume != NULL)
        member++;
    if (snapshot == NULL || member == members + VOLUMES)
        return;
    member->id = next_id++;
    member->line = snapshot->line;
    member->line.count++;
    cr_assert_leq(member->line.count, COUNT_OF(member->line.parents));
    memcpy(member->line.parents + 1, snapshot->line.parents,
           sizeof member->line.parents[0] * snapshot->line.count);
    member->line.parents[0] = (struct volume_parent){snapshot->of->id, snapshot->cut};
    member->picture = snapshot->picture;
    member->volume = bench_volume(member->id, member->line.parents, member->line.count);
    must_show(member->volume, &member->picture);
}

static void flatten_one(void)
{
    struct member *member = draw_member();
    struct noted_job noted;
    flatten_start(&noted, member->volume, 0);
    while (noted.runs) {
        if (!requests[1].busy)
            change_start(&requests[1], member->volume, &member->picture);
        bench_turn();
    }
    bench_wait(&requests[1].busy);
    cr_assert_eq(noted.result, 0);
    member->line.count = 0;
    cr_assert_eq(volume_set_parents(member->volume, NULL, 0), 0);
    must_show(member->volume, &member->picture);
}

static void roll_one_back(void)
{
    struct member *member = draw_member();
    struct snapshot *snapshot = draw_snapshot(member);
    if (snapshot == NULL)
        return;
    uint64_t from = volume_sequence(member->volume) - 1;
    int result = roll_back_now(member->volume, snapshot->cut, from, snapshot->line.parents,
                               snapshot->line.count, (unsigned)prng_below(&prng, 3));
    if (result == -ECANCELED)
        result = roll_back_now(member->volume, snapshot->cut, from, snapshot->line.parents,
                               snapshot->line.count, 0);
    cr_assert_eq(result, 0);
    member->picture = snapshot->picture;
    must_show(member->volume, &member->picture);
}

static void note_deleted(void *context, int result)
{
    cr_assert_eq(result, 0);
    *(bool *)context = false;
}

/* While it goes on its volume is changed. */
static void delete_one(void)
{
    struct snapshot *snapshot = draw_snapshot(NULL);
    if (snapshot == NULL || is_parent(snapshot))
        return;
    struct member *member = snapshot->of;
    uint64_t previous = newest_below(member, snapshot->cut);
    snapshot->of = NULL;
    volume_set_views(member->volume, newest_below(member, UINT64_MAX), true);
    bool deletes = true;
    cr_assert_eq(store_delete_views(bench.store, member->id, snapshot->cut, snapshot->cut, previous,
                                    note_deleted, &deletes),
                 0);
    change_some(member->volume, &member->picture, 3);
    bench_wait(&deletes);
}

static bool block_differs(const struct picture *one, const struct picture *other, uint64_t block)
{
    return memcmp(one->sectors + block * 8, other->sectors + block * 8, 8) != 0;
}

/* Whatever differs is told; and holes read as zeros. */
static void compare(void)
{
    struct member *member = draw_member();
    struct snapshot *snapshot = draw_snapshot(member);
    if (snapshot == NULL)
        return;
    for (uint64_t offset = 0; offset < PICTURE_BYTES;) {
        requests[0].io.since = snapshot->cut;
        cr_assert_eq(request_run(member->volume, VOLUME_CHANGED, 0, offset, PICTURE_BYTES - offset),
                     0);
        for (uint32_t i = 0; i < requests[0].io.extent_count; i++) {
            const struct volume_extent *extent = &requests[0].extents[i];
            uint64_t end = offset + extent->bytes;
            for (; offset < end; offset += BLOCK_BYTES) {
                if (extent->flags == 0)
                    cr_assert(
                        !block_differs(&member->picture, &snapshot->picture, offset / BLOCK_BYTES));
                if (extent->flags & VOLUME_EXTENT_ZERO)
                    cr_assert_eq(member->picture.sectors[offset / 512], 0);
            }
        }
    }
}

static void step(void)
{
    static void (*const steps[])(void) = {take,       take,        look,          clone,
                                          clone,      flatten_one, roll_one_back, delete_one,
                                          delete_one, compare};
    struct member *member = draw_member();
    change_some(member->volume, &member->picture, (unsigned)prng_below(&prng, 12));
    steps[prng_below(&prng, COUNT_OF(steps))]();
}

static void kin(uint64_t seed)
{
    prng.state = seed;
    next_id = 1;
    members[0].id = next_id++;
    members[0].volume = bench_volume(members[0].id, NULL, 0);
    for (unsigned i = 0; i < STEPS; i++)
        step();
    for (unsigned i = 0; i < VOLUMES; i++) {
        if (members[i].volume == NULL)
            continue;
        must_show(members[i].volume, &members[i].picture);
        volume_close(members[i].volume);
    }
}

/* Seeds that catch, between them, each planted bug of this room. */
Test(kin, each_shows_what_it_should)
{
    kin(1);
}

Test(kin, each_shows_what_it_should_in_another_family)
{
    kin(23);
}

Test(kin, each_shows_what_it_should_in_a_third)
{
    kin(8);
}
