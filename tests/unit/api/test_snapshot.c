/* SPDX-License-Identifier: Apache-2.0 */
/* <iomesh/snapshot.h>: asked of a pool, and of the process that owns one. */
#include <iomesh/sys/control.h>

#include "base/base.h"
#include "unit/api/pool.h"

static struct iomesh_control *control;

static void setup(void)
{
    pool_setup();
    volume_make("v", 16 * MIB, 4096);
    OK(iomesh_control_open(engine, url, &control));
}

static void teardown(void)
{
    iomesh_control_close(control);
    pool_stop();
    check_clean();
    pool_teardown();
}

TestSuite(api_snapshot, .init = setup, .fini = teardown, .timeout = 30);

static uint8_t block[4096];

static void put(struct iomesh_volume *volume, uint64_t index, char byte)
{
    memset(block, byte, sizeof block);
    OK(iomesh_write_sync(volume, index * sizeof block, sizeof block, block, 0));
}

static char get(struct iomesh_volume *volume, uint64_t index)
{
    OK(iomesh_read_sync(volume, index * sizeof block, sizeof block, block));
    for (unsigned i = 1; i < sizeof block; i++)
        cr_assert_eq(block[i], block[0], "a mixture");
    return (char)block[0];
}

/* What was told, in the order of telling. */
static struct seen {
    unsigned count;
    struct iomesh_snapshot_info infos[700];
} seen;

static void see(void *context, const struct iomesh_snapshot_info *info)
{
    (void)context;
    cr_assert_eq(info->size, sizeof *info);
    if (seen.count < COUNT_OF(seen.infos))
        seen.infos[seen.count] = *info;
    seen.count++;
}

/* Both ways tell the same. */
static void look(const char *name, uint32_t flags)
{
    seen.count = 0;
    OK(iomesh_snapshot_list_sync(pool, name, flags, see, NULL));
    static struct seen first;
    memcpy(&first, &seen, sizeof seen);
    seen.count = 0;
    OK(iomesh_control_snapshot_list(control, name, flags, see, NULL));
    cr_assert_eq(seen.count, first.count);
    for (unsigned i = 0; i < seen.count; i++) {
        cr_assert_eq(seen.infos[i].cut, first.infos[i].cut);
        cr_assert_eq(seen.infos[i].unique_bytes, first.infos[i].unique_bytes);
        cr_assert_str_eq(seen.infos[i].name, first.infos[i].name);
        cr_assert_arr_eq(seen.infos[i].uuid, first.infos[i].uuid, IOMESH_UUID_BYTES);
    }
}

static uint64_t cut_of(const char *name)
{
    struct iomesh_snapshot_info info = {.size = sizeof info};
    OK(iomesh_snapshot_show_sync(pool, name, 0, &info));
    return info.cut;
}

Test(api_snapshot, a_snapshot_shows_what_was_and_the_volume_what_is)
{
    struct iomesh_volume *volume = volume_start("v");
    struct iomesh_volume *snapshot = NULL;
    struct iomesh_volume *there = NULL;
    put(volume, 3, 'a');
    OK(iomesh_snapshot_create_sync(pool, "v@one"));
    put(volume, 3, 'b');
    put(volume, 4, 'b');
    OK(iomesh_volume_open_sync(pool, "v@one", NULL, &snapshot));
    OK(iomesh_control_volume_open(control, "v@one", NULL, &there));
    cr_expect_str_eq(iomesh_volume_name(snapshot), "v@one");
    cr_expect_str_eq(iomesh_volume_name(there), "v@one");
    cr_expect_eq(iomesh_volume_is_read_only(snapshot), 1);
    cr_expect_eq(iomesh_volume_is_read_only(there), 1);
    REFUSED(iomesh_write_sync(snapshot, 0, 4096, block, 0), -EROFS);
    REFUSED(iomesh_write_sync(there, 0, 4096, block, 0), -EROFS);
    cr_expect_eq(get(snapshot, 3), 'a');
    cr_expect_eq(get(snapshot, 4), 0);
    cr_expect_eq(get(there, 3), 'a');
    cr_expect_eq(get(volume, 3), 'b');
    REFUSED(iomesh_snapshot_delete_sync(pool, "v@one"), -EBUSY);
    REFUSED(iomesh_control_snapshot_delete(control, "v@one"), -EBUSY);
    OK(iomesh_volume_close_sync(there));
    OK(iomesh_volume_close_sync(snapshot));
    OK(iomesh_volume_close_sync(volume));
    OK(iomesh_snapshot_delete_sync(pool, "v@one"));
    REFUSED(iomesh_volume_open_sync(pool, "v@one", NULL, &snapshot), -ENOENT);
}

