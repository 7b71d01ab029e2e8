# SPDX-License-Identifier: Apache-2.0
"""iomesh-cli as a person meets it: what it prints, what it complains of, how it ends."""

import collections
import json
import os
import pathlib
import re
import struct
import subprocess

import rig as rigs

Answer = collections.namedtuple("Answer", "status out err")


def run(*words, env=None, **options):
    """iomesh-cli with these words. Nothing is left out: status, stdout, stderr."""
    environment = {name: value for name, value in os.environ.items() if name != "IOMESH_POOL"}
    environment.update(env or {})
    done = subprocess.run([rigs.program("iomesh-cli"), *[str(word) for word in words]],
                          capture_output=True, text=True, timeout=300, env=environment, **options)
    return Answer(done.returncode, done.stdout, done.stderr)


class Cli:
    """The commands of one pool."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.url = f"file:{directory}"

    def raw(self, *words, **options):
        return run("--pool", self.url, *words, **options)

    def __call__(self, *words):
        """Must be done, and nothing complained of. What it printed."""
        answer = self.raw(*words)
        assert answer.status == 0, f"{words}: {answer}"
        assert answer.err == "", f"{words}: {answer}"
        return answer.out

    def json(self, *words):
        return json.loads(self("--json", *words))

    def refused(self, pattern, *words, status=1):
        """Must end with one line that says what, why and what to do, and print nothing else."""
        answer = self.raw(*words)
        refusal(answer, pattern, status, words)
        return answer.err

    def names(self):
        return [volume["name"] for volume in self.json("volume", "list")["volumes"]]


def refusal(answer, pattern, status=1, words=()):
    assert answer.status == status, f"{words}: {answer}"
    assert answer.err.count("\n") == 1 and answer.err.startswith("iomesh-cli: "), \
        f"{words}: not one line: {answer}"
    assert re.search(pattern, answer.err), f"{words}: {pattern!r} is not in {answer.err!r}"
    assert answer.out == "", f"{words}: {answer}"


def tree(directory):
    """Every file with its size and contents' hash: to see that nothing was changed or left."""
    found = {}
    for path in sorted(pathlib.Path(directory).rglob("*")):
        if path.is_symlink():
            found[str(path)] = os.readlink(path)
        elif path.is_file():
            found[str(path)] = (path.stat().st_size, hash(path.read_bytes()))
        else:
            found[str(path)] = None
    return found


def crc32c_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


TABLE = crc32c_table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def patch_blocks(path, blocks, offset, value):
    """A number in 4 KiB blocks of the store, and the checksum at their beginning made right."""
    with open(path, "r+b") as file:
        for block in blocks:
            file.seek(block * 4096)
            bytes_ = bytearray(file.read(4096))
            if not any(bytes_):
                continue  # A superblock that was not written yet.
            assert struct.unpack_from("<I", bytes_)[0] == crc32c(bytes_[4:]), "not as described"
            struct.pack_into("<I", bytes_, offset, value)
            struct.pack_into("<I", bytes_, 0, crc32c(bytes_[4:]))
            file.seek(block * 4096)
            file.write(bytes_)
