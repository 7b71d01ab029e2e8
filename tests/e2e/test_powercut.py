#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The drive whose power can be cut: it loses what was not flushed, and only that."""

import errno

import nbd
import pytest

import rig as rigs

BLOCK = 4096
BLOCKS = 256


@pytest.fixture
def drive(rig):
    return rigs.Drive(rig, 16 * rigs.MIB, seed=7, fuse=False)


def connect(drive):
    handle = nbd.NBD()
    handle.connect_uri(f"nbd+unix:///?socket={drive.socket}")
    return handle


def fill(handle, value, flags=0):
    for block in range(BLOCKS):
        handle.pwrite(bytes([value]) * BLOCK, block * BLOCK, flags)


def sectors(handle):
    """The value of each sector; each is of one value."""
    found = []
    for block in range(BLOCKS):
        data = handle.pread(BLOCK, block * BLOCK)
        for at in range(0, BLOCK, 512):
            part = bytes(data[at:at + 512])
            assert part == part[:1] * 512
            found.append(part[0])
    return found


def test_a_writer_without_flush_loses_data(drive):
    handle = connect(drive)
    fill(handle, 1)
    handle.flush()
    lost = 0
    for seed in range(1, 21):
        fill(handle, 2)
        drive.control(f"cut {seed}")
        drive.control("arm")
        lost += sectors(handle).count(1)
        fill(handle, 1, nbd.CMD_FLAG_FUA)
    assert lost > 0


def test_a_writer_that_flushed_keeps_everything(drive):
    handle = connect(drive)
    for seed in range(1, 21):
        fill(handle, seed)
        handle.flush()
        drive.control(f"cut {seed}")
        drive.control("arm")
        assert set(sectors(handle)) == {seed}


def test_a_write_with_fua_is_kept_and_no_older_write_comes_back_over_it(drive):
    handle = connect(drive)
    for seed in range(1, 21):
        fill(handle, 100)
        fill(handle, seed, nbd.CMD_FLAG_FUA)
        drive.control(f"cut {seed}")
        drive.control("arm")
        assert set(sectors(handle)) == {seed}


def test_cuts_keep_lose_and_tear_and_a_torn_write_is_split_between_sectors(drive):
    handle = connect(drive)
    torn_blocks = 0
    for seed in range(1, 41):
        fill(handle, 1)
        handle.flush()
        fill(handle, 2)
        drive.control(f"cut {seed}")
        drive.control("arm")
        found = sectors(handle)
        blocks = [set(found[at:at + 8]) for at in range(0, len(found), 8)]
        torn_blocks += sum(block == {1, 2} for block in blocks)
    counts = drive.counts()
    assert counts["cuts"] == 40
    assert counts["kept"] > 0 and counts["lost"] > 0 and counts["torn"] > 0
    assert counts["kept"] + counts["lost"] + counts["torn"] == 40 * BLOCKS
    assert torn_blocks > 0


def test_the_same_seed_cuts_in_the_same_way(drive):
    handle = connect(drive)
    shapes = []
    for _ in range(2):
        fill(handle, 1)
        handle.flush()
        fill(handle, 2)
        drive.control("cut 3")
        drive.control("arm")
        shapes.append(sectors(handle))
    assert shapes[0] == shapes[1]


def test_without_power_every_request_fails_until_it_is_armed(drive):
    handle = connect(drive)
    drive.control("cut-after 3")
    failures = []
    for block in range(5):
        try:
            handle.pwrite(b"x" * BLOCK, block * BLOCK)
        except nbd.Error as error:
            failures.append((block, error.errnum))
    assert failures == [(2, errno.EIO), (3, errno.EIO), (4, errno.EIO)]
    for request in (lambda: handle.pread(BLOCK, 0), handle.flush,
                    lambda: handle.zero(BLOCK, 0), lambda: handle.trim(BLOCK, 0)):
        with pytest.raises(nbd.Error):
            request()
    drive.control("arm")
    handle.pwrite(b"y" * BLOCK, 0, nbd.CMD_FLAG_FUA)
    assert handle.pread(BLOCK, 0) == b"y" * BLOCK


if __name__ == "__main__":
    rigs.main(__file__)
