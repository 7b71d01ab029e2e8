/* SPDX-License-Identifier: Apache-2.0 */
/* What takes long, and tells how far it is: rolling back, flattening; and importing. */
#include <iomesh/sys/control.h>

#include "api/control.h"
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
    if (pool != NULL)
        pool_stop();
    check_clean();
    pool_teardown();
}

TestSuite(api_import, .init = setup, .fini = teardown, .timeout = 30);

static uint8_t block[4096];

static void put(struct iomesh_volume *volume, uint64_t index, char byte)
{
    memset(block, byte, sizeof block);
    OK(iomesh_write_sync(volume, index * sizeof block, sizeof block, block, 0));
}

static char get(struct iomesh_volume *volume, uint64_t index)
{
    OK(iomesh_read_sync(volume, index * sizeof block, sizeof block, block));
    return (char)block[0];
}

static char get_of(const char *name, uint64_t index)
{
    struct iomesh_volume *volume = volume_start(name);
    char byte = get(volume, index);
    OK(iomesh_volume_close_sync(volume));
    return byte;
}

static void put_of(const char *name, uint64_t index, char byte)
{
    struct iomesh_volume *volume = volume_start(name);
    put(volume, index, byte);
    OK(iomesh_volume_close_sync(volume));
}

struct told {
    unsigned count;
    uint64_t done, total;
};

static void tell(void *context, uint64_t done, uint64_t total)
{
    struct told *told = context;
    cr_assert_neq(total, 0);
    cr_assert_geq(done, told->done, "it goes back");
    told->count++;
    told->done = done;
    told->total = total;
}

/* --- Rolling back, flattening --------------------------------------------------------------- */

Test(api_import, a_rollback_is_refused_in_use_and_then_makes_what_was)
{
    struct told told = {0};
    put_of("v", 3, 'a');
    OK(iomesh_snapshot_create_sync(pool, "v@s"));
    struct iomesh_volume *volume = volume_start("v");
    put(volume, 3, 'b');
    put(volume, 900, 'b');
    REFUSED(iomesh_snapshot_rollback_sync(pool, "v@s", 0, tell, &told), -EBUSY);
    REFUSED(iomesh_control_snapshot_rollback(control, "v@s", 0, tell, &told), -EBUSY);
    OK(iomesh_volume_close_sync(volume));
    OK(iomesh_snapshot_rollback_sync(pool, "v@s", 0, tell, &told));
    cr_expect_gt(told.count, 0);
    cr_expect_leq(told.done, told.total);
    cr_expect_eq(get_of("v", 3), 'a');
    cr_expect_eq(get_of("v", 900), 0);
    put_of("v", 900, 'c');
    told = (struct told){0};
    OK(iomesh_control_snapshot_rollback(control, "v@s", 0, tell, &told));
    cr_expect_gt(told.count, 0);
    cr_expect_eq(get_of("v", 900), 0);
    REFUSED(iomesh_snapshot_rollback_sync(pool, "v@nothing", 0, NULL, NULL), -ENOENT);
}

Test(api_import, a_rollback_takes_the_old_size_back_with_force_only)
{
    struct iomesh_volume_info info = {.size = sizeof info};
    OK(iomesh_snapshot_create_sync(pool, "v@small"));
    OK(iomesh_volume_resize_sync(pool, "v", 32 * MIB, 0));
    OK(iomesh_snapshot_create_sync(pool, "v@large"));
    OK(iomesh_snapshot_rollback_sync(pool, "v@small", 0, NULL, NULL));
    OK(iomesh_volume_show_sync(pool, "v", &info));
    cr_expect_eq(info.bytes, 32 * MIB);
    OK(iomesh_control_snapshot_rollback(control, "v@small", IOMESH_ROLLBACK_FORCE, NULL, NULL));
    OK(iomesh_volume_show_sync(pool, "v", &info));
    cr_expect_eq(info.bytes, 16 * MIB);
    REFUSED(iomesh_snapshot_rollback_sync(pool, "v@large", 0, NULL, NULL), -EPERM);
}

