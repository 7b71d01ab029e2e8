/* SPDX-License-Identifier: Apache-2.0 */
/* Stores that nobody serves: opened, asked, closed; and asking of any. */
#include <stdlib.h>
#include <string.h>

#include "api/rebuild_read.h"
#include "api/store_make.h"
#include "tls/tls.h"

static unsigned reading_turn(struct engine_hook *hook)
{
    struct reading *reading = CONTAINER_OF(hook, struct reading, hook);
    unsigned count = reading->meta != NULL ? meta_poll(reading->meta) : 0;
    for (uint32_t i = 0; i < reading->count; i++) {
        if (reading->opened[i]->store != NULL)
            store_turn(reading->opened[i]->store);
    }
    return count;
}

static int reading_seal(struct reading *reading, const char *tls_directory)
{
    struct tls_options options = {
        .below = reading->net, .clock = reading->engine->world.clock, .directory = tls_directory};
    int result = tls_net_open(&options, &reading->tls);
    if (result == 0)
        reading->net = reading->tls;
    else
        reading_end(reading);
    return result;
}

int reading_begin(struct reading *reading, const char *tls_directory)
{
    *reading = (struct reading){.hook = {.turn = reading_turn}};
    struct iomesh_engine_options options = IOMESH_ENGINE_OPTIONS_INIT;
    options.buffer_bytes = 1u << 20;
    int result = iomesh_engine_open(&options, &reading->engine);
    if (result != 0)
        return result;
    engine_hook_add(reading->engine->engine, &reading->hook);
    reading->net = uring_net(reading->engine->uring);
    return tls_directory != NULL ? reading_seal(reading, tls_directory) : 0;
}

int reading_wait(struct reading *reading, int accepted)
{
    if (accepted != 0)
        return accepted;
    while (reading->waiter.pending) {
        int result = iomesh_wait(reading->engine, 100000);
        if (result < 0)
            return result;
    }
    return reading->waiter.result;
}

static void reading_closed(void *context, int result)
{
    struct reading *reading = context;
    api_waiter_done(&reading->waiter, result);
}

static void reading_left(void *context)
{
    reading_closed(context, 0);
}

void reading_end(struct reading *reading)
{
    /* The last first: those that are left are turned meanwhile. */
    for (; reading->count > 0; reading->count--) {
        struct reading_store *opened = reading->opened[reading->count - 1];
        if (opened->store != NULL) {
            reading->waiter.pending = true;
            store_close(opened->store, reading_closed, reading);
            (void)reading_wait(reading, 0);
            opened->store = NULL;
        }
        if (opened->peer != NULL) {
            reading->waiter.pending = true;
            peer_port_close(opened->peer, reading_left, reading);
            (void)reading_wait(reading, 0);
        }
        for (unsigned j = 0; j < opened->disk_count; j++)
            uring_disk_close(opened->disks[j]);
        place_done(&opened->place);
        free(opened->data);
        free(opened);
    }
    while (reading->meta != NULL && meta_flying(reading->meta) > 0)
        (void)iomesh_turn(reading->engine);
    meta_close(reading->meta);
    engine_hook_remove(reading->engine->engine, &reading->hook);
    tls_net_close(reading->tls);
    (void)iomesh_engine_close(reading->engine);
}

/* --- Opening -------------------------------------------------------------------------------- */

static int store_find(struct reading_store *opened, const char *path)
{
    enum store_place_what what;
    int result = store_place_look(path, &what);
    if (result == 0 && what != STORE_PLACE_STORE && what != STORE_PLACE_DEVICE)
        result = FAIL(-ENOENT, "%s: there is no store of a cluster", path);
    return result != 0 ? result : store_place_find(path, what, IOMESH_CLASS_NVME, &opened->place);
}

static int store_start(struct reading *reading, struct reading_store *opened)
{
    struct store_options options = {.clock = reading->engine->world.clock};
    int result = uring_boot_id(options.boot_id);
    if (result != 0)
        return result;
    for (unsigned i = 0; i < opened->place.device_count; i++) {
        const struct place_device *device = &opened->place.devices[i];
        result = uring_disk_open(reading->engine->uring, device->path, 0, 0, &opened->disks[i]);
        if (result != 0)
            return result;
        opened->disk_count++;
        options.devices[i] = (struct store_device){
            .disk = opened->disks[i], .class = (enum device_class)device->device_class};
    }
    options.device_count = opened->disk_count;
    reading->waiter.pending = true;
    result = reading_wait(reading, store_open(&options, &opened->store, reading_closed, reading));
    if (result != 0)
        opened->store = NULL;
    return result;
}

/* --- Asking --------------------------------------------------------------------------------- */

static void part_told(struct part_request *request, int result)
{
    struct reading *reading = request->context;
    api_waiter_done(&reading->waiter, result);
}

static int part_ask(struct reading *reading, const struct reading_store *opened,
                    struct part_request *request)
{
    request->done = part_told;
    request->context = reading;
    reading->waiter.pending = true;
    part_submit(opened->port, request);
    return reading_wait(reading, 0);
}

