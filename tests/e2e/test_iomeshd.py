#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""iomeshd by itself, with a real etcd: what it serves, what it refuses, how it ends."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

import pytest

import rig as rigs

SIZE = 256 << 20
LABELS = b"IMDV", b"VDMI"  # How a formatted store begins, by the order of bytes.


class Notified:
    """What a program says to its service manager."""

    def __init__(self, rig):
        self.path = rig.fresh("notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(self.path))
        self.socket.setblocking(False)
        rig.at_end(self.socket.close)
        self.said = []

    def lines(self):
        try:
            while True:
                self.said += self.socket.recv(4096).decode().splitlines()
        except BlockingIOError:
            return self.said


class Daemon:
    def __init__(self, pool, node, stores, words, environment):
        self.notified = Notified(pool.rig)
        self.pool, self.node = pool, node
        self.address = f"unix:{pool.rig.path(node)}.sock"
        stores = [word for store in stores for word in ("--store", store)]
        self.process = pool.rig.start(
            rigs.program("iomeshd"), "--pool", pool.url, "--node", node, *stores, "--listen",
            self.address, "--no-scrub", *words,
            env={**os.environ, "NOTIFY_SOCKET": str(self.notified.path), **environment})

    def ready(self):
        self.process.must_run("READY=1", lambda: "READY=1" in self.notified.lines())
        return self

    def says(self, sentence):
        self.process.must_run(sentence, lambda: sentence in self.process.output())

    def refuses(self, sentence):
        """Nothing else is to be served: it ends."""
        assert self.process.wait(60) == 1, self.process.state()
        assert sentence in self.process.output(), self.process.output()
        assert "READY=1" not in self.notified.lines()

    def ends(self):
        assert self.process.terminate() == 0, self.process.state()
        assert "all stores are closed" in self.process.output()


class EtcdPool:
    """A pool in an etcd of its own."""

    def __init__(self, rig):
        self.rig = rig
        self.ports = rigs.free_port(), rigs.free_port()
        self.data = rig.fresh("etcd")
        self.start()
        self.url = self.make("pool")

    def start(self):
        client, peer = (f"http://127.0.0.1:{port}" for port in self.ports)
        self.etcd = self.rig.start(
            "etcd", "--data-dir", self.data, "--listen-client-urls", client,
            "--advertise-client-urls", client, "--listen-peer-urls", peer,
            "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}",
            "--logger", "zap", "--log-level", "error")
        rigs.wait_until("etcd answers", lambda: self.control("endpoint", "health") == 0)

    def control(self, *words):
        return rigs.run("etcdctl", "--endpoints", f"127.0.0.1:{self.ports[0]}", *words,
                        check=False, env={**os.environ, "ETCDCTL_API": "3"}).returncode

    def make(self, name):
        url = f"etcd://127.0.0.1:{self.ports[0]}/{name}"
        rigs.run(rigs.program("iomesh-cli"), "--pool", url, "pool", "init")
        return url

    def cli(self, *words, check=True):
        return rigs.run(rigs.program("iomesh-cli"), "--pool", self.url, *words, check=check)

    def stores(self):
        """Records by their numbers."""
        listed = json.loads(self.cli("--json", "store", "list").stdout)["stores"]
        return {store["id"]: store for store in listed}

    def daemon(self, node, *stores, words=(), environment=None):
        return Daemon(self, node, stores, words, environment or {})

    def store(self, name="s"):
        return f"{self.rig.path(name)}:{SIZE}"


@pytest.fixture
def pool(rig):
    return EtcdPool(rig)


def test_a_store_is_made_registered_and_served_again(pool):
    path = pool.rig.path("s")
    daemon = pool.daemon("a", f"{path}:{SIZE},class=ssd", words=("--zone", "z1", "--rack", "r1"))
    daemon.ready()
    (number, store), = pool.stores().items()
    assert (store["node"], store["zone"], store["rack"]) == ("a", "z1", "r1")
    assert store["address"] == daemon.address and store["class"] == "ssd"
    assert store["size_bytes"] == SIZE and 0 < store["used_bytes"] < SIZE
    assert sorted(os.listdir(path)) == ["store"]
    daemon.ends()
    before = store["incarnation"]
    # Without a size too: it is there. Another node may have it, and tells where it is.
    pool.daemon("b", path).ready().ends()
    store = pool.stores()[number]
    assert store["node"] == "b" and store["incarnation"] == before + 1


def test_a_killed_daemon_serves_again_at_once(pool):
    daemon = pool.daemon("a", pool.store()).ready()
    took = []
    for _ in range(5):
        daemon.process.kill()
        begin = time.monotonic()
        daemon = pool.daemon("a", pool.store()).ready()
        took.append(time.monotonic() - begin)
    assert len(pool.stores()) == 1
    rigs.progress(f"served again after {sorted(took)[2]:.3f} s")
    assert sorted(took)[2] < 3, took  # Its session would have run out after five.


def test_what_cannot_be_opened_does_not_stop_the_others(pool):
    empty, other, embedded = (pool.rig.path(name) for name in ("empty", "other", "embedded"))
    pool.daemon("a", empty, pool.rig.path("none")).ready().ends()
    for lost in (empty, pool.rig.path("none")):
        shutil.rmtree(lost)
    empty.mkdir()
    other.mkdir()
    (other / "letters").write_text("dear all\n")
    rigs.run(rigs.program("iomesh-cli"), "--pool", f"file:{embedded}", "pool", "init", "--size",
             "64M")
    daemon = pool.daemon("a", pool.rig.path("none"), empty, other, embedded, pool.store(),
                         pool.store("t")).ready()
    said = daemon.process.output()
    lost = "nothing is there, but store [12] of this node was: is something not mounted"
    for path in (pool.rig.path("none"), empty):
        assert re.search(f"{path}: {lost}", said), said
    for sentence in (f"{other}: holds other things",
                     f"{embedded}: is an embedded pool"):
        assert sentence in said, said
    assert len(pool.stores()) == 4
    assert any("2 of 6 stores are served" in line for line in daemon.notified.lines())
    # What was not there is served when it is.
    shutil.copytree(pool.rig.path("s"), pool.rig.path("copy"))
    os.rename(pool.rig.path("copy"), pool.rig.path("none"))
    daemon.says("are the same store")
    daemon.ends()


def test_what_is_new_needs_no_size(pool):
    empty, none = pool.rig.path("empty"), pool.rig.path("none")
    empty.mkdir()
    daemon = pool.daemon("a", empty, none).ready()
    assert len(pool.stores()) == 2
    daemon.ends()
    pool.daemon("a", empty, none).ready().ends()
    assert len(pool.stores()) == 2
    shutil.rmtree(none)
    # With a size neither: what is not mounted looks just like what is new.
    for path in (none, f"{none}:128M"):
        pool.daemon("a", path).refuses("nothing is there, but store")
    # Another node knows nothing of that.
    pool.daemon("b", none).ready().ends()
    assert len(pool.stores()) == 3


@pytest.mark.parametrize("path, sentence", [
    ("/dev/null", "is neither a directory nor a device or file"),
])
def test_with_nothing_to_serve_it_ends(pool, path, sentence):
    pool.daemon("a", pool.rig.path(path)).refuses(sentence)


def test_an_old_image_is_refused(pool):
    path = pool.rig.path("s")
    pool.daemon("a", pool.store()).ready().ends()
    shutil.copytree(path, pool.rig.path("old"))
    pool.daemon("a", path).ready().ends()
    shutil.rmtree(path)
    shutil.copytree(pool.rig.path("old"), path)
    for _ in range(3):  # Trying does not make it newer.
        pool.daemon("a", path).refuses("an old image of store 1 was put back")


def test_a_store_of_another_pool_is_refused(pool):
    pool.daemon("a", pool.store()).ready().ends()
    pool.url = pool.make("other")
    pool.daemon("a", pool.rig.path("s")).refuses("a store of another pool")
    assert pool.stores() == {}


def test_of_two_copies_of_a_store_one_is_served(pool):
    pool.daemon("a", pool.store()).ready().ends()
    shutil.copytree(pool.rig.path("s"), pool.rig.path("t"))
    first = pool.daemon("a", pool.rig.path("s"), pool.rig.path("t")).ready()
    assert "are the same store" in first.process.output()
    # A newer copy, on another machine: the session of who serves it would have to end before.
    shutil.copytree(pool.rig.path("s"), pool.rig.path("u"))
    pool.daemon("b", pool.rig.path("u")).refuses("store 1 is served by node a on unix:")
    assert pool.stores()[1]["node"] == "a"
    first.ends()


def test_who_is_overtaken_by_a_copy_lets_go(pool):
    first = pool.daemon("a", pool.store()).ready()
    first.process.popen.send_signal(signal.SIGSTOP)
    shutil.copytree(pool.rig.path("s"), pool.rig.path("t"))
    second = pool.daemon("b", pool.rig.path("t")).ready()  # When the session of a has run out.
    first.process.popen.send_signal(signal.SIGCONT)
    first.says("serves store 1 now: one is a copy of the other")
    assert pool.stores()[1]["node"] == "b"
    second.ends()


def test_a_removed_store_is_served_no_longer(pool):
    daemon = pool.daemon("a", pool.store("s"), pool.store("t")).ready()
    gone = next(number for number, store in pool.stores().items())
    assert pool.control("del", "--prefix", f"pool/store/{gone:016x}") == 0
    daemon.says(f"store {gone} has no record in the metadata: it was removed")
    rigs.wait_until("its status", lambda: any("1 of 2 stores are served" in line
                                              for line in daemon.notified.lines()))
    daemon.ends()
    pool.daemon("a", pool.rig.path("s"), pool.rig.path("t")).ready().says("it was removed")


def test_in_place_of_a_wiped_store_another_one_is_made(pool):
    pool.daemon("a", pool.store()).ready().ends()
    shutil.rmtree(pool.rig.path("s"))
    pool.daemon("a", pool.store()).refuses("nothing is there, but store 1 of this node was")
    pool.cli("--node", "a", "store", "add", pool.rig.path("s"), "--size", SIZE)
    pool.daemon("a", pool.store()).ready().ends()
    first, second = pool.stores().values()
    assert first["uuid"] != second["uuid"]


def label_of(file):
    with open(file, "rb") as opened:
        return opened.read(4096)


def test_what_was_made_before_the_metadata_heard_of_it_is_taken_up(pool):
    """As if it had been killed between formatting and the record: etcd ends as that begins."""
    pool.daemon("a", pool.store()).ready().process.kill()
    for number in range(8):
        node, file = f"b{number}", pool.rig.path(f"fresh{number}") / "store"
        daemon = pool.daemon(node, f"{file.parent}:{SIZE}")
        while not file.exists() and daemon.process.running():
            pass  # Formatting takes milliseconds.
        pool.etcd.kill()
        daemon.process.must_run("its label", lambda: label_of(file)[4:8] in LABELS)
        daemon.process.kill()
        pool.start()
        if all(store["node"] != node for store in pool.stores().values()):
            break  # Else the record was faster, and another node tries.
    else:
        raise AssertionError("it was always registered before etcd ended")
    label = label_of(file)
    pool.daemon(node, file.parent).ready().ends()
    assert sum(store["node"] == node for store in pool.stores().values()) == 1
    assert label_of(file) == label, "it was made again"


def test_a_device_is_a_store(pool):
    disk = rigs.Loop(pool.rig, SIZE)
    daemon = pool.daemon("a", disk.path).ready()
    assert disk.is_held()
    daemon.ends()
    pool.daemon("a", disk.path).ready().ends()
    assert pool.stores()[1]["incarnation"] == 3
    rigs.run("dd", "if=/dev/zero", f"of={disk.path}", "bs=1M", "count=16", "conv=fsync")
    pool.daemon("a", disk.path).refuses("nothing is there, but store 1 of this node was")


def test_a_device_that_holds_something_is_left_alone(pool):
    disk = rigs.Loop(pool.rig, SIZE)
    rigs.run("mkfs.ext4", "-q", disk.path)
    pool.daemon("a", f"{disk.path}:{SIZE}").refuses("holds a file system (ext4)")
    rigs.run("e2fsck", "-fn", disk.path)
    assert pool.stores() == {}


def test_an_end_by_signal_leaves_nothing_to_recover(pool):
    words = ("--log-level", "info")
    daemon = pool.daemon("a", pool.store(), words=words).ready()
    daemon.ends()
    assert "STOPPING=1" in daemon.notified.lines()
    again = pool.daemon("a", pool.store(), words=words).ready()
    assert "recovering" not in again.process.output()
    again.process.kill()


def test_the_watchdog_is_told(pool):
    daemon = pool.daemon("a", pool.store(), environment={"WATCHDOG_USEC": "300000"}).ready()
    rigs.wait_until("signs of life", lambda: daemon.notified.lines().count("WATCHDOG=1") > 5)
    daemon.ends()


def page(port, path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_metrics_and_health(pool):
    port = rigs.free_port()
    daemon = pool.daemon("a", pool.store(), words=("--metrics", f"127.0.0.1:{port}")).ready()
    status, said = page(port, "metrics")
    labels = f'{{store="1",path="{pool.rig.path("s")}"}}'
    assert status == 200
    assert f"iomesh_store_up{labels} 1" in said
    assert f"iomesh_store_total_bytes{labels} {SIZE}" in said
    assert re.search(r"^iomesh_node_connections_total \d+$", said, re.M)
    rigs.wait_until("it is the keeper", lambda: "\niomesh_keeper 1\n" in page(port, "metrics")[1])
    assert page(port, "healthz") == (200, f"{pool.rig.path('s')}: healthy\n")
    assert pool.control("del", "pool/store/0000000000000001") == 0
    rigs.wait_until("it is unhealthy", lambda: page(port, "healthz")[0] == 503)
    assert "it was removed" in page(port, "healthz")[1]
    assert f'iomesh_store_up{{store="0",path="{pool.rig.path("s")}"}} 0' in page(port, "metrics")[1]
    daemon.ends()


def test_a_device_that_fails_is_told_and_the_other_store_goes_on(pool):
    drive = rigs.Drive(pool.rig, SIZE)
    port = rigs.free_port()
    daemon = pool.daemon("a", f"{drive.path}:{SIZE}", pool.store(),
                         words=("--metrics", f"127.0.0.1:{port}")).ready()
    gateway = pool.rig.path("nbd")
    pool.cli("volume", "create", "v", "--size", "64M", "--copies", "2", "--min-copies", "1",
             "--domain", "store")
    nbd = pool.rig.start(rigs.program("iomesh-nbd"), "--pool", pool.url, "--node", "a",
                         "--socket", gateway)
    nbd.must_run("its socket", lambda: rigs.connects(gateway))

    def write(number):
        return rigs.run("qemu-io", "-f", "raw", f"nbd+unix:///v?socket={gateway}", "-c",
                        f"write -P {number} 0 1M", "-c", "flush", "-c", f"read -P {number} 0 1M")

    write(1)
    drive.control("cut")
    write(2)
    rigs.wait_until("it is told", lambda: "failed" in [
        store["reason"] for store in pool.stores().values()])
    status, said = page(port, "healthz")
    assert status == 503 and f"{drive.path}: failed" in said and ": healthy" in said
    assert write(3).returncode == 0
    assert nbd.terminate() == 0
    assert daemon.process.terminate() == 1  # What was not flushed may be lost.
    assert "a device failed" in daemon.process.output()
    drive.control("arm")
    daemon = pool.daemon("a", drive.path, pool.store()).ready()
    for number, store in pool.stores().items():
        if store["reason"] == "failed":  # Only its operator says that it may be used again.
            pool.cli("store", "undrain", str(number))
    rigs.wait_until("it is well", lambda: all(
        store["reason"] == "none" for store in pool.stores().values()))
    daemon.ends()


def test_it_serves_on_while_etcd_is_away_and_registers_when_it_is_back(pool):
    daemon = pool.daemon("a", pool.store()).ready()
    pool.etcd.kill()
    time.sleep(2)
    assert daemon.process.running()
    pool.start()
    rigs.wait_until("its record", lambda: pool.stores()[1]["address"] == daemon.address)
    daemon.ends()


@pytest.mark.parametrize("words, sentence", [
    ((), "no pool"),
    (("--pool", "file:/x"), "a daemon serves a cluster's pool"),
    (("--pool", "etcd://h:1/p"), "nowhere to listen"),
    (("--pool", "etcd://h:1/p", "--listen", "h:1"), "nothing to serve"),
    (("--listen", "h"), "is HOST:PORT, or unix:PATH"),
    (("--store", ":1G"), "its path is empty"),
    (("--store", "/s:1M"), "a store has 64M or more"),
    (("--store", "/s,class=tape"), "its class is nvme, ssd or hdd"),
    (("--advertise", "0.0.0.0:1"), "is every address of this machine"),
    (("--pool", "etcd://h:1/p", "--store", "/s", "--listen", "0.0.0.0:1"), "--advertise"),
    (("--pool", "etcd://h:1/p", "--store", "/s", "--listen", "h:0"), "port 0 is any port"),
    (("--nonsense",), "unknown flag"),
    (("--control", "/s"), "is not built yet"),
])
def test_what_it_does_not_understand_it_says(words, sentence):
    done = subprocess.run([rigs.program("iomeshd"), *words], capture_output=True, text=True,
                          timeout=60, env={"PATH": os.environ["PATH"]})
    assert done.returncode == 2 and sentence in done.stderr, done.stderr
    assert done.stdout == ""


def test_an_address_that_is_taken_is_told(pool):
    daemon = pool.daemon("a", pool.store()).ready()
    other = pool.daemon("b", pool.store("t"), words=("--listen", daemon.address))
    assert other.process.wait(60) == 1
    assert "in use" in other.process.output(), other.process.output()
    assert "close the node first" not in other.process.output()
    daemon.ends()


def test_flags_come_from_a_file_too(pool):
    file = pool.rig.path("conf")
    file.write_text(f"# a node\nstore = {pool.store()}\nboot-id = nonsense\n")
    pool.daemon("a", words=("--config", file)).refuses("nonsense: is no boot id")
    file.write_text(f"store = {pool.store()}\nstore = {pool.store('t')}\nno-keeper = yes\n"
                    "boot-id = 6f1c2a9e-0f65-4b9e-8d0b-5c1b6b1f4c11\n")
    pool.daemon("a", words=("--config", file)).ready().ends()
    assert len(pool.stores()) == 2
    file.write_text("speed = high\n")
    daemon = pool.daemon("a", words=("--config", file))
    assert daemon.process.wait(60) == 2 and "unknown key" in daemon.process.output()


if __name__ == "__main__":
    rigs.main(__file__)