Test(api_import, a_flattened_clone_does_without_its_parent)
{
    struct told told = {0};
    struct iomesh_volume_info info = {.size = sizeof info};
    put_of("v", 3, 'a');
    OK(iomesh_volume_clone_sync(pool, "v", "c"));
    OK(iomesh_volume_clone_sync(pool, "v", "d"));
    struct iomesh_volume *c = volume_start("c");
    OK(iomesh_volume_flatten_sync(pool, "c", tell, &told));
    cr_expect_leq(told.done, told.total);
    OK(iomesh_control_volume_flatten(control, "d", tell, &(struct told){0}));
    OK(iomesh_volume_show_sync(pool, "c", &info));
    cr_expect_str_eq(info.parent, "");
    OK(iomesh_volume_delete_sync(pool, "v"));
    cr_expect_eq(get(c, 3), 'a');
    cr_expect_eq(get_of("d", 3), 'a');
    OK(iomesh_volume_close_sync(c));
    OK(iomesh_control_volume_flatten(control, "c", NULL, NULL));
    REFUSED(iomesh_control_volume_flatten(control, "v", NULL, NULL), -ENOENT);
}

/* --- Importing ----------------------------------------------------------------------------- */

static struct iomesh_import_options options_of(const char *snapshot, const char *base)
{
    static uint8_t uuids[2][IOMESH_UUID_BYTES];
    struct iomesh_import_options options = IOMESH_IMPORT_OPTIONS_INIT;
    memset(uuids, 0, sizeof uuids);
    memcpy(uuids[0], snapshot, strlen(snapshot));
    options.bytes = 8 * MIB;
    options.uuid = uuids[0];
    if (base != NULL)
        memcpy(uuids[1], base, strlen(base));
    options.base = base != NULL ? uuids[1] : NULL;
    return options;
}

static uint32_t flags_of(const char *name)
{
    struct iomesh_volume_info info = {.size = sizeof info};
    OK(iomesh_volume_show_sync(pool, name, &info));
    return info.flags;
}

/* Full, then an increment onto it; `there`: through the socket. */
static void import_both(bool there)
{
    struct iomesh_volume *volume = NULL;
    struct iomesh_volume *other = NULL;
    struct iomesh_import_options options = options_of("one", NULL);
    OK(there ? iomesh_control_import_begin(control, "i@one", &options, &volume)
             : iomesh_import_begin_sync(pool, "i@one", &options, &volume));
    cr_expect_eq(flags_of("i"), IOMESH_VOLUME_INCOMPLETE);
    REFUSED(iomesh_volume_open_sync(pool, "i", NULL, &other), -EBUSY);
    REFUSED(iomesh_control_volume_open(control, "i", NULL, &other), -EBUSY);
    REFUSED(iomesh_import_abandon_sync(pool, "i", NULL, NULL), -EBUSY);
    REFUSED(iomesh_snapshot_create_sync(pool, "i@early"), -EBUSY);
    put(volume, 5, 'a');
    OK(iomesh_import_end_sync(volume));
    REFUSED(iomesh_import_end_sync(volume), -EINVAL);
    cr_expect_eq(flags_of("i"), 0);
    cr_expect_eq(get(volume, 5), 'a');
    OK(iomesh_volume_close_sync(volume));
    struct iomesh_snapshot_info info = {.size = sizeof info};
    OK(iomesh_snapshot_show_sync(pool, "i@one", 0, &info));
    cr_expect_arr_eq(info.uuid, options.uuid, IOMESH_UUID_BYTES);

    options = options_of("two", "one");
    OK(there ? iomesh_control_import_begin(control, "i@two", &options, &volume)
             : iomesh_import_begin_sync(pool, "i@two", &options, &volume));
    put(volume, 6, 'b');
    OK(iomesh_import_end_sync(volume));
    OK(iomesh_volume_close_sync(volume));
    cr_expect_eq(get_of("i@one", 6), 0);
    cr_expect_eq(get_of("i@two", 6), 'b');
    cr_expect_eq(get_of("i@two", 5), 'a');
}

Test(api_import, an_import_and_its_increment)
{
    import_both(false);
}

Test(api_import, an_import_and_its_increment_by_the_owner)
{
    import_both(true);
}

