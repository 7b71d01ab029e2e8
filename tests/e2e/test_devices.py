#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Pools on block devices: loop devices, whole and with partitions. And what a device may hold when
it is given to a pool."""

import os
import struct
import zlib

import pytest

import rig as rigs
from cli_rig import Cli

MIB = rigs.MIB


@pytest.fixture
def loop(rig):
    return rigs.Loop(rig, 256 * MIB)


def written(pool, size=32 * MIB):
    data = pool.rig.fresh("data")
    data.write_bytes(os.urandom(size))
    rigs.run("nbdcopy", "--flush", data, pool.uri("v"))
    return data


def same(pool, data):
    copy = pool.rig.fresh("copy")
    rigs.run("nbdcopy", pool.uri("v"), copy)
    return copy.read_bytes()[:data.stat().st_size] == data.read_bytes()


# --- what they do

@pytest.mark.parametrize("sector", [512, 4096])
def test_a_pool_lives_on_a_device(rig, sector):
    loop = rigs.Loop(rig, 256 * MIB, sector)
    pool = rigs.Pool(rig, devices=[loop.path])
    cli = Cli(pool.directory)
    device, = cli.json("pool", "status")["devices"]
    assert device["size_bytes"] == 256 * MIB and device["is_file"] is False, device
    pool.create("v", 64 * MIB, sector)
    pool.serve()
    data = written(pool)
    pool.server.kill()
    cli("pool", "check")
    pool.serve()
    assert same(pool, data)
    assert pool.server.terminate() == 0
    assert cli.json("pool", "check")["blocks_checked"] == 32 * MIB // 4096


def test_a_device_that_is_in_use_is_nobody_elses(rig, loop):
    pool = rigs.Pool(rig, devices=[loop.path])
    assert not loop.is_held()
    pool.serve()
    assert loop.is_held()
    refused = Cli(rig.path("other"))
    refused.refused("in use", "pool", "init", "--device", loop.path, "--overwrite")
    assert not refused.directory.exists()
    pool.server.terminate()
    assert not loop.is_held()
    pool.check()


def test_a_device_and_a_file_in_one_pool(rig, loop):
    pool = rigs.Pool(rig, devices=[f"{rig.path('file')}:128M,class=hdd", loop.path])
    devices = Cli(pool.directory).json("pool", "status")["devices"]
    assert [(device["is_file"], device["size_bytes"] // MIB, device["class"])
            for device in devices] == [(True, 128, "hdd"), (False, 256, "nvme")]


def test_discarded_space_goes_back_to_the_device_only_when_told(rig):
    """Not where space is being given out, stretches of 128 MiB: so there are more."""
    loop = rigs.Loop(rig, rigs.GIB)
    pool = rigs.Pool(rig, devices=[loop.path])
    pool.create("v", 512 * MIB)
    cli = Cli(pool.directory)
    for words in ([], ["--discard"]):
        pool.serve(*words)
        rigs.run("qemu-io", "-f", "raw", "-c", "write -P 7 0 384M", pool.uri("v"))
        before = loop.blocks()
        rigs.run("qemu-io", "-f", "raw", "-c", "discard 0 384M", "-c", "flush", pool.uri("v"))
        freed = cli.json("pool", "status")["space"]["free_bytes"]
        assert freed > 800 * MIB, freed
        if words:
            rigs.wait_until("space back", lambda: before - loop.blocks() > 128 * MIB)
        else:
            assert before - loop.blocks() < 8 * MIB
        assert pool.server.terminate() == 0
    pool.check()


def test_a_device_that_shrank_is_refused(rig, loop):
    pool = rigs.Pool(rig, devices=[loop.path])
    os.truncate(loop.file, 128 * MIB)
    rigs.run("losetup", "-c", loop.path)
    Cli(pool.directory).refused(loop.path.replace("/dev/", "device|") + "|smaller|fewer",
                                "volume", "list")


# --- what is not taken

def test_a_mounted_device_is_refused_whatever_is_said(rig, loop):
    rigs.run("mkfs.ext4", "-q", loop.path)
    mount = rig.path("mount")
    mount.mkdir()
    rigs.run("mount", loop.path, mount)
    rig.at_end(lambda: rigs.run("umount", mount, check=False))
    (mount / "precious").write_text("kept")
    for words in ([], ["--overwrite"]):
        cli = Cli(rig.path("pool"))
        cli.refused("in use: mounted", "pool", "init", "--device", loop.path, *words)
        assert not cli.directory.exists()
    rigs.run("umount", mount)
    rigs.run("e2fsck", "-f", "-n", loop.path)


def test_a_disk_with_a_mounted_partition_is_refused_and_its_other_partition_taken(rig):
    loop = rigs.Loop(rig, 512 * MIB)
    rigs.run("sfdisk", "-q", loop.path, input="label: gpt\nsize=128M\ntype=L\n")
    rigs.run("partx", "-u", loop.path)  # The kernel may know no tables, or may have read this one.
    parts = [f"{loop.path}p{i}" for i in (1, 2)]
    rigs.wait_until("the partitions", lambda: all(os.path.exists(part) for part in parts))
    rigs.run("mkfs.ext4", "-q", parts[0])
    mount = rig.path("mount")
    mount.mkdir()
    rigs.run("mount", parts[0], mount)
    rig.at_end(lambda: rigs.run("umount", mount, check=False))
    Cli(rig.path("no")).refused("in use", "pool", "init", "--device", loop.path, "--overwrite")
    Cli(rig.path("no")).refused("in use", "pool", "init", "--device", parts[0], "--overwrite")
    pool = rigs.Pool(rig, devices=[parts[1]])
    size = Cli(pool.directory).json("pool", "status")["devices"][0]["size_bytes"]
    assert 380 * MIB < size < 384 * MIB
    pool.check()
    rigs.run("umount", mount)
    rigs.run("e2fsck", "-f", "-n", parts[0])


def ext4(path):
    rigs.run("mkfs.ext4", "-q", "-L", "family", path)


def xfs(path):
    rigs.run("mkfs.xfs", "-q", "-f", path)


def swap(path):
    rigs.run("mkswap", path)


def gpt(path):
    rigs.run("sfdisk", "-q", path, input="label: gpt\nsize=16M\n")


def dos(path):
    rigs.run("sfdisk", "-q", path, input="label: dos\nsize=16M\n")


def write_at(path, offset, data):
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


def lvm(path):
    """A physical volume's label, in the second sector."""
    rest = struct.pack("<I8s32sQ", 32, b"LVM2 001", b"a" * 32, 128 * MIB)
    rest += bytes(512 - 20 - len(rest))
    crc = zlib.crc32(rest, 0xF597A6CF ^ 0xFFFFFFFF) ^ 0xFFFFFFFF
    write_at(path, 512, struct.pack("<8sQI", b"LABELONE", 1, crc) + rest)


