#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Options, commands, errors and garbage: iomesh-nbd against a client of our own, which knows
what Debian's clients do not speak (extended headers) and says what no client would."""

import os
import random
import struct

import pytest

import rig as rigs
from nbd_protocol import client as nbd
from nbd_protocol.client import EXTENDED, SIMPLE, STRUCTURED, Closed, Refused
from nbd_protocol.features import fails
from nbd_protocol.server import VOLUMES, Server

MIB = rigs.MIB
MODES = [SIMPLE, STRUCTURED, EXTENDED]


@pytest.fixture(name="server", scope="module")
def one_server(tmp_path_factory):
    """One for the whole file: whatever one test does to it, the next one must not notice."""
    made = rigs.Rig(tmp_path_factory.mktemp("nbd"))
    server = Server(made)
    yield server
    try:
        server.stop()
    finally:
        made.close()


def refused(kind, call, *arguments):
    with pytest.raises(Refused) as told:
        call(*arguments)
    assert told.value.type == kind
    return told.value.sentence


# --- options

def test_list_names_every_volume(server):
    with server.client() as peer:
        assert peer.list() == sorted(VOLUMES)
        assert peer.list() == sorted(VOLUMES), "and again"
        assert peer.abort()


def test_a_list_of_many_volumes_comes_whole(rig):
    pool = rigs.Pool(rig, 2 * rigs.GIB)
    names = sorted(f"volume-{number:03}-" + "x" * 100 for number in range(90))
    for name in names:
        pool.create(name, MIB)
    with Server(rig, pool=pool).client() as peer:
        assert peer.list() == names


def test_export_name_opens_with_and_without_zeroes(server):
    for flags in (nbd.FIXED_NEWSTYLE, nbd.FIXED_NEWSTYLE | nbd.NO_ZEROES, 0):
        with server.client(flags=flags) as peer:
            peer.export_name("disk")
            assert peer.size == VOLUMES["disk"][0]
            assert peer.flags & nbd.HAS_FLAGS and not peer.flags & nbd.SEND_DF
            assert len(peer.read(0, 4096)) == 4096
            assert peer.disconnect()


def test_export_name_of_nothing_ends_the_connection(server):
    for name in ("gone", "", "a/b", "x" * 200, "x" * 5000):
        with server.client() as peer:
            peer.send_option(nbd.OPT_EXPORT_NAME, name.encode())
            assert peer.is_closed()


def test_export_name_cannot_follow_extended_headers(server):
    with server.client() as peer:
        peer.extended()
        peer.send_option(nbd.OPT_EXPORT_NAME, b"disk")
        assert peer.is_closed()


@pytest.mark.parametrize("name", list(VOLUMES))
def test_info_and_go_tell_the_same(server, name):
    size, sector = VOLUMES[name]
    with server.client() as peer:
        peer.info(name, (nbd.INFO_NAME, nbd.INFO_BLOCK_SIZE, nbd.INFO_DESCRIPTION, 77))
        told = peer.size, peer.flags, peer.block_sizes, peer.name
        assert told[0] == size and told[2] == (sector, 4096, 32 * MIB) and told[3] == name
        peer.go(name, (nbd.INFO_NAME, nbd.INFO_BLOCK_SIZE, nbd.INFO_DESCRIPTION, 77))
        assert told == (peer.size, peer.flags, peer.block_sizes, peer.name)
        peer.read(0, sector)


def test_block_sizes_are_told_without_being_asked_for(server):
    with server.client() as peer:
        assert peer.info("small", ()).block_sizes == (512, 4096, 32 * MIB)


def test_unknown_exports_are_refused_in_words(server):
    with server.client() as peer:
        for name in ("gone", "", "a/b", "disk@snapshot", "x" * 128, "x" * 129, "x" * 4096,
                     "\u00fc" * 64, "a\tb"):
            for option in (nbd.OPT_INFO, nbd.OPT_GO):
                assert refused(nbd.REP_ERR_UNKNOWN, peer.info, name, (), option)
        peer.go("disk")


