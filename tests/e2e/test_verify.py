#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The verifier itself: it believes an honest server, and finds each way of lying."""

import random
import subprocess
import time

import pytest

import rig as rigs


def qemu_nbd(rig, path, cache):
    """Raw, over a unix socket. It promises sectors, not blocks."""
    listening = rig.path("nbd.socket")
    if listening.exists():
        listening.unlink()
    server = rig.start("qemu-nbd", "-k", listening, "-f", "raw", f"--cache={cache}", "-t", "-e",
                       "8", path)
    server.must_run("its socket", lambda: rigs.connects(listening))
    return server


def wait_for_load(load):
    """The check is over and the load begins, or the check has found something."""
    rigs.wait_until("the verifier's load", lambda: "checked" in load.output() or not load.running())


def killed_once(rig, verifier, serve):
    """One life of a server under load, ended by kill -9."""
    server = serve()
    load = verifier.start("--seconds", str(rigs.PATIENCE))
    wait_for_load(load)
    time.sleep(random.uniform(0.15, 0.3))
    server.kill()
    return verifier.result(load)


def cut_once(drive, verifier, serve):
    """One life of a server under load, ended by a power cut."""
    server = serve()
    load = verifier.start("--seconds", str(rigs.PATIENCE), "--mode", "powercut")
    wait_for_load(load)
    if load.running():
        time.sleep(random.uniform(0.15, 0.3))
        drive.control("cut")
    result = verifier.result(load)
    server.kill()
    if not drive.counts()["armed"]:
        drive.control("arm")
    return result


def unix_uri(rig):
    return f"nbd+unix:///?socket={rig.path('nbd.socket')}"


def first_failure(rounds):
    """The verifier's sentence in the first round that failed, or None."""
    for status, said in rounds:
        assert status in (0, 1), said
        if status == 1:
            return said
    return None


def test_an_honest_server_passes_after_kills(rig):
    disk = rig.sparse("disk", rigs.GIB)
    verifier = rigs.Verifier(rig, unix_uri(rig), "--small", "--connections", "2")
    rounds = (killed_once(rig, verifier, lambda: qemu_nbd(rig, disk, "none")) for _ in range(3))
    assert first_failure(rounds) is None


def test_a_server_that_acknowledges_what_it_only_holds_in_memory_fails_after_a_kill(rig):
    disk = rig.sparse("disk", rigs.GIB)
    listening = rig.path("nbd.socket")

    def serve():
        if listening.exists():
            listening.unlink()
        return rig.start("nbdkit", "-f", "-U", listening, "--filter=cache", "file", disk,
                         "cache=writeback", "cache-max-size=1G")

    verifier = rigs.Verifier(rig, unix_uri(rig), "--flush", "0", "--fua", "0")
    said = first_failure(killed_once(rig, verifier, serve) for _ in range(5))
    assert said is not None and "which was acknowledged" in said


def test_a_server_that_flushes_passes_power_cuts(rig):
    drive = rigs.Drive(rig, 128 * rigs.MIB)
    verifier = rigs.Verifier(rig, unix_uri(rig), "--small", "--atomic", "512", "--flush", "3")
    rounds = (cut_once(drive, verifier, lambda: qemu_nbd(rig, drive.path, "none"))
              for _ in range(4))
    assert first_failure(rounds) is None, f"drive seed {drive.seed}"
    assert drive.counts()["cuts"] == 4


def test_a_server_whose_flush_does_nothing_fails_a_power_cut(rig):
    drive = rigs.Drive(rig, 128 * rigs.MIB)
    verifier = rigs.Verifier(rig, unix_uri(rig), "--atomic", "512", "--flush", "3")
    said = first_failure(cut_once(drive, verifier, lambda: qemu_nbd(rig, drive.path, "unsafe"))
                         for _ in range(8))
    assert said is not None, f"drive seed {drive.seed}"
    assert "before a flush that completed" in said or "with FUA" in said


def test_a_server_whose_fua_alone_does_nothing_fails_a_power_cut(rig):
    drive = rigs.Drive(rig, 128 * rigs.MIB, fuse=False)
    listening = rig.path("nbd.socket")

    def serve():
        """Passes everything on but the flag: emulated FUA, with flushes that go nowhere."""
        if listening.exists():
            listening.unlink()
        server = rig.start("nbdkit", "-f", "-U", listening, "--filter=fua", "nbd",
                           f"socket={drive.socket}", "fuamode=discard")
        server.must_run("its socket", lambda: rigs.connects(listening))
        return server

    verifier = rigs.Verifier(rig, unix_uri(rig), "--atomic", "512", "--flush", "0", "--fua", "30")
    said = first_failure(cut_once(drive, verifier, serve) for _ in range(8))
    assert said is not None and "with FUA" in said


def test_a_server_that_tears_blocks_fails_a_power_cut(rig):
    """A raw file promises sectors only: asked for blocks, the verifier must see the mixture."""
    drive = rigs.Drive(rig, 128 * rigs.MIB)
    verifier = rigs.Verifier(rig, unix_uri(rig), "--flush", "3")
    said = first_failure(cut_once(drive, verifier, lambda: qemu_nbd(rig, drive.path, "none"))
                         for _ in range(80))
    assert said is not None and "mixture" in said


@pytest.mark.parametrize("what, sentence", [
    ("damage", "is damaged"),
    ("swap", "shows what was written to sector"),
    ("zeroes", "lost write"),
])
def test_a_changed_block_is_found(rig, what, sentence):
    disk = rig.sparse("disk", 128 * rigs.MIB)
    verifier = rigs.Verifier(rig, unix_uri(rig), "--zero", "0", "--flush", "0", "--bytes", "4M")
    server = qemu_nbd(rig, disk, "none")

    def loaded():
        """The first two blocks hold something, and not the same."""
        verifier.finish(verifier.start("--seconds", "0.5"))
        with open(disk, "rb") as file:
            blocks = file.read(8192)
        return len({blocks[:4096], blocks[4096:], bytes(4096)}) == 3
    rigs.wait_until("two blocks that differ", loaded)
    server.terminate()
    with open(disk, "r+b") as file:
        first, second = file.read(4096), file.read(4096)
        changed = {"damage": first[:777] + b"?" + first[778:], "swap": second,
                   "zeroes": bytes(4096)}[what]
        file.seek(0)
        file.write(changed)
    subprocess.run(["sync", str(disk)], check=True)
    qemu_nbd(rig, disk, "none")
    status, said = verifier.run("--seconds", "0")
    assert status == 1 and sentence in said


if __name__ == "__main__":
    rigs.main(__file__)
