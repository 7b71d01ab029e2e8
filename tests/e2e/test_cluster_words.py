#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What a cluster says of itself, emptying a store, and metadata made anew of what stores have."""

import json
import time

import nbd

import rig as rigs
from cluster_rig import MIB, Cluster


def facts(cluster):
    return cluster.json("pool", "status")["facts"]


def write(gateway, path, volume="v"):
    rigs.run("nbdcopy", path, gateway.uri(volume))


def read(gateway, path, volume="v"):
    rigs.run("nbdcopy", gateway.uri(volume), path)
    return path.read_bytes()


def filled(rig, size, seed):
    path = rig.fresh("data")
    path.write_bytes(bytes((seed + i // 4096 + i) % 251 for i in range(1 << 20)) * (size // MIB))
    return path


def test_status_says_what_is_wrong_with_half_of_the_nodes_and_a_member_of_etcd_dead(rig):
    cluster = Cluster(rig, nodes=4, members=3).up()
    cluster.create("v", 64 * MIB)
    rigs.wait_until("all is well", lambda: not facts(cluster))
    status = cluster.json("pool", "status")
    assert status["health"] == "well"
    assert status["stores"] == {"count": 4, "answering": 4, "draining": 0, "out": 0, "nodes": 4}
    assert status["etcd"] == {"members": 3, "answering": 3}
    assert "All is well." in cluster.cli("pool", "status")

    copies = cluster.copies("v")
    held = [node for node in cluster.nodes if node.name in copies]
    for node in held[:2]:
        node.kill()
    rigs.wait_until("two stores are seen silent", lambda:
                    cluster.json("pool", "status")["stores"]["answering"] == 2)
    cluster.etcd.kill((cluster.etcd.wait_leader() + 1) % 3)
    began = time.monotonic()
    text = cluster.cli("pool", "status")
    assert time.monotonic() - began < 10
    assert "etcd     2 of 3 members answer" in text
    assert "does not answer (" in text
    status = cluster.json("pool", "status")
    assert status["health"] in ("degraded", "stopped")
    for node in held[:2]:
        told = [fact for fact in status["facts"] if node.name in fact["text"]]
        assert told and all("has not answered" in fact["text"] for fact in told), status["facts"]
    assert "etcd member" in {fact["kind"] for fact in status["facts"]}


def test_status_is_quick_with_members_of_etcd_silent_and_says_what_one_has_without_the_others(rig):
    cluster = Cluster(rig, nodes=2, members=3).up()
    cluster.create("v", 64 * MIB, 2)
    rigs.wait_until("all is well", lambda: not facts(cluster))
    began = time.monotonic()
    cluster.cli("pool", "status")
    alone = time.monotonic() - began
    silent = (cluster.etcd.wait_leader() + 1) % 3
    cluster.etcd.hosts[silent].unplug()
    longest = 0
    for _ in range(6):  # It begins with any of the three.
        began = time.monotonic()
        text = cluster.cli("pool", "status")
        longest = max(longest, time.monotonic() - began)
        assert "2 of 3 members answer" in text, text
    assert longest - alone < 1.5, (alone, longest)

    cluster.etcd.kill((silent + 1) % 3)
    rigs.wait_until("the last knows of no leader", lambda: cluster.etcd.leader() is None)
    began = time.monotonic()
    status = cluster.json("pool", "status")
    took = time.monotonic() - began
    assert took < 5, took
    assert status["health"] == "stopped" and status["etcd"] == {"members": 3, "answering": 1}
    assert any("may be old" in fact["text"] for fact in status["facts"]), status["facts"]
    assert status["stores"]["count"] == 2 and status["volumes"]["count"] == 1
    done = cluster.cli("volume", "list", check=False)
    assert done.returncode == 0 and "may be old" in done.stdout and "v " in done.stdout, done
    refused = cluster.cli("volume", "create", "w", "--size", "64M", check=False)
    assert refused.returncode == 1, refused


def test_etcd_out_of_reach_is_one_sentence(rig):
    cluster = Cluster(rig, nodes=1).up()
    cluster.etcd.kill(0)
    cluster.url += "?wait=1"  # Not the ten seconds that it is given otherwise.
    done = cluster.cli("pool", "status", check=False)
    assert done.returncode == 1
    assert done.stdout.count("\n") == 1 and "the metadata: " in done.stdout, done.stdout
    assert "nothing else can be learned" in done.stdout


def test_settings_are_set_used_and_taken_back(rig):
    cluster = Cluster(rig, nodes=1).up()
    cluster.set(out_after="90s", balance_percent=7)
    told = cluster.json("pool", "show")["settings"]
    assert told["out_after_ns"] == {"value": 90 * 10**9, "set": True}
    assert told["balance_percent"] == {"value": 7, "set": True}
    assert told["grace_ns"] == {"value": 250 * 10**6, "set": False}
    cluster.set(out_after="default")
    assert cluster.json("pool", "show")["settings"]["out_after_ns"]["set"] is False
    for words in ("out_after=1s", "out_after=soon", "nonsense=1", "grace="):
        assert cluster.cli("pool", "set", words, check=False).returncode != 0, words


def emptied(rig):
    """A cluster of four, the number of its store that was drained, a gateway, what it reads."""
    cluster = Cluster(rig, nodes=4).up()
    cluster.create("v", 64 * MIB)
    gateway = cluster.gateway().start()
    data = filled(rig, 64 * MIB, 1)
    write(gateway, data)
    leaves = sorted(cluster.copies("v"))[0]
    store = next(s["id"] for s in cluster.json("store", "list")["stores"] if s["node"] == leaves)
    refused = cluster.cli("store", "remove", str(store), check=False)
    assert refused.returncode == 1 and "drain it first" in refused.stdout
    cluster.cli("store", "drain", str(store), "--wait", timeout=120)
    assert leaves not in cluster.copies("v")
    return cluster, store, gateway, data.read_bytes()


def test_a_store_is_emptied(rig):
    cluster, store, gateway, data = emptied(rig)
    cluster.wait_in_sync("v")
    assert read(gateway, rig.fresh("back")) == data
    done = cluster.cli("store", "remove", str(store), check=False)
    assert done.returncode == 0 or "somebody may not know yet: try again in" in done.stdout, done


@rigs.soak_only
def test_a_store_is_emptied_and_removed(rig):
    """Who may not know of it yet is waited for, ten seconds."""
    cluster, store, gateway, data = emptied(rig)
    rigs.wait_until("it is removed", lambda: cluster.cli("store", "remove", str(store),
                                                         check=False).returncode == 0)
    assert store not in [s["id"] for s in cluster.json("store", "list")["stores"]]
    cluster.wait_in_sync("v")
    assert read(gateway, rig.fresh("back")) == data


def test_metadata_is_made_anew_when_etcd_is_wiped(rig):
    """Epochs and sequences go on; a copy that is stale stays so; old daemons obey nobody older."""
    cluster = Cluster(rig).up()
    cluster.create("v", 64 * MIB)
    cluster.create("w", 300 * MIB, 2)
    gateway = cluster.gateway().start()
    first, second = filled(rig, 64 * MIB, 1), filled(rig, 64 * MIB, 2)
    write(gateway, first)
    write(gateway, first, "w")
    rigs.wait_until("the gateway has closed it", lambda: cluster.cli(
        "snapshot", "create", "w@kept", check=False).returncode == 0)
    cluster.nodes[2].kill()
    write(gateway, second)
    assert cluster.copies("v")[cluster.nodes[2].name] == "stale"
    time.sleep(1)  # Copies of records are sent within moments of a change.
    gateway.kill()
    for node in cluster.nodes[:2]:
        node.kill()
    stores = [word for node in cluster.nodes for word in ("--store", node.store)]

    refused = cluster.cli("pool", "rebuild-metadata", *stores, check=False)
    assert refused.returncode == 1 and "there is a pool" in refused.stdout
    cluster.etcd.control("del", "--prefix", "", check=True)
    some = cluster.cli("pool", "rebuild-metadata", *stores[4:], check=False)
    assert some.returncode == 1 and "may lack acknowledged writes" in some.stdout
    looked = json.loads(cluster.cli("--json", "pool", "rebuild-metadata", *stores, "--look"))
    assert (looked["volumes"], looked["snapshots"], looked["losses"]) == (2, 1, 0)
    assert cluster.cli("volume", "list", check=False).returncode == 1, "a look makes nothing"
    files = []
    for node in cluster.nodes:
        files += ["--from", rig.fresh("gathered")]
        cluster.cli("pool", "rebuild-metadata", "--store", node.store, "--save", files[-1])
    assert cluster.cli("pool", "rebuild-metadata", "--store", stores[1], "--save", files[1],
                       check=False).returncode == 1, "a file that is there stays"
    whole = files[1].read_bytes()
    files[1].write_bytes(whole[:-5] + bytes([whole[-5] ^ 1]) + whole[-4:])
    assert cluster.cli("pool", "rebuild-metadata", *files, check=False).returncode == 1
    files[1].write_bytes(whole)
    made = json.loads(cluster.cli("--json", "pool", "rebuild-metadata", *files))
    assert (made["volumes"], made["snapshots"], made["losses"]) == (2, 1, 0), made
    assert cluster.copies("v")[cluster.nodes[2].name] == "stale"

    for node in cluster.nodes:
        node.restart()
    gateway.start()
    assert read(gateway, rig.fresh("back")) == second.read_bytes()
    assert read(gateway, rig.fresh("back"), "w")[:64 * MIB] == first.read_bytes()
    write(gateway, first)
    held = nbd.NBD()  # Else it is the keeper that opens it, when it has time.
    held.connect_uri(gateway.uri())
    cluster.wait_in_sync("v")
    held.shutdown()
    for node in cluster.nodes[:2]:
        node.kill()
    cluster.nodes[0].restart()
    cluster.nodes[1].restart()
    assert read(gateway, rig.fresh("back")) == first.read_bytes()
    cluster.create("x", 64 * MIB)
    assert [v["name"] for v in cluster.json("volume", "list")["volumes"]] == ["v", "w", "x"]


def test_metadata_is_made_anew_of_what_running_daemons_say(rig):
    """Without metadata they go on to serve their stores, for this."""
    cluster = Cluster(rig).up()
    cluster.create("v", 64 * MIB)
    cluster.create("w", 300 * MIB, 2)
    gateway = cluster.gateway().start()
    first, second = filled(rig, 64 * MIB, 1), filled(rig, 64 * MIB, 2)
    write(gateway, first)
    write(gateway, first, "w")
    rigs.wait_until("the gateway has closed it", lambda: cluster.cli(
        "snapshot", "create", "w@kept", check=False).returncode == 0)
    write(gateway, second)
    time.sleep(1)  # Copies of records are sent within moments of a change.
    gateway.kill()
    every = [word for node in cluster.nodes for word in ("--from", node.address)]

    refused = cluster.cli("pool", "rebuild-metadata", *every, check=False)
    assert refused.returncode == 1 and "there is a pool" in refused.stdout
    cluster.etcd.kill(0)
    saved = rig.fresh("gathered")
    cluster.cli("pool", "rebuild-metadata", *every[:2], "--save", saved)
    cluster.etcd.start(0)
    cluster.etcd.wait()
    cluster.etcd.control("del", "--prefix", "", check=True)
    time.sleep(5)
    nobody = cluster.cli("pool", "rebuild-metadata", "--from", f"tcp:{cluster.admin.address}:9",
                         check=False)
    assert nobody.returncode == 1 and f"tcp:{cluster.admin.address}:9" in nobody.stdout
    twice = cluster.cli("pool", "rebuild-metadata", "--from", saved, *every, check=False)
    assert twice.returncode == 1 and "is the same store as" in twice.stdout, twice.stdout
    some = cluster.cli("pool", "rebuild-metadata", *every[:2], check=False)
    assert some.returncode == 1 and "may lack acknowledged writes" in some.stdout
    looked = json.loads(cluster.cli("--json", "pool", "rebuild-metadata", *every, "--look"))
    assert (looked["stores"], looked["volumes"], looked["snapshots"]) == (3, 2, 1), looked
    made = json.loads(cluster.cli("--json", "pool", "rebuild-metadata", "--from", saved,
                                  *every[2:]))
    assert (made["volumes"], made["snapshots"]) == (2, 1), made
    assert (made["losses"], made["faults"]) == (0, 0), made

    for node in cluster.nodes:
        assert node.daemon.running(), "it served its store all the time"
        node.kill()
        node.restart()
    gateway.start()
    assert read(gateway, rig.fresh("back")) == second.read_bytes()
    assert read(gateway, rig.fresh("back"), "w")[:64 * MIB] == first.read_bytes()
    write(gateway, first)
    assert read(gateway, rig.fresh("back")) == first.read_bytes()
    cluster.wait_in_sync("v")
    cluster.create("x", 64 * MIB)
    assert [v["name"] for v in cluster.json("volume", "list")["volumes"]] == ["v", "w", "x"]


if __name__ == "__main__":
    rigs.main(__file__)
