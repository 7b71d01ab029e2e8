/* SPDX-License-Identifier: Apache-2.0 */
/* What a store says of itself without being opened. */
#include <string.h>

#include "unit/store/rig.h"

static struct store_identity identity;

static int identify(void)
{
    memset(&identity, 0, sizeof identity);
    waiting = true;
    int accepted = store_identify(&options, &identity, &store, done, NULL);
    return accepted != 0 ? accepted : wait_for_it();
}

Test(store_identify, says_whose_it_is_and_how_often_it_was_opened)
{
    open_world(16384);
    memset(options.pool_uuid, 0x5a, sizeof options.pool_uuid);
    format_store();
    memset(options.pool_uuid, 0, sizeof options.pool_uuid);
    cr_assert_eq(identify(), 0, "%s", base_last_error());
    cr_assert_eq(identity.incarnation, 1, "never opened");
    for (unsigned i = 0; i < sizeof identity.pool_uuid; i++)
        cr_assert_eq(identity.pool_uuid[i], 0x5a);
    start_store();
    uint8_t uuid[16];
    memcpy(uuid, store_uuid(store), sizeof uuid);
    stop_store();
    uint64_t writes = disk->counts.writes;
    cr_assert_eq(identify(), 0);
    cr_assert_eq(identity.incarnation, 2);
    cr_assert_arr_eq(identity.uuid, uuid, sizeof uuid);
    cr_assert_eq(identity.pool_uuid[0], 0x5a, "it outlives checkpoints");
    cr_assert_eq(disk->counts.writes, writes, "nothing was written");
    world_close(&world);
}

Test(store_identify, refuses_what_is_no_store)
{
    open_world(16384);
    cr_assert_eq(identify(), IOMESH_FORMAT);
    cr_assert(strstr(base_last_error(), "no store here") != NULL);
    format_store();
    disk->faults.read_error_at = disk->counts.reads + 1;
    cr_assert_eq(identify(), -EIO);
    world_close(&world);
}
