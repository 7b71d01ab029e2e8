#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What a cluster does when the truth is out of reach, and what it refuses to believe."""

import os
import random
import shutil
import time

import nbd

import rig as rigs
from cluster_load import BLOCK, Load, read_all, stamp
from cluster_rig import MIB, PORT, Bed, Cluster


def test_a_write_waits_for_the_truth_when_a_copy_is_down(rig):
    """Neither etcd nor all the copies: it must not complete before one of them is back."""
    bed = Bed(rig)
    bed.load.stop()
    handle = nbd.NBD()
    handle.connect_uri(bed.gateway.uri())
    for back in ("etcd", "copy"):
        at = len(bed.ledger.blocks) - 1
        version = bed.ledger.begin_write(at)
        bed.etcd.stop_all()
        node = random.choice(bed.nodes)
        node.kill()
        time.sleep(0.3)
        cookie = handle.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(stamp(at, version))),
                                   at * BLOCK)
        end = time.monotonic() + 2
        while time.monotonic() < end:
            handle.poll(50)
            assert not handle.aio_command_completed(cookie), "with one copy less than is known"
        if back == "etcd":
            bed.etcd.continue_all()
        else:
            node.begin()  # It can't know that it may serve, but for its own store's record.
            bed.etcd.continue_all()
        end = time.monotonic() + rigs.PATIENCE
        while not handle.aio_command_completed(cookie):
            assert time.monotonic() < end, "it never completed"
            handle.poll(50)
        bed.ledger.end_write(at, version, True)
        if node.daemon.running():
            node.kill()
        node.restart()
        bed.cluster.wait_in_sync()
    handle.shutdown()
    read_all(bed.ledger, bed.gateway.uri())


@rigs.soak_only
def test_all_copies_are_down_while_the_volume_is_taken_over(rig):
    """The new owner waits for them, and loses nothing."""
    bed = Bed(rig)
    for node in bed.nodes:
        node.kill()
    bed.gateway.kill()
    rigs.wait_until("the load sees it", bed.load.dead.is_set)
    bed.load.stop()
    bed.gateway = bed.cluster.gateway().start()
    bed.load = Load(bed.ledger, bed.gateway.uri(), rate=800).start_behind()
    time.sleep(7)  # Longer than the lease.
    assert bed.load.total() == 0
    for node in random.sample(bed.nodes, 3):
        node.restart()
    bed.load.must_go_on()
    bed.settle()


# --- what is refused

def test_a_wiped_store_is_no_store(rig):
    """A daemon does not make up what is gone; the volume goes on without it."""
    bed = Bed(rig)
    node = bed.nodes[0]
    node.terminate()
    shutil.rmtree(node.store)
    bed.load.must_go_on(300)
    node.begin()
    rigs.wait_until("it ends: there is nothing else to serve", lambda: not node.daemon.running())
    assert "nothing is there, but store" in node.daemon.output(), node.daemon.state()
    assert bed.cluster.copies()[node.name] == "stale", "a new store in place of the old one"
    bed.load.must_go_on(300)
    bed.load.stop()
    assert not bed.load.errors, bed.load
    read_all(bed.ledger, bed.gateway.uri())


@rigs.soak_only
def test_an_old_image_of_a_store_is_refused(rig):
    bed = Bed(rig)
    node = bed.nodes[2]
    node.terminate()
    old = rig.fresh("old")
    shutil.copytree(node.store, old, symlinks=True)
    node.restart()
    bed.cluster.wait_in_sync()
    bed.load.must_go_on(300)
    node.kill()
    shutil.rmtree(node.store)
    shutil.move(old, node.store)
    node.begin()
    rigs.wait_until("it is refused", lambda: "old image" in node.daemon.output()
                    or not node.daemon.running())
    assert "old image" in node.daemon.output(), node.daemon.output()
    bed.load.must_go_on(300)
    assert bed.cluster.copies()[node.name] == "stale"
    bed.load.stop()
    assert not bed.load.errors, bed.load
    read_all(bed.ledger, bed.gateway.uri())


