#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""ext4 and xfs on a volume (nbdfuse, a loop device), iomesh-nbd killed under them: after each kill
the file system is whole and has every file that was synced."""

import hashlib
import os
import random
import threading
import time

import pytest

import rig as rigs

KILLS = rigs.count_from("IOMESH_FILESYSTEM_KILLS", 4)


class Writer:
    """Writes, syncs, renames and removes files until the file system fails under it."""

    def __init__(self, directory, known):
        self.directory = directory
        self.known = known  # What was synced: name -> digest.
        self.in_doubt = set()
        self.synced = 0
        self.thread = threading.Thread(target=self.run)

    def put(self, name):
        data = random.randbytes(random.randrange(1, 300_000))
        self.in_doubt.add(name)
        descriptor = os.open(self.directory / name, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        try:
            os.write(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self.sync_directory()
        self.known[name] = hashlib.sha256(data).hexdigest()
        self.in_doubt.discard(name)
        self.synced += 1

    def drop(self, name):
        self.in_doubt.add(name)
        (self.directory / name).unlink()
        self.sync_directory()
        del self.known[name]
        self.in_doubt.discard(name)

    def sync_directory(self):
        descriptor = os.open(self.directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def run(self):
        try:
            while True:
                name = f"f{random.randrange(200)}"
                if name in self.known and random.random() < 0.2:
                    self.drop(name)
                else:
                    self.put(name)
        except OSError:
            return  # The server was killed.


def check_files(directory, known, in_doubt):
    for name, digest in known.items():
        if name in in_doubt:
            continue
        path = directory / name
        assert path.exists(), f"{name} was synced and is gone"
        assert hashlib.sha256(path.read_bytes()).hexdigest() == digest, f"{name} changed"
    strangers = {path.name for path in directory.iterdir()} - set(known) - in_doubt
    assert strangers <= {"lost+found"}, f"removed and synced, and here again: {strangers}"


@pytest.mark.parametrize("kind, sector", [("ext4", 4096), ("xfs", 512)])
def test_a_file_system_is_whole_after_each_kill(rig, kind, sector):
    pool = rigs.Pool(rig, 2 * rigs.GIB)
    pool.create("v", rigs.GIB, sector)
    system = rigs.FileSystem(rig, pool.uri("v"), kind, sector)
    pool.serve()
    system.attach()
    system.format()
    known = {}
    for kill in range(KILLS):
        system.mount()
        writer = Writer(system.mount_point, known)
        writer.thread.start()
        rigs.wait_until("files to lose", lambda: writer.synced > 10 or not writer.thread.is_alive())
        time.sleep(random.uniform(0, 1))
        pool.server.kill()
        writer.thread.join(rigs.PATIENCE)
        assert not writer.thread.is_alive(), "the writer hangs on a dead server"
        assert writer.synced > 10, "the file system failed before its server"
        system.detach()

        pool.serve()
        system.attach()
        system.check()
        system.mount()
        check_files(system.mount_point, known, writer.in_doubt)
        for name in writer.in_doubt:
            known.pop(name, None)
            (system.mount_point / name).unlink(missing_ok=True)
        system.unmount()
        rigs.progress(f"{kind}: {kill + 1} of {KILLS} kills, {len(known)} files")
    system.detach()
    assert pool.server.terminate() == 0
    pool.check()


if __name__ == "__main__":
    rigs.main(__file__)
