/* SPDX-License-Identifier: Apache-2.0 */
/* What snapshots promise while something else is under way, and when the power goes just after. */
#include <stdio.h>

#include "pool.h"

TestSuite(races, .init = pool_open, .fini = pool_close);

static void io_done(struct volume_io *io, int result)
{
    (void)io;
    catalog_rig_ended(&rig, result);
}

static struct volume_io traffic_io;
static bool traffic_busy;

static void traffic_done(struct volume_io *io, int result)
{
    (void)io;
    cr_assert_eq(result, 0);
    traffic_busy = false;
}

/* Waits while somebody reads all the time: in the false world an idle second is over at once, and
 * the store flushes every second. */
static void wait_in_traffic(struct catalog_handle *traffic)
{
    static uint8_t data[BLOCK_BYTES] __attribute__((aligned(BLOCK_BYTES)));
    while (rig.waiting || traffic_busy) {
        if (!traffic_busy) {
            traffic_io = (struct volume_io){
                .kind = VOLUME_READ, .length = sizeof data, .data = data, .done = traffic_done};
            traffic_busy = true;
            volume_submit(catalog_handle_volume(traffic), &traffic_io);
        }
        cr_assert(catalog_rig_turn(&rig));
    }
    cr_assert_eq(rig.ended, 0);
}

Test(races, a_snapshot_of_a_closed_volume_is_durable_when_it_is_told)
{
    static struct volume_io io;
    static uint8_t data[BLOCK_BYTES] __attribute__((aligned(BLOCK_BYTES)));
    static const uint8_t uuid[16] = {3};
    cr_assert_eq(create("traffic", 8 * MIB), 0);
    block_put("traffic", 0, 9);
    for (unsigned i = 0; i < 12; i++) {
        struct catalog_handle *handle, *traffic;
        char name[8], view[12];
        (void)snprintf(name, sizeof name, "v%u", i);
        (void)snprintf(view, sizeof view, "%s@a", name);
        cr_assert_eq(create(name, 8 * MIB), 0);
        cr_assert_eq(handle_open("traffic", true, &traffic), 0);
        cr_assert_eq(handle_open(name, false, &handle), 0);
        memset(data, 1, sizeof data);
        io = (struct volume_io){
            .kind = VOLUME_WRITE, .length = sizeof data, .data = data, .done = io_done};
        rig.waiting = true;
        volume_submit(catalog_handle_volume(handle), &io);
        wait_in_traffic(traffic);
        rig.waiting = true;
        catalog_handle_close(handle, catalog_rig_ended, &rig);
        wait_in_traffic(traffic);
        rig.waiting = true;
        cr_assert_eq(catalog_snapshot_create(rig.catalog, name, "a", uuid, catalog_rig_ended, &rig),
                     0);
        wait_in_traffic(traffic);
        pool_power_cut();
        cr_assert_eq(block_look(view, 0), 1, "volume %s", name);
    }
}

struct told {
    bool waits;
    int result;
};

static void note_told(void *context, int result)
{
    struct told *told = context;
    told->waits = false;
    told->result = result;
}

Test(races, a_group_is_deleted_twice_at_once)
{
    static const char *const both[] = {"one", "two"};
    cr_assert_eq(create("one", 8 * MIB), 0);
    cr_assert_eq(create("two", 8 * MIB), 0);
    cr_assert_eq(group_create("g", both, 2), 0);
    struct told a = {.waits = true}, b = {.waits = true};
    cr_assert_eq(catalog_group_delete(rig.catalog, "g", note_told, &a), 0);
    cr_assert_eq(catalog_group_delete(rig.catalog, "g", note_told, &b), 0);
    cr_assert(catalog_rig_wait(&rig, &a.waits, "a"));
    cr_assert(catalog_rig_wait(&rig, &b.waits, "b"));
    cr_assert_eq(a.result, 0);
    cr_assert_eq(b.result, -ENOENT, "%d %s", b.result, base_last_error());
}

static void note_nothing(void *context, const struct catalog_snapshot *snapshot)
{
    (void)context;
    (void)snapshot;
}

Test(races, snapshots_are_listed_while_the_volume_is_deleted)
{
    for (unsigned turns = 0; turns < 30; turns++) {
        struct told a = {.waits = true}, b = {.waits = true};
        cr_assert_eq(create("one", 8 * MIB), 0);
        block_put("one", 0, 1);
        cr_assert_eq(catalog_delete(rig.catalog, "one", note_told, &a), 0);
        for (unsigned i = 0; i < turns; i++)
            (void)catalog_rig_turn(&rig);
        cr_assert_eq(catalog_snapshot_list(rig.catalog, "one", true, note_nothing, note_told, &b),
                     0);
        cr_assert(catalog_rig_wait(&rig, &a.waits, "a"));
        cr_assert(catalog_rig_wait(&rig, &b.waits, "b"));
        cr_assert_eq(a.result, 0);
        cr_assert(b.result == 0 || b.result == -ENOENT, "%u turns: %d %s", turns, b.result,
                  base_last_error());
    }
}

/* The chore takes the clone off while the group is being deleted. */
Test(races, a_group_is_deleted_while_a_clone_of_its_snapshot_goes)
{
    static const char *const both[] = {"one", "two"};
    cr_assert_eq(create("one", 8 * MIB), 0);
    cr_assert_eq(create("two", 8 * MIB), 0);
    for (unsigned turns = 0; turns < 40; turns++) {
        struct told a = {.waits = true}, b = {.waits = true};
        cr_assert_eq(group_create("g", both, 2), 0);
        cr_assert_eq(clone_make("one", "g", "three"), 0);
        cr_assert_eq(catalog_delete(rig.catalog, "three", note_told, &a), 0);
        for (unsigned i = 0; i < turns; i++)
            (void)catalog_rig_turn(&rig);
        cr_assert_eq(catalog_group_delete(rig.catalog, "g", note_told, &b), 0);
        cr_assert(catalog_rig_wait(&rig, &a.waits, "a"));
        cr_assert(catalog_rig_wait(&rig, &b.waits, "b"));
        cr_assert_eq(a.result, 0);
        cr_assert_eq(b.result, 0, "%u turns: %d %s", turns, b.result, base_last_error());
    }
}

