/* SPDX-License-Identifier: Apache-2.0 */
/* store list, add, drain, undrain, remove */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <iomesh/store.h>
#include <iomesh/sys/serve.h>

#include "cli/progress.h"
#include "cli/run.h"
#include "cli/target.h"
#include "cli/text.h"

enum { NOWHERE_TIMES = 3 };
static const uint64_t look_pause_ns = 2000000000u;

/* --- Listing ------------------------------------------------------------------------------- */

struct listing {
    json_t *json; /* NULL: a table. */
    struct table table;
};

static json_t *store_json(const struct iomesh_store_info *info)
{
    return json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o, s:s, s:s, s:s, s:o, s:b, s:i, s:o, s:o, s:o, s:o}", "id",
        json_number(info->id), "uuid", json_uuid(info->uuid), "node", json_text(info->node),
        "address", json_text(info->address), "zone", json_text(info->zone), "rack",
        json_text(info->rack), "class", text_class(info->device_class), "state",
        text_store_state(info->state), "reason", text_reason(info->reason), "state_since_ns",
        json_number(info->state_since_ns), "answers", info->answers != 0, "weight_percent",
        (int)info->weight_percent, "size_bytes", json_number(info->bytes), "used_bytes",
        json_number(info->used_bytes), "promised_bytes", json_number(info->promised_bytes),
        "incarnation", json_number(info->incarnation));
}

static void store_row(struct table *table, const struct iomesh_store_info *info)
{
    char id[TEXT_BYTES], size[TEXT_BYTES], used[TEXT_BYTES];
    char state[2 * TEXT_BYTES];
    char where[2 * IOMESH_TEXT_BYTES_MAX + 4];
    snprintf(id, sizeof id, "%" PRIu64, info->id);
    snprintf(state, sizeof state, "%s%s", text_store_state(info->state),
             info->answers ? "" : ", silent");
    snprintf(where, sizeof where, "%s%s%s", info->zone,
             info->zone[0] != '\0' && info->rack[0] != '\0' ? "/" : "", info->rack);
    const char *const cells[] = {id,
                                 info->node,
                                 state,
                                 text_class(info->device_class),
                                 text_size(info->bytes, size),
                                 text_size(info->used_bytes, used),
                                 where,
                                 info->address};
    table_add(table, cells);
}

static void list_each(void *context, const struct iomesh_store_info *info)
{
    struct listing *listing = context;
    if (listing->json == NULL)
        store_row(&listing->table, info);
    else if (json_array_append_new(listing->json, store_json(info)) != 0)
        listing->table.failed = 1;
}

int run_store_list(struct target *target)
{
    const struct command *command = target->command;
    static const char *const head[] = {"STORE", "NODE", "STATE", "CLASS",
                                       "SIZE",  "USED", "WHERE", "ADDRESS"};
    struct listing listing = {
        .json = command->json ? json_array() : NULL,
        .table = {.column_count = sizeof head / sizeof *head, .right = 1u << 4 | 1u << 5},
    };
    if (!command->json)
        table_add(&listing.table, head);
    int status = 0;
    int result = iomesh_store_list_sync(target->pool, list_each, &listing);
    if (result == 0 && listing.table.failed)
        result = -ENOMEM;
    if (result != 0) {
        status = target_fail(target, result);
        json_decref(listing.json);
    } else if (command->json) {
        status = json_out(command, json_pack("{s:o}", "stores", listing.json));
    } else {
        table_print(&listing.table, stdout);
    }
    table_done(&listing.table);
    return status;
}

/* --- Adding -------------------------------------------------------------------------------- */

int run_store_add(struct target *target)
{
    const struct command *command = target->command;
    struct iomesh_device devices[DEVICES_GIVEN_MAX];
    struct iomesh_store_add_options options = IOMESH_STORE_ADD_OPTIONS_INIT;
    struct progress progress;
    uint64_t store = 0;
    int status = devices_gather(target, devices, &options.bytes);
    if (status != 0)
        return status;
    options.path = command->arguments[0];
    options.flags = command->overwrite ? IOMESH_POOL_OVERWRITE : 0;
    options.device_count = command->device_count;
    options.devices = devices;
    for (uint32_t i = IOMESH_CLASS_NVME; i <= IOMESH_CLASS_HDD; i++) {
        if (command->classes == 1u << i)
            options.device_class = i;
    }
    options.progress = progress_on;
    options.progress_context = &progress;
    progress_begin(&progress, "store add");
    int result = iomesh_store_add_sync(target->pool, &options, &store);
    progress_end(&progress);
    if (result != 0)
        return target_fail(target, result);
    if (command->json)
        return json_out(command, json_pack("{s:o, s:o}", "id", json_number(store), "path",
                                           json_text(command->arguments[0])));
    printf("store %" PRIu64 " is made: iomeshd --store %s serves it\n", store,
           command->arguments[0]);
    return 0;
}

