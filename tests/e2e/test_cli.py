#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""iomesh-cli: every command, as tables and as JSON; every kind of bad input."""

import contextlib
import json
import os
import pty
import re
import shutil
import sqlite3
import subprocess
import time

import pytest

import cli_rig
import rig as rigs
from cli_rig import Cli, patch_blocks, refusal, tree

MIB = rigs.MIB
GIB = rigs.GIB
SUPERBLOCKS = (8, 16, 24, 32)


@pytest.fixture
def cli(rig):
    """An empty pool of 256 MiB that nobody serves."""
    made = Cli(rig.path("pool"))
    made("pool", "init", "--size", "256M")
    return made


def unchanged(before, after):
    """Nothing made, nothing removed, the stores as they were. SQLite notes in the head of its file
    that it was opened, and may leave its log."""
    for files in (before, after):
        for name in list(files):
            if name.endswith(("meta.db-wal", "meta.db-shm")):
                files.pop(name)
            elif name.endswith("meta.db"):
                files[name] = files[name] and files[name][0]
    return before == after


# --- what it does

def test_a_life_of_a_volume(cli):
    assert cli("volume", "list").split() == ["NAME", "SIZE", "SECTOR", "OPEN",
                                           "SNAPSHOTS", "PARENT", "STATE", "CREATED"]
    assert "web is made: 10 MiB" in cli("volume", "create", "web", "--size", "10M")
    shown = cli("volume", "show", "web")
    assert re.search(r"^size +10 MiB \(10485760 bytes\)$", shown, re.M), shown
    assert "20 MiB" in cli("volume", "resize", "web", "--size", "20M")
    cli.refused(r"would shrink.*--force", "volume", "resize", "web", "--size", "1M")
    assert cli.json("volume", "show", "web")["size_bytes"] == 20 * MIB
    cli("volume", "resize", "web", "--size", "1M", "--force")
    assert cli.json("volume", "show", "web")["size_bytes"] == MIB
    cli("volume", "delete", "web")
    assert cli.names() == []
    cli.refused(r'no volume "web".*volume list', "volume", "delete", "web")


def test_volumes_are_listed_in_order_and_in_json(cli):
    names = ["b", "a-1", "wéb ☃", "B", "x" * 128]
    for name in names:
        made = cli.json("volume", "create", name, "--size", "1G", "--sector", "512")
        assert made["name"] == name and made["sector_bytes"] == 512, made
    listed = cli.json("volume", "list")["volumes"]
    assert [volume["name"] for volume in listed] == sorted(names, key=lambda n: n.encode())
    assert set(listed[0]) == {"name", "id", "size_bytes", "sector_bytes", "created_ns", "created",
                              "open_count", "snapshot_count", "parent", "flags"}
    assert all(volume["size_bytes"] == GIB and volume["open_count"] == 0 for volume in listed)
    assert len({volume["id"] for volume in listed}) == len(names)
    table = cli("volume", "list").splitlines()
    column = table[0].index("CREATED")
    assert [row[column - 2:column].strip() for row in table] == [""] * 6, "columns do not line up"


def test_the_status_adds_up(cli):
    cli("volume", "create", "web", "--size", "10M")
    status = cli.json("pool", "status")
    space = status["space"]
    assert space["total_bytes"] == 256 * MIB
    assert space["total_bytes"] == sum(space[part + "_bytes"] for part in
                                       ("used", "waiting", "free", "reserve"))
    assert status["state"] == "healthy" and status["format"] == 3
    assert status["owner_process"] is None
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", status["uuid"])
    assert status["devices"] == [{"path": str(cli.directory / "store"), "class": "nvme",
                                  "size_bytes": 256 * MIB, "is_file": True, "failed": False}]
    for section in ("journal", "checkpoints", "cache", "scrub", "io", "metadata"):
        assert all(isinstance(value, int) for value in status[section].values()), section
    table = cli("pool", "status")
    for word in (status["uuid"], "healthy", "256 MiB", "journal", "cache", "scrub"):
        assert word in table, table


def test_a_pool_that_is_whole_has_no_faults(cli):
    assert "no faults" in cli("pool", "check")
    answer = cli.json("pool", "check", "--no-data")
    assert answer["fault_count"] == 0 and answer["faults"] == []
    assert "none damaged" in cli("pool", "scrub")
    assert cli.json("pool", "scrub")["completed"] is True


