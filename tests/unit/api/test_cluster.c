/* SPDX-License-Identifier: Apache-2.0 */
/* A cluster's pool through the public API: who has it open, volumes on stores that are far. */
#include "unit/api/cluster_rig.h"

#include <stdio.h>

TestSuite(api_cluster, .init = rig_begin_served, .fini = rig_end);
TestSuite(api_cluster_bare, .init = rig_begin, .fini = rig_end);

static uint8_t data[MIB], back[MIB];

static void fill(uint8_t seed)
{
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(seed + i + (i >> 12));
}

static void reads_as_written(struct iomesh_volume *volume, uint64_t offset)
{
    memset(back, 0, sizeof back);
    OK(iomesh_read_sync(volume, offset, sizeof back, back));
    cr_assert_arr_eq(back, data, sizeof data);
}

Test(api_cluster, a_volume_is_created_written_read_and_deleted)
{
    struct iomesh_pool *pool = rig_pool(NULL, NULL);
    rig_volume(pool, "web", 600 * MIB);
    struct iomesh_volume *volume = rig_open(pool, "web");
    fill(1);
    OK(iomesh_write_sync(volume, 255 * MIB + MIB / 2, sizeof data, data, 0));
    reads_as_written(volume, 255 * MIB + MIB / 2);
    OK(iomesh_flush_sync(volume));
    OK(iomesh_volume_close_sync(volume));
    OK(iomesh_pool_close_sync(pool));
    pool = rig_pool(NULL, NULL);
    volume = rig_open(pool, "web");
    reads_as_written(volume, 255 * MIB + MIB / 2);
    REFUSED(iomesh_volume_delete_sync(pool, "web"), -EBUSY);
    OK(iomesh_volume_close_sync(volume));
    OK(iomesh_volume_delete_sync(pool, "web"));
    REFUSED(iomesh_volume_open_sync(pool, "web", NULL, &volume), -ENOENT);
    OK(iomesh_pool_close_sync(pool));
}

Test(api_cluster, a_pool_is_open_in_many_places_and_a_volume_in_one)
{
    struct iomesh_pool *mine = rig_pool("n1", "a");
    struct iomesh_pool *other = rig_pool("n2", "b");
    struct iomesh_volume *volume;
    struct iomesh_volume_info info = {.size = sizeof info};
    rig_volume(mine, "web", 4 * MIB);
    volume = rig_open(mine, "web");
    fill(2);
    OK(iomesh_write_sync(volume, 0, sizeof data, data, 0));
    struct iomesh_volume *refused = NULL;
    REFUSED(iomesh_volume_open_sync(other, "web", NULL, &refused), -EBUSY);
    REFUSED(iomesh_volume_resize_sync(other, "web", 8 * MIB, 0), -EBUSY);
    REFUSED(iomesh_volume_delete_sync(other, "web"), -EBUSY);
    REFUSED(iomesh_snapshot_create_sync(other, "web@s"), -EBUSY);
    OK(iomesh_volume_show_sync(other, "web", &info));
    cr_expect_eq(info.bytes, 4 * MIB);
    OK(iomesh_snapshot_create_sync(mine, "web@s"));
    OK(iomesh_volume_close_sync(volume));
    volume = rig_open(other, "web");
    reads_as_written(volume, 0);
    OK(iomesh_volume_close_sync(volume));
    OK(iomesh_snapshot_delete_sync(other, "web@s"));
    OK(iomesh_pool_close_sync(other));
    OK(iomesh_pool_close_sync(mine));
}

/* --- A process that stands still ------------------------------------------------------------ */

/* It has an engine of its own, which turns only when it is waited for: between two calls it is as
 * one that was stopped, or killed. */
static struct {
    struct iomesh_engine *engine;
    struct iomesh_pool *pool;
    struct iomesh_volume *volume;
    bool waiting;
    int result;
} stopped;

static void it_ended(void *context, int result)
{
    (void)context;
    stopped.result = result;
    stopped.waiting = false;
}

static void it_opened(void *context, int result, struct iomesh_pool *pool)
{
    stopped.pool = pool;
    it_ended(context, result);
}

static void it_has(void *context, int result, struct iomesh_volume *volume)
{
    stopped.volume = volume;
    it_ended(context, result);
}

/* Everybody turns. */
static int it_waits(int accepted)
{
    OK(accepted);
    stopped.waiting = true;
    for (unsigned turns = 0; stopped.waiting; turns++) {
        cr_assert_lt(turns, 20000, "it does not end");
        cr_assert_geq(iomesh_turn(stopped.engine), 0);
        rig_pass(1);
    }
    return stopped.result;
}

static void it_begins(const char *node, const char *address)
{
    struct iomesh_pool_options options = IOMESH_POOL_OPTIONS_INIT;
    options.node = node;
    options.address = address;
    stopped.engine = rig_engine();
    OK(it_waits(iomesh_pool_open(stopped.engine, rig.url, &options, it_opened, NULL)));
    OK(it_waits(iomesh_volume_open(stopped.pool, "web", NULL, it_has, NULL)));
    fill(3);
    OK(it_waits(iomesh_write(stopped.volume, 0, sizeof data, data, 0, it_ended, NULL)));
}