static int copies_read(struct reading *reading, struct rebuild *rebuild,
                       struct reading_store *opened)
{
    char last[METADATA_COPY_KEY_BYTES_MAX + 1] = "";
    for (;;) {
        struct part_request request = {
            .kind = PART_RECORDS,
            .count = PART_RECORDS_BLOCKS_MIN,
            .data = opened->data,
            .key = last[0] != '\0' ? last : NULL,
        };
        int result = part_ask(reading, opened, &request);
        uint32_t at = 0;
        if (result != 0 || request.found == 0)
            return result;
        for (uint64_t i = 0; i < request.found && result == 0; i++) {
            struct metadata_copy copy;
            int length = metadata_copy_listed(opened->data + at, request.bytes - at, &copy);
            if (length < 0)
                return length;
            at += (uint32_t)length;
            memcpy(last, copy.key, sizeof last);
            result = rebuild_copy_add(rebuild, opened->rebuild, &copy);
        }
        if (result != 0)
            return result;
    }
}

/* The newest sequence in the head: what was written last entered there. */
static int newest_sequence(struct reading *reading, const struct reading_store *opened,
                           struct rebuild_part *part)
{
    struct part_version versions[PART_BLOCKS_MAX];
    uint64_t block = 0;
    for (;;) {
        struct part_request request = {
            .kind = PART_CHANGED,
            .volume = part->volume,
            .group = part->group,
            .epoch = part->state.epoch,
            .generation = part->state.generation,
            .view = VIEW_HEAD,
            .block = block,
            .last = (1ull << 34) - 1,
            .since = part->sequence,
            .versions = versions,
        };
        int result = part_ask(reading, opened, &request);
        if (result == -ENOENT)
            return 0;
        if (result != 0)
            return result;
        for (uint32_t i = 0; i < PART_BLOCKS_MAX; i++)
            part->sequence = MAX(part->sequence, versions[i].sequence);
        block = (request.found / PART_BLOCKS_MAX + 1) * PART_BLOCKS_MAX;
        if (block >= 1ull << 34)
            return 0;
    }
}

static int part_read(struct reading *reading, struct reading_store *opened, uint64_t volume,
                     uint32_t group)
{
    struct part_request request = {.kind = PART_STATE, .volume = volume, .group = group};
    if (rebuild_part_find(opened->rebuild, volume, group) != NULL)
        return 0;
    int result = part_ask(reading, opened, &request);
    if (result != 0)
        return result;
    struct rebuild_part *part = calloc(1, sizeof *part);
    if (part == NULL)
        return -ENOMEM;
    part->volume = volume;
    part->group = group;
    part->state = request.state;
    part->sequence = MAX(part->state.watermark, MAX(part->state.heard, part->state.settled));
    part->next = opened->rebuild->parts;
    opened->rebuild->parts = part;
    return part->state.epoch == 0 ? 0 : newest_sequence(reading, opened, part);
}

int reading_parts(struct reading *reading, struct rebuild *rebuild)
{
    for (uint32_t i = 0; i < rebuild->store_count; i++) {
        for (const struct rebuild_copy *copy = rebuild->stores[i]->copies; copy != NULL;
             copy = copy->next) {
            if (copy->parts.kind != METADATA_GROUP)
                continue;
            for (uint32_t j = 0; j < reading->count; j++) {
                int result = part_read(reading, reading->opened[j], copy->parts.id,
                                       (uint32_t)copy->parts.index);
                if (result != 0)
                    return FAIL(result, "%s: what it knows of volume %llu: %s",
                                reading->opened[j]->rebuild->path,
                                (unsigned long long)copy->parts.id, base_error_text(result));
            }
        }
    }
    return 0;
}

struct reading_store *reading_store_new(struct reading *reading, struct rebuild *rebuild,
                                        const char *path)
{
    struct reading_store *opened =
        reading->count < REBUILD_STORES_MAX ? calloc(1, sizeof *opened) : NULL;
    if (opened != NULL) {
        reading->opened[reading->count++] = opened;
        opened->data = aligned_alloc(BLOCK_BYTES, (size_t)PART_RECORDS_BLOCKS_MIN * BLOCK_BYTES);
        opened->rebuild = rebuild_store_new(rebuild, path);
    }
    if (opened != NULL && opened->data != NULL && opened->rebuild != NULL)
        return opened;
    if (rebuild->store_count == REBUILD_STORES_MAX)
        (void)FAIL(-EINVAL, "%s: rebuilding takes at most %u stores", path, REBUILD_STORES_MAX);
    else
        (void)FAIL(-ENOMEM, "%s: no memory", path);
    return NULL;
}

int reading_copies(struct reading *reading, struct rebuild *rebuild, struct reading_store *opened)
{
    const char *path = opened->rebuild->path;
    int result = copies_read(reading, rebuild, opened);
    if (result != 0)
        return FAIL(result, "%s: its copies of records: %s", path, base_error_text(result));
    const struct rebuild_store *same = rebuild_store_same(rebuild, opened->rebuild);
    return same == NULL ? 0 : FAIL(-EEXIST, "%s: is the same store as %s", path, same->path);
}

int reading_store(struct reading *reading, struct rebuild *rebuild, const char *path)
{
    struct reading_store *opened = reading_store_new(reading, rebuild, path);
    if (opened == NULL)
        return -ENOMEM;
    int result = store_find(opened, path);
    if (result == 0)
        result = store_start(reading, opened);
    if (result != 0)
        return result;
    opened->port = store_port(opened->store);
    if (opened->port == NULL)
        return FAIL(-ENOMEM, "%s: no memory", path);
    memcpy(opened->rebuild->uuid, store_uuid(opened->store), sizeof opened->rebuild->uuid);
    opened->rebuild->incarnation = store_incarnation(opened->store);
    return reading_copies(reading, rebuild, opened);
}
