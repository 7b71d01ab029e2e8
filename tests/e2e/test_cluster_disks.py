#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Disks of a cluster fail, lie, forget what was not flushed, and are full, under verified load."""

import errno
import mmap
import random
import time

import nbd
import pytest
import rig as rigs
from cluster_load import BLOCK, MAGIC, read_all, stamp
from cluster_rig import MIB, Bed, Cluster


def on_drives(cluster):
    for node in cluster.nodes:
        node.on_drive()


def slow_bed(rig, **options):
    """Every store on a drive whose power can be cut: two programs and FUSE below each."""
    return Bed(rig, before=on_drives, blocks=1024, rate=200, flushes=0.002, fua=0, **options)


def stop_unflushed(nodes):
    """Each daemon is stopped while its drive holds what a power cut may take. Running ones flush by
    themselves, at least once a second: to look at a drive and cut its power then is too late."""
    def stopped():
        for node in nodes:
            node.pause()
        time.sleep(0.05)  # What the kernel had under way.
        if all(node.drive.counts()["pending"] > 10 for node in nodes):
            return True
        for node in nodes:
            node.go_on()
        time.sleep(random.uniform(0.1, 0.3))
        return False

    rigs.wait_until("drives hold writes that are not flushed", stopped)


def row_of(bed, node):
    """What `store list` says of the store of a node."""
    return next(row for row in bed.cluster.json("store", "list")["stores"]
                if row["node"] == node.name)


def facts(bed):
    return bed.cluster.cli("pool", "status")


def undrain(bed, node):
    """The device is well again, says its operator."""
    bed.cluster.cli("store", "undrain", str(row_of(bed, node)["id"]))


def test_a_disk_that_fails_makes_its_copy_stale_and_nothing_else(rig):
    """Once its operator says that it is well, it is used again: nobody restarts anything."""
    bed = slow_bed(rig)
    node = random.choice(bed.nodes)
    node.drive.control("cut")  # From now on: EIO.
    rigs.wait_until("its copy is stale", lambda: bed.cluster.copies()[node.name] == "stale")
    rigs.wait_until("its record says why", lambda: row_of(bed, node)["reason"] == "failed")
    assert f"store undrain {row_of(bed, node)['id']}" in facts(bed)
    bed.load.must_go_on(200)
    assert not bed.load.errors, bed.load
    node.drive.control("arm")
    undrain(bed, node)
    bed.settle()
    assert row_of(bed, node)["reason"] == "none"
    assert "undrain" not in facts(bed)


@pytest.mark.parametrize("reboots", [False, True])
def test_what_a_failed_flush_dropped_is_not_trusted_by_the_next_process(rig, reboots):
    """The gateway dies with it, so no copy was made stale. Whoever takes over must know."""
    bed = slow_bed(rig)
    node = random.choice(bed.nodes)
    others = [other for other in bed.nodes if other is not node]
    stop_unflushed([node])
    bed.gateway.pause()
    node.drive.control("cut")
    node.go_on()
    rigs.wait_until("its record says so", lambda: row_of(bed, node)["reason"] == "failed")
    bed.load.abandon()
    bed.gateway.kill()
    node.kill()
    assert set(bed.cluster.copies().values()) == {"in sync"}
    assert was_at_stake(node)
    node.drive.control("arm")
    if reboots:
        node.new_boot()
    node.begin(*node.started_with)  # A restart is no word of its operator.
    rigs.wait_until("it is refused", lambda: not node.daemon.running())
    assert f"store undrain {row_of(bed, node)['id']}" in node.daemon.output()
    assert row_of(bed, node)["reason"] == "failed"
    undrain(bed, node)
    node.restart()
    bed.gateway.start()
    read_all(bed.ledger, bed.gateway.uri())
    bed.load = bed.start_load()
    bed.settle()
    others[0].kill()  # With one more away it reads from the one that failed, too.
    read_all(bed.ledger, bed.gateway.uri())


# --- power

def was_at_stake(node):
    """How many writes the power cuts of its drive decided upon: each drew what becomes of them,
    from keeping nothing to keeping nearly everything."""
    counts = node.drive.counts()
    return counts["kept"] + counts["lost"] + counts["torn"]


def cut_all(bed):
    """All stores at once, with what they had not flushed; they are on again after this."""
    stop_unflushed(bed.nodes)
    for node in bed.nodes:
        node.drive.control("cut")
    for node in bed.nodes:
        node.power_cut()
    assert all(was_at_stake(node) for node in bed.nodes)


def restart_all(bed):
    for node in bed.nodes:
        node.begin(*node.started_with)
    for node in bed.nodes:
        node.daemon.must_run("READY=1", node.notified.ready)


@rigs.soak_only
def test_the_power_of_everything_is_cut(rig):
    bed = slow_bed(rig)
    cut_all(bed)
    bed.gateway.kill()
    bed.load.stop()
    bed.ledger.power_cut()
    restart_all(bed)
    bed.gateway.start()
    read_all(bed.ledger, bed.gateway.uri())
    bed.load = bed.start_load()
    bed.settle()