Test(races, a_volume_is_not_resized_while_an_import_into_it_has_not_ended)
{
    struct catalog_handle *handle;
    struct catalog_import import = {
        .bytes = 8 * MIB, .sector_bytes = 512, .snapshot = "s", .uuid = {7}};
    cr_assert_eq(import_begin("one", &import, &handle), 0);
    cr_assert_eq(resize("one", 16 * MIB, false), -EBUSY);
    cr_assert_eq(import_end(handle), 0);
    cr_assert_eq(handle_close(handle), 0);
    cr_assert_eq(snapshot_list("one", false), 0);
    cr_assert_eq(found[0].snapshot.bytes, 8 * MIB);
}

enum asked { ASKED_SNAPSHOT, ASKED_DROP, ASKED_GROUP, ASKED_CLONE, ASKED_ROLLBACK, ASKED_FLATTEN };

static int ask(unsigned what, struct told *told)
{
    static const uint8_t uuid[2][16] = {{5}, {6}};
    static const char *const both[] = {"one", "two"};
    switch (what) {
    case ASKED_SNAPSHOT:
        return catalog_snapshot_create(rig.catalog, "one", "b", uuid[0], note_told, told);
    case ASKED_DROP: return catalog_snapshot_delete(rig.catalog, "one", "a", note_told, told);
    case ASKED_GROUP: return catalog_group_create(rig.catalog, "g", both, 2, uuid, note_told, told);
    case ASKED_CLONE: return catalog_clone(rig.catalog, "one", NULL, "three", note_told, told);
    case ASKED_ROLLBACK:
        return catalog_snapshot_rollback(rig.catalog, "one", "a", false, NULL, note_told, told);
    default: return catalog_flatten(rig.catalog, "two", NULL, note_told, told);
    }
}

/* As whoever asked for it through the pool's owner sees it. */
static void pool_closes_after(unsigned what, unsigned turns)
{
    struct told told = {.waits = true};
    cr_assert_eq(create("one", 8 * MIB), 0);
    block_put("one", 0, 1);
    cr_assert_eq(snapshot_create("one", "a"), 0);
    block_put("one", 0, 2);
    block_put("one", MIB, 2);
    cr_assert_eq(clone_make("one", NULL, "two"), 0);
    cr_assert_eq(ask(what, &told), 0);
    for (unsigned i = 0; i < turns; i++)
        (void)catalog_rig_turn(&rig);
    pool_reopen();
    cr_assert(!told.waits, "%u, %u turns: not told", what, turns);
    int first = block_look("one", 0);
    bool rolled = what == ASKED_ROLLBACK && told.result == 0;
    cr_assert(first == 2 || (what == ASKED_ROLLBACK && first == 1), "%u %u: %d", what, turns,
              first);
    cr_assert(!rolled || first == 1);
    cr_assert_eq(block_look("one", MIB), first == 2 ? 2 : 0);
    cr_assert_eq(block_look("two", MIB), 2);
    cr_assert_eq(block_look("one@a", 0), what == ASKED_DROP && told.result == 0 ? -ENOENT : 1);
    if (what == ASKED_SNAPSHOT)
        cr_assert_eq(block_look("one@b", 0), told.result == 0 ? 2 : -ENOENT);
    if (what == ASKED_GROUP)
        cr_assert_eq(block_look("two@g", MIB), told.result == 0 ? 2 : -ENOENT);
    if (what == ASKED_CLONE)
        cr_assert_eq(block_look("three", MIB), told.result == 0 ? 2 : -ENOENT);
    (void)group_delete("g");
    (void)snapshot_delete("one", "a");
    (void)snapshot_delete("one", "b");
    (void)delete ("three");
    cr_assert_eq(delete ("one"), 0, "%s", base_last_error());
    cr_assert_eq(delete ("two"), 0, "%s", base_last_error());
}

Test(races, the_pool_is_closed_in_the_middle)
{
    uint64_t before = blocks_used();
    for (unsigned what = ASKED_SNAPSHOT; what <= ASKED_FLATTEN; what++) {
        for (unsigned turns = 0; turns < 24; turns++)
            pool_closes_after(what, turns);
        cr_assert_eq(blocks_used(), before, "%u", what);
    }
}

Test(races, an_import_that_cannot_begin_leaves_no_volume)
{
    struct catalog_handle *busy, *handle;
    struct catalog_import import = {
        .bytes = 8 * MIB, .sector_bytes = 512, .snapshot = "s", .uuid = {7}};
    rig.catalog_options.volumes_max = 1;
    pool_reopen();
    cr_assert_eq(create("one", 8 * MIB), 0);
    cr_assert_eq(handle_open("one", true, &busy), 0);
    cr_assert_eq(import_begin("two", &import, &handle), -EMFILE);
    cr_assert(strstr(base_last_error(), "1 volumes are open already") != NULL);
    cr_assert_eq(show("two"), -ENOENT);
    cr_assert_eq(handle_close(busy), 0);
    cr_assert_eq(import_begin("two", &import, &handle), 0);
    cr_assert_eq(import_end(handle), 0);
    cr_assert_eq(handle_close(handle), 0);
}
