#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What is below a pool goes wrong: its file system is full, its device shrinks, cannot be read in
places, or answers late."""

import errno
import hashlib
import json
import os
import re
import shutil
import time

import nbd
import pytest

import rig as rigs
from cli_rig import Cli, tree

MIB = rigs.MIB
BLOCK = 4096


def connect(pool, volume="v"):
    handle = nbd.NBD()
    handle.connect_uri(pool.uri(volume))
    return handle


def attempt(action, *words):
    """None, or the errno that the server answered with."""
    try:
        action(*words)
    except nbd.Error as error:
        return error.errnum
    return None


# --- the file system below is full

class Host:
    """A small ext4 in a file, and what others put there."""

    def __init__(self, rig, size):
        image = rig.sparse("image", size)
        rigs.run("mkfs.ext4", "-q", "-m", "0", image)
        self.path = rig.path("host")
        self.path.mkdir()
        rigs.run("mount", "-o", "loop", image, self.path)
        # A killed server's ring may hold it for a moment more.
        rig.at_end(lambda: rigs.run("umount", "-l", self.path, check=False))
        self.others = self.path / "others"

    def sync(self):
        """This file system alone: what other tests write is no business of ours."""
        rigs.run("sync", "-f", self.path)

    def fill(self, leave):
        """Others take all space but so much."""
        self.sync()
        with open(self.others, "ab") as file:
            while (much := shutil.disk_usage(self.path).free - leave) > 4 * MIB:
                there = os.fstat(file.fileno()).st_size
                os.posix_fallocate(file.fileno(), there, much // 2)

    def fill_up(self):
        """To the last block."""
        self.fill(0)
        with open(self.others, "ab", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(BLOCK))
            except OSError as error:
                assert error.errno == errno.ENOSPC
        self.sync()

    def empty(self):
        self.others.unlink()
        self.sync()


@pytest.fixture
def host(rig):
    return Host(rig, 768 * MIB)


def pool_in(rig, host, size=rigs.GIB):
    """A thin pool that may become larger than what it is in."""
    pool = rigs.Pool(rig, size, directory=host.path / "pool")
    pool.create("v", size // 2, 4096)
    return pool


def stamp(at, life):
    return hashlib.sha256(f"{at} {life}".encode()).digest() * (BLOCK // 32)


def write_until_full(handle, life, at=0, step=64 * BLOCK):
    """Blocks written one after another; where it found no space. Every answer is yes or ENOSPC."""
    while at < handle.get_size():
        data = b"".join(stamp(at + i, life) for i in range(0, step, BLOCK))
        answer = attempt(handle.pwrite, data, at, nbd.CMD_FLAG_FUA)
        if answer is not None:
            assert answer == errno.ENOSPC, errno.errorcode[answer]
            return at
        at += step
    return at


def holds(handle, end, life):
    for at in range(0, end, BLOCK):
        if handle.pread(BLOCK, at) != stamp(at, life):
            return f"block {at // BLOCK} is not as it was written"
    return None


def test_a_full_file_system_below_is_enospc_and_nothing_else(rig, host):
    """Until others go away: then it goes on by itself."""
    pool = pool_in(rig, host)
    server = pool.serve("--no-scrub")
    host.fill(leave=200 * MIB)
    handle = connect(pool)
    end = write_until_full(handle, 1)
    assert 16 * MIB < end < 400 * MIB, (end // MIB, shutil.disk_usage(host.path))
    host.fill_up()
    end = write_until_full(handle, 1, end, BLOCK)
    assert end < handle.get_size(), "there was room for all of the volume"
    assert attempt(handle.pwrite, stamp(end, 1), end) == errno.ENOSPC
    status = Cli(pool.directory).json("pool", "status")
    assert status["state"] == "healthy" and not status["devices"][0]["failed"], status
    server.must_run("the sentence",
                    lambda: "the pool is full, or what is below it" in server.output())
    assert holds(handle, end, 1) is None
    assert attempt(handle.trim, 16 * MIB, 0) is None
    assert handle.pread(BLOCK, 0) == bytes(BLOCK)
    host.empty()
    rigs.wait_until("room", lambda: write_until_full(handle, 1) == handle.get_size())
    assert holds(handle, handle.get_size(), 1) is None
    assert server.terminate() == 0, server.output()
    pool.check()


def test_overwriting_where_the_file_system_is_full_harms_nothing(rig, host):
    """A thousand times what a checkpoint needs is written over: journal and pages find their place,
    or it is ENOSPC."""
    pool = pool_in(rig, host)
    server = pool.serve("--no-scrub")
    host.fill(leave=160 * MIB)
    handle = connect(pool)
    end = write_until_full(handle, 1)
    host.fill_up()
    lives = {at: 1 for at in range(0, end, BLOCK)}
    for life in range(2, 12):
        for at in range(0, min(end, 32 * MIB), BLOCK):
            answer = attempt(handle.pwrite, stamp(at, life), at)
            assert answer in (None, errno.ENOSPC), server.output()
            if answer is None:
                lives[at] = life
    for at, life in lives.items():
        assert handle.pread(BLOCK, at) == stamp(at, life), f"block {at // BLOCK}"
    assert server.running(), server.state()
    assert server.terminate() == 0, server.output()
    pool.check()


@pytest.mark.parametrize("end", ["kill", "terminate"])
def test_a_pool_opens_again_when_there_is_space_again(rig, host, end):
    """While there is none it opens too, or says in a sentence that there is no space."""
    pool = pool_in(rig, host)
    server = pool.serve("--no-scrub")
    host.fill(leave=120 * MIB)
    handle = connect(pool)
    written = write_until_full(handle, 1)
    host.fill_up()
    getattr(server, end)()
    for _ in range(3):
        server = pool.serve("--no-scrub", wait=False)
        rigs.wait_until("socket or end",
                        lambda: rigs.connects(pool.socket) or not server.running())
        if server.running():
            answer = attempt(connect, pool)  # Opening for writing needs a little of the metadata.
            assert answer is None or "No space left" in server.output(), answer
            server.kill()
        else:
            assert server.popen.returncode == 1, server.state()
            assert re.search("[Nn]o space left", server.output()), server.output()
    pool.check()
    host.empty()
    pool.serve("--no-scrub")
    handle = connect(pool)
    assert holds(handle, written, 1) is None
    rigs.wait_until("room", lambda: write_until_full(handle, 2) == handle.get_size())
    assert pool.server.terminate() == 0
    pool.check()


def test_volumes_are_made_and_deleted_where_space_is_gone_or_refused(rig, host):
    """The metadata is in the same file system."""
    pool = pool_in(rig, host, 256 * MIB)
    pool.serve("--no-scrub")
    host.fill_up()
    cli = Cli(pool.directory)
    made = []
    for i in range(200):
        answer = cli.raw("volume", "create", f"n{i}", "--size", "1M")
        if answer.status == 0:
            made.append(f"n{i}")
        else:
            assert answer.status == 1 and re.search("[Nn]o space", answer.err), answer
    assert set(cli.names()) == {"v", *made}
    host.empty()
    cli("volume", "create", "again", "--size", "1M")
    for i in range(200):
        if f"n{i}" not in made:
            cli("volume", "create", f"n{i}", "--size", "1M")
    assert len(cli.names()) == 202
    assert pool.server.terminate() == 0
    pool.check()


# --- the device shrinks while it is open

def test_a_file_that_is_cut_short_while_open_gives_errors_and_never_other_data(rig):
    pool = rigs.Pool(rig, 256 * MIB)
    pool.create("v", 64 * MIB, 4096)
    server = pool.serve("--no-scrub")
    handle = connect(pool)
    assert write_until_full(handle, 1) == 64 * MIB
    store = pool.directory / "store"
    os.truncate(store, 24 * MIB)
    wrong = lost = 0
    for at in range(0, 64 * MIB, BLOCK):
        data = bytearray(BLOCK)

        def read(at=at, data=data):
            data[:] = handle.pread(BLOCK, at)
        answer = attempt(read)
        assert answer in (None, errno.EIO), errno.errorcode[answer]
        lost += answer is not None
        wrong += answer is None and data != stamp(at, 1)
    assert wrong == 0 and lost > 1000, (wrong, lost)
    assert server.running(), server.state()
    assert re.search("damage|cannot be read|checksum", server.output()), server.output()
    server.kill()
    os.truncate(store, 24 * MIB)  # Requests that were under way may have made it longer again.
    Cli(pool.directory).refused("cut short|shorter", "volume", "list")


def test_a_device_that_shrinks_while_open_fails_and_says_so(rig):
    loop = rigs.Loop(rig, 256 * MIB)
    pool = rigs.Pool(rig, devices=[loop.path])
    pool.create("v", 64 * MIB, 4096)
    cli = Cli(pool.directory)
    server = pool.serve("--no-scrub")
    handle = connect(pool)
    assert write_until_full(handle, 1) == 64 * MIB
    os.truncate(loop.file, 24 * MIB)
    rigs.run("losetup", "-c", loop.path)
    answers = {attempt(handle.pwrite, stamp(at, 2), at) for at in range(0, 64 * MIB, BLOCK)}
    assert answers <= {None, errno.EIO} and errno.EIO in answers, answers
    assert attempt(handle.flush) == errno.EIO
    status = cli.json("pool", "status")
    assert status["state"] == "failed" and status["devices"][0]["failed"], status
    assert "a write or flush failed: No space left on device: it was cut short" in server.output()
    assert server.running(), server.state()
    assert server.terminate() == 1, server.output()
    cli.refused("cut short|shorter", "volume", "list")


# --- places that cannot be read

@pytest.fixture
def drive(rig):
    return rigs.Drive(rig, 128 * MIB, seed=5)


@pytest.fixture
def filled(rig, drive):
    """A closed pool of one volume with 8 MiB of stamps."""
    pool = rigs.Pool(rig, 128 * MIB, device=drive.path)
    pool.create("v", 8 * MIB, 4096)
    pool.serve("--no-scrub")
    assert write_until_full(connect(pool), 1) == 8 * MIB
    assert pool.server.terminate() == 0
    return pool


def place_of(drive, block):
    """Where on the drive a block of the volume is."""
    return drive.platter.read_bytes().index(stamp(block * BLOCK, 1))


def seen(drive, pool):
    return tree(pool.directory), hashlib.sha256(drive.platter.read_bytes()).digest()


def test_check_and_scrub_name_each_block_that_cannot_be_read(drive, filled):
    cli = Cli(filled.directory)
    drive.control(f"bad {place_of(drive, 100)} {3 * BLOCK}")
    before = seen(drive, filled)
    answer = cli.raw("--json", "pool", "check")
    assert answer.status == 1, answer
    faults = json.loads(answer.out)["faults"]
    assert sorted((fault["kind"], fault["volume_id"], fault["block"]) for fault in faults) == \
        [("unreadable", 1, block) for block in (100, 101, 102)], faults
    answer = cli.raw("pool", "check")
    assert answer.status == 1 and answer.out.count("fault: ") == 3, answer
    assert seen(drive, filled) == before, "check changed something"
    answer = cli.raw("--log-level", "error", "pool", "scrub")
    assert answer.status == 1 and "3 blocks are damaged" in answer.err, answer
    drive.control("bad 0 0")
    cli("pool", "check")
    assert cli.json("pool", "scrub")["completed"] is True


def test_reads_fail_for_exactly_the_blocks_that_cannot_be_read(drive, filled):
    drive.control(f"bad {place_of(drive, 100)} {3 * BLOCK}")
    filled.serve("--no-scrub")
    handle = connect(filled)
    bad = {at // BLOCK for at in range(0, 8 * MIB, BLOCK)
           if attempt(handle.pread, BLOCK, at) is not None}
    assert bad == {100, 101, 102}
    assert attempt(handle.pread, 8 * BLOCK, 98 * BLOCK) == errno.EIO
    handle.pwrite(stamp(0, 2), 101 * BLOCK)
    assert handle.pread(BLOCK, 101 * BLOCK) == stamp(0, 2)
    assert filled.server.terminate() == 0


def test_check_names_whatever_of_the_pool_cannot_be_read_and_changes_nothing(drive, filled):
    """Each written 64 KiB of the device in turn. What is not needed any more may go unnamed."""
    cli = Cli(filled.directory)
    data = drive.platter.read_bytes()
    before = seen(drive, filled)
    step = 16 * BLOCK
    used = [at for at in range(0, len(data), step) if any(data[at:at + step])]
    named = 0
    for at in used:
        drive.control(f"bad {at} {step}")
        answer = cli.raw("pool", "check")
        assert answer.status in (0, 1), answer
        assert (answer.status == 1) == (answer.err.count("\n") == 1), answer
        assert "fault: " in answer.out or answer.status == 0 or len(answer.err) > 60, answer
        named += answer.status
    drive.control("bad 0 0")
    assert named > len(used) // 2, f"{named} of {len(used)}"
    assert seen(drive, filled) == before, "check changed something"
    cli("pool", "check")


# --- late

def test_a_pool_opens_on_a_device_that_takes_its_time_and_says_what_it_waits_for(drive, filled):
    filled.serve("--no-scrub")
    handle = connect(filled)
    write_until_full(handle, 2)
    filled.server.kill()
    drive.control("delay 1200")
    server = filled.serve("--no-scrub", wait=False)
    time.sleep(9)
    drive.control("delay 20")
    server.must_run("its socket", lambda: rigs.connects(filled.socket))
    assert re.search(r"not open after \d+ s, waiting for its store", server.output()), \
        server.output()
    drive.control("delay 0")
    assert holds(connect(filled), 8 * MIB, 2) is None
    assert server.terminate() == 0


if __name__ == "__main__":
    rigs.main(__file__)
