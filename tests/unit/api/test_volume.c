/* SPDX-License-Identifier: Apache-2.0 */
#include "unit/api/pool.h"

TestSuite(api_volume, .init = pool_setup, .fini = pool_teardown);

Test(api_volume, bad_names_and_sizes_are_refused_with_a_sentence)
{
    struct iomesh_volume_create_options create = IOMESH_VOLUME_CREATE_OPTIONS_INIT;
    create.bytes = MIB;
    char longest[IOMESH_NAME_BYTES_MAX + 2];
    memset(longest, 'n', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    const char *names[] = {"", "a/b", "a@b", "a\nb", "\x7f", "\xff\xfe", longest};
    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++)
        REFUSED(iomesh_volume_create_sync(pool, names[i], &create), -EINVAL);
    REFUSED(iomesh_volume_create_sync(pool, NULL, &create), -EINVAL);
    const uint64_t sizes[] = {0, 512, 4097, IOMESH_VOLUME_BYTES_MAX + 4096, UINT64_MAX};
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        create.bytes = sizes[i];
        REFUSED(iomesh_volume_create_sync(pool, "v", &create), -EINVAL);
    }
    create.bytes = MIB;
    create.sector_bytes = 1024;
    REFUSED(iomesh_volume_create_sync(pool, "v", &create), -EINVAL);
    create.sector_bytes = 512;
    create.flags = 8;
    REFUSED(iomesh_volume_create_sync(pool, "v", &create), -EINVAL);
    /* The largest of both are fine. */
    longest[IOMESH_NAME_BYTES_MAX] = '\0';
    create.flags = 0;
    create.bytes = IOMESH_VOLUME_BYTES_MAX;
    OK(iomesh_volume_create_sync(pool, longest, &create));
    OK(iomesh_volume_create_sync(pool, "größe", &create));
}

Test(api_volume, what_is_not_there_or_there_already_is_refused)
{
    struct iomesh_volume *volume = NULL;
    struct iomesh_volume_info info = {.size = sizeof info};
    REFUSED(iomesh_volume_open_sync(pool, "v", NULL, &volume), -ENOENT);
    REFUSED(iomesh_volume_delete_sync(pool, "v"), -ENOENT);
    REFUSED(iomesh_volume_resize_sync(pool, "v", MIB, 0), -ENOENT);
    REFUSED(iomesh_volume_show_sync(pool, "v", &info), -ENOENT);
    volume_make("v", MIB, 0);
    struct iomesh_volume_create_options create = IOMESH_VOLUME_CREATE_OPTIONS_INIT;
    create.bytes = MIB;
    REFUSED(iomesh_volume_create_sync(pool, "v", &create), -EEXIST);
}

static char seen[256];

static void see(void *context, const struct iomesh_volume_info *info)
{
    (void)context;
    cr_assert_lt(strlen(seen) + strlen(info->name) + 2, sizeof seen);
    strncat(seen, info->name, sizeof seen - strlen(seen) - 1);
    strncat(seen, " ", sizeof seen - strlen(seen) - 1);
}

static void set_pending(void *context, int result)
{
    *(int *)context = result;
}

Test(api_volume, volumes_are_listed_in_order_and_in_pages)
{
    const char *names[] = {"pear", "apple", "fig", "cherry"};
    for (unsigned i = 0; i < 4; i++)
        volume_make(names[i], MIB, 512);
    OK(iomesh_volume_list_sync(pool, see, NULL));
    cr_expect_str_eq(seen, "apple cherry fig pear ");
    seen[0] = '\0';
    int result = 77;
    OK(iomesh_volume_list(pool, "apple", 2, see, set_pending, &result));
    while (result == 77)
        cr_assert_geq(iomesh_wait(engine, IOMESH_NEVER), 0);
    cr_expect_eq(result, 1, "there are more");
    cr_expect_str_eq(seen, "cherry fig ");
    REFUSED(iomesh_volume_list(pool, "", 0, see, set_pending, &result), -EINVAL);
    REFUSED(iomesh_volume_list(pool, "", 1001, see, set_pending, &result), -EINVAL);
    struct iomesh_volume_info info = {.size = sizeof info};
    OK(iomesh_volume_show_sync(pool, "fig", &info));
    cr_expect(info.bytes == MIB && info.sector_bytes == 512 && info.open_count == 0);
    cr_expect_str_eq(info.name, "fig");
    cr_expect_gt(info.created_ns, 1600000000ull * 1000000000ull);
}

