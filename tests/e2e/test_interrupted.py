#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What takes long is ended in its middle: by kill -9, by a power cut, by a full pool. The pool is
whole; the volume is what it was, what it was to become, or says what it is; and the same command
does it then."""

import errno
import json
import os
import re
import signal
import subprocess
import time

import nbd
import pytest

import rig as rigs
from cli_rig import refusal
from snapshot_rig import Shop, executable, leftovers, noise, on_terminal, patched

MIB = rigs.MIB
KIB = 1024
MOMENTS = 3  # In which each is ended.
LATE_MAX = 8  # How often it may be over by then; the last of these moments are very early ones.
BEFORE = noise(2 * MIB, 1)
CHANGES = [(at, noise(64 * KIB, at + 1)) for at in range(128 * KIB, 2 * MIB, 256 * KIB)]
AFTER = patched(BEFORE, *CHANGES)


class Drill:
    """One command. `ready` makes what it begins with, `look` what must be true after its end in the
    middle, and `did` what must be true when it was done."""

    def __init__(self, rig, shop):
        self.rig, self.shop = rig, shop
        shop("volume", "create", "web", "--size", str(len(BEFORE)))
        shop.write("web", (0, BEFORE))
        shop("snapshot", "create", "web@a")
        shop.write("web", *CHANGES)
        shop("snapshot", "create", "web@b")
        self.prepare()

    def prepare(self):
        """Once."""

    def meanwhile(self):
        """Beside the command, when the power goes."""

    def flags(self, volume):
        answer = self.shop.raw("--json", "volume", "show", volume)
        return json.loads(answer.out)["flags"] if answer.status == 0 else None


class Rollback(Drill):
    words = "snapshot", "rollback", "web@a"

    def ready(self):
        self.shop("snapshot", "rollback", "web@b")

    def look(self):
        """One that has begun goes on by itself, before anybody reads it."""
        begun = "rolling back" in self.flags("web")
        holds = self.shop.read("web")
        assert holds == BEFORE or (holds == AFTER and not begun)
        assert self.flags("web") == []

    def did(self):
        assert self.shop.read("web") == BEFORE


class Flatten(Drill):
    words = "volume", "flatten", "clone"

    def ready(self):
        if "clone" in self.shop.names():
            self.shop("volume", "delete", "clone")
        self.shop("volume", "clone", "web@a", "clone")
        self.shop.write("clone", CHANGES[0])

    def look(self):
        assert self.shop.read("clone") == patched(BEFORE, CHANGES[0])
        assert self.shop.show("clone")["parent"] in \
            (None, {"name": "web", "snapshot": "a", "deleted": False, "hidden": False})

    def did(self):
        self.look()
        rigs.wait_until("the tie", lambda: self.shop.show("clone")["parent"] is None)


class GroupDelete(Drill):
    words = "snapshot", "group", "delete", "g"

    def prepare(self):
        self.shop.make("log", MIB)

    def names(self):
        groups = [group["name"] for group in self.shop.json("snapshot", "group", "list")["groups"]]
        return [groups, self.shop.snapshot_names("web"), self.shop.snapshot_names("log")]

    def ready(self):
        if self.names()[0] == []:
            self.shop("snapshot", "group", "create", "g", "web", "log")
        self.shop.write("web", *CHANGES)

    def look(self):
        """All of it or nothing."""
        if self.names() == [["g"], ["a", "b", "g"], ["g"]]:
            assert self.shop.read("web@g") == AFTER
        else:
            self.did()
            self.ready()
        assert self.shop.read("web") == AFTER and self.shop.read("web@a") == BEFORE

    def did(self):
        assert self.names() == [[], ["a", "b"], []]


class Export(Drill):
    words = "volume", "export", "web", "FILE"

    def prepare(self):
        self.file = self.rig.path("FILE")

    def ready(self):
        self.file.unlink(missing_ok=True)

    def meanwhile(self):
        """It only reads: what is written again beside it is what the power goes with."""
        try:
            self.shop.write("web", *CHANGES)
        except nbd.Error:
            pass

    def look(self):
        """A file of that name is whole; what was to go away again has a name that says so."""
        for left in leftovers(self.rig.directory):
            self.rig.path(left).unlink()
        for name in self.shop.snapshot_names("web"):
            if name not in "ab":
                assert re.fullmatch(r"export-\d+-\d+", name)
                self.shop("snapshot", "delete", f"web@{name}")
        if self.file.exists():
            self.did()
        assert self.shop.read("web") == AFTER

    def did(self):
        assert self.shop.snapshot_names("web") == ["a", "b"]
        self.shop("volume", "import", self.file, "again")
        assert self.shop.read("again") == AFTER
        self.shop("volume", "delete", "again")


class Import(Drill):
    words = "volume", "import", "A", "copy"

    def prepare(self):
        self.shop("volume", "export", "web@a", self.rig.path("A"))
        self.shop("volume", "export", "web@b", self.rig.path("B"), "--since", "a")

    def ready(self):
        if "copy" in self.shop.names():
            for name in self.shop.snapshot_names("copy"):
                self.shop("snapshot", "delete", f"copy@{name}")
            self.shop("volume", "delete", "copy")

    def look(self):
        flags = self.flags("copy")
        if flags == ["incomplete"]:
            rigs.wait_until("nobody to write it",
                            lambda: self.shop.raw("volume", "abandon", "copy").status == 0)
        elif flags is not None:
            self.did()
            self.ready()
        assert "copy" not in self.shop.names()

    def did(self):
        assert self.flags("copy") == [] and self.shop.snapshot_names("copy") == ["a"]
        assert self.shop.read("copy") == self.shop.read("copy@a") == BEFORE


class ImportIncrement(Import):
    words = "volume", "import", "B", "copy"

    def ready(self):
        super().ready()
        self.shop("volume", "import", self.rig.path("A"), "copy")

    def look(self):
        flags = self.flags("copy")
        if flags == ["incomplete"]:
            rigs.wait_until("nobody to write it",
                            lambda: self.shop.raw("volume", "abandon", "copy").status == 0)
        elif "b" in self.shop.snapshot_names("copy"):
            self.did()
            self.ready()
        super().did()

    def did(self):
        assert self.flags("copy") == [] and self.shop.snapshot_names("copy") == ["a", "b"]
        assert self.shop.read("copy") == self.shop.read("copy@b") == AFTER


DRILLS = pytest.mark.parametrize(
    "drill", [Rollback, Flatten, GroupDelete, Export, Import, ImportIncrement])


def words_of(drill):
    return [drill.rig.path(word) if word in ("A", "B", "FILE") else word for word in drill.words]


def begin(drill):
    """The command, as a process whose words nobody needs."""
    return subprocess.Popen(executable("--pool", drill.shop.url, *words_of(drill)),
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def done(drill):
    """The same command, to its end. How long it took."""
    began = time.monotonic()
    assert begin(drill).wait(rigs.PATIENCE) == 0
    took = time.monotonic() - began
    drill.did()
    return took


def checked(drill):
    """After an end of the pool's owner: nothing is wrong with the pool, which opens."""
    drill.shop("pool", "check")
    if drill.shop.asked:
        drill.shop.start()
    drill.look()


