# SPDX-License-Identifier: Apache-2.0
"""A load on a volume that knows, for each block, which of its values may be read.

The ledger is about the volume, whoever serves it; loads are connections to it, over one server or
over several that follow each other. Every 4 KiB block says which write made it. A block may show

  - the last acknowledged write, or one under way, or one whose answer never came;
  - never again anything that a read has un-seen: what a read has shown ends every other doubt;
  - after the power went everywhere, also what was acknowledged but not flushed, and what came
    before it back to the last flush that was answered.

A block has at most one write under way, so the writes of a block have an order."""

import collections
import errno
import random
import select
import struct
import threading
import time

import nbd

BLOCK = 4096
MAGIC = b"imcl"


def stamp(block, version):
    """The contents that a write gives a block; version 0: never written."""
    if version == 0:
        return bytes(BLOCK)
    mixed = version * 0x9E3779B97F4A7C15 & (1 << 64) - 1
    return struct.pack("<4sIQQQ", MAGIC, version, block, mixed, block ^ version << 32) * 128


def version_of(block, data):
    """Which write made these contents; None if none did: a mixture, or another block's."""
    magic, version = struct.unpack_from("<4sI", data)
    version = version if magic == MAGIC else 0
    return version if data == stamp(block, version) else None


class Block:
    """May show any of `valid`; `writing` is under way; `kept`: what a power cut may bring back."""

    __slots__ = ("valid", "writing", "kept", "issued", "missed")

    def __init__(self):
        self.valid = {0}
        self.writing = None
        self.kept = [0]
        self.issued = 0
        self.missed = set()  # In doubt, and a read has shown that they did not happen.

    def readable(self):
        return self.valid | {self.writing} if self.writing else set(self.valid)


class Ledger:
    def __init__(self, blocks):
        self.blocks = [Block() for _ in range(blocks)]
        self.lock = threading.Lock()
        self.complaints = []

    def complain(self, text):
        self.complaints.append(text)

    def must_be_true(self):
        assert not self.complaints, "\n".join(self.complaints[:5])

    # --- writes

    def begin_write(self, at):
        block = self.blocks[at]
        assert block.writing is None
        block.issued += 1
        block.writing = block.issued
        block.kept.append(block.issued)
        return block.issued

    def end_write(self, at, version, acknowledged, durable=False):
        block = self.blocks[at]
        if block.writing != version:  # Given up on by then.
            if acknowledged and version in block.missed:
                self.complain(f"block {at}: write {version} was acknowledged after a read had "
                              "shown that it did not happen")
            return
        block.writing = None
        if not acknowledged:
            block.valid.add(version)
            return
        block.valid = {version}
        if durable:
            self.flushed({at: version})

    def give_up(self, versions):
        """Writes whose answer nobody waits for any more: {block: version}."""
        for at, version in versions.items():
            if self.blocks[at].writing == version:
                self.end_write(at, version, False)

    # --- reads

    def begin_read(self, at):
        """What it may show, and the writes issued so far: later ones may be shown as well."""
        return self.blocks[at].readable(), self.blocks[at].issued

    def end_read(self, at, began, data, who=""):
        block = self.blocks[at]
        allowed, issued = began
        version = version_of(at, data)
        if version is None:
            told = struct.unpack_from("<4sIQ", data)
            self.complain(f"block {at}{who}: contents that no write made: begins {told}, last of "
                          f"it {struct.unpack_from('<4sIQ', data, BLOCK - 32)}")
        elif version not in allowed and not issued < version <= block.issued:
            self.complain(f"block {at}{who}: shows write {version}; may show {sorted(allowed)} "
                          f"(issued {block.issued}, under way {block.writing})")
        elif version in block.readable():
            block.missed |= {other for other in block.valid if other > version}
            block.valid = {version}
            block.kept = [other for other in block.kept
                          if other <= version or other == block.writing]

    # --- flushes and power

    def begin_flush(self):
        """What is acknowledged by now: {block: version}. It is kept once the flush is answered."""
        return {at: next(iter(block.valid)) for at, block in enumerate(self.blocks)
                if len(block.kept) > 1 and len(block.valid) == 1}

    def flushed(self, marks):
        for at, version in marks.items():
            block = self.blocks[at]
            block.kept = [other for other in block.kept if other >= version] or [version]

    def power_cut(self):
        """Everywhere at once, while nothing is under way."""
        for block in self.blocks:
            assert block.writing is None
            block.valid = set(block.kept)


