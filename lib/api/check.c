/* SPDX-License-Identifier: Apache-2.0 */
/* Looking at everything in a pool that nobody uses, and changing nothing. */
#include <string.h>

#include "api/offline.h"

struct check {
    struct offline offline;
    uint32_t flags;
    iomesh_fault_fn *fault;
    iomesh_progress_fn *progress;
    void *context;
    uint64_t faults;
    struct catalog_look look;
};

static void check_tell(struct check *check, uint32_t kind, const char *text)
{
    check->faults++;
    if (check->fault == NULL)
        return;
    struct iomesh_fault fault = {.size = sizeof fault, .kind = kind, .text = text};
    check->fault(check->context, &fault);
}

static void check_meta_fault(void *context, const char *sentence)
{
    check_tell(context, IOMESH_FAULT_METADATA, sentence);
}

static void check_store_fault(void *context, const char *text)
{
    check_tell(context, IOMESH_FAULT_OTHER, text);
}

static void check_store_progress(void *context, uint64_t done, uint64_t total)
{
    const struct check *check = context;
    if (check->progress != NULL)
        check->progress(check->context, done, total);
}

static void check_looked(void *context, int result, const struct catalog_look *look)
{
    struct check *check = context;
    if (result == 0)
        check->look = *look;
    api_waiter_done(&check->offline.waiter, result);
}

static void check_opened(void *context, int result)
{
    struct check *check = context;
    if (result != 0)
        check->offline.store = NULL;
    api_waiter_done(&check->offline.waiter, result);
}

static void check_closed(void *context, int result)
{
    struct check *check = context;
    check->offline.store = NULL;
    api_waiter_done(&check->offline.waiter, result);
}

static void check_done(void *context, int result, uint64_t faults)
{
    (void)faults; /* Counted as they were told. */
    struct check *check = context;
    api_waiter_done(&check->offline.waiter, result);
}

static int check_store(struct check *check)
{
    struct offline *offline = &check->offline;
    struct store_options options;
    offline_store_options(offline, &options);
    options.read_only = true;
    options.incarnation_min = check->look.incarnation;
    offline->waiter.pending = true;
    int result = offline_wait(offline, store_open(&options, &offline->store, check_opened, check));
    if (result != 0)
        return result;
    if (memcmp(store_uuid(offline->store), check->look.store_uuid, 16) != 0)
        check_tell(check, IOMESH_FAULT_METADATA,
                   "the store is not the one that the metadata names");
    struct store_check store_check = {
        .fault = check_store_fault,
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

/* SQLite's own view of its file, and each row's checksum; not once it is open for anything else. */
static int check_metadata(struct check *check)
{
    int faults = meta_sqlite_check(check->offline.place.metadata, NULL, check_meta_fault, check);
    if (faults < 0)
        return faults;
    int result = offline_open_meta(&check->offline, OFFLINE_META_READ_ONLY);
    if (result != 0)
        return result;
    check->offline.waiter.pending = true;
    return offline_wait(&check->offline, catalog_look(check->offline.meta, check_looked, check));
}

int iomesh_pool_check(const char *url, uint32_t flags, iomesh_fault_fn *fault,
                      iomesh_progress_fn *progress, void *context,
                      struct iomesh_check_result *ret_result)
{
    if (flags & ~IOMESH_CHECK_NO_DATA)
        return FAIL(-EINVAL, "pool check: flags %#x are not known", flags);
    if (ret_result == NULL || ret_result->size < sizeof ret_result->size)
        return FAIL(-EINVAL, "the answer's size is not set");
    struct check check = {.flags = flags, .fault = fault, .progress = progress, .context = context};
    int result = offline_begin(&check.offline, url);
    if (result != 0)
        return result;
    result = place_find_devices(&check.offline.place);
    if (result == 0)
        result = offline_open_disks(&check.offline, URING_DISK_READ_ONLY, false);
    if (result == 0)
        result = check_metadata(&check);
    if (result == 0)
        result = check_store(&check);
    offline_end(&check.offline);
    if (result != 0)
        return result;
    struct iomesh_check_result answer = IOMESH_CHECK_RESULT_INIT;
    answer.faults = check.faults;
    answer.size = ret_result->size;
    memcpy(ret_result, &answer, MIN(ret_result->size, (uint32_t)sizeof answer));
    return 0;
}