Test(api_snapshot, a_list_tells_names_times_uuids_and_space)
{
    struct iomesh_volume *volume = volume_start("v");
    put(volume, 0, 'a');
    put(volume, 1, 'a');
    OK(iomesh_snapshot_create_sync(pool, "v@one"));
    put(volume, 0, 'b');
    OK(iomesh_control_snapshot_create(control, "v@two"));
    look("v", 0);
    cr_assert_eq(seen.count, 2);
    cr_expect_str_eq(seen.infos[0].name, "one");
    cr_expect_str_eq(seen.infos[1].name, "two");
    cr_expect_str_eq(seen.infos[0].volume, "v");
    cr_expect_lt(seen.infos[0].cut, seen.infos[1].cut);
    cr_expect_neq(memcmp(seen.infos[0].uuid, seen.infos[1].uuid, IOMESH_UUID_BYTES), 0);
    cr_expect_eq(seen.infos[0].bytes, 16 * MIB);
    cr_expect_gt(seen.infos[0].created_ns, 0);
    cr_expect_eq(seen.infos[0].flags, 0);
    look("v", IOMESH_SNAPSHOT_SPACE);
    cr_expect_eq(seen.infos[0].flags, IOMESH_SNAPSHOT_SPACE);
    cr_expect_eq(seen.infos[0].unique_bytes, 4096, "%llu",
                 (unsigned long long)seen.infos[0].unique_bytes);
    cr_expect_eq(seen.infos[0].shared_bytes, 4096);
    cr_expect_eq(seen.infos[1].unique_bytes, 0);
    cr_expect_eq(seen.infos[1].shared_bytes, 8192);
    struct iomesh_snapshot_info info = {.size = sizeof info};
    OK(iomesh_control_snapshot_show(control, "v@one", IOMESH_SNAPSHOT_SPACE, &info));
    cr_expect_eq(info.unique_bytes, 4096);
    cr_expect_str_eq(info.name, "one");
    struct iomesh_volume_info shown = {.size = sizeof shown};
    OK(iomesh_control_volume_show(control, "v", &shown));
    cr_expect_eq(shown.snapshot_count, 2);
    cr_expect_str_eq(shown.parent, "");
    /* A program that knows less. */
    memset(&info, 0x55, sizeof info);
    info.size = offsetof(struct iomesh_snapshot_info, bytes);
    OK(iomesh_snapshot_show_sync(pool, "v@two", 0, &info));
    cr_expect_eq(info.size, offsetof(struct iomesh_snapshot_info, bytes));
    cr_expect_eq(info.bytes, 0x5555555555555555ull, "more was written than was asked for");
    OK(iomesh_volume_close_sync(volume));
}

Test(api_snapshot, a_list_of_several_pages_is_whole)
{
    char name[32];
    for (unsigned i = 0; i < 650; i++) {
        (void)snprintf(name, sizeof name, "v@s%u", i);
        OK(iomesh_snapshot_create_sync(pool, name));
    }
    look("v", 0);
    cr_assert_eq(seen.count, 650);
    for (unsigned i = 0; i < 650; i++) {
        (void)snprintf(name, sizeof name, "s%u", i);
        cr_assert_str_eq(seen.infos[i].name, name);
    }
}

