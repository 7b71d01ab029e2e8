# SPDX-License-Identifier: Apache-2.0
"""One check per thing that iomesh-nbd advertises. Each must fail when the thing does nothing:
test_nbd_flags.py runs it against a build in which it does."""

import os

from nbd_protocol import client as nbd
from nbd_protocol.client import EXTENDED, SIMPLE, STRUCTURED

BLOCK = 4096
RUN = 64 * 1024  # Longer than what a reply would not bother to call a hole.
ROUNDS = 20

HOLE, ZERO = 1, 2


def fails(error, call, *arguments):
    try:
        call(*arguments)
    except nbd.Failed as failed:
        assert failed.error == error, failed
        return
    raise AssertionError(f"it worked: error {error} was due")


def read(server):
    data = os.urandom(BLOCK)
    for mode in (SIMPLE, STRUCTURED, EXTENDED):
        with server.open(mode=mode) as peer:
            peer.write(BLOCK, data)
            assert peer.read(BLOCK, BLOCK) == data


write = read


def flushes(server, act):
    """Device flushes per act; the store also flushes by itself, once a second."""
    before = server.metric("iomesh_device_flushes_total")
    for number in range(ROUNDS):
        act(number)
    return (server.metric("iomesh_device_flushes_total") - before) / ROUNDS


def flush(server):
    with server.open() as peer:
        assert peer.flags & nbd.SEND_FLUSH

        def act(number):
            peer.write(number * BLOCK, os.urandom(BLOCK))
            peer.flush()
        assert flushes(server, act) >= 0.8


def fua(server):
    with server.open() as peer:
        assert peer.flags & nbd.SEND_FUA
        assert flushes(server, lambda number: peer.write(
            number * BLOCK, os.urandom(BLOCK), nbd.FUA)) >= 0.8
        assert flushes(server, lambda number: peer.write_zeroes(
            number * BLOCK, BLOCK, nbd.FUA)) >= 0.8
        for number in range(ROUNDS):
            peer.write(number * BLOCK, os.urandom(BLOCK))
        assert flushes(server, lambda number: peer.trim(number * BLOCK, BLOCK, nbd.FUA)) >= 0.8


def multi_conn(server):
    with server.open() as writer, server.open() as flusher:
        assert writer.flags & nbd.CAN_MULTI_CONN

        def act(number):
            writer.write(number * BLOCK, os.urandom(BLOCK))
            flusher.flush()
        assert flushes(server, act) >= 0.8
        data = os.urandom(BLOCK)
        writer.write(0, data)
        assert flusher.read(0, BLOCK) == data


def flags_of(extents):
    """The flags of the first extent."""
    return extents[0][1]


def trim(server):
    with server.open(mode=STRUCTURED, context=True) as peer:
        assert peer.flags & nbd.SEND_TRIM
        peer.write(0, os.urandom(RUN))
        assert flags_of(peer.block_status(0, RUN)) == 0
        peer.trim(0, RUN)
        assert peer.read(0, RUN) == bytes(RUN)
        assert flags_of(peer.block_status(0, RUN)) == HOLE | ZERO


def write_zeroes(server):
    with server.open(mode=STRUCTURED, context=True) as peer:
        assert peer.flags & nbd.SEND_WRITE_ZEROES
        data = os.urandom(3 * BLOCK)
        peer.write(0, data)
        peer.write_zeroes(BLOCK, BLOCK)
        assert peer.read(0, 3 * BLOCK) == data[:BLOCK] + bytes(BLOCK) + data[2 * BLOCK:]


def no_hole(server):
    with server.open(mode=STRUCTURED, context=True) as peer:
        peer.write_zeroes(0, RUN, nbd.NO_HOLE)
        assert peer.read(0, RUN) == bytes(RUN)
        assert not flags_of(peer.block_status(0, RUN)) & HOLE
        peer.write_zeroes(0, RUN)
        assert flags_of(peer.block_status(0, RUN)) & HOLE


