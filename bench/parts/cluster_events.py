# SPDX-License-Identifier: Apache-2.0
"""How long a cluster pauses when something dies, how fast copies are brought up to date, and how
fast volumes come and go: on the rig of the end-to-end tests."""

import json
import statistics
import time

import nbd
import rig as rigs
from cluster_load import Load
from cluster_rig import Bed, scratch

from .servers import say

MIB = 1 << 20
# Seconds, at most; of what is copied, at most; of the disk's speed, at least.
GOALS = {"kill -9 of an iomeshd": 0.5, "SIGSTOP of an iomeshd": 3, "link of a host cut": 3,
         "leader of etcd killed": 0.05, "gateway killed, same node": 0.5,
         "gateway killed, another node": 6}


def with_bed(action, **options):
    """What the action finds on a fresh cluster."""
    made = scratch()
    try:
        return action(Bed(made, **options))
    finally:
        made.close()
        rigs.remove(made.directory)


def gap(bed, do, undo, requests=2500):
    """The longest time without an answer after something was done."""
    began = time.monotonic()
    do()
    bed.load.must_go_on(requests)
    found = bed.load.longest_gap(began)
    undo()
    bed.cluster.wait_in_sync()
    return found


def store_pauses(bed, rounds):
    found = {"kill -9 of an iomeshd": [], "SIGSTOP of an iomeshd": [], "link of a host cut": []}
    for number in range(rounds):
        node = bed.nodes[number % len(bed.nodes)]
        found["kill -9 of an iomeshd"].append(gap(bed, node.kill, node.restart))
        found["SIGSTOP of an iomeshd"].append(gap(bed, node.pause, node.go_on))
        found["link of a host cut"].append(gap(bed, node.host.unplug, node.host.plug))
    bed.settle()
    return found


def leader_pauses(bed, rounds):
    found = []
    for _ in range(rounds):
        leader = bed.etcd.wait_leader()
        found.append(gap(bed, lambda: bed.etcd.kill(leader), lambda: bed.etcd.start(leader)))
        bed.etcd.wait()
    bed.settle()
    return {"leader of etcd killed": found}


def first_answer(bed, begin):
    """From the end of a gateway to the first answer of the next."""
    bed.gateway.kill()
    began = time.monotonic()
    rigs.wait_until("the load sees it", bed.load.dead.is_set)
    bed.load.stop()
    begin()
    bed.load = Load(bed.ledger, bed.gateway.uri(), rate=800).start()
    bed.load.must_go_on(1)
    took = time.monotonic() - began
    bed.load.must_go_on(200)
    return took


def gateway_pauses(bed, rounds):
    def elsewhere():
        bed.gateway = bed.cluster.gateway().start()

    found = {"gateway killed, same node": [], "gateway killed, another node": []}
    for _ in range(rounds):
        found["gateway killed, same node"].append(first_answer(bed, lambda: bed.gateway.start()))
        found["gateway killed, another node"].append(first_answer(bed, elsewhere))
    bed.settle()
    return found


def row(name, found, unit, goal, more=False):
    """One row: median, all of it, and whether the worst is as good as the goal."""
    met = min(found) >= goal if more else max(found) <= goal
    say(f"{'met' if met else 'MISSED':8} {name:30} median {statistics.median(found):7.3f}{unit}  "
        f"goal {goal:g}  all {', '.join(f'{one:.3f}' for one in found)}")


def pauses(action, options, **bed):
    found = with_bed(lambda made: action(made, options.rounds), **bed)
    for name, each in found.items():
        row(name, each, " s", GOALS[name])
    return found


def stores(options):
    return pauses(store_pauses, options)


def leader(options):
    return pauses(leader_pauses, options, members=3)


def gateway(options):
    return pauses(gateway_pauses, options)


# --- copies brought up to date

