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
ROUNDS = 3


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


def store_pauses(bed):
    found = {"kill -9 of an iomeshd": [], "SIGSTOP of an iomeshd": [], "link of a host cut": []}
    for number in range(ROUNDS):
        node = bed.nodes[number % len(bed.nodes)]
        found["kill -9 of an iomeshd"].append(gap(bed, node.kill, node.restart))
        found["SIGSTOP of an iomeshd"].append(gap(bed, node.pause, node.go_on))
        found["link of a host cut"].append(gap(bed, node.host.unplug, node.host.plug))
    bed.settle()
    return found


def leader_pauses(bed):
    found = []
    for _ in range(ROUNDS):
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


def gateway_pauses(bed):
    def elsewhere():
        bed.gateway = bed.cluster.gateway().start()

    found = {"gateway killed, same node": [], "gateway killed, another node": []}
    for _ in range(ROUNDS):
        found["gateway killed, same node"].append(first_answer(bed, lambda: bed.gateway.start()))
        found["gateway killed, another node"].append(first_answer(bed, elsewhere))
    bed.settle()
    return found


def pauses(_):
    found = {**with_bed(store_pauses), **with_bed(leader_pauses, members=3),
             **with_bed(gateway_pauses)}
    for name, each in found.items():
        say(f"{name:30} median {statistics.median(each):6.2f} s  all "
            f"{', '.join(f'{one:.2f}' for one in each)}")
    return found


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


def away(bed):
    bed.load.stop()
    holds_open = nbd.NBD()
    holds_open.connect_uri(bed.gateway.uri())
    node = bed.nodes[0]
    found = {"seconds": [], "copied": []}
    write(bed, 512)
    for _ in range(ROUNDS):
        node.kill()
        write(bed, 256)
        time.sleep(1)
        before = received(node)
        node.begin()
        node.daemon.must_run("READY=1", node.notified.ready)
        found["seconds"].append(bed.cluster.wait_in_sync())
        found["copied"].append((received(node) - before) / (256 * MIB))
    holds_open.shutdown()
    return found


def resync(options):
    found = with_bed(away, size=1 << 30, store_bytes=4 << 30)
    say(f"256 MiB changed while a store was away: in sync after median "
        f"{statistics.median(found['seconds']):.2f} s, copied "
        f"{statistics.median(found['copied']):.3f} of it")
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


