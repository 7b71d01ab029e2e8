/* SPDX-License-Identifier: Apache-2.0 */
#include "gathering.h"

#include <stdio.h>
#include <stdlib.h>

#define TURNS_MAX 2000000u

struct gathering gathering;
void (*gathering_also)(void);

/* --- Links ------------------------------------------------------------------------------------ */

static void link_submit(struct part_port *port, struct part_request *request)
{
    struct link *link = CONTAINER_OF(port, struct link, port);
    struct part_port *to = store_port(link->to->store);
    if (port->state == PART_PORT_UP)
        to->ops->submit(to, request);
    else
        list_push_back(&link->cut, &request->node);
}

static void link_cancel(struct part_port *port, struct part_request *request)
{
    struct link *link = CONTAINER_OF(port, struct link, port);
    struct part_port *to = store_port(link->to->store);
    if (port->state == PART_PORT_UP)
        to->ops->cancel(to, request);
}

static const struct part_port_ops link_ops = {.submit = link_submit, .cancel = link_cancel};

static void links_turn(struct user *user)
{
    for (unsigned i = 0; i < gathering.member_count; i++) {
        struct list cut;
        list_init(&cut);
        if (user->links[i].to == NULL)
            continue;
        user->links[i].port.room_blocks = store_room_blocks(user->links[i].to->store);
        list_splice_back(&cut, &user->links[i].cut);
        for (struct list *node; (node = list_pop_front(&cut)) != NULL;) {
            struct part_request *request = LIST_ENTRY(node, struct part_request, node);
            request->done(request, -ECONNRESET);
        }
    }
}

static void links_open(struct user *user)
{
    for (unsigned i = 0; i < gathering.member_count; i++) {
        struct link *link = &user->links[i];
        const struct part_port *to = store_port(gathering.members[i].store);
        if (link->to != NULL)
            continue;
        list_init(&link->cut);
        link->to = &gathering.members[i];
        link->port = (struct part_port){.ops = &link_ops,
                                        .store = i + 1,
                                        .state = PART_PORT_UP,
                                        .session = 1,
                                        .incarnation = to->incarnation};
        memcpy(link->port.boot_id, to->boot_id, sizeof to->boot_id);
    }
}

void link_cut(unsigned number, unsigned store, bool away)
{
    struct user *user = &gathering.users[number];
    struct part_port *port = &user->links[store - 1].port;
    links_open(user);
    port->state = away ? PART_PORT_DOWN : PART_PORT_UP;
    port->session += away ? 0 : 1;
    port->down_reason = away ? -ECONNREFUSED : 0;
    if (user->catalog != NULL)
        catalog_port_changed(user->catalog, port);
}

static struct part_port *user_port(void *context, uint64_t store)
{
    struct user *user = context;
    return store <= gathering.member_count ? &user->links[store - 1].port : NULL;
}

/* --- Turning ---------------------------------------------------------------------------------- */

void gathering_turn(void)
{
    if (!gathering.meta_stopped) {
        (void)meta_sqlite_step(gathering.meta);
        (void)meta_poll(gathering.meta);
    }
    /* With nothing else to come the next thing is the end of a lease: what is asked comes first. */
    if (meta_flying(gathering.meta) == 0 || gathering.meta_stopped)
        (void)world_step(&gathering.world);
    for (unsigned i = 0; i < gathering.member_count; i++)
        store_turn(gathering.members[i].store);
    for (unsigned i = 0; i < GATHERING_USERS; i++) {
        struct user *user = &gathering.users[i];
        links_turn(user);
        if (user->volumes != NULL)
            volume_engine_turn(user->volumes);
        if (user->copies != NULL)
            copies_engine_turn(user->copies);
        if (user->catalog != NULL)
            (void)catalog_turn(user->catalog);
    }
    if (gathering_also != NULL)
        gathering_also();
}

void gathering_turns(unsigned count)
{
    while (count-- > 0)
        gathering_turn();
}