def test_the_power_of_all_stores_is_cut_under_a_living_gateway(rig):
    """What it had acknowledged and not flushed is lost: no flush may say otherwise."""
    bed = slow_bed(rig)
    other = nbd.NBD()
    other.connect_uri(bed.gateway.uri())
    cut_all(bed)
    bed.load.abandon()
    marks = bed.ledger.begin_flush()
    restart_all(bed)
    flushed = None
    try:
        other.flush()
        bed.ledger.flushed(marks)
        flushed = True
    except nbd.Error as error:
        flushed = error.errnum
    bed.gateway.kill()
    bed.ledger.power_cut()
    bed.gateway.start()
    read_all(bed.ledger, bed.gateway.uri())
    bed.load = bed.start_load()
    bed.settle()
    print(f"the flush: {flushed}")


def test_the_power_of_one_store_is_cut(rig):
    """It lacks what it had not flushed, has it again when it is in sync, and serves then."""
    bed = slow_bed(rig)
    node = random.choice(bed.nodes)
    stop_unflushed([node])
    node.power_cut()
    assert was_at_stake(node)
    node.restart()
    bed.cluster.wait_in_sync()
    bed.settle()
    others = [other for other in bed.nodes if other is not node]
    others[0].kill()
    read_all(bed.ledger, bed.gateway.uri())


# --- damage

def damage(node, share):
    """Flips a bit in so many of the blocks of the load that lie in a store's file. How many."""
    file = max((path for path in node.store.rglob("*") if path.is_file()),
               key=lambda path: path.stat().st_size)
    count = 0
    with open(file, "r+b") as opened, mmap.mmap(opened.fileno(), 0) as data:
        at = data.find(MAGIC)
        while at >= 0:
            block = at // BLOCK * BLOCK
            if at == block and random.random() < share:
                data[block + random.randrange(BLOCK)] ^= 1 << random.randrange(8)
                count += 1
            at = data.find(MAGIC, block + BLOCK)
    return count


def test_damage_on_one_copy_does_not_spread_to_one_that_rejoins(rig):
    bed = Bed(rig, rate=3000)
    bed.load.must_go_on(1500)
    away, damaged, good = random.sample(bed.nodes, 3)
    away.kill()
    bed.load.must_go_on(2500)
    bed.load.stop()
    other = nbd.NBD()  # Holds the volume open.
    other.connect_uri(bed.gateway.uri())
    assert damage(damaged, 0.3) > 100
    away.restart()
    bed.cluster.wait_in_sync()
    read_all(bed.ledger, bed.gateway.uri())
    good.kill()  # What the one that rejoined has must be good by itself.
    read_all(bed.ledger, bed.gateway.uri())
    good.restart()
    bed.cluster.wait_in_sync()
    damaged.kill()
    read_all(bed.ledger, bed.gateway.uri())


# --- space

def fill(handle, life, blocks):
    """Writes until there is no space, to the last block; how many are written. Every answer is yes
    or ENOSPC."""
    at = 0
    for step in (16, 1):
        while at + step <= blocks:
            data = b"".join(stamp(at + i, life) for i in range(step))
            try:
                handle.pwrite(data, at * BLOCK)
            except nbd.Error as error:
                assert error.errnum == errno.ENOSPC, error.string
                break
            at += step
    return at


@pytest.mark.parametrize("small", [1, 3])
def test_full_stores_answer_enospc_and_stay_in_sync(rig, small):
    """One store is full, or all of them evenly, with the gateway beside one of them."""
    cluster = Cluster(rig)
    for node in cluster.nodes[:small]:
        node.store_bytes = 64 * MIB
    cluster.up()
    cluster.create("v", 96 * MIB)
    gateway = cluster.gateway(cluster.nodes[0].host if small == 3 else None).start()
    handle = nbd.NBD()
    handle.connect_uri(gateway.uri())
    blocks = 96 * MIB // BLOCK
    end = fill(handle, 1, blocks)
    assert 32 * MIB // BLOCK < end < 64 * MIB // BLOCK, end
    assert set(cluster.copies().values()) == {"in sync"}
    for at in range(0, end, 64):  # Overwriting works on a full store, and nothing is harmed.
        handle.pwrite(stamp(at, 2), at * BLOCK)
    handle.flush()
    for at in range(0, end, 16):
        assert handle.pread(BLOCK, at * BLOCK) == stamp(at, 1 if at % 64 else 2), at
    handle.trim(end // 2 * BLOCK, 0)
    handle.flush()
    time.sleep(1.5)
    assert fill(handle, 3, end // 4) == end // 4, "space that was freed is not to be had"
    assert set(cluster.copies().values()) == {"in sync"}
    handle.shutdown()


if __name__ == "__main__":
    rigs.main(__file__)
