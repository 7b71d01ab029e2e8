/* SPDX-License-Identifier: Apache-2.0 */
/* Metadata contexts: what a client may choose, and BLOCK_STATUS for what it has chosen. */
#include <stdio.h>

#include "peer.h"

#define SINCE "iomesh:changed-since:"

static struct peer peer;

static void haggle(void)
{
    peer_open(&peer, 3, false);
    peer_option(&peer, NBD_OPT_STRUCTURED_REPLY, "", 0);
}

Test(context, contexts_need_structured_replies_first)
{
    peer_open(&peer, 3, false);
    peer_meta(&peer, NBD_OPT_SET_META_CONTEXT, "disk", "base:allocation");
    cr_assert_eq(peer_answer(&peer, 0), NBD_REP_ERR_INVALID);
}

/* How many contexts a query finds, by its answers. */
static uint32_t contexts(uint32_t option, const char *query)
{
    cr_assert_eq(peer_meta(&peer, option, "disk", query), NBD_EVENT_EXPORT);
    nbd_export_found(&peer.session, &peer_export);
    const uint32_t count = peer_answer(&peer, 0) == NBD_REP_META_CONTEXT ? 1 : 0;
    cr_assert_eq(peer_answer(&peer, count), NBD_REP_ACK);
    return count;
}

Test(context, base_alone_lists_all_and_sets_none)
{
    haggle();
    cr_assert_eq(contexts(NBD_OPT_LIST_META_CONTEXT, "base:"), 1);
    cr_assert_eq(contexts(NBD_OPT_LIST_META_CONTEXT, "base:allocation"), 1);
    cr_assert_eq(contexts(NBD_OPT_LIST_META_CONTEXT, "base:else"), 0);
    cr_assert_eq(contexts(NBD_OPT_LIST_META_CONTEXT, "x-other:thing"), 0);
    cr_assert_eq(contexts(NBD_OPT_SET_META_CONTEXT, "base:"), 0);
    cr_assert_eq(nbd_contexts_of(&peer.session, "disk"), 0);
    cr_assert_eq(contexts(NBD_OPT_SET_META_CONTEXT, "base:allocation"), 1);
    cr_assert_eq(nbd_contexts_of(&peer.session, "disk"), 1);
    cr_assert_eq(contexts(NBD_OPT_LIST_META_CONTEXT, "x-other:thing"), 0);
    cr_assert_eq(nbd_contexts_of(&peer.session, "disk"), 1, "listing changes nothing");
    cr_assert_eq(contexts(NBD_OPT_SET_META_CONTEXT, "x-other:thing"), 0);
    cr_assert_eq(nbd_contexts_of(&peer.session, "disk"), 0, "setting replaces what was set");
}

/* The volume has the snapshots "one" and "two": the text and ids of the contexts that it finds. */
static const char *found(uint32_t option, const char *const *queries)
{
    static char text[2048];
    text[0] = '\0';
    cr_assert_eq(peer_queries(&peer, option, "disk", queries), NBD_EVENT_CONTEXTS);
    cr_assert(nbd_context_add(&peer.session, "one", 1));
    cr_assert(nbd_context_add(&peer.session, "two", 2));
    cr_assert(nbd_context_end(&peer.session));
    const uint8_t *at = peer.session.out;
    for (; nbd_get32(at + 12) == NBD_REP_META_CONTEXT; at += 20 + nbd_get32(at + 16)) {
        const size_t used = strlen(text);
        snprintf(text + used, sizeof text - used, "%u %.*s;", nbd_get32(at + 20),
                 (int)nbd_get32(at + 16) - 4, (const char *)at + 24);
    }
    cr_assert_eq(nbd_get32(at + 12), NBD_REP_ACK);
    cr_assert_eq(at + 20 - peer.session.out, peer.session.out_bytes);
    return text;
}

#define FOUND(option, text, ...) \
    cr_assert_str_eq(found(option, (const char *const[]){__VA_ARGS__, NULL}), text)