def test_devices_of_every_class_in_one_pool(rig):
    cli = Cli(rig.path("pool"))
    there = rig.sparse("there", 128 * MIB)
    answer = cli.json("pool", "init", "--device", f"{rig.path('made')}:96M,class=ssd",
                      "--device", f"{there},class=hdd")
    assert answer.pop("prepared_bytes") > MIB
    assert answer == {"pool": cli.url, "made": True}
    devices = cli.json("pool", "status")["devices"]
    assert [(device["class"], device["size_bytes"]) for device in devices] == \
        [("ssd", 96 * MIB), ("hdd", 128 * MIB)]
    assert os.stat(rig.path("made")).st_size == 96 * MIB
    cli("volume", "create", "web", "--size", "1G")
    cli("pool", "check")


def test_size_is_that_of_devices_without_one(rig):
    cli = Cli(rig.path("pool"))
    cli("pool", "init", "--size", "100M", "--device", rig.path("a"))
    assert cli.json("pool", "status")["space"]["total_bytes"] == 100 * MIB
    other = Cli(rig.path("other"))
    other.refused("--size: every device has", "pool", "init", "--size", "1G", "--device",
                  f"{rig.path('b')}:100M", status=2)
    assert not rig.path("b").exists() and not other.directory.exists()


def test_the_pool_may_come_from_the_environment_or_a_file(cli, rig):
    cli("volume", "create", "web", "--size", "1M")
    answer = cli_rig.run("volume", "list", env={"IOMESH_POOL": cli.url})
    assert answer.status == 0 and "web" in answer.out
    config = rig.path("config")
    config.write_text(f"# of the test\npool = {cli.url}\njson = yes\n")
    answer = cli_rig.run("volume", "list", "--config", config)
    assert json.loads(answer.out)["volumes"][0]["name"] == "web"
    answer = cli_rig.run("volume", "list", f"--config={config}", "--pool", "file:/nowhere")
    refusal(answer, "/nowhere")
    config.write_text(f"pool = {cli.url}\nspeed = high\n")
    refusal(cli_rig.run("volume", "list", "--config", config), "line 2: speed: unknown key", 2)


def test_complaints_are_json_when_logs_are(cli):
    answer = cli.raw("--log-json", "volume", "show", "none")
    assert answer.status == 1
    assert 'no volume \\"none\\"' in answer.err
    assert json.loads(answer.err)["priority"] == 3


def test_many_at_once_wait_for_each_other(cli):
    running = [subprocess.Popen([rigs.program("iomesh-cli"), "--pool", cli.url, "volume", "create",
                                 f"v{i}", "--size", "1M"], stdout=subprocess.DEVNULL)
               for i in range(8)]
    assert [process.wait(rigs.PATIENCE) for process in running] == [0] * 8
    assert cli.names() == sorted(f"v{i}" for i in range(8))


def served(cli, rig, size):
    """The pool of `cli`, served, with a volume `web` of which so much is written at random."""
    cli("volume", "create", "web", "--size", str(size))
    pool = rigs.Pool(rig, directory=cli.directory)
    pool.serve()
    pool.data = rig.path("data")
    pool.data.write_bytes(os.urandom(size))
    rigs.run("nbdcopy", "--flush", pool.data, pool.uri("web"))
    return pool


def test_a_bar_where_a_person_watches(cli, rig):
    """A scrub at 1 MiB a second of 3 MiB, its stderr a terminal."""
    served(cli, rig, 3 * MIB).server.terminate()
    master, slave = pty.openpty()
    process = subprocess.Popen([rigs.program("iomesh-cli"), "--pool", cli.url, "pool", "scrub",
                                "--rate", "1M"], stdout=subprocess.PIPE, stderr=slave, text=True)
    os.close(slave)
    out = process.communicate(timeout=rigs.PATIENCE)[0]
    drawn = os.read(master, 65536).decode()
    os.close(master)
    assert process.returncode == 0 and "768 blocks checked, none damaged" in out, out
    assert re.search(r"\rpool scrub \[#*\.*\] +\d+\.\d %", drawn), drawn


