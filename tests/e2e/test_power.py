#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Power cuts under iomesh-nbd: what was flushed or written with FUA is kept, no block is torn.

That a server whose flush does nothing fails this is proven in test_verify.py.
$IOMESH_CUTS says how many; 100 if not said."""

import random
import time

import pytest

import rig as rigs

CUTS = rigs.count_from("IOMESH_CUTS", 100)
DEVICE_BYTES = 512 * rigs.MIB
LOAD_SECONDS = rigs.PATIENCE  # If no cut ended it.
VERIFY = rigs.os.environ.get("IOMESH_POWER_VERIFY", "").split()  # To try the test on other servers.


def cut(drive, load):
    """At a moment, or in the middle of the n-th write from now."""
    if random.random() < 0.5:
        time.sleep(random.uniform(0.02, 0.4))
        drive.control("cut")
        return
    drive.control(f"cut-after {random.randrange(1, 3000)}")
    rigs.wait_until("a cut within so many writes",
                    lambda: not drive.counts()["armed"] or not load.running())


def cut_during_recovery(drive, pool):
    """It may open, or fail to; what counts is what the next one finds."""
    drive.control(f"cut-after {random.randrange(1, 40)}")
    server = pool.serve(wait=False)
    end = time.monotonic() + 1
    while drive.counts()["armed"] and server.running() and time.monotonic() < end:
        time.sleep(0.01)
    server.kill()
    if drive.counts()["armed"]:
        drive.control("cut")
    drive.control("arm")


def one_life(drive, pool, verifier, planted=None):
    """The verifier's status and words: 1 if something is lost that must not be."""
    server = pool.serve(wait=False, planted=planted)
    load = verifier.start("--mode", "powercut", "--seconds", str(LOAD_SECONDS))
    rigs.wait_until("the load", lambda: "checked" in load.output() or not load.running())
    if load.running():
        cut(drive, load)
    status, said = verifier.result(load)
    if status != 1:
        assert status == 0 and server.running(), f"{said}{drive.counts()}\n{server.state()}"
        assert not drive.counts()["armed"], "the load ended before the power was cut"
    server.kill()
    if not drive.counts()["armed"]:
        drive.control("arm")
    return status, said


@pytest.mark.parametrize("sector, share, options", [
    (512, 0.7, ["--small", "--connections", "2", "--flush", "3"]),
    (4096, 0.3, ["--flush", "0", "--fua", "25", "--max-io", "64K", "--trim", "3"]),
])
def test_everything_flushed_survives_power_cuts(rig, sector, share, options):
    cuts = max(1, round(CUTS * share))
    drive = rigs.Drive(rig, DEVICE_BYTES)
    print(f"drive seed {drive.seed}")
    pool = rigs.Pool(rig, DEVICE_BYTES, device=drive.path)
    pool.create("v", 128 * rigs.MIB, sector)
    verifier = rigs.Verifier(rig, pool.uri("v"), "--bytes", "32M", *options, *VERIFY)
    for life in range(cuts):
        status, said = one_life(drive, pool, verifier)
        assert status == 0, said + verifier.history() + pool.server.output()
        if random.random() < 0.2:
            cut_during_recovery(drive, pool)
        if life % 20 == 19:
            pool.check()
            rigs.progress(f"{life + 1} of {cuts} cuts: {drive.counts()}")
    pool.serve()
    verifier.finish(verifier.start("--mode", "powercut", "--seconds", "0"))
    assert pool.server.terminate() == 0
    pool.check()
    counts = drive.counts()
    assert counts["cuts"] >= cuts and counts["lost"] > 0 and counts["kept"] > 0


@pytest.mark.parametrize("planted, options", [
    ("flush", ["--connections", "2", "--flush", "5", "--fua", "0"]),
    ("fua", ["--flush", "0", "--fua", "25"]),
])
def test_a_flush_or_fua_that_does_nothing_is_found(rig, planted, options):
    """The same test against iomesh-nbd with the feature empty: it must lose something."""
    drive = rigs.Drive(rig, DEVICE_BYTES)
    print(f"drive seed {drive.seed}")
    pool = rigs.Pool(rig, DEVICE_BYTES, device=drive.path)
    pool.create("v", 128 * rigs.MIB)
    verifier = rigs.Verifier(rig, pool.uri("v"), "--bytes", "32M", *options, *VERIFY)
    lives = (one_life(drive, pool, verifier, planted) for _ in range(30))
    said = next((said for status, said in lives if status == 1), None)
    assert said is not None, "30 power cuts, and nothing was lost"
    assert "before a flush that completed" in said or "with FUA" in said


if __name__ == "__main__":
    rigs.main(__file__)
