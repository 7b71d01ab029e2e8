/* SPDX-License-Identifier: Apache-2.0 */
/* Looking at everything in a pool, or in a store of a cluster, that nobody uses, and changing
 * nothing. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/offline.h"
#include "api/store_make.h"

/* A volume as the metadata knows it. */
struct check_volume {
    uint64_t id;
    bool written;
};

struct check {
    struct offline offline;
    uint32_t flags;
    iomesh_fault_fn *fault;
    iomesh_progress_fn *progress;
    void *context;
    struct iomesh_check_result answer;
    struct catalog_look look;
    struct check_volume *volumes; /* In order of their numbers. */
    size_t volume_count, volume_max;
    bool volumes_known; /* All of them. */
    bool alone;         /* A cluster's store: its metadata is elsewhere, and is not looked at. */
};

static void check_tell(struct check *check, uint32_t kind, uint64_t volume, uint64_t block,
                       const char *text)
{
    check->answer.faults++;
    if (check->fault == NULL)
        return;
    struct iomesh_fault fault = {
        .size = sizeof fault, .kind = kind, .volume_id = volume, .block = block, .text = text};
    check->fault(check->context, &fault);
}

static void check_ended(void *context, int result)
{
    struct check *check = context;
    api_waiter_done(&check->offline.waiter, result);
}

/* --- The metadata -------------------------------------------------------------------------- */

static void check_meta_fault(void *context, const char *sentence)
{
    check_tell(context, IOMESH_FAULT_METADATA, 0, 0, sentence);
}

static void check_catalog_fault(void *context, uint64_t volume, const char *text)
{
    check_tell(context, IOMESH_FAULT_METADATA, volume, 0, text);
}

static void check_catalog_volume(void *context, uint64_t volume, bool written)
{
    struct check *check = context;
    check->answer.volumes_checked++;
    if (check->volume_count == check->volume_max) {
        size_t count = MAX(2 * check->volume_max, 64u);
        void *volumes = realloc(check->volumes, count * sizeof *check->volumes);
        if (volumes == NULL) {
            check->volumes_known = false;
            return;
        }
        check->volumes = volumes;
        check->volume_max = count;
    }
    check->volumes[check->volume_count++] = (struct check_volume){volume, written};
}

static void check_looked(void *context, int result, const struct catalog_look *look)
{
    struct check *check = context;
    if (result == 0)
        check->look = *look;
    check_ended(check, result);
}

static int check_catalog(struct check *check)
{
    struct catalog_check options = {
        .fault = check_catalog_fault,
        .volume = check_catalog_volume,
        .done = check_ended,
        .context = check,
    };
    check->volumes_known = true;
    check->offline.waiter.pending = true;
    int result = offline_wait(&check->offline, catalog_check(check->offline.meta, &options));
    if (result != IOMESH_CORRUPT)
        return result;
    /* A record that fails its checksum is in the way of those behind it; it was told. */
    check->volumes_known = false;
    check_tell(check, IOMESH_FAULT_METADATA, 0, 0,
               "metadata: its volumes cannot be compared with the store: a record is damaged");
    return 0;
}

/* SQLite's own view of its file, and each row's checksum; then what the rows say. */
static int check_metadata(struct check *check)
{
    int faults = meta_sqlite_check(check->offline.place.metadata, NULL, check_meta_fault, check);
    if (faults < 0)
        return faults;
    int result = offline_open_meta(&check->offline, OFFLINE_META_READ_ONLY);
    if (result != 0)
        return result;
    check->offline.waiter.pending = true;
    result = offline_wait(&check->offline, catalog_look(check->offline.meta, check_looked, check));
    return result != 0 ? result : check_catalog(check);
}

/* --- The store ----------------------------------------------------------------------------- */

static const uint32_t check_kinds[] = {
    [STORE_FAULT_UNREADABLE] = IOMESH_FAULT_UNREADABLE,
    [STORE_FAULT_CHECKSUM] = IOMESH_FAULT_CHECKSUM,
    [STORE_FAULT_SPACE] = IOMESH_FAULT_SPACE,
    [STORE_FAULT_STRUCTURE] = IOMESH_FAULT_STRUCTURE,
    [STORE_FAULT_KNOWN] = IOMESH_FAULT_OTHER,
};

static void check_store_fault(void *context, const struct store_fault *fault)
{
    check_tell(context, check_kinds[fault->kind], fault->volume, fault->block, fault->text);
}

/* What recovery had to leave out. */
static void check_store_event(void *context, const struct store_event *event)
{
    if (event->kind == STORE_DAMAGE)
        check_tell(context, IOMESH_FAULT_STRUCTURE, event->numbers[0], event->numbers[1],
                   event->text);
}

static int check_compare_volumes(const void *left, const void *right)
{
    uint64_t a = ((const struct check_volume *)left)->id;
    uint64_t b = ((const struct check_volume *)right)->id;
    return a < b ? -1 : a > b;
}

/* The store has something of a volume. The other way round there is nothing to find: a volume of
 * which it has nothing was never written. */
