#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""kill -9 of iomesh-nbd at random moments under verified load: nothing acknowledged is lost.

$IOMESH_KILLS says how many; 200 if not said."""

import random
import time

import pytest

import rig as rigs

KILLS = rigs.count_from("IOMESH_KILLS", 200)


def kill_during_recovery(pool):
    server = pool.serve(wait=False)
    time.sleep(random.uniform(0, 0.15))
    assert server.running(), server.output()
    server.kill()


def kill_under_load(pool, verifier):
    """In the load, or in the reading before it. True if it was in the load."""
    server = pool.serve()
    load = verifier.start("--seconds", str(rigs.PATIENCE))  # A kill ends it.
    if random.random() < 0.1:
        load.must_run("its connection", lambda: "connected" in load.output())
        time.sleep(random.uniform(0, 0.05))
    else:
        load.must_run("its load", lambda: "checked" in load.output())
        time.sleep(random.uniform(0.01, 0.35))
    assert server.running(), server.output()
    server.kill()
    return "server died" in verifier.finish(load)


@pytest.mark.parametrize("sector, share, options", [
    (512, 0.6, ["--small", "--connections", "2", "--spread", "4G"]),
    (4096, 0.2, ["--connections", "4", "--depth", "8"]),
    (512, 0.2, ["--max-io", "4K", "--depth", "64", "--trim", "3", "--flush", "0", "--fua", "0"]),
])
def test_nothing_acknowledged_is_lost(rig, sector, share, options):
    kills = max(1, round(KILLS * share))
    pool = rigs.Pool(rig, rigs.GIB)
    pool.create("v", 128 * rigs.GIB, sector)
    verifier = rigs.Verifier(rig, pool.uri("v"), "--bytes", "32M", *options)
    loaded = 0
    for kill in range(kills):
        if random.random() < 0.2:
            kill_during_recovery(pool)
        else:
            loaded += kill_under_load(pool, verifier)
        if kill % 25 == 24:
            pool.check()
            rigs.progress(f"{kill + 1} of {kills} kills, {loaded} of them in the load")
    pool.serve()
    verifier.finish(verifier.start("--seconds", "0"))
    assert pool.server.terminate() == 0
    pool.check()
    assert loaded > kills // 2, f"only {loaded} of {kills} kills fell into the load"


if __name__ == "__main__":
    rigs.main(__file__)
