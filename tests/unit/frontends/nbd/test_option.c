/* SPDX-License-Identifier: Apache-2.0 */
/* Option haggling. */
#include "peer.h"

static struct peer peer;

Test(option, the_greeting_offers_fixed_newstyle_without_zeroes)
{
    nbd_session_init(&peer.session, false, false);
    cr_assert_eq(peer.session.out_bytes, NBD_GREETING_BYTES);
    cr_assert_arr_eq(peer.session.out, "NBDMAGICIHAVEOPT\0\3", NBD_GREETING_BYTES);
}

Test(option, client_flags_that_do_not_exist_end_the_connection)
{
    nbd_session_init(&peer.session, false, false);
    peer_put32(&peer, 4);
    cr_assert_eq(peer_step(&peer), NBD_EVENT_BROKEN);
}

Test(option, a_header_in_single_bytes_is_the_same_as_at_once)
{
    peer_open(&peer, 3, false);
    const char list[] = "IHAVEOPT\0\0\0\3\0\0\0\0";
    for (size_t index = 0; index < 15; index++) {
        peer_put(&peer, list + index, 1);
        cr_assert_eq(peer_step(&peer), NBD_EVENT_MORE);
        cr_assert_eq(peer.event.needed, 16);
    }
    peer_put(&peer, list + 15, 1);
    cr_assert_eq(peer_step(&peer), NBD_EVENT_LIST);
}

Test(option, a_wrong_magic_ends_the_connection)
{
    peer_open(&peer, 3, false);
    peer_put(&peer, "GET / HTTP/1.1\r\n", 16);
    cr_assert_eq(peer_step(&peer), NBD_EVENT_BROKEN);
}

Test(option, an_unknown_option_is_refused_and_the_next_one_is_heard)
{
    peer_open(&peer, 3, false);
    cr_assert_eq(peer_option(&peer, 4, "xyz", 3), NBD_EVENT_SEND);
    cr_assert_eq(peer_answer(&peer, 0), NBD_REP_ERR_UNSUP);
    cr_assert_eq(peer_option(&peer, 999, "", 0), NBD_EVENT_SEND);
    cr_assert_eq(peer_answer(&peer, 0), NBD_REP_ERR_UNSUP);
    cr_assert_eq(peer_option(&peer, NBD_OPT_LIST, "", 0), NBD_EVENT_LIST);
}

Test(option, without_fixed_newstyle_only_export_name_is_heard)
{
    peer_open(&peer, 0, false);
    cr_assert_eq(peer_option(&peer, NBD_OPT_LIST, "", 0), NBD_EVENT_BROKEN);
    peer_open(&peer, 0, false);
    cr_assert_eq(peer_option(&peer, NBD_OPT_EXPORT_NAME, "disk", 4), NBD_EVENT_EXPORT);
}

Test(option, abort_is_acknowledged_whatever_it_carries)
{
    peer_open(&peer, 3, false);
    cr_assert_eq(peer_option(&peer, NBD_OPT_ABORT, "bye", 3), NBD_EVENT_END);
    cr_assert_eq(peer_answer(&peer, 0), NBD_REP_ACK);
}

Test(option, list_with_data_is_invalid)
{
    peer_open(&peer, 3, false);
    cr_assert_eq(peer_option(&peer, NBD_OPT_LIST, "x", 1), NBD_EVENT_SEND);
    cr_assert_eq(peer_answer(&peer, 0), NBD_REP_ERR_INVALID);
}

Test(option, a_long_list_is_told_in_pieces)
{
    peer_open(&peer, 3, false);
    cr_assert_eq(peer_option(&peer, NBD_OPT_LIST, "", 0), NBD_EVENT_LIST);
    size_t told = 0;
    size_t pieces = 0;
    for (int index = 0; index < 1000; index++) {
        char name[129];
        memset(name, 'a', 128);
        name[128] = '\0';
        while (!nbd_list_add(&peer.session, name)) {
            cr_assert_gt(peer.session.out_bytes, NBD_OUT_BYTES_MAX / 2);
            told += peer.session.out_bytes;
            pieces++;
            nbd_out_taken(&peer.session);
        }
    }
    told += peer.session.out_bytes;
    cr_assert_eq(told, 1000 * (20 + 4 + 128));
    cr_assert_gt(pieces, 30);
    nbd_out_taken(&peer.session);
    cr_assert(nbd_list_end(&peer.session));
    cr_assert_eq(peer_answer(&peer, 0), NBD_REP_ACK);
}

