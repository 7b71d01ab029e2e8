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
