#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Backups: what is exported comes back byte for byte, whole or not at all; streams that are broken,
processes that are killed, pools that are full."""

import json
import os
import pathlib
import pty
import re
import signal
import stat
import subprocess
import time

import pytest

import cli_rig
import rig as rigs
from snapshot_rig import Shop, executable, leftovers, noise, on_terminal, patched

MIB = rigs.MIB
KIB = 1024


@pytest.fixture(params=["alone", "asked"])
def shop(rig, request):
    return Shop(rig, request.param == "asked")


@pytest.fixture
def other(rig):
    """Another pool, of nobody."""
    return Shop(rig, False, name="other")


def piped(source, export, target, name, *words):
    """iomesh-cli volume export … - | iomesh-cli volume import -"""
    out = subprocess.Popen(
        executable("--pool", source.url, "volume", "export", export, "-", *words),
        stdout=subprocess.PIPE)
    into = subprocess.Popen(executable("--pool", target.url, "volume", "import", "-", name),
                            stdin=out.stdout, stdout=subprocess.PIPE, text=True)
    out.stdout.close()
    said = into.communicate(timeout=rigs.PATIENCE)[0]
    assert out.wait(rigs.PATIENCE) == 0 and into.returncode == 0
    return said


class History:
    """A volume with three snapshots, and their backups: a whole one and two increments."""

    def __init__(self, rig, shop):
        self.data = {"a": shop.make("web", 4 * MIB)}
        shop("snapshot", "create", "web@a")
        changes = [(4096, noise(100 * KIB // 4096 * 4096, 11)), (3 * MIB + 65536, noise(4096, 12))]
        shop.write("web", *changes)
        self.data["b"] = patched(self.data["a"], *changes)
        shop("snapshot", "create", "web@b")
        shop("volume", "resize", "web", "--size", "6M")
        shop.trim("web", 2 * MIB, 65536)
        shop.write("web", (5 * MIB, noise(8192, 13)))
        self.data["c"] = patched(self.data["b"] + bytes(2 * MIB), (2 * MIB, bytes(65536)),
                                 (5 * MIB, noise(8192, 13)))
        shop("snapshot", "create", "web@c")
        self.files = {name: rig.path(f"web.{name}") for name in "abc"}
        shop("volume", "export", "web@a", self.files["a"])
        shop("volume", "export", "web@b", self.files["b"], "--since", "a")
        shop("volume", "export", "web@c", self.files["c"], "--since", "b")


# --- there and back

def test_a_chain_of_backups_comes_back(rig, shop, other):
    history = History(rig, shop)
    for name in "abc":
        assert f"new@{name} is imported" in other("volume", "import", history.files[name], "new")
        assert other.read("new") == history.data[name]
    for name in "abc":
        assert other.read(f"new@{name}") == history.data[name]
    there = {one["name"]: one["uuid"] for one in shop.snapshots("web")}
    assert there == {one["name"]: one["uuid"] for one in other.snapshots("new")}
    assert other.show("new")["flags"] == [] and leftovers(rig.directory) == []
    other.check()
    shop.check()


def test_a_backup_goes_through_pipes_of_one_pool(shop):
    before = shop.make("web", 3 * MIB)
    shop("snapshot", "create", "web@a")
    assert "copy@a is imported" in piped(shop, "web@a", shop, "copy")
    change = (MIB, noise(65536, 3))
    shop.write("web", change)
    shop("snapshot", "create", "web@b")
    piped(shop, "web@b", shop, "copy", "--since", "a")
    assert shop.read("copy") == patched(before, change)
    assert shop.read("copy@a") == before
    shop.check()


def test_what_is_written_meanwhile_is_not_in_it(rig, other):
    shop = Shop(rig, True)
    before = shop.make("web", 32 * MIB)
    shop("snapshot", "create", "web@a")
    with shop.disk("web") as disk:
        out = subprocess.Popen(executable("--pool", shop.url, "volume", "export", "web@a",
                                          rig.path("file")), stdout=subprocess.DEVNULL)
        for i in range(2000):
            disk.pwrite(noise(4096, i), i * 5 % 8192 * 4096)
        assert out.wait(rigs.PATIENCE) == 0
    other("volume", "import", rig.path("file"), "new")
    assert other.read("new") == before


def test_holes_are_free_and_what_compresses_is_compressed(rig, shop, other):
    shop("volume", "create", "web", "--size", "1T")
    shop.write("web", (1 << 39, b"iomesh " * 65536))
    shop("snapshot", "create", "web@a")
    answer = shop.json("volume", "export", "web@a", rig.path("file"))
    size = rig.path("file").stat().st_size
    assert answer["stream_bytes"] == size < 2000, answer
    assert answer["data_bytes"] == 7 * 65536
    answer = other.json("volume", "import", rig.path("file"), "new")
    assert (answer["name"], answer["snapshot"], answer["since"]) == ("new", "a", None)
    assert answer["stream_bytes"] == size
    assert other.show("new")["size_bytes"] == 1 << 40
    with other.disk("new@a") as disk:
        assert disk.pread(7 * 65536, 1 << 39) == b"iomesh " * 65536
    assert other.used() < 16 * MIB


def test_a_clone_is_exported_whole(rig, shop, other):
    before = shop.make("web", 2 * MIB)
    shop("volume", "clone", "web", "test")
    change = (4096, noise(4096, 9))
    shop.write("test", change)
    shop("snapshot", "create", "test@a")
    shop("volume", "export", "test@a", rig.path("file"))
    other("volume", "import", rig.path("file"), "new")
    assert other.read("new") == patched(before, change)
    assert other.show("new")["parent"] is None


def test_a_volume_is_exported_as_it_is(rig, shop, other):
    before = shop.make("web", 2 * MIB)
    assert "is exported to" in shop("volume", "export", "web", rig.path("file"))
    assert shop.snapshots("web", "--all", "--no-space") == [] or shop.asked
    assert "new is imported" in other("volume", "import", rig.path("file"), "new")
    assert other.read("new") == before and other.snapshots("new") == []


def test_a_file_is_there_when_it_is_whole_and_is_its_owners(rig, shop):
    shop.make("web", MIB)
    file = rig.path("file")
    file.write_text("what was there before")
    shop("volume", "export", "web", file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_bytes()[:8] == b"\x89IMB\r\n\x1a\n"
    assert leftovers(rig.directory) == []
    for path, pattern in ((rig.path("no/where"), "No such file"), ("/dev/full", "No space left")):
        shop.refused(pattern, "volume", "export", "web", path)
    shop("volume", "export", "web", "/dev/null")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert shop.snapshots("web", "--no-space") == []


# --- what is refused

def test_an_increment_goes_onto_its_base_alone(rig, shop, other):
    history = History(rig, shop)
    other.refused('no volume "new"', "volume", "import", history.files["b"], "new")
    other("volume", "import", history.files["a"], "new")
    other.refused("base|since|uuid|exported before", "volume", "import", history.files["c"], "new")
    other.refused("holds this backup already|another name", "volume", "import", history.files["a"],
                  "new")
    assert other.read("new") == history.data["a"]
    other("volume", "import", history.files["b"], "new")
    other.refused("holds this backup already", "volume", "import", history.files["b"], "new")
    # Written since: not what the increment starts from any more.
    change = (0, noise(4096, 66))
    other.write("new", change)
    other.refused('changed since its snapshot "b".*: roll it back to new@b, or', "volume",
                  "import", history.files["c"], "new")
    assert other.read("new") == patched(history.data["b"], change)
    assert other.snapshot_names("new") == ["a", "b"] and other.show("new")["flags"] == []
    other("snapshot", "rollback", "new@b")
    other("volume", "import", history.files["c"], "new")
    assert other.read("new") == history.data["c"]


def test_an_increment_of_a_volume_that_was_made_smaller_wants_force(rig, shop, other):
    data = shop.make("web", 4 * MIB)
    shop("snapshot", "create", "web@a")
    shop("volume", "resize", "web", "--size", "2M", "--force")
    change = (MIB, noise(8192, 21))
    shop.write("web", change)
    shop("snapshot", "create", "web@b")
    whole, step = rig.path("web.a"), rig.path("web.b")
    shop("volume", "export", "web@a", whole)
    shop("volume", "export", "web@b", step, "--since", "a")
    other("volume", "import", whole, "new")
    other.refused("force", "volume", "import", step, "new")
    assert other.read("new") == data and other.show("new")["flags"] == []
    other("volume", "import", step, "new", "--force")
    assert other.read("new") == patched(data[:2 * MIB], change)
    assert other.read("new@a") == data


def test_an_increment_leaves_a_target_that_was_grown_its_size(rig, shop, other):
    history = History(rig, shop)
    other("volume", "import", history.files["a"], "new")
    other("volume", "resize", "new", "--size", "8M")
    other("volume", "import", history.files["b"], "new")
    assert other.read("new") == history.data["b"] + bytes(4 * MIB)
    assert other.read("new@b") == history.data["b"]
    other("volume", "import", history.files["c"], "new")
    assert other.read("new") == history.data["c"] + bytes(2 * MIB)


def test_a_base_is_known_by_its_identity_not_by_its_name(rig, shop, other):
    history = History(rig, shop)
    other.make("new", 4 * MIB)
    other("snapshot", "create", "new@a")
    before = other.read("new")
    other.refused("base|since|uuid|exported before", "volume", "import", history.files["b"], "new")
    assert other.read("new") == before and other.show("new")["flags"] == []
    # The right base under another name does.
    shop("volume", "import", history.files["a"], "copy")
    shop("volume", "import", history.files["b"], "copy")
    assert shop.read("copy") == history.data["b"]


def test_a_snapshot_of_its_name_that_is_another_is_not_replaced(rig, shop, other):
    history = History(rig, shop)
    other("volume", "import", history.files["a"], "new")
    other("snapshot", "create", "new@b")
    other.refused("another snapshot new@b already: delete it", "volume", "import",
                  history.files["b"], "new")
    other("snapshot", "delete", "new@b")
    other("volume", "import", history.files["b"], "new")
    assert other.read("new@b") == history.data["b"]


@pytest.mark.parametrize("words, pattern", [
    (["export", "web@x", "FILE"], 'no snapshot "?x'),
    (["export", "none@a", "FILE"], 'no volume "none"'),
    (["export", "none", "FILE"], 'no volume "none"'),
    (["export", "web@a", "FILE", "--since", "x"], 'no snapshot "?x'),
    (["export", "web@a", "FILE", "--since", "a"], "no older than web@a"),
    (["export", "web@a", "FILE", "--since", "b"], "no older than web@a"),
    (["import", "FILE", "new"], "FILE: No such file"),
    (["import", "/", "new"], "Is a directory"),
    (["import", "/dev/null", "new"], "/dev/null: it is empty; nothing was imported"),
    (["import", "/dev/zero", "new"], "not a backup stream"),
    (["import", "/etc/services", "new"], "not a backup stream"),
])
def test_what_is_not_there_is_said_to_be_not_there(rig, shop, words, pattern):
    shop("volume", "create", "web", "--size", "1M")
    shop("snapshot", "create", "web@a")
    shop("snapshot", "create", "web@b")
    file = str(rig.path("FILE"))
    shop.refused(pattern, "volume", *[file if word == "FILE" else word for word in words])
    assert shop.names() == ["web"] and shop.snapshot_names("web") == ["a", "b"]
    assert not rig.path("FILE").exists() and leftovers(rig.directory) == []


def broken(whole):
    """Ways in which a stream arrives that is not what was sent."""
    length = len(whole)
    for cut in (0, 1, 15, 16, 30, 48, 200, length // 3, length // 2, length - 33, length - 1):
        yield f"cut at {cut}", whole[:cut]
    for at in (0, 9, 17, 20, 32, 60, 150, 300, length // 2, length - 60, length - 5):
        yield f"byte {at}", whole[:at] + bytes([whole[at] ^ 0x40]) + whole[at + 1:]
    yield "more behind it", whole + b"\0"
    yield "twice", whole + whole
    yield "a page of zeros in it", whole[:length // 2] + bytes(4096) + whole[length // 2 + 4096:]
    yield "a page lost", whole[:length // 2] + whole[length // 2 + 4096:]


def test_a_broken_stream_leaves_no_volume_and_changes_none(rig, shop):
    history = History(rig, shop)
    shop("volume", "import", history.files["a"], "copy")
    file = rig.path("broken")
    for name, volume in (("a", "new"), ("b", "copy")):
        for what, data in broken(history.files[name].read_bytes()):
            file.write_bytes(data)
            said = shop.refused("broken: ", "volume", "import", file, volume)
            left = "nothing was imported|no volume was made" if volume == "new" else \
                "nothing was imported|the volume is what it was before"
            assert re.search(left, said), f"{what}: {said}"
            assert shop.names() == ["copy", "web"], what
            assert shop.show("copy")["flags"] == [], what
    assert shop.read("copy") == history.data["a"] and shop.snapshot_names("copy") == ["a"]
    shop("volume", "import", history.files["b"], "copy")
    assert shop.read("copy") == history.data["b"]
    shop.check()


def test_a_full_pool_in_the_middle_of_an_import(rig, shop):
    shop.make("web", 4 * MIB)
    shop.write("web", *[(at, noise(MIB, at)) for at in range(0, 4 * MIB, MIB)])
    shop("volume", "resize", "web", "--size", "64M")
    shop.write("web", *[(at, noise(MIB, at)) for at in range(4 * MIB, 64 * MIB, MIB)])
    shop("volume", "export", "web", rig.path("file"))
    small = Shop(rig, shop.asked, size=64 * MIB, name="small")
    kept = small.make("kept", MIB)
    small.refused("new: writing: No space.*; no volume was made", "--log-level", "error", "volume",
                  "import", rig.path("file"), "new")
    assert small.names() == ["kept"] and small.read("kept") == kept
    small.check()


# --- killed and interrupted

class Half:
    """An import whose stream stops in the middle; it is sure to have begun to write."""

    def __init__(self, shop, file, volume):
        data = pathlib.Path(file).read_bytes()
        self.process = subprocess.Popen(
            executable("--pool", shop.url, "volume", "import", "-", volume),
            stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=False)
        self.process.stdin.write(data[:len(data) * 3 // 4])
        self.process.stdin.flush()
        rigs.wait_until("its mark", lambda: "incomplete" in flags_of(shop, volume))

    def end(self, number):
        self.process.send_signal(number)
        said = self.process.communicate(timeout=rigs.PATIENCE)[1].decode()
        return self.process.returncode, said


def flags_of(shop, volume):
    answer = shop.raw("--json", "volume", "show", volume)
    return json.loads(answer.out)["flags"] if answer.status == 0 else []


def test_an_import_that_is_killed_leaves_its_mark(rig, shop, other):
    history = History(rig, shop)
    large = patched(bytes(8 * MIB), (0, noise(6 * MIB, 4)))
    shop("volume", "create", "large", "--size", "8M")
    shop.write("large", *[(at, large[at:at + MIB]) for at in range(0, 8 * MIB, MIB)])
    shop("volume", "export", "large", rig.path("large.file"))
    assert Half(other, rig.path("large.file"), "new").end(signal.SIGKILL)[0] == -signal.SIGKILL
    assert flags_of(other, "new") == ["incomplete"]
    assert re.search(r"^state +incomplete: .*volume abandon", other("volume", "show", "new"), re.M)
    assert re.search(r"^new .* incomplete ", other("volume", "list"), re.M)
    other.refused("import", "snapshot", "create", "new@x")
    other.refused("abandon|another name", "volume", "import", rig.path("large.file"), "new")
    assert "no such volume" in other("volume", "abandon", "new")
    assert other.names() == []
    other.refused('no volume "new"', "volume", "abandon", "new")
    other("volume", "import", rig.path("large.file"), "new")
    assert other.read("new") == large
    assert history.data["a"] == shop.read("web@a")


def increment_of_noise(rig, shop):
    """A volume of 8 MiB, its backup, and an increment of 6 MiB."""
    before = shop.make("web", 8 * MIB)
    shop("snapshot", "create", "web@a")
    shop("volume", "export", "web@a", rig.path("a"))
    changes = [(at, noise(MIB, at + 1)) for at in range(MIB, 7 * MIB, MIB)]
    shop.write("web", *changes)
    shop("snapshot", "create", "web@b")
    shop("volume", "export", "web@b", rig.path("b"), "--since", "a")
    return before, patched(before, *changes)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_an_increment_that_is_ended_is_given_up(rig, shop, number):
    before, after = increment_of_noise(rig, shop)
    shop("volume", "import", rig.path("a"), "copy")
    status, said = Half(shop, rig.path("b"), "copy").end(number)
    if number == signal.SIGKILL:
        rigs.wait_until("it to be closed",
                        lambda: shop.raw("volume", "abandon", "copy").status == 0)
    else:
        assert status == 1 and "interrupted; the volume is what it was before" in said, said
    assert flags_of(shop, "copy") == [] and shop.snapshot_names("copy") == ["a"]
    assert shop.read("copy") == before
    shop("volume", "import", rig.path("b"), "copy")
    assert shop.read("copy") == after
    shop.check()


def test_an_import_into_a_server_that_is_killed_can_be_given_up(rig):
    shop = Shop(rig, True)
    before, after = increment_of_noise(rig, shop)
    shop("volume", "import", rig.path("a"), "copy")
    half = Half(shop, rig.path("b"), "copy")
    shop.pool.server.kill()
    half.process.stdin.close()
    assert half.process.wait(rigs.PATIENCE) == 1
    shop.start()
    assert flags_of(shop, "copy") == ["incomplete"]
    assert "what it was before" in shop("volume", "abandon", "copy")
    assert shop.read("copy") == before
    shop("volume", "import", rig.path("b"), "copy")
    assert shop.read("copy") == after
    shop.check()


def slow_export(shop, file, **options):
    """An export to a pipe that nobody empties."""
    read, write = os.pipe()
    process = subprocess.Popen(executable("--pool", shop.url, "volume", "export", "web@a", file),
                               stdout=write, **options)
    os.close(write)
    return process, read


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_an_export_that_is_ended_leaves_no_file(rig, shop, number):
    shop.make("web", 4 * MIB)
    shop.write("web", *[(at, noise(MIB, at)) for at in range(0, 4 * MIB, MIB)])
    shop("snapshot", "create", "web@a")
    process, read = slow_export(shop, "-", stderr=subprocess.PIPE, text=True)
    assert os.read(read, 4096)[:4] == b"\x89IMB"
    process.send_signal(number)
    said = process.communicate(timeout=rigs.PATIENCE)[1]
    os.close(read)
    assert process.returncode == (-9 if number == signal.SIGKILL else 1)
    assert number == signal.SIGKILL or "interrupted: web@a is not exported" in said
    file = rig.path("file")
    process = subprocess.Popen(executable("--pool", shop.url, "volume", "export", "web@a", file),
                               stdout=subprocess.DEVNULL)
    process.send_signal(number)  # Whenever that is.
    status = process.wait(rigs.PATIENCE)
    assert file.exists() == (status == 0)
    assert number == signal.SIGKILL or leftovers(rig.directory) == []
    shop("volume", "export", "web@a", file)
    shop.check()


def test_a_reader_that_goes_away_is_told(shop):
    shop.make("web", 4 * MIB)
    shop.write("web", *[(at, noise(MIB, at)) for at in range(0, 4 * MIB, MIB)])
    shop("snapshot", "create", "web@a")
    process, read = slow_export(shop, "-", stderr=subprocess.PIPE, text=True)
    os.close(read)
    said = process.communicate(timeout=rigs.PATIENCE)[1]
    assert process.returncode == 1 and "standard output: Broken pipe" in said, said
    assert said.count("\n") == 1


# --- people

def test_a_backup_is_not_written_to_a_terminal(rig):
    shop = Shop(rig, False)
    shop.make("web", MIB)
    process, master = on_terminal(executable("--pool", shop.url, "volume", "export", "web", "-"),
                                  out=True, stderr=subprocess.PIPE, text=True)
    said = process.communicate(timeout=rigs.PATIENCE)[1]
    assert process.returncode == 1 and "standard output is a terminal" in said, said
    os.close(master)
    master, slave = pty.openpty()
    process = subprocess.Popen(executable("--pool", shop.url, "volume", "import", "-", "new"),
                               stdin=slave, stderr=subprocess.PIPE, text=True)
    said = process.communicate(timeout=rigs.PATIENCE)[1]
    assert process.returncode == 1 and "standard input is a terminal" in said, said
    os.close(master)
    os.close(slave)
    assert shop.snapshots("web") == [] and shop.names() == ["web"]


def test_a_bar_with_the_rate_where_a_person_watches(rig, shop):
    shop.make("web", 8 * MIB)
    shop.write("web", *[(at, noise(MIB, at)) for at in range(0, 8 * MIB, MIB)])
    shop("snapshot", "create", "web@a")
    process, master = on_terminal(
        executable("--pool", shop.url, "volume", "export", "web@a", "-"), stdout=subprocess.PIPE)
    with open(rig.path("file"), "wb") as file:
        for data in iter(lambda: process.stdout.read(MIB), b""):
            file.write(data)
            time.sleep(0.15)
    assert process.wait(rigs.PATIENCE) == 0
    drawn = os.read(master, 65536).decode()
    bar = r"\rvolume export \[#*\.*\] +\d+\.\d %, [\d.]+ MiB, [\d.]+ [KMG]iB/s"
    assert re.search(bar, drawn), drawn
    assert drawn.endswith("\r\033[K"), "the bar stays"
    process, master = on_terminal(
        executable("--pool", shop.url, "volume", "import", "-", "new"), stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL)
    data = rig.path("file").read_bytes()
    for at in range(0, len(data), MIB):
        process.stdin.write(data[at:at + MIB])
        process.stdin.flush()
        time.sleep(0.15)
    process.stdin.close()
    assert process.wait(rigs.PATIENCE) == 0
    assert re.search(r"\rvolume import \[#+\.*\] +\d+\.\d %, ", os.read(master, 65536).decode())


def test_plain_lines_where_no_person_watches(rig):
    shop = Shop(rig, False)
    shop.make("web", 8 * MIB)
    shop.write("web", *[(at, noise(MIB, at)) for at in range(0, 8 * MIB, MIB)])
    shop("snapshot", "create", "web@a")
    process, read = slow_export(shop, "-", stderr=subprocess.PIPE, text=True)
    time.sleep(5.5)
    while os.read(read, MIB):
        pass
    os.close(read)
    said = process.communicate(timeout=rigs.PATIENCE)[1]
    assert process.returncode == 0
    line = r"volume export: \d+\.\d %, [\d.]+ MiB, [\d.]+ [KMG]?i?B/s\n"
    assert re.fullmatch(f"({line})+", said), said


# --- the page of the format

def frames_by_the_page(data):
    """What docs/backup-format.md says, read by a program that knows nothing else."""
    assert data[:8] == bytes.fromhex("89494d420d0a1a0a")
    number = int.from_bytes
    assert number(data[8:12], "little") == 1
    assert number(data[12:16], "little") == cli_rig.crc32c(data[:12])
    heads, at, count = data[:16], 16, 0
    while at < len(data):
        head = data[at:at + 32]
        field = {name: number(head[begin:end], "little") for name, begin, end in
                 (("checksum", 0, 4), ("type", 4, 6), ("reserved", 6, 8), ("length", 8, 12),
                  ("payload", 12, 16), ("number", 16, 24), ("chain", 24, 28), ("zero", 28, 32))}
        payload = data[at + 32:at + 32 + field["length"]]
        assert field["checksum"] == cli_rig.crc32c(head[4:]) and field["number"] == count
        assert field["chain"] == cli_rig.crc32c(heads) and field["reserved"] == field["zero"] == 0
        assert field["payload"] == cli_rig.crc32c(payload)
        yield field["type"], payload, at, field["chain"]
        heads, at, count = heads + head, at + 32 + field["length"], count + 1


def extents_by_the_page(payload, begin, count):
    number = int.from_bytes
    return [(number(payload[at:at + 8], "little"), number(payload[at + 8:at + 16], "little"))
            for at in range(begin, begin + 16 * count, 16)]


def apply_by_the_page(disk, data):
    """The volume that a stream makes of `disk`, a dictionary of what it knows, and the header."""
    number, header, ended = int.from_bytes, None, False
    data_bytes = zero_bytes = 0
    for count, (kind, payload, at, chain) in enumerate(frames_by_the_page(data)):
        assert (kind == 1) == (count == 0) and not ended
        if kind == 1:
            header = payload
            size = number(payload[56:64], "little")
            disk = disk[:size] + bytes(size - len(disk[:size]))
        elif kind == 2:
            extents = extents_by_the_page(payload, 16, number(payload[:4], "little"))
            plain = payload[16 + 16 * len(extents):]
            if number(payload[12:16], "little") == 1:
                plain = subprocess.run(["zstd", "-dc"], input=plain, capture_output=True,
                                       check=True).stdout
            assert len(plain) == number(payload[4:8], "little")
            assert number(payload[8:12], "little") == cli_rig.crc32c(plain)
            for offset, length in extents:
                disk = patched(disk, (offset, plain[:length]))
                plain = plain[length:]
                data_bytes += length
        elif kind == 3:
            for offset, length in extents_by_the_page(payload, 8, number(payload[:4], "little")):
                disk = patched(disk, (offset, bytes(length)))
                zero_bytes += length
        elif kind == 4:
            ended = True
            assert [number(payload[i:i + 8], "little") for i in range(0, 32, 8)] == \
                [data_bytes, zero_bytes, count, at]
            assert number(payload[32:36], "little") == chain
    assert ended
    return disk, header


def test_the_page_of_the_format_is_true(rig):
    shop = Shop(rig, False)
    shop.make("web", MIB)
    shop.write("web", (128 * KIB, b"compressible" * 4096))
    shop("snapshot", "create", "web@mon")
    shop.write("web", (0, noise(8192, 1)))
    shop.trim("web", 32 * KIB, 16 * KIB)
    shop("snapshot", "create", "web@tue")
    shop("volume", "export", "web@mon", rig.path("mon"))
    shop("volume", "export", "web@tue", rig.path("tue"), "--since", "mon")
    disk, first = apply_by_the_page(b"", rig.path("mon").read_bytes())
    assert disk == shop.read("web@mon")
    disk, then = apply_by_the_page(disk, rig.path("tue").read_bytes())
    assert disk == shop.read("web@tue")
    uuids = [one["uuid"].replace("-", "") for one in shop.snapshots("web")]
    assert [first[16:32].hex(), then[16:32].hex()] == uuids and then[32:48].hex() == uuids[0]
    assert first[32:48] == bytes(16) and first[88:] == b"webmon" and then[88:] == b"webtuemon"
    assert first[:16].hex() == shop.json("pool", "status")["uuid"].replace("-", "")


if __name__ == "__main__":
    rigs.main(__file__)