def raid_at_the_end(path):
    """md's superblock 1.0: nothing is in the first half of the device."""
    sector = (128 * MIB // 512 - 16) & ~7
    head = struct.pack("<IIII16s32s", 0xA92B4EFC, 1, 0, 0, b"u" * 16, b"host:0")
    head = head.ljust(128, b"\0") + struct.pack("<QQQ", 0, sector, sector)
    write_at(path, sector * 512, head.ljust(4096, b"\0"))


def disc(path):
    """An ISO 9660 volume: it begins at 32 KiB."""
    write_at(path, 32768, b"\x01CD001\x01\0".ljust(40, b" ") + b"INSTALLER".ljust(32))


def any_bytes(path):
    write_at(path, 100, b"something")


@pytest.mark.parametrize("fill, named", [
    (ext4, r"a file system \(ext4 family\)"),
    (xfs, r"a file system \(xfs\)"),
    (swap, r"\(swap\)"),
    (gpt, r"a table of partitions \(gpt\)"),
    (dos, r"a table of partitions \(dos\)"),
    (lvm, r"a part of a RAID or volume group \(LVM2_member\)"),
    (raid_at_the_end, r"a part of a RAID or volume group \(linux_raid_member"),
    (disc, r"a file system \(iso9660 INSTALLER\)"),
    (any_bytes, "first block is not empty"),
])
def test_a_device_that_holds_something_is_taken_only_when_told(rig, fill, named):
    path = rig.sparse("given", (320 if fill is xfs else 128) * MIB)
    fill(path)
    before = path.read_bytes()
    cli = Cli(rig.path("pool"))
    cli.refused(f"/given: .*{named}.*overwrite", "pool", "init", "--device", path)
    assert path.read_bytes() == before and not cli.directory.exists()
    cli("pool", "init", "--device", path, "--overwrite")
    cli("pool", "check")
    # Nothing is left that would have somebody else take it for his.
    found = rigs.run("blkid", "-p", path, check=False)
    assert found.returncode == 2, found.stdout


if __name__ == "__main__":
    rigs.main(__file__)