void gathering_run(uint64_t ns)
{
    uint64_t until = gathering.world.now_ns + ns;
    for (unsigned turns = 0; gathering.world.now_ns < until; turns++) {
        cr_assert_lt(turns, TURNS_MAX, "time stands still");
        gathering_turn();
    }
}

void gathering_ended(void *context, int result)
{
    (void)context;
    gathering.waiting = false;
    gathering.ended = result;
}

int gathering_wait(int accepted)
{
    if (accepted != 0)
        return accepted;
    for (unsigned turns = 0; gathering.waiting; turns++) {
        cr_assert_lt(turns, TURNS_MAX, "it does not end");
        gathering_turn();
    }
    return gathering.ended;
}

/* --- The metadata ----------------------------------------------------------------------------- */

static void no_wakeup(void *context)
{
    (void)context;
}

static void request_ended(struct meta_request *request, int result)
{
    (void)request;
    gathering_ended(NULL, result);
}

static void request_run(struct meta_request *request)
{
    gathering.waiting = true;
    cr_assert_eq(gathering_wait(meta_commit(gathering.meta, request, request_ended)), 0, "%s",
                 base_last_error());
}

/* A planted bug, in the build that has them. */
static void plant(void)
{
#ifdef IOMESH_MUTANTS
    const char *number = getenv("IOMESH_MUTANT");
    mutant_active = number != NULL ? (int)strtoul(number, NULL, 10) : 0;
#endif
}

void gathering_open(void)
{
    plant();
    static const uint8_t uuid[16] = {0x31, 0x41, 0x59};
    memset(&gathering, 0, sizeof gathering);
    world_open(&gathering.world, 1);
    meta_vfs_open(&gathering.vfs, 1);
    struct meta_sqlite_options options = {
        .path = "meta.db",
        .vfs = gathering.vfs.name,
        .create = true,
        .clock = &gathering.world.clock,
        .wakeup = no_wakeup,
    };
    cr_assert_eq(meta_sqlite_open(&options, &gathering.meta), 0, "%s", base_last_error());
    gathering.waiting = true;
    cr_assert_eq(
        gathering_wait(catalog_format_cluster(gathering.meta, uuid, gathering_ended, NULL)), 0,
        "%s", base_last_error());
}

static void member_opened(void *context, int result)
{
    (void)context;
    gathering_ended(NULL, result);
}

/* While it is being made it has no turns of its own. */
static void member_wait(struct member *member)
{
    while (gathering.waiting) {
        (void)world_step(&gathering.world);
        if (member->store != NULL)
            store_turn(member->store);
    }
    cr_assert_eq(gathering.ended, 0, "%s", base_last_error());
}

static void member_open(unsigned number)
{
    struct member *member = &gathering.members[number];
    char node[16];
    uint8_t uuid[16] = {(uint8_t)(number + 1)};
    member->disk = sim_disk_open(&gathering.world, "disk", 4000ull * BLOCK_BYTES);
    member->options = (struct store_options){
        .clock = &gathering.world.clock,
        .devices = {{.disk = &member->disk->disk, .class = DEVICE_SSD}},
        .device_count = 1,
        .cache_bytes = 256ull * BLOCK_BYTES,
        .batch_blocks_max = 4,
        .journal_bytes = 64ull * BLOCK_BYTES,
        .reserve_bytes = 320ull * BLOCK_BYTES,
        .segments_max = 64,
        .quarantine_max = 1024,
        .parts_max = 256,
        .boot_id = {(uint8_t)(number + 1)},
    };
    gathering.waiting = true;
    cr_assert_eq(store_format(&member->options, uuid, false, &member->store, member_opened, NULL),
                 0);
    member_wait(member);
    gathering.waiting = true;
    cr_assert_eq(store_open(&member->options, &member->store, member_opened, NULL), 0);
    member_wait(member);
    (void)snprintf(node, sizeof node, "n%u", number + 1);
    store_put(number + 1, node);
}