Test(api_import, an_increment_is_refused_onto_anything_but_its_base)
{
    struct iomesh_volume *volume = NULL;
    import_both(false);
    struct iomesh_import_options options = options_of("three", "nobody");
    REFUSED(iomesh_import_begin_sync(pool, "i@three", &options, &volume), -ENOENT);
    options = options_of("three", "one");
    REFUSED(iomesh_control_import_begin(control, "i@three", &options, &volume), -ESTALE);
    options = options_of("three", "two");
    REFUSED(iomesh_import_begin_sync(pool, "i@one", &options, &volume), -EEXIST);
    REFUSED(iomesh_import_begin_sync(pool, "nobody@x", &options, &volume), -ENOENT);
    put_of("i", 9, 'x');
    REFUSED(iomesh_import_begin_sync(pool, "i@three", &options, &volume), -ESTALE);
    options = options_of("three", NULL);
    REFUSED(iomesh_import_begin_sync(pool, "i@three", &options, &volume), -EEXIST);
    REFUSED(iomesh_import_begin_sync(pool, "i", &options, &volume), -EINVAL);
    options.uuid = NULL;
    REFUSED(iomesh_import_begin_sync(pool, "x@y", &options, &volume), -EINVAL);
    REFUSED(iomesh_control_import_begin(control, "x@y", &options, &volume), -EINVAL);
    REFUSED(iomesh_import_abandon_sync(pool, "i", NULL, NULL), -EINVAL);
}

Test(api_import, an_import_that_is_left_stays_marked_until_it_is_abandoned)
{
    struct iomesh_volume *volume = NULL;
    struct iomesh_import_options options = options_of("one", NULL);
    OK(iomesh_control_import_begin(control, "i@one", &options, &volume));
    put(volume, 5, 'a');
    /* The program dies, the owner goes on. */
    iomesh_control_close(control);
    OK(iomesh_volume_close_sync(volume));
    OK(iomesh_control_open(engine, url, &control));
    int result = -EBUSY;
    for (unsigned i = 0; i < 1000 && result == -EBUSY; i++) {
        cr_expect_eq(flags_of("i"), IOMESH_VOLUME_INCOMPLETE);
        (void)iomesh_wait(engine, 1000000);
        result = iomesh_control_import_abandon(control, "i", NULL, NULL);
    }
    cr_expect_eq(result, 0, "%s", iomesh_last_error());
    struct iomesh_volume_info info = {.size = sizeof info};
    REFUSED(iomesh_volume_show_sync(pool, "i", &info), -ENOENT);

    import_both(true);
    options = options_of("three", "two");
    OK(iomesh_import_begin_sync(pool, "i@three", &options, &volume));
    put(volume, 5, 'z');
    OK(iomesh_volume_close_sync(volume));
    REFUSED(iomesh_volume_open_sync(pool, "i", NULL, &volume), -EBUSY);
    OK(iomesh_import_abandon_sync(pool, "i", NULL, NULL));
    cr_expect_eq(flags_of("i"), 0);
    cr_expect_eq(get_of("i", 5), 'a');
    OK(iomesh_import_begin_sync(pool, "i@three", &options, &volume));
    OK(iomesh_import_end_sync(volume));
    OK(iomesh_volume_close_sync(volume));
}

/* --- A pool that closes meanwhile ----------------------------------------------------------- */

struct progress_once {
    struct iomesh_pool *pool;
    bool asked, closed;
    int result;
};

static void pool_closed(void *context, int result)
{
    struct progress_once *once = context;
    once->closed = true;
    once->result = result;
}

static void close_once(void *context, uint64_t done, uint64_t total)
{
    struct progress_once *once = context;
    (void)done, (void)total;
    if (!once->asked)
        cr_assert_eq(iomesh_pool_close(once->pool, pool_closed, once), 0, "%s",
                     iomesh_last_error());
    once->asked = true;
}

Test(api_import, a_pool_that_closes_ends_a_flattening_that_others_asked_for)
{
    struct progress_once once = {.pool = pool};
    struct iomesh_volume *volume = volume_start("v");
    uint8_t *bytes = malloc(16 * MIB);
    memset(bytes, 'a', 16 * MIB);
    OK(iomesh_write_sync(volume, 0, 16 * MIB, bytes, 0));
    OK(iomesh_volume_close_sync(volume));
    free(bytes);
    OK(iomesh_volume_clone_sync(pool, "v", "c"));
    REFUSED(iomesh_control_volume_flatten(control, "c", close_once, &once), -ECANCELED);
    cr_assert(once.asked);
    while (!once.closed)
        cr_assert_geq(iomesh_wait(engine, IOMESH_NEVER), 0);
    cr_expect_eq(once.result, 0);
    pool_start(0);
    struct iomesh_volume_info info = {.size = sizeof info};
    OK(iomesh_volume_show_sync(pool, "c", &info));
    cr_expect_str_eq(info.parent, "v");
    cr_expect_eq(get_of("c", 0), 'a');
    cr_expect_eq(get_of("c", 4000), 'a');
}
