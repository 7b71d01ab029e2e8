/* SPDX-License-Identifier: Apache-2.0 */
/* A volume with as many snapshots as there can be. */
#include <stdio.h>

#include "format/metadata.h"
#include "pool.h"

TestSuite(limits, .init = pool_open, .fini = pool_close);

static struct meta_request request;

static void note_committed(struct meta_request *committed, int result)
{
    cr_assert_eq(result, 0);
    cr_assert(committed->succeeded);
    rig.waiting = false;
}

static void commit(void)
{
    rig.waiting = true;
    cr_assert_eq(meta_commit(rig.meta, &request, note_committed), 0);
    wait_ended();
}

/* Its snapshots have the cuts 1 .. count: it has so many sequences, and says how many there are. */
static void volume_count(uint64_t id, uint32_t count)
{
    struct metadata_volume record = {0};
    struct metadata_bytes value = {0};
    struct metadata_key key = metadata_volume_key(id);
    meta_request_reset(&request);
    meta_get(&request, META_SLICE(key));
    commit();
    const struct meta_slice *got = &request.responses[0].entries[0].value;
    cr_assert_eq(metadata_volume_decode(got->data, got->length, &record), 0);
    record.snapshots = count;
    record.sequence_end = count + 1;
    cr_assert_eq(metadata_volume_encode(&record, &value), 0);
    meta_request_reset(&request);
    meta_put(&request, META_SLICE(key), META_SLICE(value), 0);
    commit();
    metadata_bytes_done(&value);
    metadata_volume_done(&record);
}

static void snapshot_put(uint64_t id, uint32_t cut)
{
    struct metadata_snapshot record = {.volume = id, .cut = cut, .bytes = 8 * MIB};
    struct metadata_key key = metadata_snapshot_key(id, cut);
    struct metadata_bytes value = {0};
    (void)snprintf(record.name, sizeof record.name, "s%u", cut);
    memcpy(record.uuid, &cut, sizeof cut);
    cr_assert_eq(metadata_snapshot_encode(&record, &value), 0);
    meta_put(&request, META_SLICE(key), META_SLICE(value), 0);
    metadata_bytes_done(&value);
}

/* As if they had been taken one by one, which takes its time. */
static void snapshots_put(const char *volume, uint32_t count)
{
    cr_assert_eq(show(volume), 0);
    uint64_t id = shown.id;
    volume_count(id, count);
    for (uint32_t cut = 1; cut <= count;) {
        meta_request_reset(&request);
        for (uint32_t i = 0; i < META_OPS_MAX && cut <= count; i++)
            snapshot_put(id, cut++);
        commit();
    }
    meta_request_done(&request);
}

Test(limits, a_volume_has_4096_snapshots_and_not_one_more)
{
    cr_assert_eq(CATALOG_SNAPSHOTS_MAX, 4096u);
    cr_assert_eq(create("one", 8 * MIB), 0);
    snapshots_put("one", 4095);
    block_put("one", 0, 1);
    cr_assert_eq(snapshot_create("one", "last"), 0, "%s", base_last_error());
    block_put("one", 0, 2);
    cr_assert_eq(snapshot_create("one", "more"), -EMLINK);
    cr_assert(strstr(base_last_error(), "has 4096 snapshots") != NULL);
    cr_assert_eq(clone_make("one", NULL, "two"), -EMLINK, "a hidden one is one");
    cr_assert_eq(snapshot_create("one", "s17"), -EEXIST);
    cr_assert_eq(block_look("one@last", 0), 1);
    cr_assert_eq(block_look("one@s4095", 0), 0);
    cr_assert_eq(snapshot_delete("one", "s1"), 0);
    cr_assert_eq(snapshot_create("one", "more"), 0, "%s", base_last_error());
    cr_assert_eq(show("one"), 0);
    cr_assert_eq(shown.snapshot_count, 4096u);
    cr_assert_eq(snapshot_create("one", "still more"), -EMLINK);
    cr_assert_eq(block_look("one@more", 0), 2);
    pool_settle();
}