Test(api_volume, an_open_volume_is_not_deleted_and_its_handles_are_counted)
{
    volume_make("v", MIB, 0);
    struct iomesh_volume *first = volume_start("v");
    struct iomesh_volume *second = volume_start("v");
    struct iomesh_volume_info info = {.size = sizeof info};
    OK(iomesh_volume_show_sync(pool, "v", &info));
    cr_expect_eq(info.open_count, 2);
    cr_expect_str_eq(iomesh_volume_name(second), "v");
    REFUSED(iomesh_volume_delete_sync(pool, "v"), -EBUSY);
    cr_expect_eq(iomesh_pool_close_sync(pool), -EBUSY);
    char block[4096] = "through one, seen through the other";
    char back[4096];
    OK(iomesh_write_sync(first, 0, sizeof block, block, 0));
    OK(iomesh_read_sync(second, 0, sizeof back, back));
    cr_expect_str_eq(back, block);
    OK(iomesh_volume_close_sync(first));
    OK(iomesh_read_sync(second, 0, sizeof back, back));
    OK(iomesh_volume_close_sync(second));
    OK(iomesh_volume_delete_sync(pool, "v"));
    REFUSED(iomesh_volume_delete_sync(pool, "v"), -ENOENT);
}

Test(api_volume, a_volume_grows_while_open_and_shrinks_only_with_force)
{
    volume_make("v", MIB, 0);
    struct iomesh_volume *volume = volume_start("v");
    char block[4096] = "at the end", back[4096];
    REFUSED(iomesh_write_sync(volume, MIB, sizeof block, block, 0), -EINVAL);
    OK(iomesh_volume_resize_sync(pool, "v", 2 * MIB, 0));
    cr_expect_eq(iomesh_volume_bytes(volume), 2 * MIB);
    OK(iomesh_write_sync(volume, 2 * MIB - 4096, sizeof block, block, 0));
    REFUSED(iomesh_volume_resize_sync(pool, "v", MIB, 0), -EPERM);
    cr_expect_eq(iomesh_volume_bytes(volume), 2 * MIB);
    OK(iomesh_volume_resize_sync(pool, "v", MIB, IOMESH_RESIZE_FORCE));
    cr_expect_eq(iomesh_volume_bytes(volume), MIB);
    OK(iomesh_volume_resize_sync(pool, "v", 2 * MIB, 0));
    OK(iomesh_read_sync(volume, 2 * MIB - 4096, sizeof back, back));
    cr_expect_eq(back[0], 0, "what was cut off came back");
    REFUSED(iomesh_volume_resize_sync(pool, "v", 4097, 0), -EINVAL);
    REFUSED(iomesh_volume_resize_sync(pool, "v", MIB, 4), -EINVAL);
    OK(iomesh_volume_close_sync(volume));
}

static uint64_t used_bytes(void)
{
    struct iomesh_pool_status status = {.size = sizeof status};
    OK(iomesh_pool_status(pool, &status));
    return status.used_bytes + status.waiting_bytes;
}

Test(api_volume, the_space_of_a_deleted_volume_comes_back)
{
    volume_make("v", 16 * MIB, 0);
    uint64_t before = used_bytes();
    struct iomesh_volume *volume = volume_start("v");
    static uint8_t data[MIB] = {7};
    for (unsigned i = 0; i < 16; i++)
        OK(iomesh_write_sync(volume, i * MIB, sizeof data, data, 0));
    OK(iomesh_volume_close_sync(volume));
    cr_expect_geq(used_bytes(), before + 15 * MIB);
    OK(iomesh_volume_delete_sync(pool, "v"));
    uint64_t now = used_bytes();
    for (unsigned i = 0; i < 1000 && now > before + MIB; i++) {
        (void)iomesh_wait(engine, 10000000);
        now = used_bytes();
    }
    cr_expect_leq(now, before + MIB);
    pool_stop();
    check_clean();
}
