#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The oldest kernel that is promised, Linux 6.1 as Debian 12 has it, in QEMU: a pool in a file and
one on a device, served, killed under verified load, mounted by the kernel's own NBD client.

The kernel is the package that linux-image-cloud-amd64 names, unpacked below build/ and not
installed. The machine's memory disk is made here, of the programs and the libraries they need."""

import functools
import os
import pathlib
import re
import stat

import pytest

import rig as rigs

MIB = rigs.MIB
HERE = pathlib.Path(__file__).parent
KERNELS = rigs.ROOT / "build" / "kernel"
PROGRAMS = ["mkfs.ext4", "e2fsck", "nbd-client"]
OURS = ["iomesh-nbd", "iomesh-cli", "e2e-verify"]
MODULES = ["virtio_pci", "virtio_blk", "nbd"]
SECONDS_MAX = 300


def apt(*words, cwd=None):
    """With newer lists if those there are name what is gone."""
    if rigs.run("apt-get", "-q", *words, check=False, timeout=300, cwd=cwd).returncode != 0:
        rigs.run("apt-get", "-q", "update", timeout=300)
        rigs.run("apt-get", "-q", *words, timeout=300, cwd=cwd)


def kernel():
    """The unpacked package of the kernel: downloaded once."""
    depends = rigs.run("apt-cache", "depends", "linux-image-cloud-amd64").stdout
    name = re.search(r"Depends: (linux-image-(6\.1\.\S+))", depends)
    assert name, depends
    directory = KERNELS / name.group(2)
    if not (directory / "boot").exists():
        directory.mkdir(parents=True, exist_ok=True)
        apt("download", name.group(1), cwd=directory)
        package, = directory.glob("*.deb")
        rigs.run("dpkg-deb", "-x", package, directory)
        rigs.run("depmod", "-b", directory, name.group(2))
        package.unlink()
    return directory, name.group(2)


class MemoryDisk:
    """A cpio archive, as the kernel unpacks it: heads of hexadecimal numbers, all padded to 4."""

    def __init__(self):
        self.parts = []
        self.made = set()

    def add(self, path, data=b"", mode=stat.S_IFREG | 0o755):
        path = str(path).lstrip("/")
        if path in self.made:
            return
        self.made.add(path)
        parent = os.path.dirname(path)
        if parent:
            self.add(parent, mode=stat.S_IFDIR | 0o755)
        numbers = [len(self.made), mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(path) + 1, 0]
        head = b"070701" + b"".join(b"%08x" % number for number in numbers)
        self.parts += [self.padded(head + path.encode() + b"\0"), self.padded(data)]

    @staticmethod
    def padded(data):
        return data + bytes(-len(data) % 4)

    def program(self, path):
        """With the libraries that it needs, where it looks for them."""
        self.add(pathlib.Path("bin") / pathlib.Path(path).name, stripped(path))
        for library in re.findall(r"(/\S+) \(0x", rigs.run("ldd", path).stdout):
            self.add(library, pathlib.Path(library).read_bytes())

    def modules(self, directory, release):
        base = pathlib.Path("lib/modules") / release
        wanted = set()
        for line in (directory / base / "modules.dep").read_text().splitlines():
            file, _, needs = line.partition(":")
            if pathlib.Path(file).stem in MODULES:
                wanted |= {file, *needs.split()}
        for file in [*wanted, "modules.dep"]:
            self.add(base / file, (directory / base / file).read_bytes())

    def write(self, path):
        self.add("TRAILER!!!", mode=0)
        path.write_bytes(b"".join(self.parts))


@functools.cache
def stripped(path):
    copy = KERNELS / "stripped"
    rigs.run("strip", "-o", copy, path)
    data = copy.read_bytes()
    copy.unlink()
    return data


def boot(rig):
    """What the machine said, from its first word to its end."""
    directory, release = kernel()
    disk = MemoryDisk()
    disk.add("init", (HERE / "kernel" / "init").read_bytes())
    disk.add("bin/busybox", pathlib.Path("/bin/busybox").read_bytes())
    for name in PROGRAMS:
        disk.program(rigs.run("which", name).stdout.strip())
    for name in OURS:
        disk.program(rigs.program(name))
    disk.modules(directory, release)
    disk.write(rig.path("memory-disk"))
    host = rig.sparse("host", 768 * MIB)
    rigs.run("mkfs.ext4", "-q", host)
    words = ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2",
             "-m", "768", "-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio",
             "-kernel", directory / "boot" / f"vmlinuz-{release}",
             "-initrd", rig.path("memory-disk"),
             "-append", "console=ttyS0 quiet panic=-1 mitigations=off"]
    for file in (host, rig.sparse("device", 256 * MIB)):
        words += ["-drive", f"file={file},format=raw,if=virtio,cache=writeback"]
    machine = rig.start(*words)
    machine.must_run("its end", lambda: "GUEST end" in machine.output(), SECONDS_MAX)
    return machine.output()


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    rig = rigs.Rig(tmp_path_factory.mktemp("kernel"))
    try:
        yield boot(rig)
    finally:
        rig.close()
        rigs.remove(rig.directory)


def steps(said, verdict):
    return re.findall(rf"^GUEST {verdict} (.*?)\r?$", said, re.M)


def test_everything_works_on_the_oldest_kernel(said):
    assert steps(said, "kernel")[0].startswith("6.1."), said
    assert steps(said, "failed") == ["a step that fails"], said
    assert len(steps(said, "ok")) == 20, said


def test_nothing_is_missing_there(said):
    """Neither a warning nor a notice of what this kernel has not got."""
    log = [line for line in said.splitlines() if "iomesh-nbd: " in line or line.startswith("<")]
    assert len(log) >= 8, said
    assert not [line for line in log if re.search("older|registered|refused", line)], log


if __name__ == "__main__":
    rigs.main(__file__)
