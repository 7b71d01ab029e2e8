/* SPDX-License-Identifier: Apache-2.0 */
#include "api/members.h"

#include <stdio.h>
#include <string.h>

#include "format/metadata.h"

#define SCHEME_BYTES (sizeof "etcd://" - 1)
#define URL_BYTES_MAX 2048u

static void member_wakeup(void *context)
{
    uring_wake(((struct members *)context)->engine->uring);
}

/* One answers: the others are as near, or dead. */
static void members_hurry(struct members *members)
{
    uint64_t took_ns = clock_now_ns(members->engine->world.clock) - members->began_ns;
    if (members->hurried)
        return;
    members->hurried = true;
    for (uint32_t i = 0; i < members->count; i++)
        if (members->items[i].asking)
            meta_etcd_hurry(members->items[i].meta,
                            MIN(MEMBERS_MORE_NS + 3 * took_ns, MEMBERS_WAIT_NS));
}

static void member_answered(struct meta_request *request, int result)
{
    struct member *member = CONTAINER_OF(request, struct member, request);
    struct meta_etcd_state state;
    member->asking = false;
    member->members->asking--;
    member->answers = result == 0;
    if (result == 0) {
        members_hurry(member->members);
        return;
    }
    meta_etcd_state(member->meta, &state);
    const char *trouble = state.trouble[0] != '\0' ? state.trouble : base_error_text(result);
    char of[sizeof member->endpoint + 16];
    int length = snprintf(of, sizeof of, "etcd at %s: ", member->endpoint);
    if (length > 0 && strncmp(trouble, of, (size_t)length) == 0)
        trouble += length;
    (void)snprintf(member->trouble, sizeof member->trouble, "%s", trouble);
}

static int member_ask(struct member *member, const char *url)
{
    struct meta_etcd_options options = {
        .url = url,
        .queue_max = 4,
        .wait_ns = MEMBERS_WAIT_NS,
        .answer_ns = MEMBERS_WAIT_NS,
        .stale = member->members->stale,
        .wakeup = member_wakeup,
        .wakeup_context = member->members,
    };
    int result = meta_etcd_open(&options, &member->meta);
    if (result != 0)
        return result;
    struct metadata_key key = metadata_cluster_key();
    meta_get(&member->request, META_SLICE(key));
    result = meta_commit(member->meta, &member->request, member_answered);
    member->asking = result == 0;
    member->members->asking += result == 0;
    return result;
}

static unsigned members_turn(struct engine_hook *hook)
{
    struct members *members = CONTAINER_OF(hook, struct members, hook);
    unsigned count = 0;
    for (uint32_t i = 0; i < members->count; i++)
        count += members->items[i].meta != NULL ? meta_poll(members->items[i].meta) : 0;
    if (members->asking > 0)
        return count;
    engine_hook_remove(members->engine->engine, &members->hook);
    for (uint32_t i = 0; i < members->count; i++) {
        meta_request_done(&members->items[i].request);
        meta_close(members->items[i].meta);
        members->items[i].meta = NULL;
    }
    members->done(members);
    return count + 1;
}

/* The URL with one of its endpoints alone. `at`: where the next begins. */
static const char *url_of(const char *url, const char *at, char *to, struct member *member)
{
    const char *path = strchr(url + SCHEME_BYTES, '/');
    size_t length = strcspn(at, ",/");
    (void)snprintf(to, URL_BYTES_MAX, "etcd://%.*s%s", (int)length, at, path != NULL ? path : "");
    (void)snprintf(member->endpoint, sizeof member->endpoint, "%.*s", (int)length, at);
    return at + length + (at[length] == ',');
}

int members_start(struct members *members, struct iomesh_engine *engine, const char *url,
                  bool stale, void (*done)(struct members *members))
{
    struct meta_etcd_place place;
    int result = meta_etcd_place_parse(url, &place);
    if (result != 0)
        return result;
    if (strlen(url) >= URL_BYTES_MAX)
        return FAIL(-EINVAL, "the URL of the pool is too long to ask each member by itself");
    *members = (struct members){.engine = engine,
                                .stale = stale,
                                .began_ns = clock_now_ns(engine->world.clock),
                                .done = done,
                                .hook = {.turn = members_turn}};
    const char *at = url + SCHEME_BYTES;
    for (uint32_t i = 0; i < place.endpoint_count; i++) {
        struct member *member = &members->items[members->count++];
        char one[URL_BYTES_MAX];
        member->members = members;
        at = url_of(url, at, one, member);
        if (member_ask(member, one) != 0)
            (void)snprintf(member->trouble, sizeof member->trouble, "%s", base_last_error());
    }
    engine_hook_add(engine->engine, &members->hook);
    engine_touch(engine->engine);
    return 0;
}