def test_lines_where_no_person_watches(cli, rig):
    """The same of 8 MiB, its stderr a pipe: a line every five seconds, and no bar."""
    served(cli, rig, 8 * MIB).server.terminate()
    began = time.monotonic()
    answer = cli.raw("pool", "scrub", "--rate", "1M")
    took = time.monotonic() - began
    assert answer.status == 0, answer
    assert re.fullmatch(r"(pool scrub: \d+\.\d %\n)+", answer.err), answer
    assert 1 <= answer.err.count("\n") <= took / 5 + 2, (took, answer)


def test_the_making_of_a_pool_shows_how_far_it_is(rig):
    """On a drive that takes a while for each write; its stderr a terminal, then none."""
    drive = rig.path("drive")
    rig.start("nbdkit", "-f", "-U", drive, "--filter=delay", "memory", "256M", "wdelay=100ms")
    rigs.wait_until("the drive", lambda: rigs.connects(drive))
    device = rigs.fuse_file(rig, f"nbd+unix:///?socket={drive}")
    master, slave = pty.openpty()
    words = [rigs.program("iomesh-cli"), "pool", "init", "--device", device]
    process = subprocess.Popen([*words, "--pool", f"file:{rig.path('one')}"], stderr=slave,
                               stdout=subprocess.PIPE, text=True)
    os.close(slave)
    assert "is made" in process.communicate(timeout=rigs.PATIENCE)[0]
    drawn = os.read(master, 65536).decode()
    os.close(master)
    shares = [float(share) for share in re.findall(r"\rpool init \[#*\.*\] +(\d+\.\d) %", drawn)]
    assert len(shares) > 1 and shares == sorted(shares) and shares[-1] > 50, drawn
    answer = cli_rig.run("--json", *words[1:], "--overwrite", "--pool", f"file:{rig.path('two')}")
    assert answer.status == 0 and "\r" not in answer.err, answer
    assert json.loads(answer.out)["prepared_bytes"] > MIB


# --- usage

@pytest.mark.parametrize("words, pattern", [
    ([], "no command"),
    (["volume"], "volume: no such command"),
    (["volume", "frobnicate"], "no such command"),
    (["volume", "create", "a"], "needs --size"),
    (["volume", "create", "--size", "1M"], "needs NAME"),
    (["volume", "create", "a", "b", "--size", "1M"], "one word too many"),
    (["volume", "create", "a", "--size", "1X"], "--size: is not a size"),
    (["volume", "create", "a", "--size", "-1"], "--size: is not a size"),
    (["volume", "create", "a", "--size", "1.5G"], "--size: is not a size"),
    (["volume", "create", "a", "--size", "0"], "--size: is zero"),
    (["volume", "create", "a", "--size", "99999999999999999999"], "--size: is not a size"),
    (["volume", "create", "a", "--size", "16777216T"], "--size: is not a size"),
    (["volume", "create", "a", "--size", "1M", "--sector", "1024"], "is 512 or 4096"),
    (["volume", "create", "a", "--size"], "needs a value"),
    (["volume", "list", "--size", "1M"], "--size: unknown flag"),
    (["volume", "list", "--nonsense"], "unknown flag"),
    (["volume", "list", "--json=yes"], "takes no value"),
    (["volume", "list", "--log-level", "loud"], "is error, warning"),
    (["volume", "create", "a", "--size", "1M", "--copies", "6"], "--copies: .*is 1 to 5"),
    (["volume", "create", "a", "--size", "1M", "--ec", "4+2"], "--ec: .*not built yet"),
    (["volume", "create", "a", "--size", "1M", "--encrypt"], "--encrypt: .*not built yet"),
    (["volume", "attach", "a"], "volume attach: .*not built yet"),
    (["volume", "clone", "a@s"], "volume clone: needs NAME"),
    (["snapshot", "create"], "snapshot create: needs NAME@SNAP"),
    (["snapshot", "group", "create", "g"], "snapshot group create: needs GROUP NAME"),
    (["snapshot", "diff", "a@s"], "snapshot diff: needs NAME@A NAME"),
    (["volume", "export", "a@s", "-", "--since", "a@r"], "--since: is the name of a snapshot"),
    (["volume", "export", "a@s", "-", "--json"], "--json: standard output is the backup's"),
    (["volume", "import", "-", "a@s"], "a@s: is no name of a volume"),
    (["volume", "import", "-", "a", "--since", "s"], "--since: unknown flag"),
    (["store", "drain", "first"], "first: is not the number of a store"),
    (["store", "add"], "store add: needs DIR"),
    (["store", "check"], "store check: needs DIR"),
    (["pool", "rebuild-metadata"], "pool rebuild-metadata: needs --store"),
    (["pool", "init", "--device", ""], "--device: is empty"),
    (["pool", "init", "--device", "/x:1Q"], "not a size"),
    (["pool", "init", "--device", "/x:1G,class=tape"], "none of nvme, ssd, hdd"),
    (["pool", "scrub", "--stop", "--background"], "--stop: goes with neither"),
])
def test_wrong_usage_is_one_line_and_2(rig, words, pattern):
    cli = Cli(rig.path("pool"))
    cli.refused(pattern, *words, status=2)
    assert not cli.directory.exists()


