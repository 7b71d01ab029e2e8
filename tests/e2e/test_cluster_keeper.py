#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The keeper over real nodes and etcd: a store that is lost for good, a keeper that is killed
meanwhile, a node that is emptied and removed; volumes in use, closed, never opened, and one that
was deleted and is kept for its clone."""

import base64
import json
import time

import rig as rigs
from cluster_rig import MIB, Bed


def keeper_of(bed):
    """The node whose iomeshd is the keeper; None: they choose one."""
    key = f"/{bed.cluster.rig.directory.name}/keeper"
    for prefix in (key, key[1:]):
        told = bed.etcd.control("get", prefix, "--write-out=json").stdout
        if '"value"' in told:
            break
    else:
        return None
    value = base64.b64decode(json.loads(told.splitlines()[-1])["kvs"][0]["value"])
    return next(node for node in bed.nodes if node.name.encode() in value)


def wait_keeper(bed):
    rigs.wait_until("somebody is the keeper", lambda: keeper_of(bed) is not None)
    return keeper_of(bed)


def store_of(bed, node):
    stores = bed.cluster.json("store", "list")["stores"]
    return next(store for store in stores if store["node"] == node.name)


def write(bed, volume, seed):
    """Twelve megabytes that are known, by a gateway that lets the volume go."""
    path = bed.cluster.rig.fresh("data")
    path.write_bytes(bytes((seed + i // 4096 + i) % 251 for i in range(12 * MIB)))
    rigs.run("nbdcopy", path, bed.gateway.uri(volume))
    return path.read_bytes()


def read(bed, volume):
    path = bed.cluster.rig.fresh("back")
    rigs.run("nbdcopy", bed.gateway.uri(volume), path)
    return path.read_bytes()


def with_volumes(rig, **options):
    """A load on "v"; "idle" is closed, "never" was not opened, "old" was deleted and "young" is its
    clone. Each is on three nodes of four."""
    bed = Bed(rig, nodes=4, **options)
    cluster = bed.cluster
    cluster.set(out_after="10s")
    for name in ("idle", "never", "old"):
        cluster.create(name, 12 * MIB)
    data = {"idle": write(bed, "idle", 1), "young": write(bed, "old", 2)}
    rigs.wait_until("it is closed", lambda: cluster.cli(
        "volume", "clone", "old", "young", check=False).returncode == 0)
    rigs.wait_until("it goes", lambda: cluster.cli(
        "volume", "delete", "old", check=False).returncode == 0)
    return bed, data


def must_be_whole(bed, lost, timeout=60):
    """Everything has three copies in sync, none of them there."""
    def whole():
        for name in ("v", "idle", "never"):
            copies = bed.cluster.copies(name)
            if lost.name in copies or list(copies.values()) != ["in sync"] * 3:
                return False
        told = [fact["text"] for fact in bed.cluster.json("pool", "status")["facts"]]
        return all("copies of" not in text or "holds no copies" in text for text in told)
    rigs.wait_until(f"nothing is on {lost.name} any more", whole, timeout)


def must_show(bed, data):
    """What was written, and zeros where nothing was."""
    bed.settle()
    for name, expected in data.items():
        assert read(bed, name) == expected, name
    assert not any(read(bed, "never"))


def test_a_store_is_lost_and_the_keeper_killed_meanwhile(rig):
    bed, data = with_volumes(rig)
    keeper = wait_keeper(bed)
    held = bed.cluster.copies("v")
    lost = next(node for node in bed.nodes if node is not keeper and node.name in held)
    began = time.monotonic()
    lost.kill()
    bed.load.must_go_on()
    time.sleep(max(0, began + 9 - time.monotonic()))
    assert store_of(bed, lost)["state"] == "up", "not yet"
    # It has counted half of the silence; who follows it does not begin anew.
    keeper.kill()
    keeper.restart()
    must_be_whole(bed, lost)
    assert store_of(bed, lost)["state"] == "out"
    # 5 s of a session, 10 of out_after, 5 until there is a keeper, passes and copying.
    assert time.monotonic() - began < 40, "the silence was counted anew"
    must_show(bed, data)


@rigs.soak_only
def test_keepers_are_killed_one_after_the_other_while_a_store_is_lost(rig):
    bed, data = with_volumes(rig)
    lost = next(node for node in bed.nodes
                if node is not wait_keeper(bed) and node.name in bed.cluster.copies("v"))
    lost.kill()
    for _ in range(6):
        time.sleep(4)
        keeper = wait_keeper(bed)
        keeper.kill()
        keeper.restart()
    must_be_whole(bed, lost)
    # Back it has nothing that counts, and takes copies as any other.
    lost.restart()
    rigs.wait_until("it is up again", lambda: store_of(bed, lost)["state"] == "up", 90)
    must_show(bed, data)


@rigs.soak_only
def test_a_node_is_emptied_and_removed_under_load(rig):
    bed, data = with_volumes(rig)
    leaves = next(node for node in bed.nodes if node.name in bed.cluster.copies("v"))
    number = str(store_of(bed, leaves)["id"])
    began = time.monotonic()
    bed.cluster.cli("store", "drain", number, "--wait", timeout=120)
    must_be_whole(bed, leaves)
    assert bed.load.longest_gap(began) < 2, bed.load
    leaves.terminate()
    rigs.wait_until("it is removed", lambda: bed.cluster.cli(
        "store", "remove", number, check=False).returncode == 0, 90)
    assert number not in [str(s["id"]) for s in bed.cluster.json("store", "list")["stores"]]
    must_show(bed, data)


@rigs.soak_only
def test_a_store_that_was_being_emptied_and_was_lost_is_emptied_when_it_is_back(rig):
    bed, data = with_volumes(rig)
    lost = next(node for node in bed.nodes
                if node is not wait_keeper(bed) and node.name in bed.cluster.copies("v"))
    number = str(store_of(bed, lost)["id"])
    lost.kill()
    bed.cluster.cli("store", "drain", number)
    must_be_whole(bed, lost)
    rigs.wait_until("it is out", lambda: store_of(bed, lost)["state"] == "out", 60)
    lost.restart()
    rigs.wait_until("it drains", lambda: store_of(bed, lost)["state"] == "draining", 90)
    must_show(bed, data)


if __name__ == "__main__":
    rigs.main(__file__)