/* --- Changing ------------------------------------------------------------------------------ */

static void find_each(void *context, const struct iomesh_store_info *info)
{
    struct iomesh_store_info *wanted = context;
    if (info->id == wanted->id)
        *wanted = *info;
}

/* What a command did to a store, as it is now. */
static int show_after(struct target *target, uint64_t store, const char *did)
{
    struct iomesh_store_info info = {.id = store};
    int result = iomesh_store_list_sync(target->pool, find_each, &info);
    if (result == 0 && info.size == 0)
        result = -ENOENT;
    if (result != 0)
        return target_fail(target, result);
    if (target->command->json)
        return json_out(target->command, store_json(&info));
    printf("store %" PRIu64 " on node %s %s\n", store, info.node, did);
    return 0;
}

struct emptying {
    uint64_t store;
    struct iomesh_fact fact; /* About it; size 0: there is none. */
    char text[700];
};

static void on_fact(void *context, const struct iomesh_fact *fact)
{
    struct emptying *emptying = context;
    if (fact->kind != IOMESH_FACT_DRAINING || fact->store != emptying->store)
        return;
    emptying->fact = *fact;
    snprintf(emptying->text, sizeof emptying->text, "%s", fact->text);
}

/* The session of this process is kept alive by turning. */
static void pause_turning(const struct target *target)
{
    struct timespec began, now;
    clock_gettime(CLOCK_MONOTONIC, &began);
    do {
        (void)iomesh_wait(target->engine, look_pause_ns / 8);
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while ((uint64_t)(now.tv_sec - began.tv_sec) < look_pause_ns / 1000000000u);
}

/* Until no copy is on it. An exit status. */
static int wait_empty(struct target *target, uint64_t store)
{
    struct progress progress;
    uint64_t most = 1;
    unsigned nowhere = 0;
    progress_begin(&progress, "store drain");
    for (;;) {
        struct emptying emptying = {.store = store};
        struct iomesh_look look = {.size = sizeof look};
        int result = iomesh_pool_look_sync(target->pool, on_fact, &emptying, &look);
        const struct iomesh_fact *fact = &emptying.fact;
        if (result != 0 || (fact->size != 0 && fact->groups == 0)) {
            progress_end(&progress);
            return result != 0 ? target_fail(target, result) : 0;
        }
        bool stuck = fact->copies_nowhere > 0 && fact->copies_running + fact->copies_queued == 0;
        nowhere = stuck ? nowhere + 1 : 0;
        if (fact->size == 0 || nowhere == NOWHERE_TIMES) {
            progress_end(&progress);
            return target_complain(target, "%s",
                                   fact->size == 0 ? "the store is not drained any more: "
                                                     "somebody changed its state"
                                                   : emptying.text);
        }
        most = fact->left_bytes > most ? fact->left_bytes : most;
        progress_tell(&progress, most - fact->left_bytes, most);
        pause_turning(target);
    }
}

int run_store_drain(struct target *target)
{
    const struct command *command = target->command;
    const uint64_t store = command->store;
    int result =
        iomesh_store_drain_sync(target->pool, store, command->lost ? IOMESH_STORE_LOST : 0);
    if (result != 0)
        return target_fail(target, result);
    int status = command->wait ? wait_empty(target, store) : 0;
    if (status != 0)
        return status;
    return show_after(target, store,
                      command->lost   ? "is out: its copies are made anew elsewhere"
                      : command->wait ? "is empty and can be removed"
                                      : "is being drained: pool status tells how far it is");
}

int run_store_undrain(struct target *target)
{
    const uint64_t store = target->command->store;
    int result = iomesh_store_undrain_sync(target->pool, store);
    return result != 0 ? target_fail(target, result) : show_after(target, store, "is in use");
}

int run_store_remove(struct target *target)
{
    const uint64_t store = target->command->store;
    int result = iomesh_store_remove_sync(target->pool, store);
    if (result != 0)
        return target_fail(target, result);
    if (target->command->json)
        return json_out(target->command,
                        json_pack("{s:o, s:b}", "id", json_number(store), "removed", 1));
    printf("store %" PRIu64 " is removed\n", store);
    return 0;
}