@pytest.mark.parametrize("asked", [False, True], ids=["alone", "asked"])
@DRILLS
def test_the_owner_of_the_pool_is_killed(rig, drill, asked):
    drill = drill(rig, Shop(rig, asked))
    drill.ready()
    took = done(drill)
    middle = over = 0
    while middle < MOMENTS and over < LATE_MAX:
        drill.ready()
        process = begin(drill)
        time.sleep(took * (middle + 0.5) / MOMENTS)
        if process.poll() is None:
            middle += 1
        else:
            over += 1
            took *= 0.6  # The machine was slower when it was timed.
        if asked:
            drill.shop.pool.server.kill()
        else:
            process.kill()
        process.wait(rigs.PATIENCE)
        checked(drill)
    assert middle > 0, "it was always over"
    drill.ready()
    done(drill)
    drill.shop.check()


@DRILLS
def test_the_power_goes(rig, drill):
    """With the n-th write of the command, or before it."""
    drive = rigs.Drive(rig, 64 * MIB)
    print(f"drive seed {drive.seed}")
    drill = drill(rig, Shop(rig, True, device=drive.path))
    cuts = 0
    for writes in (1, 2, 5, 15):
        drill.ready()
        drive.control(f"cut-after {writes}")
        process = begin(drill)
        drill.meanwhile()
        assert process.wait(rigs.PATIENCE) in (0, 1)
        cuts += not drive.counts()["armed"]
        drill.shop.pool.server.kill()
        if drive.counts()["armed"]:
            drive.control("cut")
        drive.control("arm")
        checked(drill)
    assert cuts > 0, "none of them wrote so much"
    drill.ready()
    done(drill)
    drill.shop.check()


