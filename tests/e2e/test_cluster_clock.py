#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Machines whose clocks are wrong, and jump: who has a volume, what is acknowledged, which copies
are good and who is put out depends on no clock but each machine's own that only goes forward."""

import os
import pathlib
import re
import time

import pytest

import rig as rigs
from cluster_load import read_all
from cluster_rig import Bed, Cluster

FAKETIME = next(pathlib.Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
DAY = 86400


def sweep():
    """What that leaves of processes that were killed."""
    for path in pathlib.Path("/dev/shm").glob("*faketime_*"):
        number = re.search(r"_(\d+)$", path.name)
        if number and not os.path.exists(f"/proc/{number[1]}"):
            path.unlink(missing_ok=True)


def environment(clock):
    return {"LD_PRELOAD": FAKETIME, "FAKETIME_TIMESTAMP_FILE": clock, "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


def set_clock(who, offset):
    """Of a Node or Gateway, before it starts or while it runs: so many seconds wrong."""
    if not who.environment:
        who.rig.at_end(sweep)
        who.clock = who.rig.fresh("clock")
        who.environment = environment(who.clock)
    fresh = who.rig.fresh("clock")
    fresh.write_text(f"{offset:+d}\n")
    os.replace(fresh, who.clock)


def stale_since(bed, node):
    """By how many seconds the copy's record differs from our clock."""
    copies = bed.cluster.json("volume", "show", "v")["copies"]
    copy = next(copy for copy in copies if copy["node"] == node.name)
    assert copy["state"] == "stale"
    return copy["since_ns"] / 1e9 - time.time()


@pytest.fixture(name="bed")
def machines_that_disagree(rig):
    """A year fast, twenty years slow, right; the gateway is half an hour slow."""
    def wrong(cluster):
        for node, offset in zip(cluster.nodes, (366 * DAY, -7300 * DAY, 0)):
            set_clock(node, offset)

    bed = Bed(rig, before=wrong)
    bed.load.stop()
    bed.gateway.kill()
    set_clock(bed.gateway, -1800)
    bed.gateway.start()
    bed.load = bed.start_load()
    bed.load.must_go_on()
    return bed


def test_wrong_clocks_harm_nobody(bed):
    for node in bed.nodes:  # One of them has the keeper; each in turn is the one that is away.
        began = time.monotonic()
        node.kill()
        bed.load.must_go_on(600)
        assert bed.load.longest_gap(began) < 1.8, bed.load
        assert -1900 < stale_since(bed, node) < -1700, "the gateway's clock is not wrong"
        bed.load.must_go_on(400)
        states = {store["state"] for store in bed.cluster.json("store", "list")["stores"]}
        assert states == {"up"}, "put out as if it had been away for long"
        node.restart()
        bed.cluster.wait_in_sync()
    bed.settle()


@rigs.soak_only
def test_a_session_runs_out_by_its_own_clock(bed):
    bed.load.stop()
    bed.gateway.kill()
    bed.gateway = bed.cluster.gateway()
    set_clock(bed.gateway, 40000 * DAY)
    began = time.monotonic()
    bed.gateway.start()
    read_all(bed.ledger, bed.gateway.uri())
    assert 2 < time.monotonic() - began < 18


def jump(bed, offset):
    """Every clock, to that; for how long the load stood still then."""
    began = time.monotonic()
    for who in (bed.gateway, *bed.nodes):
        set_clock(who, offset)
    bed.load.must_go_on(300)
    assert set(bed.cluster.copies().values()) == {"in sync"}
    return bed.load.longest_gap(began)


def test_clocks_that_jump_harm_nobody(bed):
    before = 0
    for offset in (3600, -DAY, 5000 * DAY, -10000 * DAY, 0):
        gaps = [jump(bed, offset)]
        while gaps[-1] >= 0.9 and len(gaps) < 3:  # A busy machine stands still at times: again.
            jump(bed, before)
            gaps.append(jump(bed, offset))
        assert gaps[-1] < 0.9, f"{offset}: {gaps} {bed.load}"
        before = offset
    bed.settle()
    assert not bed.load.errors, bed.load


def test_a_store_emptied_by_a_wrong_clock_is_removed_by_a_right_one(rig):
    cluster = Cluster(rig, nodes=1).up()
    store = cluster.json("store", "list")["stores"][0]["id"]
    clock = rig.fresh("clock")
    clock.write_text(f"{400 * DAY:+d}\n")
    cluster.cli("store", "drain", str(store), env={**os.environ, **environment(clock)})
    cluster.cli("store", "remove", str(store))
    assert not cluster.json("store", "list")["stores"]


if __name__ == "__main__":
    rigs.main(__file__)
