# SPDX-License-Identifier: Apache-2.0
"""iomesh-nbd over a pool with a few volumes, and what its metrics say."""

import re
import urllib.error
import urllib.request

import rig as rigs
from nbd_protocol.client import SIMPLE, Client

MIB = rigs.MIB
VOLUMES = {"disk": (64 * MIB, 4096), "small": (16 * MIB, 512), "wide": (8 * 1024 * MIB, 4096)}


class Server:
    """One pool, served over a unix socket, with metrics."""

    def __init__(self, rig, *words, program="iomesh-nbd", pool=None, tcp=False, **options):
        self.rig = rig
        self.pool = pool or self.make_pool(rig)
        self.metrics_port = rigs.free_port()
        self.tcp_port = rigs.free_port() if tcp else None
        self.words = [*words, "--metrics", f"127.0.0.1:{self.metrics_port}", "--no-scrub"]
        if tcp:
            self.words += ["--listen", f"127.0.0.1:{self.tcp_port}"]
        self.program, self.options = program, options
        self.socket = self.pool.socket
        self.process = None
        self.start()

    @staticmethod
    def make_pool(rig):
        pool = rigs.Pool(rig, 2 * rigs.GIB)
        for name, (size, sector) in VOLUMES.items():
            pool.create(name, size, sector)
        return pool

    def start(self):
        if self.socket.exists():
            self.socket.unlink()
        self.process = self.rig.start(rigs.program(self.program), "--pool", self.pool.url,
                                      "--socket", self.socket, *self.words, **self.options)
        self.process.must_run("its socket", lambda: rigs.connects(self.socket))
        return self

    def stop(self):
        """SIGTERM; it must end well."""
        status = self.process.terminate()
        assert status == 0, f"exit {status}: {self.process.output()}"

    def restart(self):
        self.stop()
        return self.start()

    def client(self, **options):
        return Client(self.socket, **options)

    def open(self, name="disk", mode=SIMPLE, context=False, since=()):
        return self.client().open(name, mode, context, since)

    def snapshot(self, name):
        """Of a volume, in use or not: name is VOLUME@SNAPSHOT."""
        self.pool.cli("snapshot", "create", name)

    def page(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}{path}",
                                    timeout=rigs.PATIENCE) as answer:
            return answer.read().decode()

    def health(self):
        try:
            return 200, self.page("/healthz")
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metric(self, name):
        """The value of one line of /metrics, labels included in the name if it has some."""
        found = re.search(rf"^{re.escape(name)} (\S+)$", self.page("/metrics"), re.MULTILINE)
        assert found, f"no metric {name}"
        return float(found.group(1))

    def alive(self):
        """It still serves newcomers."""
        with self.open() as peer:
            peer.read(0, 4096)
            peer.disconnect()
        assert self.process.running()
        return True
