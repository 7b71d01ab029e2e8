/* SPDX-License-Identifier: Apache-2.0 */
#include "api/store_make.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/cluster.h"
#include "api/contents.h"

struct store_make {
    struct iomesh_pool *pool;
    struct engine_hook hook;
    struct iomesh_store_add_options options;
    struct place place;
    bool linked;         /* The directory has links to what is not its own. */
    bool made_directory; /* By us. */
    bool ours;           /* What is there is of this making: it goes if it fails. */
    bool over;           /* `done` is to be called. */
    uint8_t uuid[16];
    struct disk *disks[DEVICES_MAX];
    unsigned disk_count;
    struct store *store;
    struct store_record record;
    store_make_fn *done;
    void *context;
    int result;
    char sentence[400];
};

static uint32_t make_media(const struct store_make *make)
{
    uint32_t media = METADATA_HDD;
    for (unsigned i = 0; i < make->place.device_count; i++)
        media = MIN(media, make->place.devices[i].device_class); /* IOMESH_CLASS_… are the same. */
    return media;
}

static uint64_t make_bytes(const struct store_make *make)
{
    uint64_t bytes = 0;
    for (unsigned i = 0; i < make->disk_count; i++)
        bytes += make->disks[i]->size_bytes;
    return bytes;
}

void store_make_record(const struct iomesh_pool *pool, const uint8_t uuid[16], uint32_t media,
                       uint64_t bytes, struct metadata_store *ret_record)
{
    const struct cluster *cluster = pool->cluster;
    *ret_record = (struct metadata_store){
        .media = (enum metadata_media)media,
        .bytes = bytes,
        .state = METADATA_STORE_UP,
        .state_since_ns = clock_wall_ns(pool->clock),
    };
    memcpy(ret_record->uuid, uuid, sizeof ret_record->uuid);
    (void)snprintf(ret_record->node, sizeof ret_record->node, "%s", cluster->node);
    (void)snprintf(ret_record->zone, sizeof ret_record->zone, "%s", cluster->zone);
    (void)snprintf(ret_record->rack, sizeof ret_record->rack, "%s", cluster->rack);
}

/* --- Its end -------------------------------------------------------------------------------- */

static void make_close_disks(struct store_make *make)
{
    while (make->disk_count > 0)
        uring_disk_close(make->disks[--make->disk_count]);
}

static void make_free(struct store_make *make)
{
    make_close_disks(make);
    store_record_done(&make->record);
    place_done(&make->place);
    free(make);
}

/* From a turn. */
static void make_gone(struct store_make *make)
{
    store_make_fn *done = make->done;
    void *context = make->context;
    int result = make->result;
    struct metadata_store record = make->record.record;
    make_close_disks(make);
    if (result != 0 && make->ours)
        place_unmake(&make->place, make->made_directory);
    engine_hook_remove(make->pool->engine->engine, &make->hook);
    make->pool->operations--;
    if (result != 0)
        (void)FAIL(result, "%s", make->sentence);
    done(context, result, result == 0 ? &record : NULL);
    make_free(make);
}

static void make_end(struct store_make *make, int result)
{
    make->result = result;
    (void)snprintf(make->sentence, sizeof make->sentence, "%s", base_last_error());
    make->over = true;
}

/* --- Its steps ------------------------------------------------------------------------------ */

static void make_recorded(struct store_record *record, int result)
{
    struct store_make *make = CONTAINER_OF(record, struct store_make, record);
    /* Nobody knows whether the record is there: then the store stays. */
    if (result == IOMESH_UNKNOWN)
        make->ours = false;
    make_end(make, result);
}

static void make_formatted(void *context, int result)
{
    struct store_make *make = context;
    make->store = NULL;
    if (result == 0 && make->linked)
        result = place_make_links(&make->place);
    if (result == 0) {
        store_make_record(make->pool, make->uuid, make_media(make), make_bytes(make),
                          &make->record.record);
        result = store_record_make(&make->record, make_recorded);
    }
    if (result != 0)
        make_end(make, result);
}

static void make_progress(void *context, uint64_t done, uint64_t total)
{
    const struct store_make *make = context;
    make->options.progress(make->options.progress_context, done, total);
}

static int make_format(struct store_make *make)
{
    struct store_options store = {
        .clock = make->pool->clock,
        .device_count = make->disk_count,
        .journal_bytes = make->options.journal_bytes,
        .progress = make->options.progress != NULL ? make_progress : NULL,
        .context = make,
    };
    memcpy(store.pool_uuid, make->pool->uuid, sizeof store.pool_uuid);
    for (unsigned i = 0; i < make->disk_count; i++)
        store.devices[i] =
            (struct store_device){.disk = make->disks[i],
                                  .class = (enum device_class)make->place.devices[i].device_class};
    bool overwrite = make->options.flags & IOMESH_POOL_OVERWRITE;
    return store_format(&store, make->uuid, overwrite, &make->store, make_formatted, make);
}