# --- by the one who watches

LEFT = {Rollback: "what has begun goes on when the pool is opened next",
        Flatten: "what was copied stays, and the same command goes on from there"}


@pytest.mark.parametrize("asked", [False, True], ids=["alone", "asked"])
@pytest.mark.parametrize("drill", [Rollback, Flatten])
def test_a_bar_that_is_interrupted_ends_its_line_and_says_what_is_left(rig, drill, asked):
    drive = rigs.Drive(rig, 64 * MIB)
    drill = drill(rig, Shop(rig, asked, device=drive.path))
    drill.ready()
    drive.control("delay 30")
    process, master = on_terminal(executable("--pool", drill.shop.url, *drill.words))
    drawn = ""
    while "%" not in drawn:
        drawn += os.read(master, 4096).decode()
    process.send_signal(signal.SIGINT)
    assert process.wait(rigs.PATIENCE) == -signal.SIGINT
    drive.control("delay 0")
    drawn += os.read(master, 4096).decode()
    os.close(master)
    left = "it goes on in the process that owns the pool" if asked else LEFT[type(drill)]
    words = " ".join(drill.words[:2])
    bar = rf"\r{words} \[[#.]{{40}}\] +[\d.]+ %"
    said = f"\r\niomesh-cli: {words}: interrupted; {left}\r\n"
    assert re.search(f"{bar}{said}$", drawn), drawn
    if asked:
        rigs.wait_until("its end", lambda: drill.shop.raw(*drill.words).status == 0)
    else:
        drill.look()
    drill.ready()
    done(drill)
    drill.shop.check()


# --- a full pool

class Full:
    """A pool of which others take all but so much."""

    def __init__(self, shop, leave):
        self.shop = shop
        shop("volume", "create", "others", "--size", "1G")
        end, step = 0, MIB
        with shop.disk("others") as disk:
            while step >= 4096:
                try:
                    disk.pwrite(noise(step, end), end)
                    end += step
                except nbd.Error as error:
                    assert error.errnum == errno.ENOSPC, error
                    step //= 2
            disk.trim(leave, 0)
        self.end = end

    def give_back(self):
        self.shop.trim("others", 0, self.end)
        rigs.wait_until("room", lambda: self.shop.json("pool", "status")["space"]["free_bytes"] >
                        8 * MIB)


@pytest.mark.parametrize("asked", [False, True], ids=["alone", "asked"])
@DRILLS
def test_the_pool_is_full(rig, drill, asked):
    drill = drill(rig, Shop(rig, asked, size=64 * MIB))
    drill.ready()
    full = Full(drill.shop, 256 * KIB)
    answer = drill.shop.raw("--log-level", "error", *words_of(drill))
    if isinstance(drill, (GroupDelete, Export)):
        assert answer.status == 0, "it needs no space"
    else:
        refusal(answer, "[Nn]o space")
    drill.shop.check()
    full.give_back()
    drill.look()
    drill.ready()
    done(drill)
    drill.shop.check()


if __name__ == "__main__":
    rigs.main(__file__)