Test(context, what_ends_with_a_colon_lists_every_snapshot_and_sets_none)
{
    const char both[] = "0 " SINCE "one;0 " SINCE "two;";
    haggle();
    FOUND(NBD_OPT_LIST_META_CONTEXT, both, "iomesh:");
    FOUND(NBD_OPT_LIST_META_CONTEXT, both, SINCE, SINCE "one");
    FOUND(NBD_OPT_LIST_META_CONTEXT, "0 " SINCE "two;", SINCE "two", SINCE "three");
    FOUND(NBD_OPT_LIST_META_CONTEXT, "0 " SINCE "two;0 base:allocation;", "base:", SINCE "two");
    FOUND(NBD_OPT_LIST_META_CONTEXT, "", SINCE "On", SINCE "onetwo");
    cr_assert_eq(contexts(NBD_OPT_SET_META_CONTEXT, "iomesh:"), 0);
    cr_assert_eq(contexts(NBD_OPT_SET_META_CONTEXT, SINCE), 0);
    cr_assert_eq(contexts(NBD_OPT_SET_META_CONTEXT, "iomesh:changed"), 0);
}

Test(context, several_are_set_at_once_each_with_its_id)
{
    haggle();
    FOUND(NBD_OPT_SET_META_CONTEXT, "3 " SINCE "one;2 " SINCE "two;1 base:allocation;", SINCE "two",
          "base:allocation", SINCE "one", SINCE "two", SINCE "gone");
    cr_assert_eq(nbd_contexts_of(&peer.session, "disk"), 7);
    cr_assert_str_eq(peer.session.contexts.snapshots[0], "two");
    cr_assert_str_eq(peer.session.contexts.snapshots[1], "one");
    cr_assert_eq(peer.session.contexts.cuts[0], 2);
    cr_assert_eq(peer.session.contexts.cuts[1], 1);
    FOUND(NBD_OPT_LIST_META_CONTEXT, "0 " SINCE "one;", SINCE "one");
    cr_assert_eq(nbd_contexts_of(&peer.session, "disk"), 7, "listing changes nothing");
    FOUND(NBD_OPT_SET_META_CONTEXT, "2 " SINCE "one;", SINCE "one");
    cr_assert_eq(nbd_contexts_of(&peer.session, "disk"), 2, "setting replaces what was set");
    FOUND(NBD_OPT_SET_META_CONTEXT, "", SINCE "gone");
    cr_assert_eq(nbd_contexts_of(&peer.session, "disk"), 0);
}

Test(context, names_that_no_snapshot_can_have_are_not_looked_up)
{
    char query[sizeof SINCE + NBD_SNAPSHOT_BYTES_MAX + 1];
    memset(query, 'x', sizeof query);
    memcpy(query, SINCE, sizeof SINCE - 1);
    query[sizeof query - 1] = '\0';
    haggle();
    cr_assert_eq(contexts(NBD_OPT_SET_META_CONTEXT, query), 0, "129 bytes");
    query[sizeof query - 2] = '\0';
    cr_assert_eq(peer_meta(&peer, NBD_OPT_SET_META_CONTEXT, "disk", query), NBD_EVENT_CONTEXTS);
    cr_assert(nbd_context_add(&peer.session, query + sizeof SINCE - 1, 7));
    cr_assert(nbd_context_end(&peer.session));
    cr_assert_eq(nbd_contexts_of(&peer.session, "disk"), 2);
}

Test(context, more_snapshots_at_once_than_there_are_ids_are_too_many)
{
    static char names[NBD_SINCE_MAX + 1][64];
    const char *queries[NBD_SINCE_MAX + 3] = {"base:allocation"};
    for (uint32_t index = 0; index <= NBD_SINCE_MAX; index++) {
        snprintf(names[index], sizeof names[index], SINCE "%u", index);
        queries[index + 1] = names[index];
    }
    haggle();
    peer_queries(&peer, NBD_OPT_SET_META_CONTEXT, "disk", queries);
    cr_assert_eq(peer_answer(&peer, 0), NBD_REP_ERR_TOO_BIG);
    queries[NBD_SINCE_MAX + 1] = NULL;
    cr_assert_eq(peer_queries(&peer, NBD_OPT_SET_META_CONTEXT, "disk", queries),
                 NBD_EVENT_CONTEXTS);
    for (uint32_t index = 0; index < NBD_SINCE_MAX; index++)
        cr_assert(nbd_context_add(&peer.session, names[index] + sizeof SINCE - 1, 7));
    cr_assert(nbd_context_end(&peer.session));
    cr_assert_eq(nbd_contexts_of(&peer.session, "disk"), (1u << NBD_CONTEXTS_MAX) - 1);
}

