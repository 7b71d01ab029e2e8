#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Golden clusters: what a version wrote into its stores and etcd, every later one goes on with.

usage: IOMESH_BIN=... python3 cluster_golden.py DIRECTORY

Makes one with the programs of $IOMESH_BIN, once for a format. What is in git is never made again,
for what it proves is that what an old version wrote is still read. test_cluster_golden.py reads
them: tests/golden/cluster-N, where N is the format of the stores."""

import base64
import hashlib
import json
import pathlib
import subprocess
import sys
import time

import nbd

import rig as rigs
from cluster_rig import MIB, Cluster, Node, scratch

PIECE = 64 << 10
STORE = 256 * MIB  # Mostly holes.


def piece(seed):
    """Small when it is compressed, and every block another one."""
    block = hashlib.sha256(b"%d" % seed).digest()
    return b"".join((b"%s%08d" % (block, i)).ljust(4096, b".") for i in range(PIECE // 4096))


def scatter(uri, seed, places):
    """A piece at each of these bytes, and a flush."""
    handle = nbd.NBD()
    handle.connect_uri(uri)
    for place in places:
        handle.pwrite(piece(seed + place), place)
    handle.flush()
    handle.shutdown()


def digest(uri):
    handle = nbd.NBD()
    handle.connect_uri(uri)
    told = hashlib.sha256()
    for at in range(0, handle.get_size(), MIB):
        told.update(handle.pread(min(MIB, handle.get_size() - at), at))
    handle.shutdown()
    return told.hexdigest()


def dump(cluster):
    """All keys: [[key, value]], in base 64."""
    told = json.loads(cluster.etcd.control("get", "", "--from-key", "-w", "json",
                                           check=True).stdout)
    return [[kv["key"], kv.get("value", "")] for kv in told["kvs"]]


def load(cluster, keys):
    """What dump() told, into an etcd that has none of it. Nothing in it is leased."""
    for key, value in keys:
        host = cluster.etcd.hosts[0]
        subprocess.run(
            host.words("etcdctl", "--endpoints", cluster.etcd.endpoints(), "put",
                       base64.b64decode(key)), input=base64.b64decode(value), check=True,
            capture_output=True, env={"ETCDCTL_API": "3", "PATH": "/usr/bin:/bin"}, timeout=30)


def unpack(directory, name, store):
    store.mkdir()
    subprocess.run(f"set -o pipefail; zstd -q -d -c {directory / name}.tar.zst | "
                   f"tar -C {store} -x", shell=True, executable="/bin/bash", check=True)


def make(directory):
    """Three nodes: one was killed before the last writes, one was stopped well, one killed."""
    rig = scratch()
    try:
        cluster = Cluster(rig, store_bytes=STORE).up()
        cluster.create("v", 64 * MIB)
        cluster.create("wide", 300 * MIB, 2)
        gateway = cluster.gateway().start()
        scatter(gateway.uri("v"), 1, range(0, 64 * MIB, 4 * MIB))
        scatter(gateway.uri("wide"), 2, range(0, 300 * MIB, 50 * MIB))
        rigs.wait_until("the gateway has closed it", lambda: cluster.cli(
            "snapshot", "create", "v@kept", check=False).returncode == 0)
        cluster.cli("volume", "clone", "v@kept", "clone")
        scatter(gateway.uri("clone"), 3, range(MIB, 64 * MIB, 16 * MIB))
        scatter(gateway.uri("v"), 4, range(0, 64 * MIB, 12 * MIB))
        cluster.nodes[2].kill()
        scatter(gateway.uri("v"), 5, range(2 * MIB, 64 * MIB, 8 * MIB))
        assert cluster.copies("v")[cluster.nodes[2].name] == "stale"
        volumes = {name: digest(gateway.uri(name))
                   for name in ("v", "v@kept", "wide", "clone")}
        time.sleep(12)  # The gateway closes what nobody uses; records are copied to stores.
        gateway.kill()
        cluster.nodes[1].terminate()
        cluster.nodes[0].kill()
        time.sleep(7)  # Sessions run out, and take their keys along.
        directory.mkdir(parents=True)
        (directory / "keys.json").write_text(json.dumps(dump(cluster), indent=0) + "\n")
        for node in cluster.nodes:
            tar = subprocess.Popen(["tar", "-C", node.store, "--sparse", "--owner=0", "--group=0",
                                    "-c", "."], stdout=subprocess.PIPE)
            subprocess.run(["zstd", "-q", "-19", "-o", directory / f"{node.name}.tar.zst"],
                           stdin=tar.stdout, check=True)
            assert tar.wait() == 0
        (directory / "manifest.json").write_text(json.dumps(
            {"pool": rig.directory.name, "stale": cluster.nodes[2].name,
             "volumes": volumes}, indent=2) + "\n")
    finally:
        rig.close()


class Golden:
    """One of them, unpacked into a cluster in which nothing of iomesh runs yet."""

    def __init__(self, rig, directory, metadata):
        """`metadata`: etcd has what was written then; else nothing."""
        self.manifest = json.loads((directory / "manifest.json").read_text())
        self.cluster = Cluster(rig, store_bytes=STORE)
        self.cluster.url = f"etcd://{self.cluster.etcd.endpoints()}/{self.manifest['pool']}"
        for node in self.cluster.nodes:
            unpack(directory, node.name, node.store)
        if metadata:
            load(self.cluster, json.loads((directory / "keys.json").read_text()))

    def must_hold(self, gateway, but=()):
        for name, expected in self.manifest["volumes"].items():
            if name not in but:
                assert digest(gateway.uri(name)) == expected, f"{name}: not what was written"


if __name__ == "__main__":
    make(pathlib.Path(sys.argv[1]))
