#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Stores and metadata of clusters that older versions wrote (tests/golden/cluster-*): this version
goes on with both, makes the metadata anew of the stores alone, and refuses what is newer."""

import base64
import hashlib
import json
import pathlib
import re
import struct

import pytest

import rig as rigs
from cli_rig import crc32c
from cluster_golden import MIB, Golden, load, scatter, unpack

GOLDEN = sorted((pathlib.Path(__file__).resolve().parents[1] / "golden").glob("cluster-*"))
assert GOLDEN


@pytest.fixture(params=GOLDEN, ids=lambda path: path.name)
def golden(request):
    return request.param


def check(path, *words, wanted=0):
    done = rigs.run(rigs.program("iomesh-cli"), "store", "check", path, *words, check=False)
    assert done.returncode == wanted, done
    return done.stdout


def must_go_on(old, gateway):
    """All of it is there; a write reaches all copies, the one that was stale too; no store finds
    anything wrong."""
    cluster = old.cluster
    old.must_hold(gateway)
    scatter(gateway.uri("v"), 9, [5 * MIB])
    rigs.wait_until("the copy that was stale is in sync", lambda: all(
        state == "in sync" for name in ("v", "wide", "clone")
        for state in cluster.copies(name).values()))
    old.must_hold(gateway, but="v")
    cluster.cli("volume", "create", "later", "--size", str(64 * MIB), "--copies", "3")
    names = [volume["name"] for volume in cluster.json("volume", "list")["volumes"]]
    assert sorted(names) == ["clone", "later", "v", "wide"]
    gateway.terminate()
    for node in cluster.nodes:
        node.terminate()
    for node in cluster.nodes:
        check(node.store)


def test_a_cluster_of_an_older_version_goes_on(rig, golden):
    old = Golden(rig, golden, metadata=True)
    cluster = old.cluster
    assert cluster.copies()[old.manifest["stale"]] == "stale"
    for node in cluster.nodes:
        node.start()
    must_go_on(old, cluster.gateway().start())


def test_its_metadata_is_made_anew_of_its_stores(rig, golden):
    old = Golden(rig, golden, metadata=False)
    cluster = old.cluster
    stores = [word for node in cluster.nodes for word in ("--store", node.store)]
    made = json.loads(cluster.cli("--json", "pool", "rebuild-metadata", *stores))
    assert (made["volumes"], made["snapshots"], made["losses"], made["faults"]) == (3, 1, 0, 0)
    assert cluster.copies()[old.manifest["stale"]] == "stale"
    for node in cluster.nodes:
        node.start()
    must_go_on(old, cluster.gateway().start())


def test_metadata_of_a_newer_version_is_refused(rig, golden):
    """A value says which version its readers need (lib/format/metadata.h)."""
    old = Golden(rig, golden, metadata=True)
    cluster = old.cluster
    for k, v in json.loads((golden / "keys.json").read_text()):
        if base64.b64decode(k).decode() == f"{old.manifest['pool']}/cluster":
            newer = bytearray(base64.b64decode(v))
            newer[7] = 9
            struct.pack_into("<I", newer, 0, crc32c(newer[4:]))
            load(cluster, [[k, base64.b64encode(newer)]])
    refused = cluster.cli("volume", "list", check=False)
    both = r"of version 9; .* up to 1\b"
    assert refused.returncode == 1 and re.search(both, refused.stdout), refused
    node = cluster.nodes[0].begin()
    assert node.daemon.wait(30) != 0
    assert re.search(both, node.daemon.output()), node.daemon.output()


def digest_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_store_is_checked_where_it_lies(rig, golden):
    """Of one that a killed process left: nothing is wrong with it, and not a byte is changed. Then
    with a block of data that rotted, and a page of the tree."""
    store = rig.fresh("store")
    unpack(golden, "n0", store)
    file = max(store.iterdir(), key=lambda path: path.stat().st_size)
    before = digest_of(file)
    told = json.loads(check(store, "--json"))
    assert told["fault_count"] == 0 and told["volumes_checked"] >= 3, told
    assert told["blocks_checked"] > 100 and told["pages_checked"] > 0, told
    assert "no faults" in check(store, "--no-data")
    assert digest_of(file) == before

    data = file.read_bytes()
    at = data.index(b"." * 2000) & ~4095
    with file.open("r+b") as image:
        image.seek(at + 100)
        image.write(bytes([data[at + 100] ^ 1]))
    assert "no faults" in check(store, "--no-data")
    text = check(store, wanted=1)
    assert text.count("fault:") == 1 and "1 faults: copies on other stores" in text, text
    nothing = check(rig.fresh("nothing"), wanted=1)
    assert "no store of a cluster" in nothing
    rigs.run(rigs.program("iomesh-cli"), "--pool", f"file:{rig.path('pool')}", "pool", "init",
             "--size", "128M")
    assert f"pool check of file:{rig.path('pool')}" in check(rig.path("pool"), wanted=1)


def test_a_store_that_is_served_is_not_checked(rig, golden):
    old = Golden(rig, golden, metadata=True)
    old.cluster.nodes[0].start()
    assert "in use" in check(old.cluster.nodes[0].store, wanted=1)


if __name__ == "__main__":
    rigs.main(__file__)