def test_a_name_of_broken_utf8_is_no_export(server):
    with server.client() as peer:
        data = struct.pack(">I", 3) + b"\xff\xfe\x80" + bytes(2)
        assert refused(nbd.REP_ERR_UNKNOWN, peer.option, nbd.OPT_GO, data)
        assert refused(nbd.REP_ERR_UNKNOWN, peer.option, nbd.OPT_GO,
                       struct.pack(">I", 3) + b"a\0b" + bytes(2))


def test_malformed_options_are_invalid(server):
    with server.client() as peer:
        peer.structured()
        for option, data in [(nbd.OPT_LIST, b"x"), (nbd.OPT_STARTTLS, b"x"),
                             (nbd.OPT_STRUCTURED_REPLY, b"x"), (nbd.OPT_EXTENDED_HEADERS, b"x"),
                             (nbd.OPT_GO, b""), (nbd.OPT_GO, bytes(5)),
                             (nbd.OPT_GO, struct.pack(">I", 9999) + bytes(8)),
                             (nbd.OPT_INFO, struct.pack(">I", 0xFFFFFFFF) + bytes(8)),
                             (nbd.OPT_INFO, struct.pack(">IH", 0, 9)),
                             (nbd.OPT_SET_META_CONTEXT, bytes(7)),
                             (nbd.OPT_SET_META_CONTEXT, struct.pack(">III", 0, 5, 1)),
                             (nbd.OPT_LIST_META_CONTEXT, struct.pack(">II", 0, 0) + b"x"),
                             (nbd.OPT_LIST_META_CONTEXT, struct.pack(">I", 0xFFFFFFF0) + bytes(8))]:
            assert refused(nbd.REP_ERR_INVALID, peer.option, option, data), (option, data)
        assert peer.list() == sorted(VOLUMES)


def test_unknown_options_are_unsupported(server):
    with server.client() as peer:
        for option in (0, 4, 12, 12345, 0xFFFFFFFF):
            refused(nbd.REP_ERR_UNSUP, peer.option, option, b"whatever")
        peer.go("disk")


def test_starttls_without_certificates_is_against_policy(server):
    with server.client() as peer:
        refused(nbd.REP_ERR_POLICY, peer.option, nbd.OPT_STARTTLS)
        peer.go("disk")


def test_contexts_are_listed_and_set(server):
    with server.client() as peer:
        refused(nbd.REP_ERR_INVALID, peer.meta, nbd.OPT_SET_META_CONTEXT, "disk", "base:")
        refused(nbd.REP_ERR_INVALID, peer.meta, nbd.OPT_LIST_META_CONTEXT, "disk")
        peer.structured()
        every = {"base:allocation"}
        assert set(peer.meta(nbd.OPT_LIST_META_CONTEXT, "disk")) == every
        assert set(peer.meta(nbd.OPT_LIST_META_CONTEXT, "disk", "base:")) == every
        assert set(peer.meta(nbd.OPT_LIST_META_CONTEXT, "disk", "x-a:b",
                             "base:allocation")) == every
        assert peer.meta(nbd.OPT_LIST_META_CONTEXT, "disk", "qemu:dirty-bitmap:", "base:no") == {}
        assert peer.meta(nbd.OPT_SET_META_CONTEXT, "disk") == {}
        assert peer.meta(nbd.OPT_SET_META_CONTEXT, "disk", "base:") == {}
        refused(nbd.REP_ERR_UNKNOWN, peer.meta, nbd.OPT_SET_META_CONTEXT, "gone", "base:allocation")
        assert set(peer.meta(nbd.OPT_SET_META_CONTEXT, "disk", "base:allocation",
                             "x-a:b")) == every
        peer.go("disk")
        peer.block_status(0, 4096)