/* It goes on: what it has is another's. */
static void it_finds_out(void)
{
    int result = it_waits(iomesh_write(stopped.volume, 0, sizeof data, data, 0, it_ended, NULL));
    cr_assert_eq(result, IOMESH_FENCED, "%d", result);
    OK(it_waits(iomesh_volume_close(stopped.volume, it_ended, NULL)));
    OK(it_waits(iomesh_pool_close(stopped.pool, it_ended, NULL)));
    OK(iomesh_engine_close(stopped.engine));
}

static void web_is_made(void)
{
    struct iomesh_pool *pool = rig_pool(NULL, NULL);
    rig_volume(pool, "web", 4 * MIB);
    OK(iomesh_pool_close_sync(pool));
}

Test(api_cluster, the_same_node_and_address_take_a_volume_back_at_once)
{
    web_is_made();
    it_begins("n1", "a");
    struct iomesh_pool *pool = rig_pool("n1", "a");
    uint64_t before_ms = rig_now_ms();
    struct iomesh_volume *volume = rig_open(pool, "web");
    cr_expect_lt(rig_now_ms() - before_ms, 1000);
    reads_as_written(volume, 0);
    it_finds_out();
    reads_as_written(volume, 0);
    OK(iomesh_volume_close_sync(volume));
    OK(iomesh_pool_close_sync(pool));
}

Test(api_cluster, whoever_is_silent_loses_a_volume_when_its_session_ran_out)
{
    web_is_made();
    it_begins("n1", "a");
    struct iomesh_pool *pool = rig_pool("n1", "b");
    struct iomesh_volume *volume = NULL;
    REFUSED(iomesh_volume_open_sync(pool, "web", NULL, &volume), -EBUSY);
    uint64_t until_ms = rig_now_ms() + 10000;
    int result;
    while ((result = iomesh_volume_open_sync(pool, "web", NULL, &volume)) == -EBUSY) {
        cr_assert_lt(rig_now_ms(), until_ms);
        rig_pass(100);
    }
    OK(result);
    reads_as_written(volume, 0);
    it_finds_out();
    reads_as_written(volume, 0);
    OK(iomesh_volume_close_sync(volume));
    OK(iomesh_pool_close_sync(pool));
}

/* --- Stores that come and go ---------------------------------------------------------------- */

Test(api_cluster, a_store_that_goes_is_done_without_and_one_that_comes_back_catches_up)
{
    struct iomesh_pool *pool = rig_pool(NULL, NULL);
    rig_volume(pool, "web", 4 * MIB);
    struct iomesh_volume *volume = rig_open(pool, "web");
    fill(4);
    OK(iomesh_write_sync(volume, 0, sizeof data, data, 0));
    rig_stop(1);
    OK(iomesh_write_sync(volume, MIB, sizeof data, data, 0));
    rig_serve(1);
    rig_pass(2000);
    rig_stop(2);
    OK(iomesh_write_sync(volume, 2 * MIB, sizeof data, data, 0));
    rig_serve(2);
    rig_pass(2000);
    rig_stop(3);
    for (uint64_t at = 0; at < 3; at++)
        reads_as_written(volume, at * MIB);
    rig_serve(3);
    OK(iomesh_volume_close_sync(volume));
    OK(iomesh_pool_close_sync(pool));
}

/* --- Refusals ------------------------------------------------------------------------------- */

Test(api_cluster_bare, what_a_cluster_does_not_have_is_refused_with_a_sentence)
{
    struct iomesh_pool_options options = IOMESH_POOL_OPTIONS_INIT;
    struct iomesh_check_result check = IOMESH_CHECK_RESULT_INIT;
    struct iomesh_device_status device = {.size = sizeof device};
    struct iomesh_pool_status status = {.size = sizeof status};
    struct iomesh_pool *none = NULL;
    char elsewhere[160];
    char longer[300];
    REFUSED(iomesh_pool_init(rig.url, NULL), -EEXIST);
    REFUSED(iomesh_pool_check(rig.url, 0, NULL, NULL, NULL, &check), -ENOTSUP);
    (void)snprintf(elsewhere, sizeof elsewhere, "%s-2", rig.url);
    REFUSED(iomesh_pool_open_sync(rig.engine, elsewhere, NULL, &none), -ENOENT);
    REFUSED(iomesh_pool_open_sync(rig.engine, "etcd://127.0.0.1/", NULL, &none), -EINVAL);
    REFUSED(iomesh_pool_open_sync(rig.engine, "etcd://127.0.0.1:1/x?wait=1", NULL, &none),
            -ETIMEDOUT);
    memset(longer, 'n', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    options.node = longer;
    REFUSED(iomesh_pool_open_sync(rig.engine, rig.url, &options, &none), -EINVAL);
    struct iomesh_pool *pool = rig_pool(NULL, NULL);
    struct iomesh_volume_create_options create = IOMESH_VOLUME_CREATE_OPTIONS_INIT;
    create.bytes = 4 * MIB;
    REFUSED(iomesh_volume_create_sync(pool, "web", &create), -ENOSPC);
    REFUSED(iomesh_scrub_start(pool, 0), -ENOTSUP);
    iomesh_scrub_stop(pool);
    REFUSED(iomesh_pool_device(pool, 0, &device), -ENOENT);
    OK(iomesh_pool_status(pool, &status));
    cr_expect_eq(status.total_bytes, 0);
    OK(iomesh_pool_close_sync(pool));
}
