/* SPDX-License-Identifier: Apache-2.0 */
/* Reply encoders, byte for byte. */
#include <errno.h>

#include "peer.h"

static const struct nbd_request sample = {
    .type = NBD_CMD_READ, .cookie = 0x0102030405060708, .offset = 0x1000, .length = 0x2000};

#define EXPECT(bytes, text)                             \
    do {                                                \
        cr_assert_eq((bytes), sizeof(text) - 1);        \
        cr_assert_arr_eq(to, (text), sizeof(text) - 1); \
    } while (0)

Test(reply, a_simple_reply_is_sixteen_bytes)
{
    uint8_t to[NBD_REPLY_BYTES_MAX];
    EXPECT(nbd_put_done(NBD_SIMPLE, to, &sample), "\x67\x44\x66\x98\0\0\0\0\1\2\3\4\5\6\7\10");
    EXPECT(nbd_put_error(NBD_SIMPLE, to, &sample, NBD_EIO, "no room for words"),
           "\x67\x44\x66\x98\0\0\0\5\1\2\3\4\5\6\7\10");
    EXPECT(nbd_put_data(NBD_SIMPLE, to, &sample, 0x1000, 0x2000, true),
           "\x67\x44\x66\x98\0\0\0\0\1\2\3\4\5\6\7\10");
}

Test(reply, a_structured_read_is_never_answered_simply)
{
    uint8_t to[NBD_REPLY_BYTES_MAX];
    EXPECT(nbd_put_done(NBD_STRUCTURED, to, &sample),
           "\x66\x8e\x33\xef\0\1\0\0\1\2\3\4\5\6\7\10\0\0\0\0");
    struct nbd_request write = sample;
    write.type = NBD_CMD_WRITE;
    EXPECT(nbd_put_done(NBD_STRUCTURED, to, &write), "\x67\x44\x66\x98\0\0\0\0\1\2\3\4\5\6\7\10");
}

Test(reply, structured_chunks)
{
    uint8_t to[NBD_REPLY_BYTES_MAX];
    EXPECT(nbd_put_data(NBD_STRUCTURED, to, &sample, 0x1200, 0x100, false),
           "\x66\x8e\x33\xef\0\0\0\1\1\2\3\4\5\6\7\10\0\0\1\x08\0\0\0\0\0\0\x12\0");
    EXPECT(nbd_put_hole(NBD_STRUCTURED, to, &sample, 0x1300, 0x200, true),
           "\x66\x8e\x33\xef\0\1\0\2\1\2\3\4\5\6\7\10\0\0\0\x0c\0\0\0\0\0\0\x13\0\0\0\2\0");
    EXPECT(nbd_put_error(NBD_STRUCTURED, to, &sample, NBD_EPERM, "why"),
           "\x66\x8e\x33\xef\0\1\x80\1\1\2\3\4\5\6\7\10\0\0\0\x09\0\0\0\1\0\3why");
    EXPECT(nbd_put_status(NBD_STRUCTURED, to, &sample, 1, 2, true),
           "\x66\x8e\x33\xef\0\1\0\5\1\2\3\4\5\6\7\10\0\0\0\x14\0\0\0\1");
    EXPECT(nbd_put_extent(NBD_STRUCTURED, to, 0x1000, 3), "\0\0\x10\0\0\0\0\3");
}

Test(reply, extended_chunks_repeat_the_offset_of_the_request)
{
    uint8_t to[NBD_REPLY_BYTES_MAX];
    EXPECT(nbd_put_done(NBD_EXTENDED, to, &sample),
           "\x6e\x8a\x27\x8c\0\1\0\0\1\2\3\4\5\6\7\10\0\0\0\0\0\0\x10\0\0\0\0\0\0\0\0\0");
    EXPECT(nbd_put_data(NBD_EXTENDED, to, &sample, 0x1200, 0x100, true),
           "\x6e\x8a\x27\x8c\0\1\0\1\1\2\3\4\5\6\7\10\0\0\0\0\0\0\x10\0\0\0\0\0\0\0\1\x08"
           "\0\0\0\0\0\0\x12\0");
    EXPECT(nbd_put_status(NBD_EXTENDED, to, &sample, 1, 1, true),
           "\x6e\x8a\x27\x8c\0\1\0\6\1\2\3\4\5\6\7\10\0\0\0\0\0\0\x10\0\0\0\0\0\0\0\0\x18"
           "\0\0\0\1\0\0\0\1");
    EXPECT(nbd_put_extent(NBD_EXTENDED, to, UINT64_C(1) << 40, 3),
           "\0\0\1\0\0\0\0\0\0\0\0\0\0\0\0\3");
}

Test(reply, a_long_sentence_is_cut_and_still_fits)
{
    uint8_t to[NBD_REPLY_BYTES_MAX];
    char sentence[1000];
    memset(sentence, 'x', sizeof sentence);
    sentence[999] = '\0';
    cr_assert_leq(nbd_put_error(NBD_EXTENDED, to, &sample, NBD_EIO, sentence), sizeof to);
    cr_assert_eq(nbd_get16(to + 36), 128);
}

Test(reply, errors_map_to_the_few_that_the_protocol_has)
{
    cr_assert_eq(nbd_error_from(0), 0);
    cr_assert_eq(nbd_error_from(-EROFS), NBD_EPERM);
    cr_assert_eq(nbd_error_from(-EDQUOT), NBD_ENOSPC);
    cr_assert_eq(nbd_error_from(-EFBIG), NBD_ENOSPC);
    cr_assert_eq(nbd_error_from(-ENOTSUP), NBD_ENOTSUP);
    cr_assert_eq(nbd_error_from(-EBADMSG), NBD_EIO);
    cr_assert_eq(nbd_error_from(-5001), NBD_EIO);
}