def write(bed, count, first=0):
    """So many MiB."""
    handle = nbd.NBD()
    handle.connect_uri(bed.gateway.uri())
    for at in range(first, first + count):
        handle.pwrite(at.to_bytes(8, "little") * (MIB // 8), at * MIB)
    handle.flush()
    handle.shutdown()


def received(node):
    """Bytes that came over a machine's link."""
    told = json.loads(rigs.run("ip", "-n", node.host.namespace, "-s", "-j", "link", "show",
                               "eth0").stdout)
    return told[0]["stats64"]["rx"]["bytes"]


def away(bed, rounds):
    bed.load.stop()
    holds_open = nbd.NBD()
    holds_open.connect_uri(bed.gateway.uri())
    node = bed.nodes[0]
    found = {"seconds": [], "copied": []}
    write(bed, 512)
    for _ in range(rounds):
        node.kill()
        began = time.monotonic()
        write(bed, 256)
        time.sleep(max(0, began + 30 - time.monotonic()))
        before = received(node)
        node.begin()
        node.daemon.must_run("READY=1", node.notified.ready)
        found["seconds"].append(bed.cluster.wait_in_sync())
        found["copied"].append((received(node) - before) / (256 * MIB))
    holds_open.shutdown()
    return found


def resync(options):
    found = with_bed(lambda bed: away(bed, options.rounds), size=1 << 30, store_bytes=4 << 30)
    row("in sync after 30 s, 256 MiB", found["seconds"], " s", 2)
    row("copied, of what changed", found["copied"], "x", 1.1)
    return found


REBUILT_MIB = 2048


def disk_speed(bed):
    """Bytes a second of sequential writes to a file that was written before."""
    path = bed.cluster.rig.fresh("speed")
    words = ["fio", "--name=s", f"--filename={path}", f"--size={REBUILT_MIB}M", "--rw=write",
             "--bs=1M", "--iodepth=8", "--ioengine=io_uring", "--direct=1", "--output-format=json"]
    rigs.run(*words)
    text = rigs.run(*words).stdout
    path.unlink()
    return json.loads(text[text.index("{"):])["jobs"][0]["write"]["bw_bytes"]


def lost(bed, rounds):
    """A store is lost, and what it had is made anew on one that has nothing of it."""
    bed.load.stop()
    bed.cluster.set(move_store_rate="100G", move_pool_rate="100G")
    write(bed, REBUILT_MIB)
    bed.gateway.kill()  # A volume that is open takes new rates when it is opened again.
    bed.gateway.start()
    holds_open = nbd.NBD()
    holds_open.connect_uri(bed.gateway.uri())
    found = {"bytes_second": [], "disk_bytes_second": [], "share": []}
    for _ in range(rounds):
        disk = disk_speed(bed)
        rows = {row["node"]: row["id"] for row in bed.cluster.json("store", "list")["stores"]
                if row["state"] == "up"}
        node = next(node for node in bed.nodes if node.name in bed.cluster.copies())
        node.kill()
        began = time.monotonic()
        bed.cluster.cli("store", "drain", str(rows[node.name]), "--lost")
        rigs.wait_until("its copy is made anew", lambda gone=node.name: (
            gone not in bed.cluster.copies()
            and list(bed.cluster.copies().values()) == ["in sync"] * 3))
        speed = REBUILT_MIB * MIB / (time.monotonic() - began)
        found["bytes_second"].append(speed)
        found["disk_bytes_second"].append(disk)
        found["share"].append(speed / disk)
        bed.cluster.cli("store", "undrain", str(rows[node.name]))
        node.restart()
    holds_open.shutdown()
    return found


def rebuild(options):
    found = with_bed(lambda bed: lost(bed, options.rounds), nodes=4,
                     size=REBUILT_MIB * MIB, store_bytes=8 << 30)
    row("store rebuilt, of the disk", found["share"], "x", 0.7, more=True)
    for what in ("bytes_second", "disk_bytes_second"):
        say(f"         {what} {', '.join(f'{one / 1e6:.0f} MB' for one in found[what])}")
    return found


# --- volumes

def churn(options):
    def many(bed):
        bed.load.stop()
        told = bed.cluster.admin.run(options.bin / "bench-inproc", "--pool", bed.cluster.url,
                                     "--size", 64 * MIB, "--seconds", 5, "--volumes",
                                     "--outstanding", 50, "--used")
        return json.loads(told.stdout.splitlines()[-1])

    found = with_bed(many)
    say(f"volumes made, opened, written, closed, deleted: {found['per_second']} a second")
    return found
