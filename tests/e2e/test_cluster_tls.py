#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""TLS between the machines of a cluster: all works with it, and who has no certificate that the
others trust is refused, in words, at both ends; a peer of another version likewise."""

import json
import random
import re
import threading
import time

import cluster_peer
import nbd
import pytest

import rig as rigs
from cluster_load import read_all
from cluster_rig import Bed, Cluster

BLOCK = 4096


def authority(directory):
    """Who signs: `ca-key.pem`, `ca-cert.pem`."""
    directory.mkdir()
    rigs.run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-nodes", "-days", 9, "-subj", f"/CN={directory.name}", "-keyout",
             directory / "ca-key.pem", "-out", directory / "ca-cert.pem")
    return directory


def certified(rig, name, by, trusts=None, when=None):
    """A directory for --peer-tls-certificates. `when`: the day it was signed, for two days."""
    directory = rig.fresh(name)
    directory.mkdir()
    rigs.run("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
             "-subj", f"/CN={name}", "-keyout", directory / "server-key.pem", "-out",
             directory / "request")
    rigs.run(*(["faketime", when] if when else []), "openssl", "x509", "-req", "-in",
             directory / "request", "-CA", by / "ca-cert.pem", "-CAkey", by / "ca-key.pem",
             "-CAcreateserial", "-days", 2, "-out", directory / "server-cert.pem")
    (directory / "ca-cert.pem").write_bytes(((trusts or by) / "ca-cert.pem").read_bytes())
    return directory


@pytest.fixture(name="ours")
def our_authority(rig):
    return authority(rig.path("ours"))


def strangers(rig, ours):
    """{what is wrong: its directory}"""
    theirs = authority(rig.path("theirs"))
    return {"foreign": certified(rig, "foreign", theirs, trusts=ours),
            "expired": certified(rig, "expired", ours, when="2020-01-01 12:00:00"),
            "none": None}


def test_everything_works_with_tls_between_machines(rig, ours):
    """Written, a daemon killed, caught up; a snapshot, a backup and a clone by the command line."""
    bed = Bed(rig, tls=certified(rig, "good", ours))
    for node in bed.nodes:
        clear = cluster_peer.hello(bed.cluster.admin, node, 1, 1)
        assert "it ended" in clear or "reset" in clear, "who speaks in the clear is answered"
    node = random.choice(bed.nodes)
    node.kill()
    bed.load.must_go_on(400)
    node.restart()
    bed.settle()
    bed.gateway.terminate()
    cli = bed.cluster.cli
    cli("snapshot", "create", "v@s")
    backup = rig.fresh("backup")
    cli("volume", "export", "v@s", backup)
    cli("volume", "import", backup, "w")
    cli("volume", "clone", "v@s", "c")
    bed.gateway.start()
    for volume in ("v", "w", "c"):
        read_all(bed.ledger, bed.gateway.uri(volume))


# What a gateway hears, and what the stores say of it.
SAYS = {
    "foreign": ("our certificate is refused: unknown CA",
                "its certificate is refused: unable to get local issuer"),
    "expired": ("our certificate is refused: certificate expired",
                "its certificate is refused: certificate has expired"),
    "none": ("Connection reset by peer", "TLS: (wrong version number|packet length too long)"),
}


def test_metadata_is_made_anew_of_what_daemons_say_with_tls(rig, ours):
    cluster = Cluster(rig, nodes=2, tls=certified(rig, "good", ours)).up()
    cluster.create("v", 64 << 20, 2)
    with connected(cluster.gateway().start()) as client:
        client.pwrite(b"a" * BLOCK, 0)
        time.sleep(1)  # Copies of records are sent within moments of a change.
    every = [word for node in cluster.nodes for word in ("--from", node.address)]
    cluster.etcd.control("del", "--prefix", "", check=True)
    bare = cluster.admin.run(rigs.program("iomesh-cli"), "--pool", cluster.url, "pool",
                             "rebuild-metadata", *every, check=False, timeout=60)
    assert bare.returncode == 1, bare.stdout
    made = json.loads(cluster.cli("--json", "pool", "rebuild-metadata", *every))
    assert (made["stores"], made["volumes"], made["losses"]) == (2, 1, 0), made


def test_a_gateway_without_a_good_certificate_is_refused_in_words(rig, ours):
    cluster = Cluster(rig, tls=certified(rig, "good", ours)).up()
    cluster.create()
    good = cluster.gateway().start()
    with connected(good) as client:
        client.pwrite(b"a" * BLOCK, 0)
    gateways = {}
    for who, directory in strangers(rig, ours).items():
        gateways[who] = cluster.gateway()
        gateways[who].tls = directory
        gateways[who].start()
        opening = open_behind(gateways[who])
        rigs.wait_until(f"{who}: it is told why", lambda who=who: re.search(
            f"waiting for its copies; .*{SAYS[who][0]}", gateways[who].server.output()))
        rigs.wait_until(f"{who}: the stores tell it too", lambda who=who: all(
            re.search(SAYS[who][1], node.daemon.output()) for node in cluster.nodes))
        gateways[who].terminate()
        opening.join()
        assert not opening.size, "it was opened"
    with connected(good) as client:
        assert client.pread(BLOCK, 0) == b"a" * BLOCK


def test_a_store_without_a_good_certificate_is_not_written_to(rig, ours):
    """Its copies are stale; those of the others serve. With a good one it is in sync again."""
    bed = Bed(rig, tls=certified(rig, "good", ours))
    node = random.choice(bed.nodes)
    good = node.tls
    for directory in strangers(rig, ours).values():
        node.kill()
        node.tls = directory
        node.restart()
        bed.load.must_go_on(800)
        assert bed.cluster.copies()[node.name] == "stale"
    node.kill()
    node.tls = good
    node.restart()
    bed.settle()


def connected(gateway, volume="v"):
    client = nbd.NBD()
    client.connect_uri(gateway.uri(volume))
    return Closing(client)


class Closing:
    def __init__(self, client):
        self.client = client

    def __enter__(self):
        return self.client

    def __exit__(self, *_):
        self.client.shutdown()


def open_behind(gateway):
    """A thread that tries to open the volume; its `size` if it could."""
    def attempt():
        try:
            with connected(gateway) as client:
                thread.size = client.get_size()
        except nbd.Error:
            pass

    thread = threading.Thread(target=attempt, daemon=True)
    thread.size = None
    thread.start()
    return thread


# --- versions

def test_a_gateway_of_another_version_is_told_so(rig):
    bed = Bed(rig)
    node = random.choice(bed.nodes)
    for first, last in ((2, 9), (3, 3)):
        told = cluster_peer.hello(bed.cluster.admin, node, first, last)
        sentence = f"this store speaks version 1 of the wire, you speak {first} to {last}"
        assert sentence in told, told
        rigs.wait_until("the store tells it too", lambda: sentence in node.daemon.output())
    bed.settle()


def test_a_store_of_another_version_is_stale_and_the_reason_is_told(rig):
    bed = Bed(rig)
    node = random.choice(bed.nodes)
    node.kill()
    fake = cluster_peer.store(node, 9)
    bed.load.must_go_on(400)
    rigs.wait_until("it is asked", lambda: "asked for 1 to 1" in fake.output())
    assert bed.cluster.copies()[node.name] == "stale"
    # Who opens the volume anew, with only such a one and another that is away, says what it is.
    bed.load.stop()
    bed.gateway.kill()
    for other in bed.nodes:
        if other is not node:
            other.kill()
    bed.gateway.start()
    opening = open_behind(bed.gateway)
    sentence = "this store speaks version 9 of the wire"
    rigs.wait_until("the reason is told", lambda: sentence in bed.gateway.server.output())
    fake.kill()
    for each in bed.nodes:
        each.restart()
    opening.join()
    bed.load = bed.start_load()
    bed.settle()


if __name__ == "__main__":
    rigs.main(__file__)
