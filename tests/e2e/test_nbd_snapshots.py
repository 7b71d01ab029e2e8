#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Snapshots as exports, and what has changed since them, over NBD: the protocol's own words."""

import os
import random

import pytest

import rig as rigs
from nbd_protocol import client as nbd
from nbd_protocol.client import EXTENDED, SIMPLE, SINCE, STRUCTURED, Closed, Refused
from nbd_protocol.features import BLOCK, HOLE, ZERO, fails
from nbd_protocol.server import VOLUMES, Server

MIB = rigs.MIB
MODES = [SIMPLE, STRUCTURED, EXTENDED]
DISK = VOLUMES["disk"][0]
CHANGED = nbd.CHANGED


@pytest.fixture(name="server")
def one_server(rig):
    server = Server(rig)
    yield server
    server.stop()


def refused(kind, call, *arguments):
    with pytest.raises(Refused) as told:
        call(*arguments)
    assert told.value.type == kind
    return told.value.sentence


def write(server, offset, data, name="disk"):
    with server.open(name) as peer:
        for at in range(0, len(data), 16 * MIB):
            peer.write(offset + at, data[at:at + 16 * MIB])


def read(server, offset, length, name="disk"):
    with server.open(name) as peer:
        return peer.read(offset, length)


# --- exports

def test_each_snapshot_is_listed_after_its_volume(server):
    for name in ("disk@b", "wide@\u00fcber", "disk@a", "small@one two"):
        server.snapshot(name)
    with server.client() as peer:
        assert peer.list() == ["disk", "disk@b", "disk@a", "small", "small@one two", "wide",
                               "wide@\u00fcber"]
        assert peer.list()[0] == "disk", "and again"
        for name in peer.list():
            assert peer.info(name).size == VOLUMES[name.split("@")[0]][0]


def test_of_many_snapshots_the_newest_hundred_are_listed_and_all_can_be_opened(server):
    names = [f"disk@{number:0128}" for number in range(103)]
    for name in names:
        server.snapshot(name)
    server.snapshot("small@s")
    with server.client() as peer:
        assert peer.list() == ["disk", *names[3:], "small", "small@s", "wide"]
        assert peer.go(names[0]).flags & nbd.READ_ONLY
    with server.client() as peer:
        peer.structured()
        every = {SINCE + name.split("@")[1] for name in names}
        assert set(peer.meta(nbd.OPT_LIST_META_CONTEXT, "disk", "iomesh:")) == every


