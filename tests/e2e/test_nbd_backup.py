#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Backups with the tools that people have: snapshots as images, and copies of what has changed,
while the volume is written."""

import json
import random

import nbd
import pytest

import rig as rigs

MIB = rigs.MIB
SIZE = 64 * MIB
SINCE = "iomesh:changed-since:"


class Service:
    def __init__(self, rig):
        self.rig = rig
        self.pool = rigs.Pool(rig, 2 * rigs.GIB)
        self.pool.create("disk", SIZE)
        self.pool.serve("--no-scrub")

    def uri(self, export):
        return self.pool.uri(export)

    def connect(self, export, *contexts):
        handle = nbd.NBD()
        for context in contexts:
            handle.add_meta_context(context)
        handle.connect_uri(self.uri(export))
        return handle

    def snapshot(self, name):
        self.pool.cli("snapshot", "create", name)

    def write(self, offset, data, export="disk"):
        handle = self.connect(export)
        for at in range(0, len(data), 16 * MIB):
            handle.pwrite(data[at:at + 16 * MIB], offset + at)
        handle.shutdown()

    def qemu(self, export, **more):
        return ",".join(["driver=nbd", f"path={self.pool.socket}", f"export={export}",
                         *(f"{name}={value}" for name, value in more.items())])

    def copy(self, export):
        """All of an export, by nbdcopy: a new file."""
        path = self.rig.fresh("copy")
        rigs.run("nbdcopy", self.uri(export), path)
        return path

    def changed(self, export, snapshot):
        """The ranges that were written since the snapshot, as libnbd is told them."""
        handle = self.connect(export, SINCE + snapshot)
        assert handle.can_meta_context(SINCE + snapshot)
        found, at = [], 0
        while at < SIZE:
            told = []

            def extent(context, offset, entries, error):
                assert context == SINCE + snapshot and offset == at and not error.value
                told.extend(zip(entries[::2], entries[1::2]))
            handle.block_status(SIZE - at, at, extent)
            for length, flags in told:
                if flags & 1:
                    found.append((at, length))
                at += length
        handle.shutdown()
        return found

    def bring_up(self, copy, export, snapshot):
        """Writes into a copy of `snapshot` what has changed since it; how many bytes that was."""
        handle = self.connect(export)
        ranges = self.changed(export, snapshot)
        with open(copy, "r+b") as file:
            for offset, length in ranges:
                for at in range(offset, offset + length, MIB):
                    piece = min(MIB, offset + length - at)
                    file.seek(at)
                    file.write(handle.pread(piece, at))
        handle.shutdown()
        return sum(length for _, length in ranges)


@pytest.fixture(name="service")
def one_service(rig):
    service = Service(rig)
    yield service
    assert service.pool.server.terminate() == 0
    service.pool.check()


def data_of(seed, length=3 * MIB):
    return random.Random(seed).randbytes(length)


def test_nbdinfo_shows_snapshots_and_maps_what_changed(service):
    service.write(0, data_of(1))
    service.snapshot("disk@a")
    service.write(MIB, data_of(2, MIB))
    service.snapshot("disk@b")
    service.write(SIZE - MIB, data_of(3, 4096))
    listed = json.loads(rigs.run("nbdinfo", "--json", "--list", service.uri("")).stdout)
    told = {each["export-name"]: each for each in listed["exports"]}
    assert list(told) == ["disk", "disk@a", "disk@b"]
    assert [each["is_read_only"] for each in told.values()] == [False, True, True]
    assert all(each["can_multi_conn"] for each in told.values())
    assert set(told["disk"]["contexts"]) == {"base:allocation", SINCE + "a", SINCE + "b"}
    assert set(told["disk@b"]["contexts"]) == {"base:allocation", SINCE + "a"}

    def mapped(export, snapshot):
        said = rigs.run("nbdinfo", "--json", f"--map={SINCE}{snapshot}", service.uri(export)).stdout
        extents = json.loads(said)
        assert sum(each["length"] for each in extents) == SIZE
        return [(each["offset"], each["length"]) for each in extents if each["type"] == 1]
    assert mapped("disk", "a") == [(MIB, MIB), (SIZE - MIB, 4096)]
    assert mapped("disk", "b") == [(SIZE - MIB, 4096)]
    assert mapped("disk@b", "a") == [(MIB, MIB)]
    assert service.changed("disk", "a") == mapped("disk", "a")


def test_nbdinfo_maps_the_holes_of_a_snapshot(service):
    service.write(2 * MIB, data_of(4, MIB))
    service.snapshot("disk@a")
    service.write(0, data_of(5, SIZE))
    extents = json.loads(rigs.run("nbdinfo", "--json", "--map", service.uri("disk@a")).stdout)
    assert [(each["offset"], each["length"]) for each in extents if each["type"] == 0] == \
        [(2 * MIB, MIB)]


def test_one_libnbd_connection_is_told_every_context_it_chose(service):
    service.write(0, data_of(6))
    service.snapshot("disk@a")
    service.write(MIB, data_of(7, MIB))
    contexts = ["base:allocation", SINCE + "a", SINCE + "gone"]
    handle = service.connect("disk", *contexts)
    assert [handle.can_meta_context(name) for name in contexts] == [True, True, False]
    told = {}
    handle.block_status(8 * MIB, 0, lambda context, _, entries, error: told.update(
        {context: list(zip(entries[::2], entries[1::2]))}))
    assert told == {"base:allocation": [(3 * MIB, 0), (5 * MIB, 3)],
                    SINCE + "a": [(MIB, 0), (MIB, 1), (6 * MIB, 0)]}
    handle.shutdown()


def test_qemu_is_told_what_changed_too(service):
    """Its option for other servers' bitmaps: what is dirty is shown as no data."""
    service.write(0, data_of(8))
    service.snapshot("disk@a")
    service.write(MIB, data_of(9, MIB))
    where = service.qemu("disk", **{"x-dirty-bitmap": SINCE + "a"})
    extents = json.loads(rigs.run("qemu-img", "map", "--output=json", "--image-opts", where).stdout)
    assert [(each["start"], each["length"]) for each in extents if not each["data"]] == \
        [(MIB, MIB)]