static void members_close(void)
{
    for (unsigned i = 0; i < gathering.member_count; i++) {
        gathering.waiting = true;
        store_close(gathering.members[i].store, member_opened, NULL);
        member_wait(&gathering.members[i]);
    }
    gathering.member_count = 0;
}

void gathering_open_stores(unsigned count)
{
    gathering_open();
    for (unsigned i = 0; i < count; i++) {
        member_open(i);
        gathering.member_count++;
    }
}

void gathering_close(void)
{
    for (unsigned i = 0; i < GATHERING_USERS; i++) {
        if (gathering.users[i].catalog != NULL)
            cr_assert_eq(user_close(i), 0);
    }
    for (unsigned i = 0; i < GATHERING_USERS; i++)
        copies_engine_close(gathering.users[i].copies);
    members_close();
    while (meta_flying(gathering.meta) > 0)
        gathering_turn();
    meta_close(gathering.meta);
    meta_vfs_close(&gathering.vfs);
    world_close(&gathering.world);
}

void key_put(struct metadata_key key, struct metadata_bytes *value)
{
    struct meta_request request = {0};
    meta_put(&request, META_SLICE(key), META_SLICE(*value), 0);
    request_run(&request);
    meta_request_done(&request);
    metadata_bytes_done(value);
}

void store_record_put(const struct metadata_store *record)
{
    struct metadata_bytes value = {0};
    cr_assert_eq(metadata_store_encode(record, &value), 0);
    key_put(metadata_store_key(record->id), &value);
}

void store_record_delete(uint64_t id)
{
    struct meta_request request = {0};
    struct metadata_key key = metadata_store_key(id);
    meta_delete(&request, META_SLICE(key));
    request_run(&request);
    meta_request_done(&request);
}

void store_put(uint64_t id, const char *node)
{
    struct metadata_store record = {
        .id = id, .bytes = 1ull << 40, .media = METADATA_SSD, .address = "here"};
    (void)snprintf(record.node, sizeof record.node, "%s", node);
    record.uuid[0] = (uint8_t)id;
    store_record_put(&record);
}

/* The value of a key, to be freed with the request. */
static struct meta_slice key_get(struct meta_request *request, struct metadata_key key)
{
    *request = (struct meta_request){0};
    meta_get(request, META_SLICE(key));
    request_run(request);
    const struct meta_response *response = &request->responses[0];
    return response->entry_count == 0 ? (struct meta_slice){0} : response->entries[0].value;
}

bool group_get(uint64_t volume, uint32_t group, struct metadata_group *ret_group)
{
    struct meta_request request;
    struct meta_slice value = key_get(&request, metadata_group_key(volume, group));
    bool found = value.length != 0;
    if (found)
        cr_assert_eq(metadata_group_decode(value.data, value.length, ret_group), 0);
    meta_request_done(&request);
    return found;
}

bool map_get(uint64_t volume, uint32_t index, struct metadata_map *ret_map)
{
    struct meta_request request;
    struct meta_slice value = key_get(&request, metadata_map_key(volume, index));
    bool found = value.length != 0;
    if (found)
        cr_assert_eq(metadata_map_decode(value.data, value.length, ret_map), 0);
    meta_request_done(&request);
    return found;
}

bool snapshot_get(uint64_t volume, uint64_t cut, struct metadata_snapshot *ret_snapshot)
{
    struct meta_request request;
    struct meta_slice value = key_get(&request, metadata_snapshot_key(volume, cut));
    bool found = value.length != 0;
    if (found)
        cr_assert_eq(metadata_snapshot_decode(value.data, value.length, ret_snapshot), 0);
    meta_request_done(&request);
    return found;
}

bool volume_get(uint64_t volume, struct metadata_volume *ret_volume)
{
    struct meta_request request;
    struct meta_slice value = key_get(&request, metadata_volume_key(volume));
    bool found = value.length != 0;
    if (found)
        cr_assert_eq(metadata_volume_decode(value.data, value.length, ret_volume), 0);
    meta_request_done(&request);
    return found;
}

