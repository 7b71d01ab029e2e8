#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The examples of the manual pages do what they say, word for word but for the places."""

import os
import re

import pytest

import rig as rigs
from cli_rig import Cli

MIB = rigs.MIB
# Another machine's directory, where the name of the machine is that of the directory.
SSH = '#!/bin/sh\ncd "$OTHER_MACHINES/$1" && shift && exec sh -c "$*"\n'


def examples(page):
    """Their lines, a list for each."""
    text = (rigs.ROOT / "docs/man" / page).read_text()
    section = text[text.index(".Sh EXAMPLES"):text.index(".Sh SEE ALSO")]
    return re.findall(r"^\.Bd -literal.*\n((?:[^.].*\n)+)\.Ed", section, re.M)


class Reader:
    """Who types them."""

    def __init__(self, rig, places):
        self.rig = rig
        self.places = places
        programs = rig.path("programs")
        programs.mkdir()
        (programs / "ssh").write_text(SSH)
        (programs / "ssh").chmod(0o755)
        rig.path("store").mkdir()
        self.environment = {**os.environ, "OTHER_MACHINES": str(rig.directory),
                            "PATH": f"{programs}:{rigs.bin_directory()}:{os.environ['PATH']}"}

    def types(self, lines):
        for place, ours in self.places.items():
            lines = lines.replace(place, str(ours))
        return rigs.run("bash", "-euo", "pipefail", "-c", lines, env=self.environment,
                        cwd=self.rig.directory).stdout


@pytest.fixture(name="pool")
def pool_directory(rig):
    return rig.path("srv-pool")


def write(rig, pool, *pieces):
    served = rigs.Pool(rig, directory=pool)
    served.serve("--no-scrub")
    for offset in pieces:
        rigs.run("qemu-io", "-f", "raw", "-c", f"write -P 7 {offset} 64k", served.uri("web"))
    assert served.server.terminate() == 0


def test_the_examples_of_iomesh_cli(rig, pool):
    made, nightly, space = examples("iomesh-cli.8")
    devices = [rigs.Loop(rig, 256 * MIB).path for _ in range(2)]
    reader = Reader(rig, {"/srv/pool": pool, "/dev/nvme1n1": devices[0], "/dev/sdb": devices[1]})
    reader.types(made)
    pool_line = made.splitlines()[0] + "\n"
    write(rig, pool, 0)
    reader.types(pool_line + "iomesh-cli snapshot create web@mon\n"
                 "iomesh-cli volume export web@mon - | ssh store 'cat > web.mon'")
    write(rig, pool, 32 * MIB)
    reader.types(pool_line + nightly)
    cli = Cli(pool)
    restored = [one["uuid"] for one in cli.json("snapshot", "list", "web-restored")["snapshots"]]
    assert restored == [one["uuid"] for one in cli.json("snapshot", "list", "web")["snapshots"]]
    assert len(restored) == 2
    assert int(reader.types(pool_line + space)) > 256 * MIB
    cli("pool", "check")


def test_the_examples_of_iomesh_nbd(rig, pool):
    made, image = examples("iomesh-nbd.8")
    listening = rig.path("nbd.sock")
    reader = Reader(rig, {"/srv/pool": pool, "/run/iomesh/nbd.sock": listening})
    lines = made.splitlines()
    reader.types("\n".join(lines[:2]))
    assert lines[2].startswith("iomesh-nbd ") and lines[2].endswith(" &")
    words = lines[2].replace("/srv/pool", str(pool)).replace("/run/iomesh/nbd.sock", str(listening))
    server = rig.start(rigs.program("iomesh-nbd"), *words.split()[1:-1])
    server.must_run("its socket", lambda: rigs.connects(listening))
    assert "export-size: 10737418240 (10G)" in reader.types(lines[3])
    said = reader.types(image)
    assert re.search(r"^ +0 +10737418240 +0", said, re.M), said
    assert rig.path("monday.qcow2").stat().st_size > 0
    assert server.terminate() == 0


if __name__ == "__main__":
    rigs.main(__file__)