def fast_zero(server):
    with server.open() as peer:
        assert peer.flags & nbd.SEND_FAST_ZERO
        data = os.urandom(RUN)
        peer.write(0, data)
        fails(nbd.ENOTSUP, peer.write_zeroes, 0, RUN, nbd.FAST_ZERO | nbd.NO_HOLE)
        assert peer.read(0, RUN) == data, "refused, and yet changed"
        peer.write_zeroes(0, RUN, nbd.FAST_ZERO)
        assert peer.read(0, RUN) == bytes(RUN)


def df(server):
    for mode in (STRUCTURED, EXTENDED):
        with server.open(mode=mode) as peer:
            assert peer.flags & nbd.SEND_DF
            peer.write_zeroes(0, 3 * RUN)
            peer.write(0, os.urandom(BLOCK))
            peer.write(2 * RUN, os.urandom(BLOCK))
            assert len(peer.call(nbd.CMD_READ, 0, 0, 3 * RUN).chunks) > 1
            chunks = peer.call(nbd.CMD_READ, nbd.DF, 0, 3 * RUN).chunks
            assert [chunk[0] for chunk in chunks] == [nbd.CHUNK_DATA]


def cache(server):
    """After CACHE, reading the range finds every page in memory."""
    with server.open("wide") as peer:
        assert peer.flags & nbd.SEND_CACHE
        for number in range(ROUNDS):
            peer.write(number * 1024 * BLOCK, os.urandom(BLOCK))
        peer.disconnect()
    server.restart()
    with server.open("wide") as peer:
        before = server.metric("iomesh_cache_misses_total")
        peer.cache(0, ROUNDS * 1024 * BLOCK)
        cached = server.metric("iomesh_cache_misses_total")
        for number in range(ROUNDS):
            peer.read(number * 1024 * BLOCK, BLOCK)
        after = server.metric("iomesh_cache_misses_total")
        assert cached > before, "CACHE brought nothing in"
        assert after == cached, "reading still missed"


def block_status(server):
    for mode in (STRUCTURED, EXTENDED):
        with server.open(mode=mode, context=True) as peer:
            peer.trim(0, 4 * RUN)
            peer.write(RUN, os.urandom(RUN))
            extents = peer.block_status(0, 4 * RUN)
            assert extents == [(RUN, HOLE | ZERO), (RUN, 0), (2 * RUN, HOLE | ZERO)]


def req_one(server):
    with server.open(mode=STRUCTURED, context=True) as peer:
        peer.trim(0, 4 * RUN)
        peer.write(RUN, os.urandom(RUN))
        assert peer.block_status(0, 4 * RUN, nbd.REQ_ONE) == [(RUN, HOLE | ZERO)]
        assert peer.block_status(0, BLOCK, nbd.REQ_ONE) == [(BLOCK, HOLE | ZERO)]


def status_payload(server):
    with server.open(mode=EXTENDED, context=True) as peer:
        assert peer.flags & nbd.BLOCK_STATUS_PAYLOAD
        peer.trim(0, 4 * RUN)
        peer.write(RUN, os.urandom(RUN))
        wanted = (2 * RUN).to_bytes(8, "big") + peer.context.to_bytes(4, "big")
        extents = peer.call(nbd.CMD_BLOCK_STATUS, 0, 0, 0, wanted).statuses[peer.context]
        assert extents == [(RUN, HOLE | ZERO), (RUN, 0)]
        other = (2 * RUN).to_bytes(8, "big") + (peer.context + 1).to_bytes(4, "big")
        fails(nbd.EINVAL, peer.call, nbd.CMD_BLOCK_STATUS, 0, 0, 0, other)


def changed_since(server):
    with server.open() as peer:
        peer.write(0, os.urandom(4 * RUN))
    server.snapshot("disk@before")
    for mode in (STRUCTURED, EXTENDED):
        with server.open(mode=mode, since=["before"]) as peer:
            peer.write(RUN, os.urandom(RUN))
            assert peer.changed(0, 4 * RUN, "before") == [(RUN, RUN)]


# By the name that a planted build knows (see PLANTED in frontends/nbd).
ALL = {"read": read, "write": write, "flush": flush, "fua": fua, "multi-conn": multi_conn,
       "trim": trim, "write-zeroes": write_zeroes, "no-hole": no_hole, "fast-zero": fast_zero,
       "df": df, "cache": cache, "block-status": block_status, "req-one": req_one,
       "status-payload": status_payload, "changed-since": changed_since}
