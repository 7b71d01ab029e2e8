# SPDX-License-Identifier: Apache-2.0
"""Pools whose volumes have snapshots: asked through their owner, or alone."""

import contextlib
import os
import pathlib
import pty
import random
import subprocess

import nbd

import rig as rigs
from cli_rig import Cli

MIB = rigs.MIB


class Shop(Cli):
    """A pool. `asked`: an iomesh-nbd owns it all the time; else only while a volume is read or
    written by these tests, and iomesh-cli opens the pool itself."""

    def __init__(self, rig, asked, size=512 * MIB, name="pool", device=None):
        super().__init__(rig.path(name))
        self.rig = rig
        self.asked = asked
        self("pool", "init", *(["--device", device] if device else ["--size", str(size)]))
        self.pool = rigs.Pool(rig, directory=self.directory)
        self.pool.socket = rig.path(f"{name}.socket")
        if asked:
            self.start()

    def start(self):
        self.pool.serve("--no-scrub")

    def stop(self):
        assert self.pool.server.terminate() == 0, self.pool.server.output()

    @contextlib.contextmanager
    def disk(self, export):
        """An NBD client of a volume, or of a snapshot."""
        if not self.asked:
            self.start()
        client = nbd.NBD()
        try:
            client.connect_uri(self.pool.uri(export))
            yield client
            if not client.is_read_only():
                client.flush()
            client.shutdown()
        finally:
            del client
            if not self.asked:
                self.stop()
        if self.asked and "@" not in export:
            rigs.wait_until("the server to let it go", lambda: self.show(export)["open_count"] == 0)

    def write(self, volume, *pieces):
        """(offset, data) each."""
        with self.disk(volume) as disk:
            for offset, data in pieces:
                disk.pwrite(data, offset)

    def trim(self, volume, offset, length):
        with self.disk(volume) as disk:
            disk.trim(length, offset)

    def read(self, export):
        """All of it."""
        with self.disk(export) as disk:
            size = disk.get_size()
            return b"".join(disk.pread(min(MIB, size - at), at) for at in range(0, size, MIB))

    def make(self, volume, size, seed=1):
        """A volume with 64 KiB of noise in each MiB. Returns what it holds."""
        self("volume", "create", volume, "--size", str(size))
        data = bytearray(size)
        pieces = [(at, noise(65536, seed + at)) for at in range(0, size, MIB)]
        for at, piece in pieces:
            data[at:at + len(piece)] = piece
        self.write(volume, *pieces)
        return bytes(data)

    def show(self, volume):
        return self.json("volume", "show", volume)

    def snapshots(self, volume, *words):
        return self.json("snapshot", "list", volume, *words)["snapshots"]

    def snapshot_names(self, volume, *words):
        return [snapshot["name"] for snapshot in self.snapshots(volume, *words)]

    def used(self):
        space = self.json("pool", "status")["space"]
        return space["used_bytes"] + space["waiting_bytes"]

    def check(self):
        if self.asked:
            self.stop()
        self("pool", "check")
        if self.asked:
            self.start()


def noise(length, seed=0):
    return random.Random(seed).randbytes(length)


def patched(data, *pieces):
    """As data is after these writes."""
    data = bytearray(data)
    for offset, piece in pieces:
        data[offset:offset + len(piece)] = piece
    return bytes(data)


def leftovers(directory):
    """Files that are not a whole backup."""
    return [path.name for path in pathlib.Path(directory).iterdir() if ".part-" in path.name]


def executable(*words):
    return [rigs.program("iomesh-cli"), *[os.fspath(word) for word in words]]


def on_terminal(words, out=False, **options):
    """What a program draws on a terminal that is its stderr, or its stdout."""
    master, slave = pty.openpty()
    options = {"stdout" if out else "stderr": slave, **options}
    process = subprocess.Popen(words, **options)
    os.close(slave)
    return process, master
