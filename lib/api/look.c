/* SPDX-License-Identifier: Apache-2.0 */
#include "api/look.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void look_next(struct look *look);

void look_free(struct look *look)
{
    if (look == NULL)
        return;
    for (size_t i = 0; i < look->session_count; i++)
        free(look->sessions[i].node);
    for (size_t i = 0; i < look->store_count; i++)
        metadata_store_done(&look->stores[i].record);
    metadata_cluster_done(&look->cluster);
    meta_request_done(&look->request);
    free(look->sessions);
    free(look->stores);
    free(look->volumes);
    free(look->groups);
    free(look->members);
    free(look->progresses);
    free(look);
}

/* The items, with room for `more` after `count`; NULL: no memory, and they are as they were. */
static void *look_room(void *items, size_t size, size_t count, size_t *room, size_t more)
{
    if (count + more <= *room)
        return items;
    size_t wanted = MAX(2 * *room, count + more + 16);
    void *grown = realloc(items, wanted * size);
    if (grown != NULL)
        *room = wanted;
    return grown;
}

#define ROOM(look, items, what, more)                                                        \
    do {                                                                                     \
        void *grown_ = look_room((look)->items, sizeof *(look)->items, (look)->what##_count, \
                                 &(look)->what##_room, more);                                \
        if (grown_ == NULL)                                                                  \
            return -ENOMEM;                                                                  \
        (look)->items = grown_;                                                              \
    } while (0)

/* --- Finding -------------------------------------------------------------------------------- */

static int session_order(const void *a, const void *b)
{
    const struct look_session *left = a;
    const struct look_session *right = b;
    int order = strcmp(left->node, right->node);
    return order != 0 ? order : strcmp(left->address, right->address);
}

static int store_order(const void *a, const void *b)
{
    const struct look_store *left = a;
    const struct look_store *right = b;
    return (left->record.id > right->record.id) - (left->record.id < right->record.id);
}

static int volume_order(const void *a, const void *b)
{
    const struct look_volume *left = a;
    const struct look_volume *right = b;
    return (left->id > right->id) - (left->id < right->id);
}

struct look_store *look_store(const struct look *look, uint64_t id)
{
    struct look_store key = {.record.id = id};
    return look->store_count == 0
               ? NULL
               : bsearch(&key, look->stores, look->store_count, sizeof key, store_order);
}

const struct look_volume *look_volume(const struct look *look, uint64_t id)
{
    struct look_volume key = {.id = id};
    return look->volume_count == 0
               ? NULL
               : bsearch(&key, look->volumes, look->volume_count, sizeof key, volume_order);
}

bool look_lives(const struct look *look, const char *node, const char *address)
{
    char names[2][METADATA_TEXT_ROOM];
    (void)snprintf(names[0], sizeof names[0], "%s", node);
    (void)snprintf(names[1], sizeof names[1], "%s", address);
    struct look_session key = {.node = names[0], .address = names[1]};
    return address[0] != '\0' && look->session_count > 0 &&
           bsearch(&key, look->sessions, look->session_count, sizeof key, session_order) != NULL;
}

static bool session_lives(const struct look *look, uint64_t id)
{
    for (size_t i = 0; id != 0 && i < look->session_count; i++) {
        if (look->sessions[i].id == id)
            return true;
    }
    return false;
}

/* --- Records -------------------------------------------------------------------------------- */

/* 0: taken; -ENOMEM; anything else: it cannot be read. */
typedef int look_take_fn(struct look *look, const struct meta_entry *entry);

static int take_cluster(struct look *look, const struct meta_entry *entry)
{
    int result = metadata_cluster_decode(entry->value.data, entry->value.length, &look->cluster);
    if (result == 0)
        look->cluster_revision = entry->modified_revision;
    return result;
}

static int take_keeper(struct look *look, const struct meta_entry *entry)
{
    struct metadata_keeper keeper;
    int result = metadata_keeper_decode(entry->value.data, entry->value.length, &keeper);
    if (result != 0)
        return result;
    look->kept = true;
    memcpy(look->keeper, keeper.node, sizeof look->keeper);
    metadata_keeper_done(&keeper);
    return 0;
}

static int take_session(struct look *look, const struct meta_entry *entry)
{
    struct metadata_session session;
    ROOM(look, sessions, session, 1);
    int result = metadata_session_decode(entry->value.data, entry->value.length, &session);
    if (result != 0)
        return result;
    size_t length = strlen(session.node) + 1;
    char *names = malloc(length + strlen(session.address) + 1);
    if (names != NULL) {
        memcpy(names, session.node, length);
        memcpy(names + length, session.address, strlen(session.address) + 1);
        look->sessions[look->session_count++] =
            (struct look_session){.id = session.id, .node = names, .address = names + length};
    }
    metadata_session_done(&session);
    return names == NULL ? -ENOMEM : 0;
}

static int take_store(struct look *look, const struct meta_entry *entry)
{
    ROOM(look, stores, store, 1);
    struct look_store *store = &look->stores[look->store_count];
    *store = (struct look_store){.revision = entry->modified_revision};
    int result = metadata_store_decode(entry->value.data, entry->value.length, &store->record);
    if (result != 0)
        return result;
    if (look->store_count > 0 && store[-1].record.id >= store->record.id) {
        metadata_store_done(&store->record);
        return IOMESH_CORRUPT;
    }
    store->answers = look_lives(look, store->record.node, store->record.address);
    look->store_count++;
    return 0;
}

static int take_volume(struct look *look, const struct meta_entry *entry)
{
    struct metadata_volume record;
    ROOM(look, volumes, volume, 1);
    int result = metadata_volume_decode(entry->value.data, entry->value.length, &record);
    if (result != 0)
        return result;
    if (look->volume_count > 0 && look->volumes[look->volume_count - 1].id >= record.id) {
        metadata_volume_done(&record);
        return IOMESH_CORRUPT;
    }
    struct look_volume *volume = &look->volumes[look->volume_count++];
    *volume = (struct look_volume){
        .id = record.id,
        .bytes = record.bytes,
        .state = record.state,
        .owned = session_lives(look, record.owner_session),
        .policy = record.policy,
    };
    memcpy(volume->name, record.name, sizeof volume->name);
    metadata_volume_done(&record);
    return 0;
}

static int take_progress(struct look *look, const struct meta_entry *entry)
{
    struct metadata_progress record;
    ROOM(look, progresses, progress, 1);
    int result = metadata_progress_decode(entry->value.data, entry->value.length, &record);
    if (result != 0)
        return result;
    look->progresses[look->progress_count++] =
        (struct look_progress){.volume = record.volume,
                               .group = record.group,
                               .segments_done = record.segments_done,
                               .segments_total = record.segments_total};
    metadata_progress_done(&record);
    return 0;
}

/* Since when the stores that do not answer have not, as copies tell. */
static void silence_of(struct look *look, const struct metadata_member *member)
{
    struct look_store *store = look_store(look, member->store);
    if (store == NULL || store->answers || member->state == METADATA_IN_SYNC ||
        member->since_ns == 0)
        return;
    if (store->silent_since_ns == 0 || member->since_ns < store->silent_since_ns)
        store->silent_since_ns = member->since_ns;
}

static int take_group(struct look *look, const struct meta_entry *entry)
{
    struct metadata_group record;
    if (look->group_count == LOOK_GROUPS_MAX)
        return -ENOMEM;
    ROOM(look, groups, group, 1);
    ROOM(look, members, member, METADATA_MEMBERS_MAX);
    int result = metadata_group_decode(entry->value.data, entry->value.length, &record);
    if (result != 0)
        return result;
    look->groups[look->group_count++] = (struct look_group){.volume = record.volume,
                                                            .id = record.id,
                                                            .member_count = record.member_count,
                                                            .first = look->member_count};
    for (uint32_t i = 0; i < record.member_count; i++) {
        const struct metadata_member *member = &record.members[i];
        silence_of(look, member);
        look->members[look->member_count++] = (struct look_member){
            .store = member->store,
            .since_ns = member->since_ns,
            .reason = member->reason,
            .state = (uint8_t)member->state,
            .leaving = member->leaving,
        };
    }
    metadata_group_done(&record);
    return 0;
}

/* --- Steps ---------------------------------------------------------------------------------- */

static const struct look_step {
    enum metadata_kind kind;
    look_take_fn *take;
} look_steps[] = {
    {METADATA_CLUSTER, take_cluster}, {METADATA_KEEPER, take_keeper},
    {METADATA_SESSION, take_session}, {METADATA_STORE, take_store},
    {METADATA_VOLUME, take_volume},   {METADATA_PROGRESS, take_progress},
    {METADATA_GROUP, take_group},
};
#define LOOK_STORES 4u /* Steps until all stores are known. */

static void look_end(struct look *look, int result)
{
    look_done_fn *done = look->done;
    void *context = look->context;
    if (result != 0 && base_last_error()[0] == '\0')
        (void)FAIL(result, "the metadata of the pool: %s", base_error_text(result));
    if (result != 0)
        look_free(look);
    done(context, result, result == 0 ? look : NULL);
}

/* How many of a page could be taken in; -ENOMEM. */
static int look_take(struct look *look, const struct meta_response *response)
{
    for (uint32_t i = 0; i < response->entry_count; i++) {
        int result = look_steps[look->step].take(look, &response->entries[i]);
        if (result == -ENOMEM)
            return FAIL(-ENOMEM, "no memory for all that the metadata of the pool says");
        look->unreadable += result != 0;
        if (result != 0 && look_steps[look->step].kind == METADATA_CLUSTER)
            return FAIL(result, "the pool's record in the metadata: %s", base_error_text(result));
    }
    return 0;
}

static void look_read(struct meta_request *request, int result)
{
    struct look *look = CONTAINER_OF(request, struct look, request);
    if (result != 0) {
        look_end(look, FAIL(result, "the metadata of the pool: %s", base_error_text(result)));
        return;
    }
    const struct meta_response *response = &request->responses[0];
    const struct look_step *step = &look_steps[look->step];
    if (step->kind == METADATA_CLUSTER && response->entry_count == 0) {
        look_end(look, FAIL(-ENOENT, "there is no pool: make one with pool init"));
        return;
    }
    result = look_take(look, response);
    if (result != 0) {
        look_end(look, result);
        return;
    }
    if (response->more && response->entry_count > 0) {
        const struct meta_slice *last = &response->entries[response->entry_count - 1].key;
        look->after.length = MIN(last->length, sizeof look->after.bytes);
        memcpy(look->after.bytes, last->data, look->after.length);
    } else {
        look->after.length = 0;
        look->step++;
        if (step->kind == METADATA_SESSION && look->session_count > 0)
            qsort(look->sessions, look->session_count, sizeof *look->sessions, session_order);
    }
    look_next(look);
}

static int look_ask(struct look *look)
{
    const struct look_step *step = &look_steps[look->step];
    struct metadata_key key = step->kind == METADATA_CLUSTER  ? metadata_cluster_key()
                              : step->kind == METADATA_KEEPER ? metadata_keeper_key()
                                                              : metadata_prefix(step->kind);
    meta_request_reset(&look->request);
    if (step->kind == METADATA_CLUSTER || step->kind == METADATA_KEEPER)
        meta_get(&look->request, META_SLICE(key));
    else
        meta_list(&look->request, META_SLICE(key), META_SLICE(look->after), META_LIST_ENTRIES_MAX);
    return meta_commit(look->meta, &look->request, look_read);
}

static void look_next(struct look *look)
{
    if (look->step == (look->volumes_too ? COUNT_OF(look_steps) : LOOK_STORES)) {
        look_end(look, 0);
        return;
    }
    int result = look_ask(look);
    if (result != 0)
        look_end(look, result);
}

int look_start(struct meta *meta, struct clock *clock, bool volumes, look_done_fn *done,
               void *context)
{
    struct look *look = calloc(1, sizeof *look);
    if (look == NULL)
        return FAIL(-ENOMEM, "no memory to look at the pool");
    look->meta = meta;
    look->volumes_too = volumes;
    look->wall_ns = clock_wall_ns(clock);
    look->done = done;
    look->context = context;
    int result = look_ask(look);
    if (result != 0)
        look_free(look);
    return result;
}
