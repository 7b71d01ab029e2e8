/* SPDX-License-Identifier: Apache-2.0 */
#include "api/offline.h"

#include <stdlib.h>

static unsigned offline_turn(struct engine_hook *hook)
{
    struct offline *offline = CONTAINER_OF(hook, struct offline, hook);
    if (offline->meta != NULL)
        (void)meta_poll(offline->meta);
    if (offline->store != NULL)
        store_turn(offline->store);
    return 0;
}

int offline_begin_bare(struct offline *offline)
{
    *offline = (struct offline){.hook = {.turn = offline_turn}};
    struct iomesh_engine_options options = IOMESH_ENGINE_OPTIONS_INIT;
    options.buffer_bytes = 1u << 20;
    int result = iomesh_engine_open(&options, &offline->engine);
    if (result == 0)
        engine_hook_add(offline->engine->engine, &offline->hook);
    return result;
}

int offline_begin(struct offline *offline, const char *url)
{
    struct place place = {0};
    int result = place_parse(url, &place);
    if (result != 0)
        return result;
    result = offline_begin_bare(offline);
    if (result == 0)
        offline->place = place;
    else
        place_done(&place);
    return result;
}

void offline_end(struct offline *offline)
{
    while (offline->meta != NULL && meta_flying(offline->meta) > 0)
        (void)iomesh_turn(offline->engine);
    meta_close(offline->meta);
    for (unsigned i = 0; i < offline->disk_count; i++)
        uring_disk_close(offline->disks[i]);
    engine_hook_remove(offline->engine->engine, &offline->hook);
    (void)iomesh_engine_close(offline->engine);
    place_done(&offline->place);
}

int offline_open_disks(struct offline *offline, unsigned flags, bool use_bytes)
{
    const struct place *place = &offline->place;
    for (unsigned i = 0; i < place->device_count; i++) {
        const struct place_device *device = &place->devices[i];
        int result =
            uring_disk_open(offline->engine->uring, device->path, use_bytes ? device->bytes : 0,
                            flags | (device->made ? URING_DISK_CREATE : 0), &offline->disks[i]);
        if (result != 0)
            return result;
        offline->disk_count++;
    }
    return 0;
}

static void offline_wakeup(void *context)
{
    uring_wake(((struct offline *)context)->engine->uring);
}

int offline_open_meta(struct offline *offline, enum offline_meta how)
{
    struct meta_sqlite_options options = {
        .path = offline->place.metadata,
        .create = how == OFFLINE_META_CREATE,
        .read_only = how == OFFLINE_META_READ_ONLY,
        .threaded = true,
        .clock = offline->engine->world.clock,
        .wakeup = offline_wakeup,
        .wakeup_context = offline,
    };
    return meta_sqlite_open(&options, &offline->meta);
}

void offline_store_options(const struct offline *offline, struct store_options *ret_options)
{
    *ret_options = (struct store_options){
        .clock = offline->engine->world.clock,
        .device_count = offline->disk_count,
    };
    for (unsigned i = 0; i < offline->disk_count; i++)
        ret_options->devices[i] = (struct store_device){
            .disk = offline->disks[i],
            .class = (enum device_class)offline->place.devices[i].device_class};
}

int offline_wait(struct offline *offline, int accepted)
{
    if (accepted != 0)
        return accepted;
    while (offline->waiter.pending) {
        /* Some steps follow each other without a completion between them. */
        int result = iomesh_wait(offline->engine, 100000);
        if (result < 0)
            return result;
    }
    return offline->waiter.result;
}