static void check_store_volume(void *context, uint64_t volume)
{
    struct check *check = context;
    struct check_volume wanted = {.id = volume};
    if (check->alone)
        check->answer.volumes_checked++;
    if (!check->volumes_known)
        return;
    const struct check_volume *found = NULL;
    if (check->volume_count > 0)
        found = bsearch(&wanted, check->volumes, check->volume_count, sizeof wanted,
                        check_compare_volumes);
    if (found != NULL && found->written)
        return;
    char text[160];
    (void)snprintf(text, sizeof text, "the store has data of volume %llu, %s",
                   (unsigned long long)volume,
                   found == NULL ? "which the metadata does not know"
                                 : "which was never opened for writing, says the metadata");
    check_tell(check, IOMESH_FAULT_METADATA, volume, 0, text);
}

static void check_store_progress(void *context, uint64_t done, uint64_t total)
{
    const struct check *check = context;
    if (check->progress != NULL)
        check->progress(check->context, done, total);
}

static void check_opened(void *context, int result)
{
    struct check *check = context;
    if (result != 0)
        check->offline.store = NULL;
    check_ended(check, result);
}

static void check_closed(void *context, int result)
{
    struct check *check = context;
    check->offline.store = NULL;
    check_ended(check, result);
}

static void check_done(void *context, int result, const struct store_checked *checked)
{
    struct check *check = context;
    check->answer.blocks_checked = checked->blocks;
    check->answer.pages_checked = checked->pages;
    check_ended(check, result); /* Faults were counted as they were told. */
}

static int check_store(struct check *check)
{
    struct offline *offline = &check->offline;
    struct store_options options;
    offline_store_options(offline, &options);
    options.read_only = true;
    options.event = check_store_event;
    options.context = check;
    options.incarnation_min = check->look.incarnation;
    /* As whoever serves it would find it: what was not flushed is there while the machine runs. */
    int result = check->alone ? uring_boot_id(options.boot_id) : 0;
    if (result != 0)
        return result;
    offline->waiter.pending = true;
    result = offline_wait(offline, store_open(&options, &offline->store, check_opened, check));
    if (result != 0)
        return result;
    if (!check->alone && memcmp(store_uuid(offline->store), check->look.store_uuid, 16) != 0)
        check_tell(check, IOMESH_FAULT_METADATA, 0, 0,
                   "the store is not the one that the metadata names");
    struct store_check store_check = {
        .fault = check_store_fault,
        .volume = check_store_volume,
        .progress = check_store_progress,
        .done = check_done,
        .context = check,
        .data = !(check->flags & IOMESH_CHECK_NO_DATA),
    };
    offline->waiter.pending = true;
    result = offline_wait(offline, store_check_start(offline->store, &store_check));
    offline->waiter.pending = true;
    store_close(offline->store, check_closed, check);
    int closed = offline_wait(offline, 0);
    return result != 0 ? result : closed;
}

/* --- All of it ------------------------------------------------------------------------------ */

static int check_begin(struct check *check, const char *what, uint32_t flags,
                       const struct iomesh_check_result *ret_result)
{
    if (flags & ~IOMESH_CHECK_NO_DATA)
        return FAIL(-EINVAL, "%s check: flags %#x are not known", what, flags);
    if (ret_result == NULL || ret_result->size < sizeof ret_result->size)
        return FAIL(-EINVAL, "the answer's size is not set");
    check->flags = flags;
    check->answer = (struct iomesh_check_result)IOMESH_CHECK_RESULT_INIT;
    return 0;
}

static int check_end(struct check *check, int result, struct iomesh_check_result *ret_result)
{
    offline_end(&check->offline);
    free(check->volumes);
    return result != 0
               ? result
               : api_give(ret_result, ret_result->size, &check->answer, sizeof check->answer);
}

int iomesh_pool_check(const char *url, uint32_t flags, iomesh_fault_fn *fault,
                      iomesh_progress_fn *progress, void *context,
                      struct iomesh_check_result *ret_result)
{
    struct check check = {.fault = fault, .progress = progress, .context = context};
    int result = check_begin(&check, "pool", flags, ret_result);
    if (result == 0)
        result = offline_begin(&check.offline, url);
    if (result != 0)
        return result;
    result = place_find_devices(&check.offline.place);
    if (result == 0)
        result = offline_open_disks(&check.offline, URING_DISK_READ_ONLY, false);
    if (result == 0)
        result = check_metadata(&check);
    if (result == 0)
        result = check_store(&check);
    return check_end(&check, result, ret_result);
}

int iomesh_store_check(const char *path, uint32_t flags, iomesh_fault_fn *fault,
                       iomesh_progress_fn *progress, void *context,
                       struct iomesh_check_result *ret_result)
{
    struct check check = {.fault = fault, .progress = progress, .context = context, .alone = true};
    int result = check_begin(&check, "store", flags, ret_result);
    enum store_place_what what = STORE_PLACE_NOTHING;
    if (result == 0)
        result = store_place_look(path, &what);
    if (result == 0 && what == STORE_PLACE_POOL)
        result =
            FAIL(-EINVAL, "%s: is an embedded pool: pool check of file:%s looks at it", path, path);
    else if (result == 0 && what != STORE_PLACE_STORE && what != STORE_PLACE_DEVICE)
        result = FAIL(-ENOENT, "%s: there is no store of a cluster", path);
    if (result == 0)
        result = offline_begin_bare(&check.offline);
    if (result != 0)
        return result;
    result = store_place_find(path, what, IOMESH_CLASS_NVME, &check.offline.place);
    if (result == 0)
        result = offline_open_disks(&check.offline, URING_DISK_READ_ONLY, false);
    if (result == 0)
        result = check_store(&check);
    return check_end(&check, result, ret_result);
}
