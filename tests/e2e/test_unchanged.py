#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What says that it changes nothing does not: pool check, on pools in every state. Compared are the
directory's listing and each file's bytes, size, mode, number and times but that of its reading."""

import hashlib
import json
import os
import sqlite3
import stat
import time

import pytest

import rig as rigs
from cli_rig import Cli

MIB = rigs.MIB


def everything(directory):
    found = {}
    for base, _, names in os.walk(directory):
        for path in [base, *(os.path.join(base, name) for name in names)]:
            what = os.lstat(path)
            found[path] = (what.st_mode, what.st_size, what.st_ino, what.st_nlink, what.st_mtime_ns,
                           what.st_ctime_ns)
            if stat.S_ISREG(what.st_mode):
                with open(path, "rb") as file:
                    found[path] += (hashlib.file_digest(file, "sha256").hexdigest(),)
    return found


@pytest.fixture
def pool(rig):
    """Three volumes, one written, one deleted; served no more."""
    made = rigs.Pool(rig, 256 * MIB)
    for name in ("kept", "empty", "gone"):
        made.create(name, 16 * MIB)
    data = rig.path("data")
    data.write_bytes(os.urandom(4 * MIB))
    made.serve("--no-scrub")  # Which ends with a checkpoint, and that empties the log.
    for name in ("kept", "gone"):
        rigs.run("nbdcopy", "--flush", data, made.uri(name))
    rigs.wait_until("the client to be gone",
                    lambda: made.cli("volume", "delete", "gone", check=False).returncode == 0)
    made.data = data
    return made


def clean(pool, _):
    pool.server.terminate()


def killed(pool, _):
    """Its log of the metadata is full of what the file does not have, and its socket is left."""
    rigs.run("nbdcopy", pool.data, pool.uri("empty"))
    pool.server.kill()
    assert os.path.getsize(pool.directory / "meta.db-wal") > 0
    assert (pool.directory / "control.sock").exists()


def killed_and_log_only(pool, rig):
    """A volume that only the log of the metadata knows."""
    pool.cli("volume", "create", "late", "--size", "1M")
    killed(pool, rig)


def rotten(pool, _):
    pool.server.terminate()
    turn_over(pool, pool.data.read_bytes()[8192:12288])


def turn_over(pool, block):
    store = pool.directory / "store"
    at = store.read_bytes().index(block)
    with open(store, "r+b") as file:
        file.seek(at)
        file.write(bytes(64))


def killed_and_rotten(pool, rig):
    killed(pool, rig)
    turn_over(pool, pool.data.read_bytes()[8192:12288])


def metadata_rotten(pool, _):
    pool.server.terminate()
    path = pool.directory / "meta.db"
    bytes_ = bytearray(path.read_bytes())
    at = bytes_.index(b"name/kept")
    bytes_[at + 5] ^= 1
    path.write_bytes(bytes_)


def metadata_log_torn(pool, rig):
    killed(pool, rig)
    path = pool.directory / "meta.db-wal"
    os.truncate(path, os.path.getsize(path) // 2 + 100)


def metadata_empty_beside_its_log(pool, rig):
    killed(pool, rig)
    os.truncate(pool.directory / "meta.db", 0)


def journal_holed(pool, rig):
    """Batches near its end are gone: later ones say that they were durable."""
    small = rig.path("small")
    small.write_bytes(os.urandom(65536))
    for _ in range(10):
        rigs.run("nbdcopy", "--flush", small, pool.uri("empty"))
    time.sleep(1.5)  # An empty batch names what the last flush covered.
    size = Cli(pool.directory).json("pool", "status")["journal"]["size_bytes"]
    pool.server.kill()
    with open(pool.directory / "store", "r+b") as file:
        file.seek(64 * 4096)
        journal = file.read(size)
        last = max(at for at in range(0, len(journal), 4096) if any(journal[at:at + 4096]))
        file.seek(64 * 4096 + last - 6 * 4096)
        file.write(bytes(2 * 4096))


@pytest.mark.parametrize("state, faults", [
    (clean, 0),
    (killed, 0),
    (killed_and_log_only, 0),
    (rotten, 1),
    (killed_and_rotten, 1),
    (metadata_log_torn, None),
    (metadata_rotten, None),
    (metadata_empty_beside_its_log, None),
    (journal_holed, None),
])
def test_pool_check_changes_not_one_byte(rig, pool, state, faults):
    state(pool, rig)
    before = everything(pool.directory)
    answer = Cli(pool.directory).raw("--json", "pool", "check")
    assert everything(pool.directory) == before
    if faults is not None:
        assert json.loads(answer.out)["fault_count"] == faults, answer
        assert answer.status == (0 if faults == 0 else 1), answer
    assert answer.err.count("\n") == answer.status, answer


def test_a_hole_in_the_journal_is_a_fault(rig, pool):
    journal_holed(pool, rig)
    answer = Cli(pool.directory).raw("--json", "pool", "check")
    assert "structure" in [fault["kind"] for fault in json.loads(answer.out)["faults"]], answer


def test_a_second_check_says_the_same(rig, pool):
    """What a check looks at is as it was for the one before."""
    killed_and_rotten(pool, rig)
    first, second = (Cli(pool.directory).raw("--json", "pool", "check") for _ in range(2))
    assert first == second


def test_a_pool_that_may_not_be_written_is_checked(rig, pool):
    """Mounted for reading only, after a crash: its log is read all the same."""
    killed_and_log_only(pool, rig)
    mount = rig.path("mount")
    mount.mkdir()
    rigs.run("mount", "--bind", pool.directory, mount)
    rig.at_end(lambda: rigs.run("umount", mount))
    rigs.run("mount", "-o", "remount,ro,bind", mount)
    answer = Cli(mount).json("pool", "check")
    assert answer["fault_count"] == 0
    assert answer["volumes_checked"] >= 3, answer  # A fourth while the space of one comes back.


def test_what_two_rows_of_the_metadata_say_is_compared(rig, pool):
    """Rows that are whole, each by itself, but do not agree."""
    pool.server.terminate()
    with sqlite3.connect(pool.directory / "meta.db") as metadata:
        metadata.execute("DELETE FROM entry WHERE key = CAST('name/kept' AS BLOB)")
    metadata.close()
    answer = Cli(pool.directory).raw("--json", "pool", "check")
    faults = json.loads(answer.out)["faults"]
    assert len(faults) == 1 and faults[0]["kind"] == "metadata", answer
    assert '"kept"' in faults[0]["text"] and faults[0]["volume_id"] > 0, answer


def test_a_volume_that_only_the_store_knows_is_a_fault(rig, pool):
    pool.server.terminate()
    volume = Cli(pool.directory).json("volume", "show", "kept")["id"]
    with sqlite3.connect(pool.directory / "meta.db") as metadata:
        for key in ("name/kept", f"volume/{volume:016x}"):
            metadata.execute("DELETE FROM entry WHERE key = CAST(? AS BLOB)", (key,))
    metadata.close()
    answer = Cli(pool.directory).raw("--json", "pool", "check")
    faults = json.loads(answer.out)["faults"]
    assert [(fault["kind"], fault["volume_id"]) for fault in faults] == [("metadata", volume)]


if __name__ == "__main__":
    rigs.main(__file__)