Test(context, a_list_longer_than_the_buffer_is_said_in_pages)
{
    char name[NBD_SNAPSHOT_BYTES_MAX + 1];
    uint32_t told = 0;
    haggle();
    cr_assert_eq(peer_meta(&peer, NBD_OPT_LIST_META_CONTEXT, "disk", SINCE), NBD_EVENT_CONTEXTS);
    for (uint32_t index = 0; index < 100; index++) {
        snprintf(name, sizeof name, "%0128u", index);
        if (nbd_context_add(&peer.session, name, index))
            continue;
        for (size_t answer = 0; peer_answer(&peer, answer) == NBD_REP_META_CONTEXT; answer++)
            told++;
        nbd_out_taken(&peer.session);
        cr_assert(nbd_context_add(&peer.session, name, index));
    }
    cr_assert_gt(told, 50);
    cr_assert(nbd_context_end(&peer.session));
    cr_assert_eq(peer.session.state, NBD_STATE_OPTIONS);
}

Test(context, an_unknown_export_has_none)
{
    haggle();
    peer_meta(&peer, NBD_OPT_SET_META_CONTEXT, "gone", SINCE "one");
    cr_assert(nbd_export_refused(&peer.session, NBD_REP_ERR_UNKNOWN, "no such export"));
    cr_assert_eq(peer_answer(&peer, 0), NBD_REP_ERR_UNKNOWN);
    cr_assert_eq(nbd_contexts_of(&peer.session, "gone"), 0);
}

Test(context, no_queries_list_everything_and_set_nothing)
{
    haggle();
    peer_option(&peer, NBD_OPT_LIST_META_CONTEXT, "\0\0\0\1d\0\0\0\0", 9);
    cr_assert_eq(peer.event.kind, NBD_EVENT_CONTEXTS);
    cr_assert(nbd_context_add(&peer.session, "one", 1));
    cr_assert(nbd_context_end(&peer.session));
    cr_assert_eq(peer_answer(&peer, 0), NBD_REP_META_CONTEXT);
    cr_assert_eq(peer_answer(&peer, 1), NBD_REP_META_CONTEXT);
    cr_assert_eq(peer_answer(&peer, 2), NBD_REP_ACK);
    peer_option(&peer, NBD_OPT_SET_META_CONTEXT, "\0\0\0\1d\0\0\0\0", 9);
    nbd_export_found(&peer.session, &peer_export);
    cr_assert_eq(peer_answer(&peer, 0), NBD_REP_ACK);
}

Test(context, queries_that_run_over_the_option_are_invalid)
{
    haggle();
    peer_option(&peer, NBD_OPT_SET_META_CONTEXT, "\0\0\0\1d\0\0\0\1\0\0\0\5base", 17);
    cr_assert_eq(peer_answer(&peer, 0), NBD_REP_ERR_INVALID);
    peer_option(&peer, NBD_OPT_SET_META_CONTEXT, "\0\0\0\1d\377\377\377\377", 9);
    cr_assert_eq(peer_answer(&peer, 0), NBD_REP_ERR_INVALID);
    peer_option(&peer, NBD_OPT_SET_META_CONTEXT, "\0\0\0\1d\0\0\0\0x", 10);
    cr_assert_eq(peer_answer(&peer, 0), NBD_REP_ERR_INVALID);
}

Test(context, a_context_of_another_export_does_not_count)
{
    haggle();
    peer_meta(&peer, NBD_OPT_SET_META_CONTEXT, "other", "base:allocation");
    nbd_export_found(&peer.session, &peer_export);
    nbd_out_taken(&peer.session);
    peer_info(&peer, NBD_OPT_GO, "disk");
    nbd_export_found(&peer.session, &peer_export);
    cr_assert_eq(peer.session.contexts_active, 0);
}