Test(option, export_name_is_answered_with_zeroes_unless_the_client_wants_none)
{
    for (uint32_t flags = 1; flags <= 3; flags += 2) {
        peer_open(&peer, flags, false);
        cr_assert_eq(peer_option(&peer, NBD_OPT_EXPORT_NAME, "disk", 4), NBD_EVENT_EXPORT);
        cr_assert_str_eq(peer.session.name, "disk");
        nbd_export_found(&peer.session, &peer_export);
        cr_assert_eq(peer.session.out_bytes, flags == 3 ? 10 : 134);
        cr_assert_eq(nbd_get64(peer.session.out), peer_export.size_bytes);
        cr_assert_eq(peer.session.state, NBD_STATE_REQUESTS);
    }
}

Test(option, export_name_cannot_be_refused_in_words)
{
    peer_open(&peer, 3, false);
    cr_assert_eq(peer_option(&peer, NBD_OPT_EXPORT_NAME, "gone", 4), NBD_EVENT_EXPORT);
    cr_assert_not(nbd_export_refused(&peer.session, NBD_REP_ERR_UNKNOWN, "no such volume"));
    cr_assert_eq(peer.session.state, NBD_STATE_CLOSED);
}

Test(option, go_tells_size_flags_and_block_sizes_and_starts_transmission)
{
    peer_open(&peer, 3, false);
    cr_assert_eq(peer_info(&peer, NBD_OPT_GO, "disk"), NBD_EVENT_EXPORT);
    nbd_export_found(&peer.session, &peer_export);
    const uint8_t *out = peer.session.out;
    cr_assert_eq(peer_answer(&peer, 0), NBD_REP_INFO);
    cr_assert_eq(nbd_get16(out + 20), NBD_INFO_EXPORT);
    cr_assert_eq(nbd_get64(out + 22), peer_export.size_bytes);
    cr_assert_eq(nbd_get16(out + 30), NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA |
                                          NBD_FLAG_SEND_TRIM | NBD_FLAG_SEND_WRITE_ZEROES |
                                          NBD_FLAG_SEND_FAST_ZERO | NBD_FLAG_SEND_CACHE |
                                          NBD_FLAG_CAN_MULTI_CONN);
    cr_assert_eq(nbd_get16(out + 52), NBD_INFO_BLOCK_SIZE);
    cr_assert_eq(nbd_get32(out + 54), 512);
    cr_assert_eq(nbd_get32(out + 58), 4096);
    cr_assert_eq(nbd_get32(out + 62), 32 << 20);
    cr_assert_eq(peer_answer(&peer, 2), NBD_REP_ACK);
    cr_assert_eq(peer.session.state, NBD_STATE_REQUESTS);
}

Test(option, info_tells_the_same_and_stays_in_haggling)
{
    peer_open(&peer, 3, false);
    cr_assert_eq(peer_info(&peer, NBD_OPT_INFO, "disk"), NBD_EVENT_EXPORT);
    cr_assert_not(peer.event.opening);
    nbd_export_found(&peer.session, &peer_export);
    cr_assert_eq(peer_answer(&peer, 2), NBD_REP_ACK);
    cr_assert_eq(peer.session.state, NBD_STATE_OPTIONS);
}

Test(option, info_gives_the_name_when_it_is_asked_for)
{
    peer_open(&peer, 3, false);
    cr_assert_eq(peer_option(&peer, NBD_OPT_INFO, "\0\0\0\1d\0\1\0\1", 9), NBD_EVENT_EXPORT);
    nbd_export_found(&peer.session, &peer_export);
    const uint8_t *name = peer.session.out + 32 + 34;
    cr_assert_eq(nbd_get32(name + 16), 3);
    cr_assert_arr_eq(name + 20, "\0\1d", 3);
}