Test(api_snapshot, what_has_changed_is_told_between_any_two)
{
    struct iomesh_volume *volume = volume_start("v");
    struct iomesh_volume *snapshot = NULL;
    struct iomesh_volume *there = NULL;
    struct iomesh_extent extents[8];
    put(volume, 1, 'a');
    OK(iomesh_snapshot_create_sync(pool, "v@one"));
    put(volume, 5, 'b');
    put(volume, 6, 'b');
    OK(iomesh_snapshot_create_sync(pool, "v@two"));
    put(volume, 9, 'c');
    OK(iomesh_discard_sync(volume, 5 * 4096, 4096, 0));
    OK(iomesh_volume_open_sync(pool, "v@two", NULL, &snapshot));
    OK(iomesh_control_volume_open(control, "v", NULL, &there));
    uint64_t one = cut_of("v@one");
    uint64_t two = cut_of("v@two");

    int count = iomesh_changed_sync(snapshot, one, 0, 16 * MIB, extents, 8);
    cr_assert_eq(count, 3, "%d: %s", count, iomesh_last_error());
    cr_expect_eq(extents[0].bytes, 5 * 4096);
    cr_expect_eq(extents[0].flags, 0);
    cr_expect_eq(extents[1].bytes, 2 * 4096);
    cr_expect_eq(extents[1].flags, IOMESH_EXTENT_CHANGED);
    cr_expect_eq(extents[2].bytes, 16 * MIB - 7 * 4096);

    count = iomesh_changed_sync(there, two, 0, 16 * MIB, extents, 8);
    cr_assert_eq(count, 5, "%d: %s", count, iomesh_last_error());
    cr_expect_eq(extents[1].bytes, 4096);
    cr_expect(extents[1].flags & IOMESH_EXTENT_CHANGED && extents[1].flags & IOMESH_EXTENT_ZERO);
    cr_expect_eq(extents[3].flags, IOMESH_EXTENT_CHANGED);

    REFUSED(iomesh_changed_sync(snapshot, two, 0, 16 * MIB, extents, 8), -EINVAL);
    REFUSED(iomesh_changed_sync(volume, one, 0, 16 * MIB, extents, 0), -EINVAL);
    OK(iomesh_volume_close_sync(there));
    OK(iomesh_volume_close_sync(snapshot));
    OK(iomesh_volume_close_sync(volume));
}

Test(api_snapshot, names_that_cannot_be_are_refused_before_anything_happens)
{
    char longer[2 * IOMESH_NAME_BYTES_MAX + 8];
    memset(longer, 'x', sizeof longer);
    longer[sizeof longer - 1] = '\0';
    memcpy(longer, "v@", 2);
    static const char *const wrong[] = {"v", "@s", "v@", "v@a@b", "v@a/b", "", "v@\x01"};
    for (unsigned i = 0; i < COUNT_OF(wrong); i++)
        REFUSED(iomesh_snapshot_create_sync(pool, wrong[i]), -EINVAL);
    for (unsigned i = 0; i < COUNT_OF(wrong); i++)
        REFUSED(iomesh_control_snapshot_create(control, wrong[i]), -EINVAL);
    REFUSED(iomesh_snapshot_create_sync(pool, longer), -EINVAL);
    REFUSED(iomesh_control_snapshot_create(control, longer), -EINVAL);
    REFUSED(iomesh_snapshot_create_sync(pool, NULL), -EINVAL);
    REFUSED(iomesh_control_snapshot_create(control, NULL), -EINVAL);
    REFUSED(iomesh_snapshot_create_sync(pool, "nobody@s"), -ENOENT);
    REFUSED(iomesh_snapshot_delete_sync(pool, "v@nothing"), -ENOENT);
    REFUSED(iomesh_snapshot_list_sync(pool, "v@s", 0, see, NULL), -EINVAL);
    REFUSED(iomesh_snapshot_list_sync(pool, "v", 64, see, NULL), -EINVAL);
    REFUSED(iomesh_snapshot_list_sync(pool, "v", 0, NULL, NULL), -EINVAL);
    REFUSED(iomesh_snapshot_rollback_sync(pool, "v@s", 8, NULL, NULL), -EINVAL);
    struct iomesh_snapshot_info info = {.size = sizeof info};
    REFUSED(iomesh_snapshot_show_sync(pool, "v@nothing", 0, &info), -ENOENT);
    REFUSED(iomesh_control_snapshot_show(control, "v@nothing", 0, &info), -ENOENT);
    REFUSED(iomesh_snapshot_create(pool, "v@s", NULL, NULL), -EINVAL);
    OK(iomesh_snapshot_create_sync(pool, "v@s"));
    REFUSED(iomesh_control_snapshot_create(control, "v@s"), -EEXIST);
    REFUSED(iomesh_volume_delete_sync(pool, "v"), -EBUSY);
}

/* --- Groups -------------------------------------------------------------------------------- */

static struct {
    unsigned count;
    struct iomesh_group_info info;
    char volumes[4][8];
} groups;

static void see_group(void *context, const struct iomesh_group_info *info)
{
    (void)context;
    groups.count++;
    groups.info = *info;
    for (unsigned i = 0; i < info->volume_count && i < 4; i++)
        (void)snprintf(groups.volumes[i], sizeof groups.volumes[i], "%s", info->volumes[i]);
}