def test_a_store_of_another_pool_is_refused(rig):
    cluster = Cluster(rig, nodes=1).up()
    node = cluster.nodes[0]
    node.terminate()
    cluster.url += "-other"
    cluster.cli("pool", "init")
    node.begin()
    rigs.wait_until("it is refused", lambda: "pool" in node.daemon.output()
                    or not node.daemon.running())
    assert "another pool" in node.daemon.output(), node.daemon.output()
    assert cluster.json("store", "list")["stores"] == []


@rigs.soak_only
def test_two_stores_with_one_identity_are_not_both_served(rig):
    cluster = Cluster(rig, nodes=2, store_bytes=256 * MIB)
    cluster.cli("pool", "init")
    first, second = cluster.nodes
    first.start()
    first.terminate()
    shutil.copytree(first.store, second.store, symlinks=True)
    first.restart()
    second.begin()
    time.sleep(2)
    rows = cluster.json("store", "list")["stores"]
    assert [row["node"] for row in rows] == [first.name], rows
    assert first.daemon.running()


def test_garbage_harms_no_store(rig):
    """What no peer says: at the port of a store."""
    bed = Bed(rig)
    node = bed.nodes[0]
    script = (
        "import os, socket, sys, random\n"
        "for i in range(60):\n"
        "    peer = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n"
        "    try:\n"
        "        peer.sendall(os.urandom(random.choice([1, 64, 4096, 1 << 20])))\n"
        "        if i % 3: peer.settimeout(0.05); peer.recv(100)\n"
        "    except OSError: pass\n"
        "    peer.close()\n")
    bed.cluster.admin.run("/usr/bin/python3", "-c", script, node.host.address, PORT)
    bed.load.must_go_on(300)
    assert node.daemon.running()
    assert set(bed.cluster.copies().values()) == {"in sync"}
    bed.settle()


def test_foreign_keys_in_etcd_are_left_alone(rig):
    bed = Bed(rig)
    prefix = bed.cluster.url.split("/", 3)[3]
    for key in ("zebra", "store/x", "volume/1/2/3", "session/\u20ac", "map/1"):
        bed.etcd.control("put", f"{prefix}/{key}", os.urandom(30).hex(), check=True)
        bed.etcd.control("put", f"/{prefix}/{key}", "other", check=True)
    bed.load.must_go_on(300)
    bed.nodes[0].kill()
    bed.load.must_go_on(300)
    bed.nodes[0].restart()
    bed.cluster.cli("pool", "status")
    bed.cluster.create("w", MIB)
    bed.settle()


def test_what_no_stores_can_hold_is_refused_with_the_reason(rig):
    cluster = Cluster(rig).up()
    for words in (["--copies", "4"], ["--copies", "3", "--domain", "zone"], ["--copies", "6"]):
        done = cluster.cli("volume", "create", "v", "--size", "64M", *words, check=False)
        assert done.returncode in (1, 2) and len(done.stdout.splitlines()) == 1, done.stdout
        assert "v" not in cluster.cli("volume", "list").split()


@rigs.soak_only
def test_who_speaks_another_protocol_is_told_so(rig):
    """HTTP at the port of a store; a store's port as etcd."""
    cluster = Cluster(rig, nodes=1).up()
    node = cluster.nodes[0]
    done = cluster.admin.run(
        rigs.program("iomesh-cli"), "--pool", f"etcd://{node.host.address}:{PORT}/x", "pool",
        "status", check=False)
    assert done.returncode == 1 and done.stdout.strip(), done.stdout
    assert node.daemon.running()


def test_etcd_is_stopped_and_goes_on(rig):
    """Running volumes serve until the lease bound, pause, and go on by themselves."""
    bed = Bed(rig)
    began = time.monotonic()
    bed.etcd.stop_all()
    time.sleep(2.5)
    assert bed.load.longest_gap(began) < 1, bed.load
    rigs.wait_until("the load pauses", lambda: bed.load.longest_gap(began) > 1.5)
    bed.etcd.continue_all()
    bed.load.must_go_on(200)
    bed.settle()


if __name__ == "__main__":
    rigs.main(__file__)
