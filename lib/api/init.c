/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making a pool.
 *
 * It is one when the metadata says so, in the last step, and none before: what an interrupted
 * making left is taken over by the next.
 */
#include "api/contents.h"
#include "api/offline.h"

#include <unistd.h>

static void init_looked(void *context, int result, const struct catalog_look *look)
{
    (void)look;
    api_waiter_done(context, result);
}

/* Refuses a directory that has a pool. */
static int init_check_empty(struct offline *offline)
{
    offline->waiter.pending = true;
    int result = offline_wait(offline, catalog_look(offline->meta, init_looked, &offline->waiter));
    if (result == 0)
        return FAIL(-EEXIST, "%s: there is a pool already", offline->place.directory);
    return result == -ENOENT ? 0 : result;
}

static void init_formatted(void *context, int result)
{
    struct offline *offline = context;
    offline->store = NULL;
    api_waiter_done(&offline->waiter, result);
}

static void init_progress(void *context, uint64_t done, uint64_t total)
{
    const struct iomesh_pool_init_options *options = context;
    options->progress(options->context, done, total);
}

/* Devices of the user's: what is on them is asked for, or wiped. */
static int init_clear_devices(const struct offline *offline, bool overwrite)
{
    for (unsigned i = 0; i < offline->place.device_count; i++) {
        const struct place_device *device = &offline->place.devices[i];
        int result = 0;
        if (!device->made)
            result = overwrite ? contents_wipe(device->path) : contents_refuse(device->path);
        if (result != 0)
            return result;
    }
    return 0;
}

static int init_format_store(struct offline *offline, struct iomesh_pool_init_options *options,
                             const uint8_t uuid[16], bool interrupted)
{
    struct store_options store;
    offline_store_options(offline, &store);
    store.journal_bytes = options->journal_bytes;
    store.progress = options->progress != NULL ? init_progress : NULL;
    store.context = options;
    /* A store without metadata may be somebody's, whose metadata was lost; beside metadata of no
     * pool it is what an interrupted making left. */
    bool own = options->device_count == 0;
    bool overwrite = options->flags & IOMESH_POOL_OVERWRITE || (own && interrupted);
    int result = init_clear_devices(offline, overwrite);
    if (result != 0)
        return result;
    offline->waiter.pending = true;
    return offline_wait(
        offline, store_format(&store, uuid, overwrite, &offline->store, init_formatted, offline));
}

/* *ret_ours: what is in the directory is of this making, to be taken back if it fails. */
static int init_steps(struct offline *offline, struct iomesh_pool_init_options *options,
                      bool *ret_ours)
{
    uint8_t uuids[2][16];
    bool interrupted = access(offline->place.metadata, F_OK) == 0;
    int result = uring_random(uuids, sizeof uuids);
    if (result == 0)
        result = offline_open_meta(offline, OFFLINE_META_CREATE);
    if (result == 0)
        result = init_check_empty(offline);
    *ret_ours = *ret_ours || result == 0;
    if (result == 0)
        result = offline_open_disks(offline, 0, true);
    if (result == 0)
        result = init_format_store(offline, options, uuids[1], interrupted);
    if (result == 0)
        result = place_make_links(&offline->place);
    if (result != 0)
        return result;
    offline->waiter.pending = true;
    return offline_wait(offline, catalog_format(offline->meta, uuids[0], uuids[1], api_waiter_done,
                                                &offline->waiter));
}

static int init_options_check(const struct iomesh_pool_init_options *options)
{
    if (options->flags & ~IOMESH_POOL_OVERWRITE)
        return FAIL(-EINVAL, "pool init: flags %#x are not known", options->flags);
    if (options->journal_bytes % BLOCK_BYTES != 0)
        return FAIL(-EINVAL, "a journal has a multiple of 4 KiB, not %llu bytes",
                    (unsigned long long)options->journal_bytes);
    return 0;
}

int iomesh_pool_init(const char *url, const struct iomesh_pool_init_options *given)
{
    struct iomesh_pool_init_options options = IOMESH_POOL_INIT_OPTIONS_INIT;
    int result = api_options("pool init", given, &options, sizeof options);
    if (result == 0)
        result = init_options_check(&options);
    if (result != 0)
        return result;
    if (url != NULL && place_is_cluster(url))
        return cluster_init(url, &options);
    struct offline offline;
    result = offline_begin(&offline, url);
    if (result != 0)
        return result;
    bool made = false;
    bool ours = false;
    result = place_plan_devices(&offline.place, &options);
    if (result == 0)
        result = place_make_directory(&offline.place, &made);
    if (result == 0) {
        /* What was somebody else's pool stays as it is. */
        ours = made || access(offline.place.metadata, F_OK) != 0;
        result = init_steps(&offline, &options, &ours);
    }
    if (result != 0 && ours)
        place_unmake(&offline.place, made);
    offline_end(&offline);
    return result;
}