Test(option, info_whose_parts_do_not_add_up_is_invalid)
{
    static const struct {
        const char *data;
        uint32_t length;
    } cases[] = {
        {"", 0},
        {"\0\0\0\0\0", 5},
        {"\0\0\0\2d\0\0", 7},
        {"\377\377\377\377d\0\0", 7},
        {"\0\0\0\1d\0\2\0\1", 9},
        {"\0\0\0\1d\0\0\0\1", 9},
    };
    for (size_t index = 0; index < sizeof cases / sizeof *cases; index++) {
        peer_open(&peer, 3, false);
        cr_assert_eq(peer_option(&peer, NBD_OPT_GO, cases[index].data, cases[index].length),
                     NBD_EVENT_SEND);
        cr_assert_eq(peer_answer(&peer, 0), NBD_REP_ERR_INVALID, "case %zu", index);
    }
}

Test(option, a_name_that_no_volume_can_have_is_unknown_without_a_lookup)
{
    char name[300];
    memset(name, 'x', sizeof name);
    name[299] = '\0';
    peer_open(&peer, 3, false);
    cr_assert_eq(peer_info(&peer, NBD_OPT_GO, name), NBD_EVENT_SEND);
    cr_assert_eq(peer_answer(&peer, 0), NBD_REP_ERR_UNKNOWN);
    cr_assert_eq(peer_option(&peer, NBD_OPT_GO, "\0\0\0\2d\0\0\0", 8), NBD_EVENT_SEND);
    cr_assert_eq(peer_answer(&peer, 0), NBD_REP_ERR_UNKNOWN);
}

Test(option, a_long_option_is_skipped_and_a_huge_one_ends_the_connection)
{
    peer_open(&peer, 3, false);
    peer_put64(&peer, NBD_OPTION_MAGIC);
    peer_put32(&peer, NBD_OPT_GO);
    peer_put32(&peer, 60000);
    cr_assert_eq(peer_step(&peer), NBD_EVENT_SEND);
    cr_assert_eq(peer_answer(&peer, 0), NBD_REP_ERR_TOO_BIG);
    static const uint8_t zeros[60000];
    peer_put(&peer, zeros, sizeof zeros);
    cr_assert_eq(peer_option(&peer, NBD_OPT_LIST, "", 0), NBD_EVENT_LIST);

    peer_open(&peer, 3, false);
    peer_put64(&peer, NBD_OPTION_MAGIC);
    peer_put32(&peer, NBD_OPT_GO);
    peer_put32(&peer, NBD_OPTION_SKIP_BYTES_MAX + 1);
    cr_assert_eq(peer_step(&peer), NBD_EVENT_BROKEN);
}

Test(option, options_without_end_end_the_connection)
{
    peer_open(&peer, 3, false);
    for (int index = 0; index < NBD_OPTIONS_MAX; index++)
        cr_assert_eq(peer_option(&peer, 999, "", 0), NBD_EVENT_SEND);
    cr_assert_eq(peer_option(&peer, 999, "", 0), NBD_EVENT_BROKEN);
}

Test(option, df_is_advertised_only_after_structured_replies)
{
    peer_go(&peer, NBD_SIMPLE, false, &peer_export);
    cr_assert_not(nbd_get16(peer.session.out + 30) & NBD_FLAG_SEND_DF);
    peer_go(&peer, NBD_STRUCTURED, false, &peer_export);
    cr_assert(nbd_get16(peer.session.out + 30) & NBD_FLAG_SEND_DF);
}