Test(api_snapshot, a_group_is_made_told_and_deleted_as_one)
{
    const char *names[] = {"v", "w"};
    const char *broken[] = {"v", "nobody"};
    const char *missing[] = {"v", NULL};
    volume_make("w", MIB, 4096);
    REFUSED(iomesh_group_create_sync(pool, "g", names, 0), -EINVAL);
    REFUSED(iomesh_group_create_sync(pool, "g", names, IOMESH_GROUP_VOLUMES_MAX + 1), -EINVAL);
    REFUSED(iomesh_group_create_sync(pool, "g", missing, 2), -EINVAL);
    REFUSED(iomesh_control_group_create(control, "g", missing, 2), -EINVAL);
    REFUSED(iomesh_control_group_create(control, "g", broken, 2), -ENOENT);
    look("v", 0);
    cr_expect_eq(seen.count, 0, "half of a group");
    OK(iomesh_control_group_create(control, "g", names, 2));
    OK(iomesh_group_list_sync(pool, see_group, NULL));
    OK(iomesh_control_group_list(control, see_group, NULL));
    cr_expect_eq(groups.count, 2);
    cr_expect_str_eq(groups.info.name, "g");
    cr_expect_eq(groups.info.volume_count, 2);
    cr_expect_str_eq(groups.volumes[0], "v");
    cr_expect_str_eq(groups.volumes[1], "w");
    look("w", 0);
    cr_assert_eq(seen.count, 1);
    cr_expect_str_eq(seen.infos[0].group, "g");
    cr_expect_str_eq(seen.infos[0].name, "g");
    REFUSED(iomesh_snapshot_delete_sync(pool, "w@g"), -EBUSY);
    REFUSED(iomesh_group_create_sync(pool, "g", names, 2), -EEXIST);
    OK(iomesh_group_delete_sync(pool, "g"));
    REFUSED(iomesh_control_group_delete(control, "g"), -ENOENT);
    look("v", 0);
    cr_expect_eq(seen.count, 0);
}

/* --- Clones -------------------------------------------------------------------------------- */

Test(api_snapshot, a_clone_reads_its_parent_and_tells_of_it)
{
    struct iomesh_volume *volume = volume_start("v");
    put(volume, 7, 'a');
    OK(iomesh_snapshot_create_sync(pool, "v@s"));
    put(volume, 7, 'b');
    OK(iomesh_volume_clone_sync(pool, "v@s", "c"));
    OK(iomesh_control_volume_clone(control, "v", "d"));
    struct iomesh_volume *c = volume_start("c");
    struct iomesh_volume *d = volume_start("d");
    cr_expect_eq(get(c, 7), 'a');
    cr_expect_eq(get(d, 7), 'b');
    put(c, 7, 'c');
    cr_expect_eq(get(volume, 7), 'b');
    cr_expect_eq(get(c, 7), 'c');
    struct iomesh_volume_info info = {.size = sizeof info};
    OK(iomesh_volume_show_sync(pool, "c", &info));
    cr_expect_str_eq(info.parent, "v");
    cr_expect_str_eq(info.parent_snapshot, "s");
    OK(iomesh_control_volume_show(control, "d", &info));
    cr_expect_str_eq(info.parent, "v");
    cr_expect(info.flags & IOMESH_VOLUME_PARENT_HIDDEN);
    REFUSED(iomesh_volume_clone_sync(pool, "v@s", "c"), -EEXIST);
    REFUSED(iomesh_volume_clone_sync(pool, "v@nothing", "e"), -ENOENT);
    REFUSED(iomesh_volume_clone_sync(pool, "v", "a/b"), -EINVAL);
    REFUSED(iomesh_volume_clone_sync(pool, "v", NULL), -EINVAL);
    /* Deleted, and kept hidden for the clone. */
    OK(iomesh_snapshot_delete_sync(pool, "v@s"));
    look("v", 0);
    cr_expect_eq(seen.count, 0);
    look("v", IOMESH_SNAPSHOT_ALL);
    cr_expect_eq(seen.count, 2);
    cr_expect(seen.infos[0].flags & IOMESH_SNAPSHOT_HIDDEN);
    cr_expect_eq(seen.infos[0].clone_count, 1);
    OK(iomesh_volume_close_sync(c));
    OK(iomesh_volume_close_sync(d));
    OK(iomesh_volume_close_sync(volume));
}