static int make_open_disks(struct store_make *make)
{
    const struct place *place = &make->place;
    for (unsigned i = 0; i < place->device_count; i++) {
        const struct place_device *device = &place->devices[i];
        int result = uring_disk_open(make->pool->engine->uring, device->path, device->bytes,
                                     device->made ? URING_DISK_CREATE : 0, &make->disks[i]);
        if (result != 0)
            return result;
        make->disk_count++;
    }
    return 0;
}

/* What is on devices that are not new is asked for, or wiped. */
static int make_clear_devices(const struct store_make *make)
{
    for (unsigned i = 0; i < make->place.device_count; i++) {
        const struct place_device *device = &make->place.devices[i];
        int result = 0;
        if (!device->made)
            result = make->options.flags & IOMESH_POOL_OVERWRITE ? contents_wipe(device->path)
                                                                 : contents_refuse(device->path);
        if (result != 0)
            return result;
    }
    return 0;
}

/* --- Its plan ------------------------------------------------------------------------------- */

static int plan_directory(struct store_make *make)
{
    const struct iomesh_store_add_options *options = &make->options;
    struct iomesh_pool_init_options plan = IOMESH_POOL_INIT_OPTIONS_INIT;
    plan.device_count = options->device_count;
    plan.devices = options->devices;
    plan.bytes = options->bytes;
    make->place.directory = strdup(options->path);
    if (make->place.directory == NULL)
        return FAIL(-ENOMEM, "%s: no memory", options->path);
    int result = place_plan_devices(&make->place, &plan);
    if (result == 0 && options->device_count == 0)
        make->place.devices[0].device_class = options->device_class;
    make->linked = options->device_count > 0;
    if (result == 0)
        result = place_make_directory(&make->place, &make->made_directory);
    make->ours = result == 0;
    return result;
}

static int plan_device(struct store_make *make)
{
    const struct iomesh_store_add_options *options = &make->options;
    if (options->device_count > 0)
        return FAIL(-EINVAL, "%s: is a device itself: of several, the store is a directory",
                    options->path);
    if (options->bytes % BLOCK_BYTES != 0)
        return FAIL(-EINVAL, "%s: its size, %llu bytes, is not a multiple of 4 KiB", options->path,
                    (unsigned long long)options->bytes);
    int result =
        store_place_find(options->path, STORE_PLACE_DEVICE, options->device_class, &make->place);
    if (result == 0)
        make->place.devices[0].bytes = options->bytes;
    return result;
}

static int make_plan(struct store_make *make)
{
    const char *path = make->options.path;
    enum store_place_what what;
    int result = store_place_look(path, &what);
    if (result != 0)
        return result;
    if (what == STORE_PLACE_POOL)
        return FAIL(-EEXIST, "%s: is an embedded pool", path);
    if (what == STORE_PLACE_STORE && !(make->options.flags & IOMESH_POOL_OVERWRITE))
        return FAIL(-EEXIST, "%s: there is a store already; overwrite it if that may be lost",
                    path);
    return what == STORE_PLACE_DEVICE ? plan_device(make) : plan_directory(make);
}

static int make_begin(struct store_make *make)
{
    int result = make_plan(make);
    if (result == 0)
        result = uring_random(make->uuid, sizeof make->uuid);
    if (result == 0)
        result = make_open_disks(make);
    if (result == 0)
        result = make_clear_devices(make);
    return result != 0 ? result : make_format(make);
}

static unsigned make_turn(struct engine_hook *hook)
{
    struct store_make *make = CONTAINER_OF(hook, struct store_make, hook);
    if (make->store != NULL)
        store_turn(make->store);
    if (make->over && !store_record_flying(&make->record)) {
        make_gone(make);
        return 1;
    }
    /* Some steps follow each other without a completion between them. */
    return make->store != NULL || make->over;
}

int store_make_start(struct iomesh_pool *pool, const struct iomesh_store_add_options *options,
                     store_make_fn *done, void *context)
{
    struct store_make *make = calloc(1, sizeof *make);
    if (make == NULL)
        return FAIL(-ENOMEM, "%s: no memory", options->path);
    make->pool = pool;
    make->options = *options;
    make->done = done;
    make->context = context;
    make->record.pool = pool;
    make->hook.turn = make_turn;
    int result = make_begin(make);
    if (result != 0) {
        make_close_disks(make);
        if (make->ours)
            place_unmake(&make->place, make->made_directory);
        make_free(make);
        return result;
    }
    pool->operations++;
    engine_hook_add(pool->engine->engine, &make->hook);
    engine_touch(pool->engine->engine);
    return 0;
}
