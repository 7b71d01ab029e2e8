#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A cluster's pool and those who have it open: which of them has a volume, what others are told,
what happens to a gateway whose volume was taken."""

import re
import subprocess
import time

import nbd
import pytest

import rig as rigs
from cluster_rig import Cluster

MIB = rigs.MIB
BLOCK = 4096


@pytest.fixture
def cluster(rig):
    return Cluster(rig).up()


def connect(gateway, volume="v"):
    client = nbd.NBD()
    client.connect_uri(gateway.uri(volume))
    return client


def refused_with(error, call):
    with pytest.raises(nbd.Error) as raised:
        call()
    assert raised.value.errno == error, raised.value
    return raised.value


def refusal(cluster, *words):
    """The one line that says why not."""
    done = cluster.cli(*words, check=False)
    assert done.returncode == 1, done
    assert done.stdout.count("\n") == 1, done.stdout
    return done.stdout


def test_volumes_are_made_shown_grown_and_deleted_by_the_command_line(cluster):
    cluster.create("a", 64 * MIB)
    cluster.create("b", 512 * MIB, 2)
    assert [volume["name"] for volume in cluster.json("volume", "list")["volumes"]] == ["a", "b"]
    cluster.cli("volume", "resize", "a", "--size", "128M")
    assert cluster.json("volume", "show", "a")["size_bytes"] == 128 * MIB
    assert "force" in refusal(cluster, "volume", "resize", "a", "--size", "64M")
    cluster.cli("volume", "resize", "a", "--size", "64M", "--force")
    cluster.cli("snapshot", "create", "a@s")
    assert "snapshot" in refusal(cluster, "volume", "delete", "a")
    cluster.cli("snapshot", "delete", "a@s")
    cluster.cli("volume", "delete", "a")
    assert "no volume" in refusal(cluster, "volume", "show", "a")
    assert "already" in refusal(cluster, "volume", "create", "b", "--size", "1M")
    assert "5 copies" in refusal(cluster, "volume", "create", "c", "--size", "1M", "--copies", "5")


def test_what_nobody_has_open_has_no_owner(cluster):
    cluster.create()
    assert cluster.json("volume", "show", "v")["owner"] is None
    gateway = cluster.gateway().start()
    connect(gateway).pwrite(b"a" * BLOCK, 0)
    gateway.kill()
    rigs.wait_until("its session is over", lambda:
                    cluster.json("volume", "show", "v")["owner"] is None)
    assert "open       nowhere" in cluster.cli("volume", "show", "v")


def test_an_import_has_the_copies_that_are_asked_for(cluster, rig):
    cluster.create("a", 64 * MIB)
    cluster.cli("snapshot", "create", "a@s")
    whole, more = rig.fresh("whole"), rig.fresh("more")
    cluster.cli("volume", "export", "a@s", whole)
    cluster.cli("snapshot", "create", "a@t")
    cluster.cli("volume", "export", "a@t", "--since", "s", more)
    cluster.cli("volume", "import", whole, "b", "--copies", "2", "--min-copies", "2")
    cluster.cli("volume", "import", whole, "c")
    assert len(cluster.copies("b")) == 2 and len(cluster.copies("c")) == 3
    assert "5 copies" in refusal(cluster, "volume", "import", whole, "d", "--copies", "5")
    assert "copies of the volume" in refusal(cluster, "volume", "import", more, "b", "--copies",
                                             "3")
    cluster.cli("volume", "import", more, "b")
    assert len(cluster.copies("b")) == 2


def test_what_its_owner_alone_may_do_is_refused_to_others_and_says_where_it_is(cluster):
    cluster.create()
    gateway = cluster.gateway().start()
    client = connect(gateway)
    client.pwrite(b"a" * BLOCK, 0)
    for words in (["volume", "resize", "v", "--size", "128M"], ["volume", "delete", "v"],
                  ["snapshot", "create", "v@s"]):
        sentence = refusal(cluster, *words)
        assert f'is open on node "{gateway.host.name}"' in sentence
        assert str(gateway.socket) in sentence
    owner = cluster.json("volume", "show", "v")["owner"]
    assert owner["node"] == gateway.host.name and str(gateway.socket) in owner["address"], owner
    assert f"open       on node {gateway.host.name}, by " in cluster.cli("volume", "show", "v")
    assert cluster.json("volume", "show", "v")["size_bytes"] == 64 * MIB
    other = cluster.gateway().start()
    with pytest.raises(nbd.Error):
        connect(other)
    assert "is open on node" in other.server.output()
    client.shutdown()
    rigs.wait_until("the volume is closed", lambda: cluster.cli(
        "volume", "resize", "v", "--size", "128M", check=False).returncode == 0)
    client = connect(other)
    assert client.pread(BLOCK, 0) == b"a" * BLOCK and client.get_size() == 128 * MIB
    client.shutdown()
    gateway.terminate()
    other.terminate()


def test_a_gateway_that_was_killed_and_comes_back_has_its_volumes_at_once(cluster):
    cluster.create()
    gateway = cluster.gateway().start()
    client = connect(gateway)
    client.pwrite(b"b" * BLOCK, 0)
    gateway.kill()
    gateway.start()
    began = time.monotonic()
    client = connect(gateway)
    assert client.pread(BLOCK, 0) == b"b" * BLOCK
    assert time.monotonic() - began < 3, "it waited for its own session to run out"
    # Another one is nobody's successor.
    gateway.kill()
    other = cluster.gateway().start()
    with pytest.raises(nbd.Error):
        connect(other)
    rigs.wait_until("the session ran out", lambda: try_connect(other))
    client = connect(other)
    assert client.pread(BLOCK, 0) == b"b" * BLOCK
    client.shutdown()
    other.terminate()


def try_connect(gateway):
    try:
        connect(gateway).shutdown()
    except nbd.Error:
        return False
    return True


def test_a_gateway_that_stood_still_answers_with_errors_until_its_clients_come_anew(cluster):
    cluster.create()
    stopped, other = cluster.gateway().start(), cluster.gateway().start()
    before = connect(stopped)
    before.pwrite(b"c" * BLOCK, 0)
    stopped.pause()
    rigs.wait_until("the session ran out", lambda: try_connect(other))
    taken = connect(other)
    taken.pwrite(b"d" * BLOCK, 0)
    stopped.go_on()
    refused_with("EIO", lambda: before.pwrite(b"e" * BLOCK, 0))
    refused_with("EIO", lambda: before.pread(BLOCK, 0))
    refused_with("EIO", before.flush)
    with pytest.raises(nbd.Error):
        connect(stopped)
    assert taken.pread(BLOCK, 0) == b"d" * BLOCK
    taken.shutdown()
    # It is to be had again, though the old client is still there.
    rigs.wait_until("the volume is given back", lambda: try_connect(stopped))
    anew = connect(stopped)
    assert anew.pread(BLOCK, 0) == b"d" * BLOCK
    anew.pwrite(b"f" * BLOCK, 0)
    refused_with("EIO", lambda: before.pread(BLOCK, 0))
    before.shutdown()
    assert anew.pread(BLOCK, 0) == b"f" * BLOCK
    anew.shutdown()
    stopped.terminate()
    other.terminate()


def test_a_gateway_ends_though_a_volume_waits_for_its_copies(cluster):
    cluster.create()
    for node in cluster.nodes:
        node.terminate()
    gateway = cluster.gateway().start()
    client = subprocess.Popen(["nbdinfo", "--size", gateway.uri()], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE)
    time.sleep(1)
    assert client.poll() is None, "it was opened without its copies"
    gateway.terminate()
    client.communicate(timeout=rigs.PATIENCE)
    assert client.returncode != 0


def test_a_volume_that_waits_is_opened_when_its_copies_are_back(cluster):
    cluster.create()
    for node in cluster.nodes:
        node.terminate()
    gateway = cluster.gateway().start()
    client = subprocess.Popen(["nbdinfo", "--size", gateway.uri()], stdout=subprocess.PIPE)
    waits = (r'volume "v": not open after 2 s, waiting for its copies; '
             r'store \d on node "n\d": .*refused')
    rigs.wait_until("it says for what it waits",
                    lambda: re.search(waits, gateway.server.output()))
    for node in cluster.nodes:
        node.restart()
    size, _ = client.communicate(timeout=rigs.PATIENCE)
    assert int(size) == 64 * MIB
    gateway.terminate()


@pytest.mark.parametrize("words, sentence", [
    (["--pool", "etcd://127.0.0.1:1/x", "--cache-size", "64M"], "--cache-size: .*iomeshd"),
    (["--pool", "etcd://127.0.0.1:1/x", "--discard"], "--discard: .*iomeshd"),
    (["--pool", "file:/nowhere", "--node", "n"], "--node: .*etcd://"),
    (["--pool", "file:/nowhere", "--peer-tls-certificates", "d"], "--peer-tls-cert.*etcd://"),
])
def test_flags_of_another_kind_of_pool_are_refused(words, sentence):
    done = rigs.run(rigs.program("iomesh-nbd"), "--socket", "/tmp/none", *words, check=False)
    assert done.returncode == 2, done
    assert re.search(sentence, done.stdout), done.stdout


@pytest.mark.parametrize("url, sentence", [
    ("etcd://127.0.0.1:1/x?wait=1", "Connection refused"),
    ("etcd://127.0.0.1:1/", "name the pool"),
    ("etcd:///x", "etcd:///x"),
])
def test_a_url_that_names_no_cluster_is_refused(url, sentence):
    for words in (["pool", "init"], ["volume", "list"], ["volume", "delete", "v"]):
        done = rigs.run(rigs.program("iomesh-cli"), "--pool", url, *words, check=False)
        assert done.returncode == 1 and sentence in done.stdout, done


def test_a_volume_made_while_a_store_is_away_can_be_used(cluster):
    cluster.nodes[2].kill()
    cluster.create()
    gateway = cluster.gateway().start()
    began = time.monotonic()
    client = connect(gateway)
    client.pwrite(b"g" * BLOCK, 0)
    assert time.monotonic() - began < 5
    cluster.nodes[2].restart()
    cluster.wait_in_sync()
    client.shutdown()
    gateway.terminate()


if __name__ == "__main__":
    rigs.main(__file__)