@pytest.mark.parametrize("image", ["raw", "qcow2"])
def test_qemu_img_takes_a_snapshot_out_and_brings_it_back(service, image):
    service.write(MIB, data_of(10, 8 * MIB))
    service.snapshot("disk@a")
    before = service.copy("disk@a")
    service.write(0, data_of(11, SIZE))
    out = service.rig.path(f"out.{image}")
    source, target = service.qemu("disk@a"), f"driver={image},file.driver=file,file.filename={out}"
    rigs.run("qemu-img", "convert", "--image-opts", "-O", image, source, out)
    rigs.run("qemu-img", "compare", "--image-opts", source, target)
    assert rigs.run("qemu-img", "compare", "--image-opts", service.qemu("disk"), target,
                    check=False).returncode == 1
    assert out.stat().st_blocks * 512 <= 9 * MIB, "holes stay holes"
    service.pool.create("back", SIZE)
    rigs.run("qemu-img", "convert", "-n", "--image-opts", "--target-image-opts", target,
             service.qemu("back"))
    rigs.run("cmp", before, service.copy("back"))
    refused = rigs.run("qemu-img", "convert", "-n", "--image-opts", "--target-image-opts", target,
                       source, check=False)
    assert refused.returncode == 1, "a snapshot was written to"
    rigs.run("cmp", before, service.copy("disk@a"))


def test_nbdcopy_reads_a_snapshot_over_several_connections(service):
    service.write(0, data_of(12, SIZE))
    service.snapshot("disk@a")
    before = service.copy("disk")
    service.write(0, data_of(13, SIZE))
    out = service.rig.path("out")
    rigs.run("nbdcopy", "--connections=4", service.uri("disk@a"), out)
    rigs.run("cmp", before, out)


def test_increments_make_a_copy_whole_while_fio_writes(service):
    service.write(0, data_of(14, SIZE // 2))
    service.snapshot("disk@0")
    copy = service.copy("disk@0")
    fio = service.rig.start(
        "fio", "--name=load", "--ioengine=nbd", f"--uri={service.uri('disk')}", "--rw=randrw",
        f"--size={SIZE}", "--bsrange=4k-64k", "--iodepth=16", "--time_based", "--runtime=60",
        "--thinktime=2ms", "--thinktime_blocks=4", "--thread", cwd="/tmp")
    brought = []
    for number in range(1, 6):
        before = (number, fio.running())
        service.snapshot(f"disk@{number}")
        brought.append(service.bring_up(copy, f"disk@{number}", str(number - 1)))
        rigs.run("cmp", copy, service.copy(f"disk@{number}"))
        assert fio.running(), (before, fio.output())
    fio.kill()
    assert any(0 < each < SIZE for each in brought), brought
    service.snapshot("disk@last")
    # In one step over snapshots that are gone.
    for number in range(5):
        service.pool.cli("snapshot", "delete", f"disk@{number}")
    assert service.bring_up(copy, "disk@last", "5") > 0
    rigs.run("cmp", copy, service.copy("disk@last"))


def test_the_increment_of_a_quiet_volume_is_nothing(service):
    service.write(0, data_of(15))
    service.snapshot("disk@a")
    service.snapshot("disk@b")
    assert service.changed("disk", "a") == []
    assert service.changed("disk@b", "a") == []


def test_the_increment_after_a_rollback_is_what_differs(service):
    service.write(0, data_of(16))
    service.snapshot("disk@a")
    service.write(MIB, data_of(17, MIB))
    service.snapshot("disk@b")
    copy = service.copy("disk@b")

    def rolled_back():
        return service.pool.cli("snapshot", "rollback", "disk@a", check=False).returncode == 0
    rigs.wait_until("the volume is let go", rolled_back)
    assert service.changed("disk", "b") == [(MIB, MIB)]
    service.bring_up(copy, "disk", "b")
    rigs.run("cmp", copy, service.copy("disk@a"))


if __name__ == "__main__":
    rigs.main(__file__)
