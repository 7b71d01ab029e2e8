#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Snapshots, groups, clones and changed blocks through iomesh-cli: alone, and asked of the process
that serves the pool."""

import re

import pytest

import rig as rigs
from snapshot_rig import Shop, noise, patched
from test_completion import bash_offers, zsh_offers

MIB = rigs.MIB
KIB = 1024


@pytest.fixture(params=["alone", "asked"])
def shop(rig, request):
    return Shop(rig, request.param == "asked")


# --- snapshots

def test_a_snapshot_keeps_what_was_there(shop):
    before = shop.make("web", 4 * MIB)
    assert "web@monday is taken" in shop("snapshot", "create", "web@monday")
    change = (MIB + 4096, noise(32 * KIB, 77))
    shop.write("web", change)
    assert shop.read("web@monday") == before
    assert shop.read("web") == patched(before, change)
    assert shop.show("web")["snapshot_count"] == 1
    made = shop.json("snapshot", "create", "web@tuesday")
    listed = shop.snapshots("web")
    assert [snapshot["name"] for snapshot in listed] == ["monday", "tuesday"]
    assert set(listed[0]) == {"volume", "name", "uuid", "size_bytes", "created_ns", "created",
                              "clone_count", "group", "flags", "unique_bytes", "shared_bytes"}
    assert listed[1]["uuid"] == made["uuid"] != listed[0]["uuid"]
    assert listed[0]["size_bytes"] == 4 * MIB and listed[0]["flags"] == []
    shop("snapshot", "delete", "web@monday")
    assert shop.snapshot_names("web") == ["tuesday"]
    assert shop.read("web") == shop.read("web@tuesday") == patched(before, change)
    shop.check()


def test_the_space_of_a_snapshot_is_told_and_comes_back(shop):
    shop.make("web", 4 * MIB)
    shop("snapshot", "create", "web@a")
    only = shop.snapshots("web")[0]
    assert (only["unique_bytes"], only["shared_bytes"]) == (0, 4 * 64 * KIB)
    shop.write("web", (0, noise(16 * KIB, 5)), (2 * MIB, noise(16 * KIB, 6)))
    only = shop.snapshots("web")[0]
    assert (only["unique_bytes"], only["shared_bytes"]) == (32 * KIB, 4 * 64 * KIB - 32 * KIB)
    table = shop("snapshot", "list", "web")
    assert re.search(r"^a +4 MiB +32 KiB +224 KiB +0 ", table, re.M), table
    assert "unique_bytes" not in shop.snapshots("web", "--no-space")[0]
    used = shop.used()
    shop("snapshot", "delete", "web@a")
    rigs.wait_until("its space", lambda: shop.used() <= used - 32 * KIB)
    assert shop.snapshots("web") == shop.snapshots("web", "--all") == []


def test_snapshots_go_in_any_order(shop):
    data = {"s0": shop.make("web", 2 * MIB)}
    shop("snapshot", "create", "web@s0")
    for i in range(1, 5):
        change = (4096 * i, noise(128 * KIB, i))
        shop.write("web", change)
        data[f"s{i}"] = patched(data[f"s{i - 1}"], change)
        shop("snapshot", "create", f"web@s{i}")
    left = ["s0", "s1", "s2", "s3", "s4"]
    for gone in ("s2", "s0", "s4", "s1"):
        shop("snapshot", "delete", f"web@{gone}")
        left.remove(gone)
        assert shop.snapshot_names("web") == left
        for name in left:
            assert shop.read(f"web@{name}") == data[name], f"{name} without {gone}"
    assert shop.read("web") == data["s4"]
    shop.check()


def test_a_volume_rolls_back_and_forth(shop):
    first = shop.make("web", 2 * MIB)
    shop("snapshot", "create", "web@a")
    changes = [(0, noise(200 * KIB, 1)), (MIB + 300 * KIB, noise(4096, 2))]
    shop.write("web", *changes)
    shop("snapshot", "create", "web@b")
    assert "again what snapshot web@a shows" in shop("snapshot", "rollback", "web@a")
    assert shop.read("web") == first
    assert shop.read("web@b") == patched(first, *changes)
    assert shop.json("snapshot", "rollback", "web@b")["rolled_back"] is True
    assert shop.read("web") == patched(first, *changes)
    assert shop.snapshot_names("web") == ["a", "b"]
    assert shop.show("web")["flags"] == []
    shop.check()


def test_a_volume_in_use_is_not_rolled_back(rig):
    shop = Shop(rig, asked=True)
    shop.make("web", MIB)
    shop("snapshot", "create", "web@a")
    with shop.disk("web") as disk:
        shop.refused("web.*disconnect whoever uses it", "snapshot", "rollback", "web@a")
        disk.pwrite(noise(4096), 0)
    shop("snapshot", "rollback", "web@a")


def test_a_snapshot_that_is_read_is_not_deleted(rig):
    shop = Shop(rig, asked=True)
    before = shop.make("web", MIB)
    shop("snapshot", "create", "web@a")
    with shop.disk("web@a") as disk:
        shop.refused("web@a|a", "snapshot", "delete", "web@a")
        assert disk.pread(65536, 0) == before[:65536]
        assert disk.is_read_only()
    rigs.wait_until("it to be let go",
                    lambda: shop.raw("snapshot", "delete", "web@a").status == 0)


def test_a_rollback_takes_the_size_back_when_told(shop):
    first = shop.make("web", 2 * MIB)
    shop("snapshot", "create", "web@small")
    shop("volume", "resize", "web", "--size", "4M")
    shop.write("web", (3 * MIB, noise(4096)))
    shop("snapshot", "create", "web@large")
    shop("snapshot", "rollback", "web@small")
    assert shop.read("web") == first + bytes(2 * MIB)
    shop("snapshot", "rollback", "web@small", "--force")
    assert shop.show("web")["size_bytes"] == 2 * MIB
    shop.refused("larger|size.*--force", "snapshot", "rollback", "web@large")
    assert shop.read("web") == first
    shop("snapshot", "rollback", "web@large", "--force")
    assert shop.read("web") == patched(first + bytes(2 * MIB), (3 * MIB, noise(4096)))


# --- changed blocks

def ranges(pairs):
    return [{"offset": offset, "length": length} for offset, length in pairs]


def test_what_changed_is_told_in_bytes(shop):
    shop.make("web", 8 * MIB)
    shop("snapshot", "create", "web@a")
    assert shop.json("snapshot", "diff", "web@a", "web") == []
    shop.write("web", (4096, noise(4096)), (8192, noise(8192)), (5 * MIB, noise(12288)))
    shop("snapshot", "create", "web@b")
    shop.trim("web", 3 * MIB, 2 * MIB)
    shop.write("web", (8 * MIB - 4096, noise(4096)))
    first = [(4096, 12288), (5 * MIB, 12288)]
    then = [(3 * MIB, 64 * KIB), (4 * MIB, 64 * KIB), (8 * MIB - 4096, 4096)]
    assert shop.json("snapshot", "diff", "web@a", "web@b") == ranges(first)
    assert covered(shop.json("snapshot", "diff", "web@b", "web")) >= covered(ranges(then))
    assert covered(shop.json("snapshot", "diff", "web@a", "web")) >= covered(ranges(first + then))
    lines = shop("snapshot", "diff", "web@a", "web@b").splitlines()
    assert [line.split() for line in lines] == [["OFFSET", "LENGTH"], ["4096", "12288"],
                                                [str(5 * MIB), "12288"]]


def covered(listed):
    """The blocks in these ranges, each of which must be whole."""
    blocks = set()
    for range_ in listed:
        assert range_["offset"] % 4096 == range_["length"] % 4096 == 0 < range_["length"]
        some = set(range(range_["offset"] // 4096, (range_["offset"] + range_["length"]) // 4096))
        assert not blocks & some, "told twice"
        blocks |= some
    return blocks


def test_a_diff_goes_forward_and_stays_in_a_volume(shop):
    for volume in ("web", "other"):
        shop.make(volume, MIB)
        shop("snapshot", "create", f"{volume}@a")
        shop("snapshot", "create", f"{volume}@b")
    shop.refused("web@b is no older than web@a", "snapshot", "diff", "web@b", "web@a")
    shop.refused("web@a is no older than web@a", "snapshot", "diff", "web@a", "web@a")
    shop.refused("one volume", "snapshot", "diff", "web@a", "other@b", status=2)
    shop.refused("one volume", "snapshot", "diff", "web@a", "other", status=2)
    shop.refused('no snapshot "?x.*snapshot list', "snapshot", "diff", "web@x", "web")
    shop.refused('no snapshot "?x', "snapshot", "diff", "web@a", "web@x")
    shop.refused("NAME@SNAP|snapshot", "snapshot", "diff", "web", "web@a", status=2)


# --- groups

def test_a_group_is_taken_and_deleted_as_one(shop):
    data = {volume: shop.make(volume, MIB, seed)
            for seed, volume in enumerate(("db", "log", "web"))}
    said = shop("snapshot", "group", "create", "nightly", "db", "log")
    assert "2 volumes at one instant" in said
    for volume in ("db", "log"):
        shop.write(volume, (0, noise(4096, 99)))
        assert shop.read(f"{volume}@nightly") == data[volume]
        assert shop.snapshots(volume)[0]["group"] == "nightly"
    groups = shop.json("snapshot", "group", "list")["groups"]
    assert [(group["name"], group["volumes"]) for group in groups] == [("nightly", ["db", "log"])]
    assert re.search(r"^nightly  .*  db, log$", shop("snapshot", "group", "list"), re.M)
    assert shop.snapshots("web") == []
    shop.refused("group", "snapshot", "delete", "db@nightly")
    shop("snapshot", "group", "delete", "nightly")
    assert shop.json("snapshot", "group", "list")["groups"] == []
    assert shop.snapshots("db") == shop.snapshots("log") == []
    shop.check()


def test_a_group_is_all_or_none(shop):
    for volume in ("db", "log"):
        shop.make(volume, MIB)
    shop.refused('"none".*volume list', "snapshot", "group", "create", "g", "db", "none", "log")
    shop("snapshot", "create", "log@g")
    shop.refused('"log" has a snapshot "g".*another name', "snapshot", "group", "create", "g", "db",
                 "log")
    assert shop.snapshots("db") == [] and shop.snapshot_names("log") == ["g"]
    assert shop.json("snapshot", "group", "list")["groups"] == []
    shop.refused("twice|once|db", "snapshot", "group", "create", "h", "db", "db")
    shop("snapshot", "group", "create", "h", "db", "log")
    shop.refused('"h".*another name', "snapshot", "group", "create", "h", "db")
    shop.refused('no .*group "x".*snapshot group list', "snapshot", "group", "delete", "x")


# --- clones

def test_a_clone_begins_as_its_snapshot_and_is_its_own(shop):
    before = shop.make("web", 4 * MIB)
    shop("snapshot", "create", "web@a")
    change = (0, noise(8192, 3))
    shop.write("web", change)
    used = shop.used()
    assert "a clone of web@a" in shop("volume", "clone", "web@a", "test")
    assert shop.used() - used < 64 * KIB, "it copies something"
    own = (2 * MIB, noise(4096, 4))
    shop.write("test", own)
    assert shop.read("test") == patched(before, own)
    assert shop.read("web@a") == before
    assert shop.read("web") == patched(before, change)
    shown = shop.json("volume", "clone", "test", "test2")
    assert shown["parent"] == {"name": "test", "snapshot": None, "deleted": False, "hidden": True}
    assert "(no name)" in shop("snapshot", "list", "test", "--all")
    assert re.search(r"^test2 .* test  ", shop("volume", "list"), re.M)
    assert shop.read("test2") == patched(before, own)
    parent = shop.show("test")["parent"]
    assert (parent["name"], parent["snapshot"], parent["deleted"]) == ("web", "a", False)
    table = shop("volume", "list")
    assert re.search(r"^test .* web@a ", table, re.M), table
    assert "clone of   web@a" in shop("volume", "show", "test")
    assert shop.snapshots("web")[0]["clone_count"] == 1
    shop.check()


def test_a_snapshot_with_clones_is_hidden_until_the_last_has_gone(shop):
    before = shop.make("web", MIB)
    shop("snapshot", "create", "web@a")
    for name in ("one", "two"):
        shop("volume", "clone", "web@a", name)
    shop.write("web", (0, noise(65536, 8)))
    assert "its 2 clones" in shop("snapshot", "delete", "web@a")
    assert shop.snapshots("web") == []
    hidden = shop.snapshots("web", "--all")
    assert [snapshot["flags"] for snapshot in hidden] == [["hidden"]]
    assert shop.read("one") == before
    shop("snapshot", "create", "web@a")  # Its name is free.
    assert "flat" in shop("volume", "flatten", "one")
    assert shop.show("one")["parent"] is None
    assert shop.read("one") == shop.read("two") == before
    shop("volume", "delete", "two")
    rigs.wait_until("the hidden one", lambda: shop.snapshot_names("web", "--all") == ["a"])
    assert shop.read("one") == before
    shop.check()


def test_a_flattened_clone_keeps_its_parent_for_its_older_snapshots(shop):
    before = shop.make("web", 2 * MIB)
    shop("snapshot", "create", "web@a")
    shop("volume", "clone", "web@a", "test")
    own = (MIB, noise(4096, 4))
    shop.write("test", own)
    shop("snapshot", "create", "test@old")
    assert "older snapshots" in shop("volume", "flatten", "test")
    assert "its 1 clone is" in shop("snapshot", "delete", "web@a")
    shop("snapshot", "create", "web@a")
    assert shop.show("test")["flags"] == ["flattened"]
    assert shop.read("test") == shop.read("test@old") == patched(before, own)
    shop("snapshot", "delete", "test@old")
    rigs.wait_until("the tie", lambda: shop.show("test")["parent"] is None)
    shop("snapshot", "delete", "web@a")
    shop("volume", "delete", "web")
    assert shop.read("test") == patched(before, own)
    shop.check()


def test_a_flattened_clone_keeps_its_parent_for_its_clones(shop):
    before = shop.make("web", MIB)
    shop("volume", "clone", "web", "test")
    shop("volume", "clone", "test", "test2")
    assert "or their clones, still need web" in shop("volume", "flatten", "test")
    assert shop.read("test2") == before
    assert "test2 is flat" in shop("volume", "flatten", "test2")
    rigs.wait_until("the tie", lambda: shop.show("test")["parent"] is None)
    assert "test is flat" in shop("volume", "flatten", "test")


def test_clones_change_their_size(shop):
    before = shop.make("web", 2 * MIB)
    shop("volume", "clone", "web", "test")
    shop("volume", "resize", "test", "--size", "3M")
    assert shop.read("test") == before + bytes(MIB)
    shop.refused("would shrink.*--force", "volume", "resize", "test", "--size", "1M")
    shop("volume", "resize", "test", "--size", "1M", "--force")
    shop("volume", "resize", "test", "--size", "2M")
    assert shop.read("test") == before[:MIB] + bytes(MIB), "what was cut off is back"
    assert shop.read("web") == before


def test_a_parent_can_be_deleted_once_its_snapshots_are(shop):
    before = shop.make("web", MIB)
    shop("volume", "clone", "web", "test")
    shop("snapshot", "create", "web@a")
    shop.refused("has 1 snapshot: delete it first$", "volume", "delete", "web")
    shop("snapshot", "delete", "web@a")
    shop("volume", "delete", "web")
    assert shop.names() == ["test"]
    assert shop.show("test")["parent"]["deleted"] is True
    assert "(web" in shop("volume", "list")
    assert shop.read("test") == before
    shop.make("web", MIB, 5)  # Its name is free.
    shop("volume", "flatten", "test")
    assert shop.read("test") == before and shop.show("test")["parent"] is None
    shop.check()


# --- bad input

@pytest.mark.parametrize("words, pattern", [
    (["snapshot", "create", "none@a"], 'no volume "none".*volume list'),
    (["snapshot", "create", "web@a"], '"web" has a snapshot "a".*another name'),
    (["snapshot", "delete", "web@x"], 'no snapshot "?x.*snapshot list'),
    (["snapshot", "rollback", "web@x"], 'no snapshot "?x.*snapshot list'),
    (["snapshot", "list", "none"], 'no volume "none".*volume list'),
    (["volume", "clone", "web@x", "new"], 'no snapshot "?x.*snapshot list'),
    (["volume", "clone", "none", "new"], 'no volume "none".*volume list'),
    (["volume", "clone", "web@a", "web"], '"web".*another name'),
    (["volume", "flatten", "none"], 'no volume "none".*volume list'),
    (["volume", "abandon", "none"], 'no volume "none".*volume list'),
    (["volume", "abandon", "web"], "web.*import"),
    (["snapshot", "create", "web"], "NAME@SNAP"),
    (["snapshot", "create", "web@"], "name"),
    (["snapshot", "create", "@a"], "name"),
    (["snapshot", "create", "web@a@b"], "'@'|name"),
    (["snapshot", "create", "web@a/b"], "'/'"),
    (["snapshot", "create", "web@" + "x" * 129], "128|129"),
    (["snapshot", "create", "w" * 300 + "@a"], "name|long|128"),
    (["snapshot", "delete", "web"], "NAME@SNAP"),
    (["snapshot", "list", "web@a"], "'@'|name|is a snapshot"),
    (["snapshot", "group", "create", "a@b", "web"], "'@'|name"),
    (["volume", "clone", "web@a", "b@c"], "'@'|name"),
    (["volume", "delete", "web@a"], "snapshot|'@'"),
    (["volume", "resize", "web@a", "--size", "2M"], "'@'|name|snapshot"),
])
def test_bad_names_of_snapshots_are_refused(shop, words, pattern):
    shop("volume", "create", "web", "--size", "1M")
    shop("snapshot", "create", "web@a")
    shop.refused(pattern, *words)
    assert shop.names() == ["web"] and shop.snapshot_names("web") == ["a"]


def test_a_volume_that_is_being_deleted_has_no_snapshot(shop):
    shop.make("web", 64 * MIB)
    shop("volume", "delete", "web")
    shop.refused('no volume "web"', "snapshot", "create", "web@a")
    shop.refused('no volume "web"', "volume", "clone", "web", "new")


def test_a_full_pool_takes_snapshots_and_deletes_them(rig):
    shop = Shop(rig, asked=True, size=64 * MIB)
    shop("volume", "create", "web", "--size", "1G")
    data = noise(MIB, 1)

    def fill(begin):
        with shop.disk("web") as disk:
            for at in range(begin, 1 << 30, MIB):
                try:
                    disk.pwrite(data, at)
                except Exception as error:  # libnbd's own.
                    assert "No space" in str(error), error
                    return at
        raise AssertionError("it has no end")

    end = fill(0)
    shop("snapshot", "create", "web@full")
    assert fill(0) <= 4 * MIB, "what a snapshot shows was given away"
    shop("snapshot", "delete", "web@full")
    rigs.wait_until("room", lambda: shop.json("pool", "status")["space"]["free_bytes"] > 0)
    with shop.disk("web") as disk:
        disk.trim(end, 0)
    assert fill(0) > 16 * MIB
    shop.check()


# --- completion

@pytest.mark.parametrize("offers", [bash_offers, zsh_offers])
def test_shells_know_snapshots(rig, offers):
    shop = Shop(rig, asked=False)
    for volume in ("alpha", "beta"):
        shop("volume", "create", volume, "--size", "1M")
    for name in ("mon", "tue"):
        shop("snapshot", "create", f"alpha@{name}")
    shop("snapshot", "group", "create", "all", "beta")
    for line, among in (("snapshot delete alpha@", {"mon", "tue"}),
                        ("snapshot diff alpha@mon alpha@t", {"tue"}),
                        ("volume clone alpha@m", {"mon"}),
                        ("volume export alpha@tue file --since ", {"mon", "tue"}),
                        ("snapshot group delete ", {"all"})):
        found = {word.split("@")[-1] for word in offers(f"iomesh-cli {line}", shop.url)}
        assert found == among, line


if __name__ == "__main__":
    rigs.main(__file__)
