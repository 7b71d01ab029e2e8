#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The control socket of a pool that iomesh-nbd owns: what iomesh-cli asks there, who may ask, and
what a client that speaks nonsense can do to the others (nothing)."""

import os
import random
import re
import select
import socket
import stat
import struct
import subprocess
import time

import nbd as libnbd
import pytest

import rig as rigs
from cli_rig import Cli

MIB = rigs.MIB
STATUS, CREATE, LIST, ATTACH = 1, 5, 8, 10


class Served(Cli):
    """A pool of 512 MiB and the iomesh-nbd that owns it."""

    def __init__(self, rig):
        self.pool = rigs.Pool(rig, 512 * MIB)
        super().__init__(self.pool.directory)
        self.socket = self.directory / "control.sock"
        self.pool.serve("--no-scrub")
        self.server = self.pool.server

    def restart(self):
        self.pool.serve("--no-scrub")
        self.server = self.pool.server

    def connect(self):
        peer = socket.socket(socket.AF_UNIX)
        peer.connect(str(self.socket))
        peer.settimeout(rigs.PATIENCE)
        return peer

    def size(self, volume):
        return int(rigs.run("nbdinfo", "--size", self.pool.uri(volume)).stdout)


@pytest.fixture
def served(rig):
    return Served(rig)


def varint(number):
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def field(number, value):
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(value)


def frame(message, version=1):
    return b"IMCS" + struct.pack("<HHI", version, 0, len(message)) + message


def receive(peer, length):
    got = b""
    while len(got) < length:
        more = peer.recv(length - len(got))
        if not more:
            raise EOFError(got)
        got += more
    return got


def answer(peer):
    """The fields of one answer that are numbers or text, by their numbers."""
    head = receive(peer, 12)
    magic, version, zero, length = struct.unpack("<4sHHI", head)
    assert (magic, version, zero) == (b"IMCS", 1, 0)
    message, fields, at = receive(peer, length), {}, 0

    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < length:
        tag = number()
        value = number()
        if tag & 7 == 2:
            value, at = message[at:at + value], at + value
        fields.setdefault(tag >> 3, value)
    return fields


def ask(peer, kind, *more, id_=7):
    peer.sendall(frame(field(1, id_) + field(2, kind) + b"".join(more)))
    fields = answer(peer)
    assert fields[1] == id_
    code = fields.get(2, 0)
    return (code >> 1) ^ -(code & 1), fields.get(3, b"").decode()


# --- what it is for

def test_volumes_come_and_go_while_the_pool_is_served(served):
    assert stat.S_IMODE(served.socket.stat().st_mode) == 0o600
    served("volume", "create", "web", "--size", "10M")
    assert served.size("web") == 10 * MIB
    served("volume", "resize", "web", "--size", "20M")
    assert served.size("web") == 20 * MIB
    served.refused("would shrink", "volume", "resize", "web", "--size", "1M")
    assert served.json("pool", "status")["owner_process"] == served.server.pid
    client = libnbd.NBD()
    client.connect_uri(served.pool.uri("web"))
    assert served.json("volume", "show", "web")["open_count"] == 1
    served.refused('is open.*disconnect', "volume", "delete", "web")
    client.shutdown()
    rigs.wait_until("closed", lambda: served.json("volume", "show", "web")["open_count"] == 0)
    served("volume", "delete", "web")
    assert served.names() == []
    assert rigs.run("nbdinfo", "--size", served.pool.uri("web"), check=False).returncode != 0
    assert served.server.terminate() == 0
    assert not served.socket.exists(), "the socket outlived its owner"


def test_the_same_sentences_as_without_an_owner(served):
    served("volume", "create", "web", "--size", "1M")
    words = [["volume", "create", "web", "--size", "1M"], ["volume", "show", "none"],
             ["volume", "create", "a/b", "--size", "1M"], ["volume", "delete", "x" * 129],
             ["volume", "create", "v", "--size", "5000"], ["volume", "show", ""],
             ["volume", "resize", "web", "--size", "4K"],
             ["volume", "resize", "none", "--size", "4K"]]
    with_owner = [served.refused(".", *each) for each in words]
    assert served.server.terminate() == 0
    assert [served.refused(".", *each) for each in words] == with_owner


def test_a_list_of_many_pages(served):
    """Made over many connections: their transactions share flushes."""
    peers = [served.connect() for _ in range(15)]
    names = [f"volume-{i:04}-" + "n" * 100 for i in range(525)]
    for at in range(0, len(names), len(peers)):
        for peer, name in zip(peers, names[at:]):
            peer.sendall(frame(field(1, 7) + field(2, CREATE) + field(3, name.encode()) +
                               field(4, MIB) + field(5, 4096)))
        assert all(2 not in answer(peer) for peer in peers)
    assert served.names() == names
    assert ask(peers[0], LIST)[0] == 1, "500 of 525: there are more"


def test_a_pool_in_use_is_not_checked(served):
    served.refused(f"in use by process {served.server.pid}", "pool", "check")


def test_a_scrub_is_done_by_the_owner(served, rig):
    served("volume", "create", "web", "--size", "64M")
    data = rig.path("data")
    data.write_bytes(random.randbytes(16 * MIB))
    rigs.run("nbdcopy", data, served.pool.uri("web"))
    assert "4096 blocks checked, none damaged" in served("pool", "scrub", "--rate", "1G")
    assert "goes on in process" in served("pool", "scrub", "--background", "--rate", "1M")
    rigs.wait_until("it runs", lambda: served.json("pool", "status")["scrub"]["running"])
    assert "no scrub runs" in served("pool", "scrub", "--stop")
    assert not served.json("pool", "status")["scrub"]["running"]
    assert served.server.terminate() == 0
    served.refused("no process owns the pool", "pool", "scrub", "--background")
    last = served.json("pool", "status")["scrub"]
    assert last["last_blocks"] == 4096 and last["last_damaged_blocks"] == 0
    assert time.time() - 600 < last["last_ended_ns"] / 1e9 < time.time() + 1
    assert "ago): 16 MiB read, 0 blocks damaged" in served("pool", "status")


def test_a_scrub_that_was_interrupted_goes_on_and_the_next_is_far(served, rig):
    served("volume", "create", "web", "--size", "64M")
    data = rig.path("data")
    data.write_bytes(random.randbytes(16 * MIB))
    rigs.run("nbdcopy", data, served.pool.uri("web"))
    served("pool", "scrub", "--background", "--rate", "4M")

    def passed():
        return served.json("pool", "status")["scrub"]["pass_blocks"]
    rigs.wait_until("some of it is read", lambda: passed() > 1024)
    assert served.server.terminate() == 0
    left = passed()
    assert 1024 < left < 4096
    served.pool.serve("--scrub-rate", "1M", "--scrub-interval", "2")
    rigs.wait_until("it goes on", lambda: served.json("pool", "status")["scrub"]["running"])
    assert served.json("pool", "status")["scrub"]["rate_bytes"] == MIB
    assert served.json("pool", "scrub", "--rate", "1G")["completed"]
    status = served.json("pool", "status")["scrub"]
    assert status["last_blocks"] == 4096
    assert status["checked_blocks"] <= 4096 - left + 512
    assert status["interval_ns"] == 2 * 86400 * 10**9 and status["rate_bytes"] == MIB
    assert "the next begins in 1 d 23 h" in served("pool", "status")


def test_many_ask_at_once(served):
    running = [subprocess.Popen([rigs.program("iomesh-cli"), "--pool", served.url, "volume",
                                 "create", f"v{i:02}", "--size", "1M"], stdout=subprocess.DEVNULL)
               for i in range(24)]
    assert [process.wait(rigs.PATIENCE) for process in running] == [0] * 24
    assert served.names() == [f"v{i:02}" for i in range(24)]


# --- owners that end

def test_the_socket_of_a_killed_owner_is_in_nobodys_way(served):
    served("volume", "create", "web", "--size", "1M")
    served.server.kill()
    assert served.socket.exists()
    assert served.names() == ["web"]
    served("pool", "check")
    served.restart()
    served("volume", "create", "more", "--size", "1M")
    assert served.names() == ["more", "web"]


def test_an_owner_whose_socket_is_gone_is_named_as_in_use(served):
    served.socket.unlink()
    began = time.monotonic()
    served.refused("another process|in use", "volume", "list")
    assert time.monotonic() - began < 60
    assert served.server.running()


def test_connections_that_idle_do_not_keep_the_owner(served):
    peers = [served.connect() for _ in range(5)]
    assert ask(peers[0], STATUS)[0] == 0
    peers[1].sendall(b"IMCS")
    began = time.monotonic()
    assert served.server.terminate() == 0
    assert time.monotonic() - began < 25, "it waited for those that idle"
    assert peers[0].recv(1) == b""


def test_connections_that_idle_or_do_not_read_are_ended(served):
    """30 s of silence, between two requests or within one; 10 s without taking an answer."""
    idle, half, stuck = (served.connect() for _ in range(3))
    assert ask(idle, STATUS)[0] == 0
    half.sendall(b"IMCS")
    stuck.setblocking(False)
    request = frame(field(1, 1) + field(2, STATUS))
    began = time.monotonic()
    while select.select([], [stuck], [], 0.5)[1]:
        stuck.send(request * 1000)
    ended = {}
    poll = select.poll()
    for name, peer in (("idle", idle), ("half", half), ("stuck", stuck)):
        poll.register(peer, select.POLLHUP)  # Whatever there is to read stays unread.
        ended[peer.fileno()] = name
    times = {}
    while len(times) < 3 and time.monotonic() - began < rigs.PATIENCE:
        for descriptor, _ in poll.poll(1000):
            times[ended[descriptor]] = time.monotonic() - began
            poll.unregister(descriptor)
    assert 9 < times["stuck"] < times["idle"], times
    assert 28 < times["idle"] and 28 < times["half"], times
    assert served.names() == []


def test_what_was_flushed_before_a_kill_is_there_after_a_long_replay(served, rig):
    """More records than recovery has slots for: each must be applied."""
    served("volume", "create", "web", "--size", "128M")
    data = rig.path("data")
    data.write_bytes(random.randbytes(100 * MIB))
    rigs.run("nbdcopy", "--flush", data, served.pool.uri("web"))
    served.server.kill()
    served.restart()
    assert served.json("pool", "status")["journal"]["recovered_records"] > 64
    out = rig.path("out")
    rigs.run("nbdcopy", served.pool.uri("web"), out)
    rigs.run("cmp", "-n", 100 * MIB, data, out)


# --- who may

def as_nobody(path, out):
    """In a process of its own: another user connects, asks, and notes what came."""
    os.setgid(65534)
    os.setuid(65534)
    peer = socket.socket(socket.AF_UNIX)
    peer.settimeout(rigs.PATIENCE)
    try:
        peer.connect(path)
        peer.sendall(frame(field(1, 7) + field(2, STATUS)))
        said = f"answered {len(peer.recv(100))}"
    except OSError as error:
        said = type(error).__name__
    os.write(out, said.encode())


def asked_by_nobody(path):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            as_nobody(str(path), writer)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        return pipe.read()


def test_another_user_is_turned_away_twice(served):
    """By the modes of socket and pool, and by the owner, which asks the kernel who it is."""
    for path, mode in ((served.socket, 0o600), (served.directory / "store", 0o600),
                       (served.directory, 0o700)):
        assert stat.S_IMODE(path.stat().st_mode) == mode, path
        assert path.stat().st_uid == os.getuid(), path
    if os.getuid() != 0:
        return  # Only root can be somebody else.
    for directory in (served.directory, *served.directory.parents[:1]):
        directory.chmod(0o755)
    assert asked_by_nobody(served.socket) == "PermissionError"
    served.socket.chmod(0o666)
    assert asked_by_nobody(served.socket) in ("answered 0", "ConnectionResetError",
                                              "BrokenPipeError")
    assert "user 65534 was turned away" in served.server.output()
    assert served.names() == []


# --- nonsense

@pytest.mark.parametrize("bytes_, code, pattern", [
    (b"GET / HTTP/1.0\r\n\r\n", -71, "not of iomesh"),
    (frame(b"", version=2), -5004, "speaks version 2, this one 1"),
    (b"IMCS" + struct.pack("<HHI", 1, 0, 12289), -90, "12289 bytes"),
    (b"IMCS" + struct.pack("<HHI", 1, 0, 0xFFFFFFFF), -90, "4294967295 bytes"),
    (b"IMCS" + struct.pack("<HHI", 1, 1, 0), -71, "broken head"),
    (frame(b"\xff" * 100), -71, "cannot be read"),
])
def test_nonsense_is_answered_once_and_ended(served, bytes_, code, pattern):
    peer = served.connect()
    peer.sendall(bytes_)
    fields = answer(peer)
    said = fields[3].decode()
    assert (fields[2] >> 1) ^ -(fields[2] & 1) == code
    assert re.search(pattern, said), said
    # What was not read makes it a reset.
    try:
        assert peer.recv(1) == b""
    except ConnectionResetError:
        pass
    assert served.names() == []


def test_what_is_not_known_or_not_built_is_refused_and_the_connection_goes_on(served):
    peer = served.connect()
    code, sentence = ask(peer, 99)
    assert code == -95 and "request 99" in sentence
    code, sentence = ask(peer, ATTACH, field(3, b"web"))
    assert code == -95 and "not built yet" in sentence
    code, sentence = ask(peer, CREATE, field(3, b"web"), field(4, MIB), field(31, 1))
    assert code == -95 and "says more" in sentence
    code, sentence = ask(peer, CREATE, field(3, b"web"), field(4, MIB), field(6, 1))
    assert code == -22 and "flags" in sentence
    assert served.names() == [], "a request was half done"
    assert ask(peer, STATUS)[0] == 0


def test_a_request_may_come_in_single_bytes_and_two_in_one_piece(served):
    peer = served.connect()
    for byte in frame(field(1, 9) + field(2, STATUS)):
        peer.sendall(bytes([byte]))
    assert answer(peer)[1] == 9
    peer.sendall(frame(field(1, 10) + field(2, STATUS)) + frame(field(1, 11) + field(2, LIST)))
    assert [answer(peer)[1], answer(peer)[1]] == [10, 11]


def test_more_connections_than_are_served_wait_their_turn(served):
    peers = [served.connect() for _ in range(16)]
    for peer in peers:
        assert ask(peer, STATUS)[0] == 0
    waiting = subprocess.Popen([rigs.program("iomesh-cli"), "--pool", served.url, "volume", "list"],
                               stdout=subprocess.DEVNULL)
    time.sleep(0.5)
    assert waiting.poll() is None, "a seventeenth was served"
    peers.pop().close()
    assert waiting.wait(rigs.PATIENCE) == 0


def test_garbage_of_any_kind_hurts_nobody(served):
    chance = random.Random(5)
    for _ in range(300):
        peer = served.connect()
        body = chance.randbytes(chance.randrange(0, 200))
        peer.sendall(frame(body) if chance.randrange(2) else body)
        peer.close()
    assert served.names() == [] and served.server.running()
    served("volume", "create", "web", "--size", "1M")


if __name__ == "__main__":
    rigs.main(__file__)