def test_no_pool_is_usage():
    refusal(cli_rig.run("volume", "list"), "give --pool URL or set IOMESH_POOL", 2)


def test_help_and_version_are_told():
    for words in (["--help"], ["volume", "--help"], ["pool", "check", "--help"], ["--version"]):
        answer = cli_rig.run(*words)
        assert answer.status == 0 and answer.err == "" and "iomesh-cli" in answer.out, words


def test_the_page_and_the_completion_know_every_command_and_flag():
    page = (rigs.ROOT / "docs/man/iomesh-cli.8").read_text().replace("Fl Fl ", "--")
    for line in cli_rig.run("--completion").out.splitlines():
        command, flags = line.split("\t")
        assert f".It Ic {command}" in page, command
        for flag in flags.split():
            assert flag.rstrip("=") in page, f"{command} {flag}"


# --- names and sizes

@pytest.mark.parametrize("name, pattern", [
    ("", "name"),
    ("x" * 129, "129 bytes|128"),
    ("a/b", "'/'"),
    ("a@b", "'@'"),
    ("a\nb", "control"),
    ("a\x7fb", "control"),
    (b"a\xffb", "UTF-8"),
])
def test_bad_names_are_refused(cli, name, pattern):
    name = os.fsdecode(name)
    for words in (["create", "--size", "1M"], ["show"], ["delete"], ["resize", "--size", "1M"]):
        cli.refused(pattern, "volume", *words, "--", name)
    assert cli.names() == []


@pytest.mark.parametrize("size", ["1", "4095", "5000", "65T", "16777215T"])
def test_sizes_that_no_volume_can_have_are_refused(cli, size):
    cli.refused("4 KiB to 64 TiB, a multiple of 4 KiB", "volume", "create", "a", "--size", size)
    cli("volume", "create", "b", "--size", "1M")
    cli.refused("4 KiB to 64 TiB, a multiple of 4 KiB", "volume", "resize", "b", "--size", size,
                "--force")
    assert [volume["size_bytes"] for volume in cli.json("volume", "list")["volumes"]] == [MIB]


def test_the_largest_and_the_smallest_volume(cli):
    cli("volume", "create", "large", "--size", "64T")
    cli("volume", "create", "small", "--size", "4K")
    listed = cli.json("volume", "list")["volumes"]
    sizes = {volume["name"]: volume["size_bytes"] for volume in listed}
    assert sizes == {"large": 64 << 40, "small": 4096}


@pytest.mark.parametrize("words", [["show"], ["delete"], ["resize", "--size", "1M"]])
def test_a_volume_that_is_not_there_is_said_to_be_not_there(cli, words):
    cli("volume", "create", "web", "--size", "1M")
    cli.refused('no volume "wed".*volume list', "volume", *words, "wed")
    assert cli.names() == ["web"]


def test_a_volume_that_would_shrink_keeps_every_byte_when_that_is_refused(cli, rig):
    pool = served(cli, rig, 2 * MIB)
    cli.refused("would shrink.*--force", "volume", "resize", "web", "--size", "1M")
    copy = rig.path("copy")
    rigs.run("nbdcopy", pool.uri("web"), copy)
    assert copy.read_bytes() == pool.data.read_bytes()
    assert cli.json("volume", "show", "web")["size_bytes"] == 2 * MIB


