/* SPDX-License-Identifier: Apache-2.0 */
/* Making a cluster's pool: one record in etcd, in one transaction. Stores come later. */
#include "api/offline.h"
#include "meta/etcd/etcd.h"

static void init_wakeup(void *context)
{
    uring_wake(((struct offline *)context)->engine->uring);
}

static int init_open(struct offline *offline, const char *url)
{
    struct meta_etcd_options options = {
        .url = url, .wakeup = init_wakeup, .wakeup_context = offline};
    return meta_etcd_open(&options, &offline->meta);
}

static int init_record(struct offline *offline, const char *url)
{
    uint8_t uuid[16];
    int result = uring_random(uuid, sizeof uuid);
    if (result != 0)
        return FAIL(result, "random bytes: %s", base_error_text(result));
    offline->waiter.pending = true;
    result = offline_wait(
        offline, catalog_format_cluster(offline->meta, uuid, api_waiter_done, &offline->waiter));
    if (result == -EEXIST)
        return FAIL(result, "%s: there is a pool already", url);
    if (result == 0)
        return 0;
    struct meta_etcd_state state;
    meta_etcd_state(offline->meta, &state);
    return FAIL(result, "%s: the metadata: %s%s%s", url, base_error_text(result),
                state.trouble[0] != '\0' ? ": " : "", state.trouble);
}

int cluster_init(const char *url, const struct iomesh_pool_init_options *options)
{
    struct offline offline;
    if (options->device_count > 0 || options->bytes != 0 || options->journal_bytes != 0 ||
        options->flags != 0)
        return FAIL(-EINVAL,
                    "%s: a cluster's pool is made without stores: add them when it is there", url);
    int result = offline_begin_bare(&offline);
    if (result != 0)
        return result;
    result = init_open(&offline, url);
    if (result == 0)
        result = init_record(&offline, url);
    offline_end(&offline);
    return result;
}