/* Transmission with base:allocation and, as 2 and 3, two snapshots. */
static void go_with_three(enum nbd_mode mode)
{
    peer_open(&peer, 3, false);
    peer_option(&peer, mode == NBD_EXTENDED ? NBD_OPT_EXTENDED_HEADERS : NBD_OPT_STRUCTURED_REPLY,
                "", 0);
    FOUND(NBD_OPT_SET_META_CONTEXT, "2 " SINCE "one;3 " SINCE "two;1 base:allocation;",
          "base:allocation", SINCE "one", SINCE "two");
    nbd_out_taken(&peer.session);
    peer_info(&peer, NBD_OPT_GO, "disk");
    nbd_export_found(&peer.session, &peer_export);
}

Test(context, block_status_is_about_every_context)
{
    const enum nbd_mode modes[] = {NBD_STRUCTURED, NBD_EXTENDED};
    for (size_t index = 0; index < 2; index++) {
        go_with_three(modes[index]);
        peer_request(&peer, NBD_CMD_BLOCK_STATUS, 0, 0, 4096);
        cr_assert_eq(peer.event.request.error, 0);
        cr_assert_eq(peer.event.request.contexts, 7);
        peer_request(&peer, NBD_CMD_FLUSH, 0, 0, 0);
        cr_assert_eq(peer.event.request.contexts, 0);
    }
}

/* BLOCK_STATUS of 8 KiB with a list of ids: the contexts that it is about, 0 if it is refused. */
static uint32_t filtered(size_t count, const uint32_t *ids)
{
    peer_request(&peer, NBD_CMD_BLOCK_STATUS, NBD_CMD_FLAG_PAYLOAD_LEN, 4096, 8 + 4 * count);
    cr_assert_eq(peer.event.kind, NBD_EVENT_MORE);
    cr_assert_eq(peer.event.needed, 32 + 8 + 4 * count);
    cr_assert_eq(peer.event.used, 0);
    peer_put64(&peer, 8192);
    for (size_t index = 0; index < count; index++)
        peer_put32(&peer, ids[index]);
    cr_assert_eq(peer_step(&peer), NBD_EVENT_REQUEST);
    cr_assert_eq(peer.length, 0);
    cr_assert_eq(peer.event.request.length, 8192);
    if (peer.event.request.error == 0)
        return peer.event.request.contexts;
    cr_assert_eq(peer.event.request.error, NBD_EINVAL);
    return 0;
}

Test(context, block_status_with_a_payload_filters_contexts)
{
    go_with_three(NBD_EXTENDED);
    cr_assert(nbd_get16(peer.session.out + 30) & NBD_FLAG_BLOCK_STATUS_PAYLOAD);
    cr_assert_eq(filtered(1, (const uint32_t[]){1}), 1);
    cr_assert_eq(filtered(1, (const uint32_t[]){3}), 4);
    cr_assert_eq(filtered(2, (const uint32_t[]){3, 1}), 5);
    cr_assert_eq(filtered(3, (const uint32_t[]){1, 2, 3}), 7);
    cr_assert_eq(filtered(1, (const uint32_t[]){0}), 0);
    cr_assert_eq(filtered(1, (const uint32_t[]){4}), 0);
    cr_assert_eq(filtered(1, (const uint32_t[]){33}), 0);
    cr_assert_eq(filtered(2, (const uint32_t[]){1, 77}), 0);
    cr_assert_eq(filtered(2, (const uint32_t[]){2, 2}), 0, "one twice");
}

Test(context, a_list_of_ids_that_cannot_be_right_is_skipped)
{
    static const uint8_t payload[8 + 4 * NBD_CONTEXTS_MAX + 4];
    const uint32_t lengths[] = {1, 8, 11, 13, sizeof payload};
    go_with_three(NBD_EXTENDED);
    for (size_t index = 0; index < sizeof lengths / sizeof *lengths; index++) {
        peer_request(&peer, NBD_CMD_BLOCK_STATUS, NBD_CMD_FLAG_PAYLOAD_LEN, 4096, lengths[index]);
        cr_assert_eq(peer.event.request.error, NBD_EINVAL);
        cr_assert_eq(peer.session.skip_bytes, lengths[index]);
        peer_put(&peer, payload, lengths[index]);
        peer_request(&peer, NBD_CMD_READ, 0, 0, 512);
        cr_assert_eq(peer.event.request.error, 0);
    }
}