@pytest.mark.parametrize("mode", MODES)
def test_a_snapshot_shows_what_the_volume_held(server, mode):
    chance = random.Random(mode)
    data = chance.randbytes(2 * MIB)
    write(server, 0, data)
    server.snapshot("disk@one")
    later = chance.randbytes(MIB)
    write(server, MIB // 2, later)
    server.snapshot("disk@two")
    write(server, 0, bytes(2 * MIB))
    both = data[:MIB // 2] + later + data[MIB // 2 + MIB:]
    with server.open("disk@one", mode) as one, server.open("disk@two", mode) as two:
        assert one.read(0, 2 * MIB) == data
        assert two.read(0, 2 * MIB) == both
        assert one.read(DISK - BLOCK, BLOCK) == bytes(BLOCK)
        write(server, 0, os.urandom(2 * MIB))
        assert one.read(0, 2 * MIB) == data
        assert two.read(0, 2 * MIB) == both


@pytest.mark.parametrize("name", ["disk", "small"])
def test_info_and_go_tell_the_same_of_a_snapshot(server, name):
    size, sector = VOLUMES[name]
    server.snapshot(f"{name}@now")
    with server.client() as peer:
        peer.info(f"{name}@now", (nbd.INFO_NAME,))
        told = peer.size, peer.flags, peer.block_sizes, peer.name
        assert told[0] == size and told[2] == (sector, 4096, 32 * MIB)
        assert peer.name == f"{name}@now"
        assert peer.flags & nbd.READ_ONLY and peer.flags & nbd.CAN_MULTI_CONN
        assert not peer.flags & (nbd.SEND_TRIM | nbd.SEND_WRITE_ZEROES | nbd.SEND_FUA)
        peer.go(f"{name}@now", (nbd.INFO_NAME,))
        assert told == (peer.size, peer.flags, peer.block_sizes, peer.name)


@pytest.mark.parametrize("mode", MODES)
def test_nothing_can_be_written_to_a_snapshot(server, mode):
    data = os.urandom(MIB)
    write(server, 0, data)
    server.snapshot("disk@one")
    with server.open("disk@one", mode) as peer:
        # FUA is not advertised, so it is no flag that goes with anything here.
        fails(nbd.EPERM, peer.write, 0, bytes(BLOCK))
        fails(nbd.EPERM, peer.trim, 0, BLOCK)
        fails(nbd.EPERM, peer.write_zeroes, 0, BLOCK)
        fails(nbd.EPERM, peer.write_zeroes, 0, DISK, nbd.FAST_ZERO)
        peer.flush()
        peer.cache(0, DISK)
        assert peer.read(0, MIB) == data
    assert read(server, 0, MIB) == data


def test_old_clients_open_snapshots_by_export_name(server):
    write(server, 0, b"x" * BLOCK)
    server.snapshot("disk@one")
    with server.client() as peer:
        peer.export_name("disk@one")
        assert peer.size == DISK and peer.flags & nbd.READ_ONLY
        assert peer.read(0, BLOCK) == b"x" * BLOCK


def test_a_snapshot_may_be_the_default_export(rig):
    server = Server(rig)
    server.snapshot("disk@one")
    server.stop()
    server.words += ["--default-export", "disk@one"]
    server.start()
    with server.client() as peer:
        peer.structured()
        assert list(peer.meta(nbd.OPT_SET_META_CONTEXT, "", "base:allocation"))
        peer.go("", (nbd.INFO_NAME,))
        assert peer.flags & nbd.READ_ONLY and peer.size == DISK
        assert peer.block_status(0, BLOCK)
    server.stop()


def test_names_that_no_snapshot_has_are_refused_in_words(server):
    server.snapshot("disk@one")
    with server.client() as peer:
        peer.structured()
        for name in ("disk@", "disk@two", "@", "@one", "gone@one", "small@one", "disk@one@one",
                     "disk@@one", "disk/@one", "disk@o/ne", "disk@" + "x" * 128,
                     "disk@" + "x" * 129, "x" * 129 + "@one", "x" * 128 + "@" + "x" * 128,
                     "disk@on\te"):
            for option in (nbd.OPT_INFO, nbd.OPT_GO):
                assert refused(nbd.REP_ERR_UNKNOWN, peer.info, name, (), option)
            for option in (nbd.OPT_LIST_META_CONTEXT, nbd.OPT_SET_META_CONTEXT):
                for query in ("base:allocation", SINCE + "one"):
                    assert refused(nbd.REP_ERR_UNKNOWN, peer.meta, option, name, query)
        peer.go("disk@one")
    for name in ("disk@two", "@", "disk@one@one"):
        with server.client() as peer:
            peer.send_option(nbd.OPT_EXPORT_NAME, name.encode())
            assert peer.is_closed()


def test_a_snapshot_that_is_connected_is_not_deleted(server):
    data = os.urandom(BLOCK)
    write(server, 0, data)
    server.snapshot("disk@one")
    write(server, 0, bytes(BLOCK))
    with server.open("disk@one") as peer:
        done = server.pool.cli("snapshot", "delete", "disk@one", check=False)
        assert done.returncode == 1 and "disk@one" in done.stdout and "is open" in done.stdout
        assert done.stdout.count("\n") == 1
        assert peer.read(0, BLOCK) == data
        peer.disconnect()

    def deleted():
        return server.pool.cli("snapshot", "delete", "disk@one", check=False).returncode == 0
    rigs.wait_until("the snapshot is let go", deleted)
    with server.client() as peer:
        assert refused(nbd.REP_ERR_UNKNOWN, peer.info, "disk@one")
        assert peer.list() == sorted(VOLUMES)


def test_a_volume_that_grew_is_larger_for_new_connections_and_not_in_its_snapshots(server):
    with server.open() as old:
        server.snapshot("disk@small")
        server.pool.cli("volume", "resize", "disk", "--size", str(2 * DISK))
        fails(nbd.EINVAL, old.read, DISK, BLOCK)
        with server.open() as peer:
            assert peer.size == 2 * DISK
            peer.write(2 * DISK - BLOCK, b"z" * BLOCK)
            assert peer.read(2 * DISK - BLOCK, BLOCK) == b"z" * BLOCK
        old.write(0, b"y" * BLOCK)
        server.snapshot("disk@large")
    for name, size in (("disk@small", DISK), ("disk@large", 2 * DISK)):
        with server.client() as peer:
            assert peer.info(name).size == size
        with server.open(name) as peer:
            assert peer.size == size
            fails(nbd.EINVAL, peer.read, size, BLOCK)
    assert read(server, 2 * DISK - BLOCK, BLOCK, "disk@large") == b"z" * BLOCK
    with server.open("disk@large", EXTENDED, since=["small"]) as peer:
        assert peer.changed(0, peer.size, "small") == [(0, BLOCK), (2 * DISK - BLOCK, BLOCK)]


# --- contexts

def test_contexts_of_snapshots_are_listed_and_set(server):
    for name in ("disk@a", "disk@b", "small@s"):
        server.snapshot(name)
    with server.client() as peer:
        refused(nbd.REP_ERR_INVALID, peer.meta, nbd.OPT_SET_META_CONTEXT, "disk", SINCE + "a")
        peer.structured()

        def listed(name, *queries):
            found = peer.meta(nbd.OPT_LIST_META_CONTEXT, name, *queries)
            assert not any(found.values())
            return set(found)

        def chosen(name, *queries):
            return set(peer.meta(nbd.OPT_SET_META_CONTEXT, name, *queries))
        both = {SINCE + "a", SINCE + "b"}
        assert listed("disk") == both | {"base:allocation"}
        assert listed("disk", "iomesh:") == both
        assert listed("disk", SINCE) == both
        assert listed("disk", SINCE + "b", "base:") == {SINCE + "b", "base:allocation"}
        assert listed("disk", SINCE + "s", "iomesh:changed", "iomesh", "qemu:") == set()
        assert listed("wide", "iomesh:") == set()
        assert listed("disk@b", "iomesh:") == {SINCE + "a"}, "b is no older than itself"
        assert listed("disk@a") == {"base:allocation"}
        assert chosen("disk") == set()
        assert chosen("disk", "iomesh:", SINCE) == set(), "they stand for nothing when setting"
        assert chosen("disk", SINCE + "gone", SINCE + "a") == {SINCE + "a"}
        assert chosen("disk@a", SINCE + "a", SINCE + "b") == set()
        assert chosen("disk", SINCE + "b", "base:allocation", SINCE + "a") == \
            both | {"base:allocation"}
        sentence = refused(nbd.REP_ERR_TOO_BIG, peer.meta, nbd.OPT_SET_META_CONTEXT, "disk",
                           *(f"{SINCE}{number}" for number in range(16)))
        assert "15" in sentence
        peer.go("disk")
        fails(nbd.EINVAL, peer.statuses, 0, BLOCK)


def fill(server, chance):
    """Three states of the disk, the first two in snapshots a and b: the ranges that changed."""
    write(server, 0, chance.randbytes(8 * MIB))
    server.snapshot("disk@a")
    first = [(MIB, 4 * BLOCK), (3 * MIB - BLOCK, 2 * BLOCK), (32 * MIB, MIB)]
    for offset, length in first:
        write(server, offset, chance.randbytes(length))
    server.snapshot("disk@b")
    second = [(0, BLOCK), (MIB + 4 * BLOCK, BLOCK), (40 * MIB, 3 * MIB)]
    for offset, length in second:
        write(server, offset, chance.randbytes(length))
    return first, second


def merged(ranges):
    found = []
    for offset, length in sorted(ranges):
        if found and sum(found[-1]) == offset:
            found[-1] = (found[-1][0], found[-1][1] + length)
        else:
            found.append((offset, length))
    return found


@pytest.mark.parametrize("mode", [STRUCTURED, EXTENDED])
def test_what_changed_since_each_of_several_snapshots_in_one_answer(server, mode):
    first, second = fill(server, random.Random(mode))
    with server.open("disk", mode, context=True, since=["b", "a"]) as peer:
        told = peer.statuses(0, DISK)
        assert set(told) == {"base:allocation", SINCE + "a", SINCE + "b"}
        for extents in told.values():
            assert sum(length for length, _ in extents) == DISK
        assert peer.changed(0, DISK, "a") == merged(first + second)
        assert peer.changed(0, DISK, "b") == merged(second)
        assert peer.changed(MIB + BLOCK, 4 * BLOCK, "a") == [(MIB + BLOCK, 4 * BLOCK)]
        one = peer.statuses(0, DISK, nbd.REQ_ONE)
        assert all(len(extents) == 1 for extents in one.values()) and len(one) == 3
        assert one[SINCE + "b"] == [(BLOCK, CHANGED)]
        peer.trim(0, BLOCK)
        peer.write_zeroes(40 * MIB, MIB)
        assert peer.changed(0, DISK, "b") == merged(second), "what was discarded has changed too"
        assert peer.block_status(0, BLOCK) == [(BLOCK, HOLE | ZERO)]
    with server.open("disk@b", mode, since=["a"]) as peer:
        assert peer.changed(0, DISK, "a") == merged(first)
        assert set(peer.statuses(0, DISK)) == {SINCE + "a"}


def test_a_payload_filters_contexts_of_snapshots(server):
    fill(server, random.Random(1))
    with server.open("disk", EXTENDED, context=True, since=["a", "b"]) as peer:
        assert peer.flags & nbd.BLOCK_STATUS_PAYLOAD
        every = peer.statuses(0, DISK)
        for wanted in ([SINCE + "a"], ["base:allocation"], [SINCE + "b", "base:allocation"]):
            assert peer.statuses(0, DISK, 0, wanted) == {name: every[name] for name in wanted}
        fails(nbd.EINVAL, peer.statuses, 0, DISK, 0, [SINCE + "a", SINCE + "a"])
        fails(nbd.EINVAL, peer.statuses, 0, 2 * DISK, 0, [SINCE + "a"])


def test_the_context_of_a_snapshot_belongs_to_one_export(server):
    fill(server, random.Random(2))
    for mode in (STRUCTURED, EXTENDED):
        with server.client() as peer:
            peer.structured() if mode == STRUCTURED else peer.extended()
            peer.meta(nbd.OPT_SET_META_CONTEXT, "disk@b", SINCE + "a")
            peer.go("disk")
            fails(nbd.EINVAL, peer.statuses, 0, BLOCK)


def test_more_than_4_gib_unchanged_is_told_in_each_kind_of_header(server):
    server.snapshot("wide@a")
    size = VOLUMES["wide"][0]
    write(server, 6 << 30, os.urandom(BLOCK), "wide")
    with server.open("wide", EXTENDED, since=["a"]) as peer:
        assert peer.changed(0, size, "a") == [(6 << 30, BLOCK)]
    with server.open("wide", STRUCTURED, since=["a"]) as peer:
        assert peer.statuses(0, 3 << 30) == {SINCE + "a": [(3 << 30, 0)]}
        assert peer.statuses(5 << 30, 3 << 30) == {
            SINCE + "a": [(1 << 30, 0), (BLOCK, CHANGED), ((2 << 30) - BLOCK, 0)]}


def test_a_snapshot_that_goes_before_the_export_is_chosen_is_missed(server):
    server.snapshot("disk@a")
    with server.client() as peer:
        peer.structured()
        assert peer.meta(nbd.OPT_SET_META_CONTEXT, "disk", SINCE + "a")
        server.pool.cli("snapshot", "delete", "disk@a")
        server.snapshot("disk@a")
        assert "gone" in refused(nbd.REP_ERR_UNKNOWN, peer.go, "disk")
        assert peer.meta(nbd.OPT_SET_META_CONTEXT, "disk", SINCE + "a")
        peer.go("disk")
        assert peer.changed(0, DISK, "a") == []
    with server.client() as peer:
        peer.structured()
        assert peer.meta(nbd.OPT_SET_META_CONTEXT, "disk", SINCE + "a")
        server.pool.cli("snapshot", "delete", "disk@a")
        with pytest.raises(Closed):
            peer.export_name("disk")


def test_a_snapshot_deleted_under_a_client_changes_no_answer_of_its_context(server):
    first, second = fill(server, random.Random(3))
    with server.open("disk", EXTENDED, since=["a"]) as peer:
        server.pool.cli("snapshot", "delete", "disk@a")
        assert peer.changed(0, DISK, "a") == merged(first + second)
        peer.write(20 * MIB, os.urandom(BLOCK))
        assert peer.changed(0, DISK, "a") == merged(first + second + [(20 * MIB, BLOCK)])


# --- clones

@pytest.mark.parametrize("mode", [STRUCTURED, EXTENDED])
def test_what_the_parent_fills_is_data_in_a_clone(server, mode):
    data = os.urandom(2 * MIB)
    write(server, MIB, data)
    with server.open() as peer:
        peer.trim(MIB + BLOCK, BLOCK)
    server.snapshot("disk@a")
    server.pool.cli("volume", "clone", "disk@a", "child")
    write(server, 8 * MIB, os.urandom(MIB))
    expected = [(MIB, HOLE | ZERO), (BLOCK, 0), (BLOCK, HOLE | ZERO), (2 * MIB - 2 * BLOCK, 0),
                (DISK - 3 * MIB, HOLE | ZERO)]
    with server.open("child", mode, context=True) as peer:
        assert peer.block_status(0, DISK) == expected
        assert peer.read(MIB + 2 * BLOCK, BLOCK) == data[2 * BLOCK:3 * BLOCK]
        peer.write(4 * MIB, os.urandom(BLOCK))
        peer.trim(2 * MIB, BLOCK)
        assert peer.block_status(0, DISK) == expected[:3] + [
            (MIB - 2 * BLOCK, 0), (BLOCK, HOLE | ZERO), (MIB - BLOCK, 0), (MIB, HOLE | ZERO),
            (BLOCK, 0), (DISK - 4 * MIB - BLOCK, HOLE | ZERO)]
        assert peer.read(2 * MIB, BLOCK) == bytes(BLOCK)
    server.snapshot("child@s")
    server.pool.cli("volume", "clone", "child@s", "grandchild")
    with server.open("grandchild", mode, context=True) as peer:
        assert peer.block_status(0, 4 * MIB)[1] == (BLOCK, 0)
        assert peer.read(MIB + 2 * BLOCK, BLOCK) == data[2 * BLOCK:3 * BLOCK]


if __name__ == "__main__":
    rigs.main(__file__)