def test_every_kind_of_bad_input_has_its_tests():
    """The pages name them; here it is seen that they are there."""
    page = "".join((rigs.ROOT / "docs" / name).read_text()
                   for name in ("bad-input.md", "cluster-real.md"))
    rows = [row for row in page.splitlines() if row.startswith("| ") and "`" in row]
    assert len(rows) >= 12
    for row in rows:
        names = re.findall(r"`([\w./]+)::(\w+)`", row)
        assert names or "bad-input.md`" in row, f"no test: {row}"
        for file, name in names:
            text = (rigs.ROOT / "tests" / file).read_text()
            assert re.search(rf"\b{name}\b", text), f"{file} has no {name}"


def test_a_name_is_given_once(cli):
    cli("volume", "create", "web", "--size", "1M")
    cli.refused('already.*another name', "volume", "create", "web", "--size", "2M")
    assert cli.json("volume", "show", "web")["size_bytes"] == MIB


# --- making pools

@pytest.mark.parametrize("make, words, pattern", [
    (None, ["--size", "1M"], "64 MiB or more"),
    (None, ["--size", "67108865"], "multiple|64 MiB"),
    (None, ["--device", "DIR/none"], "is not there.*size"),
    (None, ["--device", "DIR/new:100M", "--device", "DIR/none"], "is not there"),
    (None, ["--device", "DIR/new:100M", "--device", "DIR/no/where:100M"], "No such file"),
    (None, ["--device", "DIR/new:100M", "--device", "DIR/new:100M"], "twice"),
    (None, ["--device", "DIR/new:100M", "--device", "/dev/null"], "null"),
    (None, ["--device", "DIR/new:1M"], "new"),
    ("old", ["--device", "DIR/old"], "old"),
    ("old", ["--device", "DIR/new:100M", "--device", "DIR/old"], "old"),
])
def test_a_pool_that_cannot_be_made_leaves_nothing(rig, make, words, pattern):
    base = rig.path("base")
    base.mkdir()
    if make:
        (base / make).write_bytes(os.urandom(128 * MIB))  # Somebody's.
    before = tree(base)
    cli = Cli(base / "pool")
    cli.refused(pattern, "pool", "init", *[word.replace("DIR", str(base)) for word in words])
    assert tree(base) == before


def test_a_pool_is_not_made_over_another(cli, rig):
    cli("volume", "create", "web", "--size", "1M")
    before = tree(cli.directory)
    for words in (["--size", "128M"], ["--device", f"{rig.path('new')}:100M"]):
        cli.refused("there is a pool already; choose another place$", "pool", "init", *words)
    assert not rig.path("new").exists()
    assert unchanged(before, tree(cli.directory))
    assert cli.names() == ["web"]


def test_a_device_of_another_pool_is_taken_only_when_told(cli, rig):
    other = Cli(rig.path("other"))
    store = cli.directory / "store"
    other.refused("store", "pool", "init", "--device", store)
    assert not other.directory.exists()
    cli("pool", "check")
    other("pool", "init", "--device", store, "--overwrite")
    other("pool", "check")
    cli.refused(".", "volume", "list")


@pytest.mark.parametrize("url, pattern", [
    ("file:/no/where/at/all", "/no/where"),
    ("nfs:host", "file:DIR"),
    ("file:", "file:DIR"),
    ("/srv/pool", "file:DIR"),
])
def test_a_url_that_names_no_pool_is_refused(url, pattern):
    for words in (["pool", "init"], ["pool", "status"], ["pool", "check"], ["pool", "scrub"],
                  ["volume", "list"]):
        answer = cli_rig.run("--pool", url, *words)
        refusal(answer, pattern)
        assert "volume list tells" not in answer.err, "it cannot"


@pytest.mark.parametrize("words", [["volume", "list"], ["pool", "status"],
                                   ["--json", "volume", "list"], ["--json", "pool", "status"]])