class Load:
    """One thread, some connections to one server, some requests under way."""

    def __init__(self, ledger, uri, depth=8, connections=1, rate=2000, seed=None, reads=0.4,
                 flushes=0.02, fua=0.02, span_blocks=4):
        self.ledger, self.uri, self.depth, self.rate = ledger, uri, depth, rate
        self.reads, self.flushes, self.fua, self.span = reads, flushes, fua, span_blocks
        self.seed = seed if seed is not None else random.randrange(1 << 30)
        self.chance = random.Random(self.seed)
        self.connections = connections
        self.handles = []
        self.under_way = 0
        self.mine = {}  # Blocks that a write of this load is changing: {block: version}.
        self.done = collections.Counter()
        self.errors = collections.Counter()
        self.gaps = []  # (when it ended, how long nothing was answered), over 50 ms.
        self.last = None
        self.stopping = threading.Event()
        self.dead = threading.Event()  # The server went away.
        self.abandoned = False
        self.thread = None
        self.failure = None

    # --- from the test

    def start(self, patience=30):
        """Connects (again and again for so long: the volume may not be served yet), and goes."""
        end = time.monotonic() + patience
        while True:
            try:
                self.connect()
                break
            except nbd.Error as error:
                if time.monotonic() > end:
                    raise AssertionError(f"{self.uri}: {error}") from None
                time.sleep(0.02)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        return self

    def start_behind(self, patience=60):
        """As start(), without waiting: the volume may take its time to open."""
        def connect_and_run():
            end = time.monotonic() + patience
            while not self.stopping.is_set():
                try:
                    self.connect()
                    return self.run()
                except nbd.Error as error:
                    if time.monotonic() > end:
                        self.failure = AssertionError(f"{self.uri}: {error}")
                        return None
                    time.sleep(0.05)
            return None

        self.thread = threading.Thread(target=connect_and_run, daemon=True)
        self.thread.start()
        return self

    def connect(self):
        self.handles = []
        for _ in range(self.connections):
            handle = nbd.NBD()
            handle.connect_uri(self.uri)
            self.handles.append(handle)

    def stop(self, patience=60):
        """Waits for what is under way, then disconnects. Complains of what was wrong."""
        self.stopping.set()
        self.thread.join(patience)
        assert not self.thread.is_alive(), f"{self.under_way} requests are not answered: {self}"
        if self.failure:
            raise self.failure
        self.ledger.must_be_true()
        return self

    def abandon(self):
        """Nobody waits any more for what is under way; the server may be stopped, not dead.

        Answers that come all the same are judged."""
        with self.ledger.lock:
            self.abandoned = True
            self.stopping.set()
            self.ledger.give_up(self.mine)

    def total(self):
        return self.done["read"] + self.done["write"]

    def must_go_on(self, requests=200, patience=60):
        """Waits for so many more answers."""
        end, until = time.monotonic() + patience, self.total() + requests
        while self.total() < until:
            self.ledger.must_be_true()
            assert not self.dead.is_set(), f"the server went away: {self}"
            assert time.monotonic() < end, f"waited {patience} s for {requests} requests: {self}"
            time.sleep(0.005)

    def longest_gap(self, since=0):
        """Seconds without an answer; the present silence counts."""
        now = time.monotonic() - self.last if self.last and self.under_way else 0
        return max([gap for when, gap in self.gaps if when >= since] + [now])

    def __str__(self):
        return (f"load (seed {self.seed}): done {dict(self.done)}, errors {dict(self.errors)}, "
                f"under way {self.under_way}, longest gap {self.longest_gap():.3f} s")

    # --- the thread

    def run(self):
        try:
            self.last = time.monotonic()
            began = self.last
            while not self.stopping.is_set() and not self.dead.is_set():
                self.fill(began)
                self.turn()
            while self.under_way and not self.dead.is_set():
                self.turn()
            for handle in self.handles:
                if self.under_way or self.dead.is_set():
                    handle.close() if hasattr(handle, "close") else None
                else:
                    handle.shutdown()
        except nbd.Error as error:
            self.dead.set()
            self.errors[f"connection: {error.string}"] += 1
        except Exception as error:  # For stop() to raise in the test.
            self.failure = error
        finally:
            if self.dead.is_set():
                with self.ledger.lock:
                    self.ledger.give_up(self.mine)

    def fill(self, began):
        issued = sum(self.done.values()) + sum(self.errors.values()) + self.under_way
        while self.under_way < self.depth and issued < (time.monotonic() - began) * self.rate + 1:
            self.issue(self.chance.choice(self.handles))
            issued += 1

    def turn(self):
        poll = select.poll()
        for handle in self.handles:
            direction = handle.aio_get_direction()
            events = (select.POLLIN if direction & nbd.AIO_DIRECTION_READ else 0) | \
                     (select.POLLOUT if direction & nbd.AIO_DIRECTION_WRITE else 0)
            poll.register(handle.aio_get_fd(), events)
        by_fd = {handle.aio_get_fd(): handle for handle in self.handles}
        try:
            for fd, events in poll.poll(2):
                handle = by_fd[fd]
                direction = handle.aio_get_direction()
                if events & (select.POLLIN | select.POLLHUP | select.POLLERR) \
                        and direction & nbd.AIO_DIRECTION_READ:
                    handle.aio_notify_read()
                elif events & select.POLLOUT and direction & nbd.AIO_DIRECTION_WRITE:
                    handle.aio_notify_write()
        except nbd.Error:
            pass  # Its requests have ended with errors.
        if any(handle.aio_is_dead() or handle.aio_is_closed() for handle in self.handles):
            self.dead.set()

    def issue(self, handle):
        draw = self.chance.random()
        count = self.chance.randrange(1, self.span + 1)
        at = self.chance.randrange(0, len(self.ledger.blocks) - count + 1)
        if draw < self.flushes:
            self.issue_flush(handle)
        elif draw < self.flushes + self.reads:
            self.issue_read(handle, at, count)
        else:
            self.issue_write(handle, at, count)

    def issue_write(self, handle, at, count):
        with self.ledger.lock:
            if any(self.ledger.blocks[block].writing for block in range(at, at + count)):
                return
            versions = {block: self.ledger.begin_write(block) for block in range(at, at + count)}
            self.mine.update(versions)
        data = b"".join(stamp(block, version) for block, version in versions.items())
        fua = self.chance.random() < self.fua

        def ended(error):
            with self.ledger.lock:
                for block, version in versions.items():
                    self.ledger.end_write(block, version, error == 0, fua)
                    if self.mine.get(block) == version:
                        del self.mine[block]

        self.submit(lambda completion: handle.aio_pwrite(
            nbd.Buffer.from_bytearray(bytearray(data)), at * BLOCK, completion,
            nbd.CMD_FLAG_FUA if fua else 0), "write", ended)

    def issue_read(self, handle, at, count):
        buffer = nbd.Buffer(count * BLOCK)
        with self.ledger.lock:
            began = [self.ledger.begin_read(block) for block in range(at, at + count)]

        def ended(error):
            if error != 0:
                return
            data = bytes(buffer.to_bytearray())
            with self.ledger.lock:
                for i in range(count):
                    self.ledger.end_read(at + i, began[i], data[i * BLOCK:(i + 1) * BLOCK],
                                         f" over {self.uri}")

        self.submit(lambda completion: handle.aio_pread(buffer, at * BLOCK, completion), "read",
                    ended)

    def issue_flush(self, handle):
        with self.ledger.lock:
            marks = self.ledger.begin_flush()

        def ended(error):
            if error == 0:
                with self.ledger.lock:
                    self.ledger.flushed(marks)

        self.submit(handle.aio_flush, "flush", ended)

    def submit(self, request, kind, ended):
        def completion(error):
            error = getattr(error, "value", error)
            now = time.monotonic()
            if now - self.last > 0.05:
                self.gaps.append((now, now - self.last))
            self.last = now
            self.under_way -= 1
            if error == 0:
                self.done[kind] += 1
            else:
                self.errors[f"{kind}: {errno.errorcode.get(error, error)}"] += 1
            ended(error)
            return 1

        if self.under_way == 0:
            self.last = max(self.last, time.monotonic() - 0.05)  # It was idle by its own will.
        self.under_way += 1
        request(completion)


def read_all(ledger, uri, patience=60):
    """Every block, by one reader while nothing is under way: the ledger must agree."""
    end = time.monotonic() + patience
    while True:
        handle = nbd.NBD()
        try:
            handle.connect_uri(uri)
            break
        except nbd.Error as error:
            if time.monotonic() > end:
                raise AssertionError(f"{uri}: {error}") from None
            time.sleep(0.02)
    step = 256
    for first in range(0, len(ledger.blocks), step):
        count = min(step, len(ledger.blocks) - first)
        began = [ledger.begin_read(first + i) for i in range(count)]
        data = handle.pread(count * BLOCK, first * BLOCK)
        for i in range(count):
            ledger.end_read(first + i, began[i], data[i * BLOCK:(i + 1) * BLOCK])
    handle.shutdown()
    ledger.must_be_true()