def test_block_status_needs_the_context_of_this_export(server):
    for mode in (STRUCTURED, EXTENDED):
        with server.client() as peer:
            peer.open("disk", mode)
            fails(nbd.EINVAL, peer.block_status, 0, 4096)
        with server.client() as peer:
            peer.structured() if mode == STRUCTURED else peer.extended()
            peer.meta(nbd.OPT_SET_META_CONTEXT, "small", "base:allocation")
            peer.go("disk")
            fails(nbd.EINVAL, peer.block_status, 0, 4096)


def test_extended_headers_take_the_place_of_structured_replies(server):
    with server.client() as peer:
        peer.structured()
        peer.extended()
        refused(nbd.REP_ERR_EXT_HEADER_REQD, peer.option, nbd.OPT_STRUCTURED_REPLY)
        refused(nbd.REP_ERR_INVALID, peer.option, nbd.OPT_EXTENDED_HEADERS)
        peer.go("disk")
        assert peer.read(0, 4096) is not None


def test_options_that_are_too_long_are_refused_or_cut_off(server):
    with server.client() as peer:
        refused(nbd.REP_ERR_TOO_BIG, peer.option, nbd.OPT_GO, bytes(100000))
        refused(nbd.REP_ERR_TOO_BIG, peer.option, 77, bytes(1 << 20))
        peer.go("disk")
    with server.client() as peer:
        peer.send_option(nbd.OPT_GO, b"", length=0xFFFFFFFF)
        assert peer.is_closed()


def test_options_without_end_are_cut_off(server):
    with server.client() as peer:
        for _ in range(1024):
            refused(nbd.REP_ERR_UNSUP, peer.option, 99)
        with pytest.raises(Closed):
            peer.option(99)


# --- commands