Test(option, structured_replies_cannot_follow_extended_headers)
{
    peer_open(&peer, 3, false);
    cr_assert_eq(peer_option(&peer, NBD_OPT_EXTENDED_HEADERS, "x", 1), NBD_EVENT_SEND);
    cr_assert_eq(peer_answer(&peer, 0), NBD_REP_ERR_INVALID);
    peer_option(&peer, NBD_OPT_EXTENDED_HEADERS, "", 0);
    cr_assert_eq(peer_answer(&peer, 0), NBD_REP_ACK);
    peer_option(&peer, NBD_OPT_EXTENDED_HEADERS, "", 0);
    cr_assert_eq(peer_answer(&peer, 0), NBD_REP_ERR_INVALID);
    peer_option(&peer, NBD_OPT_STRUCTURED_REPLY, "", 0);
    cr_assert_eq(peer_answer(&peer, 0), NBD_REP_ERR_EXT_HEADER_REQD);
    cr_assert_eq(peer_option(&peer, NBD_OPT_EXPORT_NAME, "disk", 4), NBD_EVENT_BROKEN);
}

Test(option, before_tls_everything_but_starttls_and_abort_is_refused)
{
    peer_open(&peer, 3, true);
    const uint32_t options[] = {
        NBD_OPT_LIST, NBD_OPT_INFO, NBD_OPT_GO, NBD_OPT_STRUCTURED_REPLY, NBD_OPT_EXTENDED_HEADERS,
        999};
    for (size_t index = 0; index < sizeof options / sizeof *options; index++) {
        cr_assert_eq(peer_option(&peer, options[index], "", 0), NBD_EVENT_SEND);
        cr_assert_eq(peer_answer(&peer, 0), NBD_REP_ERR_TLS_REQD);
    }
    cr_assert_eq(peer_option(&peer, NBD_OPT_EXPORT_NAME, "disk", 4), NBD_EVENT_BROKEN);
    peer_open(&peer, 3, true);
    cr_assert_eq(peer_option(&peer, NBD_OPT_ABORT, "", 0), NBD_EVENT_END);
}

Test(option, tls_forgets_what_was_agreed_in_the_clear)
{
    nbd_session_init(&peer.session, true, false);
    peer.length = 0;
    nbd_out_taken(&peer.session);
    peer_put32(&peer, 3);
    peer_step(&peer);
    peer_option(&peer, NBD_OPT_STRUCTURED_REPLY, "", 0);
    peer_meta(&peer, NBD_OPT_SET_META_CONTEXT, "disk", "base:allocation");
    nbd_export_found(&peer.session, &peer_export);
    cr_assert_eq(nbd_contexts_of(&peer.session, "disk"), 1);
    cr_assert_eq(peer_option(&peer, NBD_OPT_STARTTLS, "x", 1), NBD_EVENT_SEND);
    cr_assert_eq(peer_answer(&peer, 0), NBD_REP_ERR_INVALID);
    cr_assert_eq(peer_option(&peer, NBD_OPT_STARTTLS, "", 0), NBD_EVENT_TLS);
    cr_assert_eq(peer_answer(&peer, 0), NBD_REP_ACK);
    nbd_secured(&peer.session);
    cr_assert_eq(peer.session.mode, NBD_SIMPLE);
    cr_assert_eq(nbd_contexts_of(&peer.session, "disk"), 0);
    cr_assert_eq(peer_option(&peer, NBD_OPT_STARTTLS, "", 0), NBD_EVENT_SEND);
    cr_assert_eq(peer_answer(&peer, 0), NBD_REP_ERR_INVALID);
}

Test(option, a_server_without_tls_refuses_starttls_by_policy)
{
    peer_open(&peer, 3, false);
    peer_option(&peer, NBD_OPT_STARTTLS, "", 0);
    cr_assert_eq(peer_answer(&peer, 0), NBD_REP_ERR_POLICY);
}

Test(option, a_server_that_shuts_down_says_so)
{
    peer_open(&peer, 3, false);
    peer.session.closing = true;
    peer_info(&peer, NBD_OPT_GO, "disk");
    cr_assert_eq(peer_answer(&peer, 0), NBD_REP_ERR_SHUTDOWN);
    cr_assert_eq(peer_option(&peer, NBD_OPT_ABORT, "", 0), NBD_EVENT_END);
}
