# SPDX-License-Identifier: Apache-2.0
"""A cluster: real etcd, iomeshd and iomesh-nbd, each machine a network namespace.

Machines are `n0`, `n1`, ... with a store each, `e0`, ... with a member of etcd each, and `g0`, ...
for gateways that have no store. Gateways answer on unix sockets: the loads need no network."""

import json
import os
import signal
import socket
import subprocess
import tempfile
import time
import uuid

import rig as rigs
from cluster_load import Ledger, Load, read_all
from cluster_net import Net

MIB = rigs.MIB
PORT = 7100
STORE_BYTES = 1 << 30


class Notified:
    """What a program says by sd_notify: READY=1 when it serves."""

    def __init__(self, rig):
        self.path = rig.fresh("notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(self.path))
        self.socket.setblocking(False)
        rig.at_end(self.socket.close)
        self.said = []

    def environment(self):
        return {**os.environ, "NOTIFY_SOCKET": str(self.path)}

    def lines(self):
        try:
            while True:
                self.said += self.socket.recv(4096).decode().splitlines()
        except BlockingIOError:
            return self.said

    def ready(self):
        return "READY=1" in self.lines()


class Etcd:
    """One to three members, each on a machine of its own."""

    def __init__(self, net, members=1):
        self.rig = net.rig
        self.hosts = [net.host(f"e{i}") for i in range(members)]
        self.processes = [None] * members
        self.data = [self.rig.fresh("etcd") for _ in range(members)]
        for i in range(members):
            self.start(i)
        self.wait()

    def endpoints(self):
        return ",".join(f"{host.address}:2379" for host in self.hosts)

    def start(self, i):
        host = self.hosts[i]
        peers = ",".join(f"e{k}=http://{other.address}:2380" for k, other in enumerate(self.hosts))
        self.processes[i] = host.start(
            "etcd", "--name", f"e{i}", "--data-dir", self.data[i],
            "--listen-client-urls", f"http://{host.address}:2379",
            "--advertise-client-urls", f"http://{host.address}:2379",
            "--listen-peer-urls", f"http://{host.address}:2380",
            "--initial-advertise-peer-urls", f"http://{host.address}:2380",
            "--initial-cluster", peers, "--logger", "zap", "--log-level", "error")

    def wait(self):
        rigs.wait_until("etcd answers", lambda: self.control("endpoint", "health").returncode == 0)

    def control(self, *words, member=None, check=False):
        """etcdctl, on the machine of a member (any that runs)."""
        running = [i for i, process in enumerate(self.processes) if process and process.running()]
        host = self.hosts[member if member is not None else (running or [0])[0]]
        endpoints = f"{host.address}:2379" if member is not None else self.endpoints()
        return host.run("etcdctl", "--endpoints", endpoints, "--dial-timeout", "1s",
                        "--command-timeout", "3s", *words, check=check,
                        env={**os.environ, "ETCDCTL_API": "3"})

    def leader(self):
        """The number of the member that leads; None: they choose one."""
        for i, process in enumerate(self.processes):
            if not process or not process.running():
                continue
            told = self.control("endpoint", "status", "-w", "json", member=i)
            if told.returncode != 0:
                continue
            status = json.loads(told.stdout.splitlines()[-1])[0]["Status"]
            if status.get("leader") == status["header"]["member_id"]:  # 0 is left out.
                return i
        return None

    def wait_leader(self, but=None):
        """The number of the member that leads, once there is one that is not `but`."""
        told = []

        def there():
            told.append(self.leader())
            return told[-1] not in (None, but)

        rigs.wait_until("a member of etcd leads", there)
        return told[-1]

    def kill(self, i):
        self.processes[i].kill()

    def stop_all(self):
        for process in self.processes:
            process.popen.send_signal(signal.SIGSTOP)

    def continue_all(self):
        for process in self.processes:
            process.popen.send_signal(signal.SIGCONT)


def tls_words(directory):
    return ["--peer-tls-certificates", directory] if directory else []


class Node:
    """A machine with stores and iomeshd."""

    def __init__(self, cluster, index, zone=None, host=None):
        self.cluster, self.rig, self.index = cluster, cluster.rig, index
        self.host = host or cluster.net.host(f"n{index}")
        self.name = self.host.name
        self.zone = zone
        self.store = self.rig.fresh(f"{self.name}-store")
        self.store_bytes = cluster.store_bytes
        self.drive = None
        self.boot_id = str(uuid.uuid4())
        self.daemon = self.notified = None
        self.started_with = ()
        self.tls = cluster.tls
        self.environment = {}
        self.port = PORT

    @property
    def address(self):
        return f"tcp:{self.host.address}:{self.port}"

    def stores(self):
        return f"{self.store}:{self.store_bytes}"

    def begin(self, *words):
        """Starts iomeshd; does not wait."""
        self.notified = Notified(self.rig)
        zone = ["--zone", self.zone] if self.zone else []
        self.started_with = words
        self.daemon = self.host.start(
            rigs.program("iomeshd"), "--pool", self.cluster.url, "--node", self.name, "--store",
            self.stores(), "--listen", self.address, "--boot-id", self.boot_id, *zone,
            *tls_words(self.tls), *words,
            env={**self.notified.environment(), **self.environment})
        return self

    def start(self, *words):
        self.begin(*words)
        self.daemon.must_run("READY=1", self.notified.ready)
        return self

    def kill(self):
        self.daemon.kill()

    def restart(self):
        return self.start(*self.started_with)

    def signal(self, number):
        self.daemon.popen.send_signal(number)

    def pause(self):
        self.signal(signal.SIGSTOP)

    def go_on(self):
        self.signal(signal.SIGCONT)

    def terminate(self):
        """SIGTERM: hands over, drains, ends well."""
        status = self.daemon.terminate()
        assert status == 0, self.daemon.state()

    def new_boot(self):
        self.boot_id = str(uuid.uuid4())

    def on_drive(self, size=STORE_BYTES, seed=None):
        """The store is on a drive whose power can be cut."""
        self.drive = rigs.Drive(self.rig, size, seed)
        self.store = self.drive.path

    def power_cut(self):
        """The machine is without power; after this it can be started again."""
        if self.drive and self.drive.counts()["armed"]:
            self.drive.control("cut")
        self.kill()
        if self.drive:
            self.drive.control("arm")
        self.new_boot()


class Gateway:
    """iomesh-nbd on a machine, on a unix socket."""

    def __init__(self, cluster, host):
        self.cluster, self.rig, self.host = cluster, cluster.rig, host
        self.socket = self.rig.fresh(f"{host.name}-nbd")
        self.server = None
        self.tls = cluster.tls
        self.environment = {}

    def begin(self, *words):
        if self.socket.exists():
            self.socket.unlink()
        self.server = self.host.start(
            rigs.program("iomesh-nbd"), "--pool", self.cluster.url, "--node", self.host.name,
            "--socket", self.socket, *tls_words(self.tls), *words,
            env={**os.environ, **self.environment})
        return self

    def start(self, *words):
        self.begin(*words)
        self.server.must_run("its socket", lambda: rigs.connects(self.socket))
        return self

    def uri(self, volume="v"):
        return f"nbd+unix:///{volume}?socket={self.socket}"

    def kill(self):
        self.server.kill()

    def pause(self):
        self.server.popen.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.server.popen.send_signal(signal.SIGCONT)

    def terminate(self):
        status = self.server.terminate()
        assert status == 0, self.server.state()


class Cluster:
    """`nodes` machines with a store each, and etcd. Nothing of iomesh runs until up()."""

    def __init__(self, rig, nodes=3, members=1, store_bytes=STORE_BYTES, tls=None):
        """`tls`: the directory of certificates that every program is given."""
        self.rig, self.store_bytes, self.tls = rig, store_bytes, tls
        self.net = Net(rig)
        self.etcd = Etcd(self.net, members)
        self.url = f"etcd://{self.etcd.endpoints()}/{rig.directory.name}"
        self.admin = self.net.host("admin")
        self.nodes = [Node(self, i) for i in range(nodes)]
        self.gateways = 0
        rig.at_end(self.say)

    def up(self, *words):
        """A pool, and every iomeshd."""
        self.cli("pool", "init")
        for node in self.nodes:
            node.begin(*words)
        for node in self.nodes:
            node.daemon.must_run("READY=1", node.notified.ready)
        return self

    def cli(self, *words, check=True, timeout=60, host=None, **options):
        """iomesh-cli on a machine that has no other part in this; what it printed."""
        done = (host or self.admin).run(rigs.program("iomesh-cli"), "--pool", self.url,
                                        *tls_words(self.tls), *words,
                                        check=check, timeout=timeout, **options)
        return done.stdout if check else done

    def json(self, *words):
        """Of what it prints; complaints are apart from that."""
        done = subprocess.run(
            self.admin.words(rigs.program("iomesh-cli"), "--pool", self.url, "--json", *words),
            capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"{words}: {done}"
        return json.loads(done.stdout)

    def set(self, **values):
        self.cli("pool", "set", *[f"{name}={value}" for name, value in values.items()])

    def create(self, name="v", size=64 * MIB, copies=3, *words):
        self.cli("volume", "create", name, "--size", str(size), "--sector", "4096", "--copies",
                 str(copies), *words)

    def gateway(self, host=None):
        """On that machine, or on a new one that has no store."""
        if host is None:
            host = self.net.host(f"g{self.gateways}")
            self.gateways += 1
        return Gateway(self, host)

    def copies(self, volume="v"):
        """{node: state} of a volume of one group."""
        copies = self.json("volume", "show", volume)["copies"]
        return {copy["node"]: copy["state"] for copy in copies}

    def wait_in_sync(self, volume="v", count=3, timeout=rigs.PATIENCE):
        """Waits until so many copies are in sync; how long that took."""
        began = time.monotonic()
        rigs.wait_until(
            f"{count} copies of {volume} in sync",
            lambda: list(self.copies(volume).values()).count("in sync") == count, timeout)
        return time.monotonic() - began

    def say(self):
        """What every program said last; pytest shows it if the test failed."""
        for log in sorted(self.rig.directory.glob("iomesh*.log*")):
            print(f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}")


class Bed:
    """A cluster, a volume of three copies served by a gateway without a store, a load on it."""

    def __init__(self, rig, members=1, blocks=4096, rate=800, before=None,
                 size=64 * MIB, flushes=0.02, fua=0.02, **cluster):
        """`before` is called with the cluster before anything of it is started."""
        self.cluster = Cluster(rig, members=members, **cluster)
        self.nodes, self.etcd = self.cluster.nodes, self.cluster.etcd
        self.options = {"rate": rate, "connections": 2, "flushes": flushes, "fua": fua}
        if before:
            before(self.cluster)
        self.cluster.up()
        self.cluster.create("v", size)
        self.gateway = self.cluster.gateway().start()
        self.ledger = Ledger(blocks)
        self.load = self.start_load()
        self.load.must_go_on()

    def start_load(self, gateway=None, **options):
        options = {**self.options, **options}
        return Load(self.ledger, (gateway or self.gateway).uri(), **options).start()

    def settle(self, copies=3):
        """All copies come in sync under the load, it ends well, every block is read once more."""
        self.load.must_go_on()
        self.cluster.wait_in_sync("v", copies)
        self.load.stop()
        assert not self.load.errors, self.load
        read_all(self.ledger, self.gateway.uri())


def scratch():
    """A rig without pytest, for benches."""
    directory = tempfile.mkdtemp(prefix="iomesh-cluster-", dir=os.environ.get("IOMESH_E2E_DIR",
                                                                              "/var/tmp"))
    return rigs.Rig(directory)