@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["disk", "small"])
def test_what_is_written_is_read(server, mode, name):
    size, sector = VOLUMES[name]
    chance = random.Random(f"{mode} {name}")
    model = bytearray(4 * MIB)
    with server.open(name, mode) as peer:
        peer.write_zeroes(0, len(model))
        for _ in range(150):
            length = sector * chance.choice([1, 1, 2, 3, 7, 8, 9, 64, 300])
            offset = sector * chance.randrange((len(model) - length) // sector)
            act = chance.choice(["write", "write", "zero", "trim", "read", "read"])
            if act == "write":
                data = chance.randbytes(length)
                peer.write(offset, data, chance.choice([0, 0, nbd.FUA]))
                model[offset:offset + length] = data
            elif act == "zero":
                peer.write_zeroes(offset, length, chance.choice([0, nbd.NO_HOLE, nbd.FUA]))
                model[offset:offset + length] = bytes(length)
            elif act == "trim":
                peer.trim(offset, length)
                peer.write_zeroes(offset, length)
                model[offset:offset + length] = bytes(length)
            else:
                assert peer.read(offset, length) == model[offset:offset + length]
        assert peer.read(0, len(model)) == model
        last = os.urandom(sector)
        peer.write(size - sector, last)
        assert peer.read(size - sector, sector) == last


@pytest.mark.parametrize("mode", MODES)
def test_the_largest_requests_work(server, mode):
    data = os.urandom(MIB) * 15 + bytes(2 * MIB) + os.urandom(15 * MIB)
    with server.open(mode=mode) as peer:
        peer.write(4096, data)
        assert peer.read(4096, len(data)) == data
        peer.write(4096, bytes(3 * MIB + 4096))
        assert peer.read(4096, 4 * MIB) == bytes(3 * MIB + 4096) + data[3 * MIB + 4096:4 * MIB]


@pytest.mark.parametrize("mode", MODES)
def test_many_requests_at_once_are_all_answered(server, mode):
    with server.open(mode=mode, name="small") as peer:
        blocks = {}
        for number in range(200):
            blocks[number] = bytes([number]) * 4096
            peer.request(nbd.CMD_WRITE, 0, number * 4096, 0, blocks[number])
        assert all(not reply.error for reply in peer.replies(200).values())
        cookies = {}
        for number in range(200):
            cookies[peer.request(nbd.CMD_READ, 0, number * 4096, 4096)] = number
        for cookie, reply in peer.replies(200).items():
            number = cookies[cookie]
            assert peer.assemble(reply, number * 4096, 4096) == blocks[number]


@pytest.mark.parametrize("mode", MODES)
def test_long_reads_and_short_requests_at_once_keep_their_replies_apart(server, mode):
    """A long read is answered in pieces; a simple reply has no room for another in its midst."""
    data = os.urandom(8 * MIB)
    with server.open(mode=mode) as peer:
        peer.write(0, data)
        for _ in range(10):
            wanted = {}
            for number in range(12):
                offset = number % 4 * MIB + 4096 * number
                length = 3 * MIB if number % 3 == 0 else 4096
                wanted[peer.request(nbd.CMD_READ, 0, offset, length)] = offset, length
                peer.request(nbd.CMD_WRITE, 0, offset, 0, data[offset:offset + 4096])
                peer.request(nbd.CMD_FLUSH)
            replies = peer.replies(36)
            assert not any(reply.error for reply in replies.values())
            for cookie, (offset, length) in wanted.items():
                assert peer.assemble(replies[cookie], offset, length) == \
                    data[offset:offset + length]


@pytest.mark.parametrize("mode", MODES)
def test_empty_requests_do_nothing_and_succeed(server, mode):
    with server.open(mode=mode, context=mode != SIMPLE) as peer:
        for kind in (nbd.CMD_READ, nbd.CMD_TRIM, nbd.CMD_WRITE_ZEROES, nbd.CMD_CACHE):
            assert not peer.call(kind, 0, 4096, 0).chunks
        if mode != EXTENDED:
            peer.call(nbd.CMD_WRITE, 0, 4096, 0)
        if mode != SIMPLE:
            fails(nbd.EINVAL, peer.block_status, 0, 0)


@pytest.mark.parametrize("mode", MODES)
def test_requests_outside_what_is_allowed_get_their_error(server, mode):
    size = VOLUMES["disk"][0]
    with server.open(mode=mode, context=mode != SIMPLE) as peer:
        before = peer.read(size - 4096, 4096)
        fails(nbd.EINVAL, peer.read, size, 4096)
        fails(nbd.EINVAL, peer.read, size - 4096, 8192)
        fails(nbd.EINVAL, peer.read, 2**64 - 4096, 8192)
        fails(nbd.ENOSPC, peer.write, size - 4096, bytes(8192))
        fails(nbd.ENOSPC, peer.write, 2**64 - 4096, bytes(8192))
        fails(nbd.ENOSPC, peer.write_zeroes, size, 4096)
        fails(nbd.EINVAL, peer.trim, size, 4096)
        fails(nbd.EINVAL, peer.cache, size, 4096)
        fails(nbd.EINVAL, peer.read, 1, 4096)
        fails(nbd.EINVAL, peer.read, 0, 512)
        fails(nbd.EINVAL, peer.write, 512, bytes(4096))
        fails(nbd.EINVAL, peer.trim, 0, 100)
        fails(nbd.EOVERFLOW, peer.read, 0, 33 * MIB)
        for kind in (8, 9, 77, 0xFFFF):
            fails(nbd.EINVAL, peer.call, kind)
        fails(nbd.EINVAL, peer.read, 0, 4096, nbd.NO_HOLE)
        fails(nbd.EINVAL, peer.read, 0, 4096, nbd.REQ_ONE)
        fails(nbd.EINVAL, peer.read, 0, 4096, 1 << 15)
        fails(nbd.EINVAL, peer.write, 0, bytes(4096), nbd.FAST_ZERO)
        fails(nbd.EINVAL, peer.trim, 0, 4096, nbd.NO_HOLE)
        fails(nbd.EINVAL, peer.call, nbd.CMD_FLUSH, 0, 4096)
        fails(nbd.EINVAL, peer.call, nbd.CMD_FLUSH, 0, 0, 4096)
        fails(nbd.EINVAL, peer.call, nbd.CMD_FLUSH, nbd.NO_HOLE)
        fails(nbd.EINVAL, peer.call, nbd.CMD_CACHE, nbd.DF, 0, 4096)
        if mode == SIMPLE:
            fails(nbd.EINVAL, peer.read, 0, 4096, nbd.DF)
        if mode != EXTENDED:
            fails(nbd.EINVAL, peer.read, 0, 4096, nbd.PAYLOAD_LEN)
        assert peer.read(size - 4096, 4096) == before, "nothing of it was done"


def test_a_df_read_that_cannot_be_one_chunk_overflows(server):
    with server.open(mode=STRUCTURED) as peer:
        assert len(peer.read(0, MIB, nbd.DF)) == MIB
        fails(nbd.EOVERFLOW, peer.read, 0, 2 * MIB, nbd.DF)


def test_structured_errors_say_why(server):
    with server.open(mode=STRUCTURED) as peer:
        with pytest.raises(nbd.Failed) as failed:
            peer.read(1, 1)
        assert "block size" in failed.value.sentence


def test_reads_of_nothing_are_holes(server):
    for mode in (STRUCTURED, EXTENDED):
        with server.open("wide", mode) as peer:
            chunks = peer.call(nbd.CMD_READ, 0, 4 << 30, MIB).chunks
            assert chunks == [(nbd.CHUNK_HOLE, 4 << 30, MIB)]


def test_extended_lengths_go_beyond_32_bits(server):
    size = VOLUMES["wide"][0]
    with server.open("wide", EXTENDED, context=True) as peer:
        peer.write(6 << 30, os.urandom(4096))
        assert peer.block_status(0, size) == [(6 << 30, 3), (4096, 0), ((2 << 30) - 4096, 3)]
        assert peer.block_status(4 << 30, 4 << 30) == [(2 << 30, 3), (4096, 0),
                                                       ((2 << 30) - 4096, 3)]
        peer.trim(0, size)
        assert peer.block_status(4 << 30, 4 << 30) == [(4 << 30, 3)]
        peer.write_zeroes(0, size, nbd.FAST_ZERO)
        fails(nbd.ENOSPC, peer.write_zeroes, 4096, size)
    with server.open("wide", STRUCTURED, context=True) as peer:
        extents = peer.block_status(0, 3 << 30)
        assert extents == [(3 << 30, 3)]


def test_payloads_where_none_belongs_are_swallowed(server):
    with server.open(mode=EXTENDED, context=True) as peer:
        for kind in (nbd.CMD_READ, nbd.CMD_TRIM, nbd.CMD_FLUSH, nbd.CMD_CACHE,
                     nbd.CMD_WRITE_ZEROES, 99):
            cookie = peer.request(kind, 0, 0, 0, b"x" * 5000)
            assert peer.replies(1)[cookie].error == nbd.EINVAL
        fails(nbd.EINVAL, peer.call, nbd.CMD_WRITE, 0, 0, 4096)
        fails(nbd.EINVAL, peer.call, nbd.CMD_WRITE, nbd.PAYLOAD_LEN, 0, 0)
        for payload in (b"x", b"x" * 8, b"x" * 11, b"x" * 13, b"x" * 16, b"x" * 100000):
            fails(nbd.EINVAL, peer.call, nbd.CMD_BLOCK_STATUS, 0, 0, 0, payload)
        peer.read(0, 4096)


def test_disc_is_obeyed_after_what_was_asked(server):
    with server.open() as peer:
        for number in range(20):
            peer.request(nbd.CMD_WRITE, 0, number * 4096, 0, bytes(4096))
        peer.request(nbd.CMD_DISC)
        assert len(peer.replies(20)) == 20
        assert peer.is_closed()


# --- garbage

def test_garbage_instead_of_client_flags(server):
    for garbage in (b"\xff" * 4, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\0\0\0\4"):
        with server.client(greet=False) as peer:
            peer.receive(18)
            peer.send(garbage)
            assert peer.is_closed()
    assert server.alive()


def test_garbage_instead_of_an_option(server):
    for garbage in (b"\0" * 64, b"\xff" * 64, os.urandom(10000)):
        with server.client() as peer:
            try:
                peer.send(garbage)
            except Closed:
                continue
            assert peer.is_closed()
    assert server.alive()


@pytest.mark.parametrize("mode", MODES)
def test_garbage_instead_of_a_request(server, mode):
    for garbage in (b"\0" * 64, b"\xff" * 64, os.urandom(100000)):
        with server.open(mode=mode) as peer:
            try:
                peer.send(garbage)
            except Closed:
                continue
            assert peer.is_closed()
    with server.open(mode=mode) as peer:
        peer.request(nbd.CMD_READ, 0, 0, 4096, magic=nbd.REQUEST ^ 1)
        assert peer.is_closed()
    assert server.alive()


def test_the_wrong_kind_of_header_ends_the_connection(server):
    with server.open(mode=EXTENDED) as peer:
        peer.request(nbd.CMD_FLUSH, magic=nbd.REQUEST)
        assert peer.is_closed()
    with server.open(mode=STRUCTURED) as peer:
        peer.request(nbd.CMD_FLUSH, magic=nbd.EXTENDED_REQUEST)
        assert peer.is_closed()


@pytest.mark.parametrize("mode", MODES)
def test_a_payload_of_more_than_32_mib_is_cut_off(server, mode):
    with server.open(mode=mode) as peer:
        flags = nbd.PAYLOAD_LEN if mode == EXTENDED else 0
        peer.request(nbd.CMD_WRITE, flags, 0, 32 * MIB + 4096)
        assert peer.is_closed()
    assert server.alive()


def test_clients_that_vanish_leave_nothing_behind(server):
    for cut in range(0, 64, 3):
        peer = server.client()
        peer.structured()
        peer.close()
        with server.open(mode=STRUCTURED) as peer:
            peer.request(nbd.CMD_READ, 0, 0, MIB)
            peer.request(nbd.CMD_WRITE, 0, 0, 0, os.urandom(4096))
            peer.send(struct.pack(">IHHQQI", nbd.REQUEST, 0, nbd.CMD_WRITE, 9, 0, MIB)[:cut])
            peer.send(os.urandom(cut) if cut > 28 else b"")
    rigs.wait_until("every connection is gone",
                    lambda: server.metric("iomesh_nbd_connections") == 0)
    assert server.metric("iomesh_nbd_requests_in_flight") == 0
    assert server.alive()


def test_random_streams_end_in_order(server):
    """Valid beginnings, then noise."""
    chance = random.Random(7)
    for _ in range(60):
        with server.client() as peer:
            try:
                for _ in range(chance.randrange(4)):
                    option = chance.choice([3, 6, 7, 8, 9, 10, 11, 99])
                    peer.send_option(option, chance.randbytes(chance.randrange(60)))
                peer.send(chance.randbytes(chance.randrange(1, 300)))
                peer.peer.shutdown(1)
                while peer.peer.recv(65536):
                    pass
            except (Closed, ConnectionResetError, BrokenPipeError):
                pass
    assert server.alive()


def test_a_handshake_that_takes_too_long_is_ended(rig):
    server = Server(rig, "--handshake-timeout", "2")
    with server.client() as peer:
        assert peer.is_closed()
    assert server.metric("iomesh_nbd_handshakes_timed_out_total") == 1


if __name__ == "__main__":
    rigs.main(__file__)