def test_an_answer_that_cannot_be_written_is_a_failure(cli, words):
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run([rigs.program("iomesh-cli"), "--pool", cli.url, *words], stdout=full,
                              stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert done.returncode == 1 and "No space left" in done.stderr, done
    assert done.stderr.count("\n") == 1, done


# --- pools that are wrong

def damage_truncated(directory, _):
    os.truncate(directory / "store", 100 * MIB)


def damage_empty(directory, _):
    os.truncate(directory / "store", 0)


def damage_gone(directory, _):
    os.unlink(directory / "store")


def damage_foreign(directory, _):
    (directory / "store").write_bytes(os.urandom(MIB) + bytes(255 * MIB))


def damage_newer_store(directory, _):
    patch_blocks(directory / "store", (0, *SUPERBLOCKS), 8, 99)


def damage_superblocks(directory, _):
    with open(directory / "store", "r+b") as file:
        file.seek(8 * 4096)
        file.write(os.urandom(32 * 4096))


def damage_other_store(directory, rig):
    other = Cli(rig.path("other"))
    other("pool", "init", "--size", "256M")
    shutil.copyfile(other.directory / "store", directory / "store")


def damage_metadata(directory, _):
    (directory / "meta.db").write_bytes(os.urandom(16384))


def damage_metadata_empty(directory, _):
    (directory / "meta.db").write_bytes(b"")


def pragma(directory, text):
    with contextlib.closing(sqlite3.connect(directory / "meta.db")) as metadata:
        metadata.execute(f"PRAGMA {text}")


def damage_newer_metadata(directory, _):
    pragma(directory, "user_version = 99")


def damage_foreign_metadata(directory, _):
    pragma(directory, "application_id = 12345")


def damage_no_metadata(directory, _):
    os.unlink(directory / "meta.db")


@pytest.mark.parametrize("damage, pattern", [
    (damage_truncated, "store"),
    (damage_empty, "store"),
    (damage_gone, "store"),
    (damage_foreign, "store"),
    (damage_newer_store, "version|newer"),
    (damage_superblocks, "superblock|store"),
    (damage_other_store, "store"),
    (damage_metadata, "meta"),
    (damage_metadata_empty, "pool|meta"),
    (damage_newer_metadata, "version 99, newer than.*use the newer program"),
    (damage_foreign_metadata, "another program"),
    (damage_no_metadata, "no pool there"),
])
def test_a_pool_that_is_wrong_is_refused_and_left_alone(cli, rig, damage, pattern):
    cli("volume", "create", "web", "--size", "1M")
    damage(cli.directory, rig)
    before = tree(cli.directory)
    for words in (["pool", "status"], ["volume", "list"], ["volume", "create", "x", "--size", "1M"],
                  ["pool", "scrub"]):
        said = cli.refused(pattern, *words)
        assert len(said) > 60, f"says too little: {said}"
    # A check may name faults line by line, but ends the same way and changes nothing either.
    answer = cli.raw("pool", "check")
    assert answer.status == 1 and answer.err.count("\n") == 1, answer
    assert unchanged(before, tree(cli.directory))


def test_a_damaged_block_is_named_by_check_and_scrub(cli, rig):
    """A block of data in the store is turned over: check and scrub say so, and exit 1."""
    pool = served(cli, rig, MIB)
    pool.server.terminate()
    store = (cli.directory / "store").read_bytes()
    at = store.index(pool.data.read_bytes()[4096:8192])
    with open(cli.directory / "store", "r+b") as file:
        file.seek(at)
        file.write(bytes(100))
    answer = cli.raw("--json", "pool", "check")
    checked = json.loads(answer.out)
    assert answer.status == 1 and checked["fault_count"] == 1, answer
    fault = checked["faults"][0]
    assert (fault["kind"], fault["volume_id"], fault["block"]) == ("checksum", 1, 1), answer
    assert checked["blocks_checked"] == 256 and checked["volumes_checked"] == 1, answer
    assert checked["pages_checked"] > 4, answer
    answer = cli.raw("pool", "check")
    assert "fault: " in answer.out and answer.err.count("\n") == 1, answer
    cli("pool", "check", "--no-data")
    answer = cli.raw("--log-level", "error", "pool", "scrub")
    assert answer.status == 1 and "1 blocks are damaged" in answer.err, answer


if __name__ == "__main__":
    rigs.main(__file__)