void lease_revoke(struct metadata_key prefix)
{
    struct meta_request request = {0};
    struct meta_slice none = {0};
    meta_list(&request, META_SLICE(prefix), none, 1);
    request_run(&request);
    cr_assert_eq(request.responses[0].entry_count, 1);
    uint64_t lease = request.responses[0].entries[0].lease;
    meta_request_done(&request);
    gathering.waiting = true;
    cr_assert_eq(gathering_wait(meta_lease_revoke(gathering.meta, &request, lease, request_ended)),
                 0);
    meta_request_done(&request);
}

unsigned keys_of(struct metadata_key prefix)
{
    struct meta_request request = {0};
    struct meta_slice none = {0};
    meta_list(&request, META_SLICE(prefix), none, META_LIST_ENTRIES_MAX);
    request_run(&request);
    unsigned count = request.responses[0].entry_count;
    cr_assert_not(request.responses[0].more);
    meta_request_done(&request);
    return count;
}

/* --- Processes -------------------------------------------------------------------------------- */

static void store_changed(void *context, uint64_t store, const struct metadata_store *record)
{
    struct user *user = context;
    cr_assert(record == NULL || record->id == store);
    user->stores_told++;
}

static void event(void *context, const struct catalog_event *event)
{
    struct user *user = context;
    (void)snprintf(user->said, sizeof user->said, "%s", event->text);
}

void user_options(unsigned number, const char *node, const char *address)
{
    struct user *user = &gathering.users[number];
    user->cluster = (struct catalog_cluster){.node = node,
                                             .address = address,
                                             .port = user_port,
                                             .store_changed = store_changed,
                                             .context = user};
    user->options = (struct catalog_options){
        .meta = gathering.meta,
        .cluster = &user->cluster,
        .clock = &gathering.world.clock,
        .id_lot = 4,
        .sequence_lot = 64,
        .event = event,
        .context = user,
    };
}

static void catalog_gone(void *context, int result)
{
    struct user *user = context;
    user->catalog = NULL;
    gathering_ended(NULL, result);
}

static void catalog_opened(void *context, int result)
{
    if (result != 0)
        catalog_gone(context, result);
    else
        gathering_ended(NULL, 0);
}

int user_open(unsigned number)
{
    struct user *user = &gathering.users[number];
    struct volume_engine_options volumes = {.op_count = 24, .bounce_count = 4};
    if (user->options.meta == NULL)
        user_options(number, "", "");
    struct copies_engine_options copies = {
        .clock = &gathering.world.clock, .op_count = 32, .lane_count = 2};
    links_open(user);
    if (user->copies == NULL)
        cr_assert_eq(copies_engine_open(&copies, &user->copies), 0);
    user->cluster.copies = user->copies;
    cr_assert_eq(volume_engine_open(&volumes, &user->volumes), 0);
    user->options.volumes = user->volumes;
    gathering.waiting = true;
    int result = gathering_wait(catalog_open(&user->options, &user->catalog, catalog_opened, user));
    if (result != 0) {
        volume_engine_close(user->volumes);
        user->volumes = NULL;
    }
    return result;
}

int user_close(unsigned number)
{
    struct user *user = &gathering.users[number];
    catalog_close(user->catalog, catalog_gone, user);
    do { /* What waits ends first. */
        gathering.waiting = true;
        (void)gathering_wait(0);
    } while (user->catalog != NULL);
    volume_engine_close(user->volumes);
    user->volumes = NULL;
    return gathering.ended;
}

struct catalog *catalog_of(unsigned number)
{
    return gathering.users[number].catalog;
}

int user_create(unsigned number, const char *name, const struct catalog_create *create)
{
    gathering.waiting = true;
    return gathering_wait(catalog_create(catalog_of(number), name, create, gathering_ended, NULL));
}
