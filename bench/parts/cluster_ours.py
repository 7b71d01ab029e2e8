# SPDX-License-Identifier: Apache-2.0
"""Our pool on this machine: etcd, iomeshd for each store, iomesh-nbd, unix sockets between."""

import os
import shutil
import subprocess

from .cluster_pools import Pool
from .servers import GIB, connects, free_port, run


class Ours(Pool):
    """A volume of three copies on three stores, through NBD."""

    name = "iomesh"
    copies = 3

    @classmethod
    def missing(cls):
        return [name for name in ("etcd",) if shutil.which(name) is None]

    def begin(self):
        here, client, peer = self.directory, free_port(), free_port()
        self.url = f"etcd://127.0.0.1:{client}/bench"
        self.start("etcd", "--data-dir", here / "etcd", "--listen-client-urls",
                   f"http://127.0.0.1:{client}", "--advertise-client-urls",
                   f"http://127.0.0.1:{client}", "--listen-peer-urls", f"http://127.0.0.1:{peer}",
                   "--log-level", "error")
        self.wait("etcd", lambda: subprocess.run(
            ["etcdctl", "--endpoints", f"127.0.0.1:{client}", "endpoint", "health"], check=False,
            capture_output=True, env={**os.environ, "ETCDCTL_API": "3"}).returncode == 0)
        self.cli("pool", "init")
        self.stores = []
        for i in range(self.copies):
            socket = here / f"n{i}.socket"
            self.stores.append(self.start(
                self.bin / "iomeshd", "--pool", self.url, "--node", f"n{i}", "--store",
                f"{here}/n{i}:{3 * self.size + GIB}", "--listen", f"unix:{socket}"))
        for i in range(self.copies):
            self.wait("iomeshd", lambda i=i: connects(here / f"n{i}.socket"))
        self.wait("the stores", lambda: self.cli("store", "list").count("up") >= self.copies)
        self.cli("volume", "create", "v", "--size", str(self.size), "--sector", "4096", "--copies",
                 str(self.copies))
        self.socket = here / "nbd.socket"
        self.gateway = self.start(self.bin / "iomesh-nbd", "--pool", self.url, "--node", "gateway",
                                  "--socket", self.socket)
        self.wait("iomesh-nbd", lambda: connects(self.socket))

    def cli(self, *words):
        return run(self.bin / "iomesh-cli", "--pool", self.url, *words, timeout=60)

    def engine(self):
        return ["--ioengine=nbd", f"--uri=nbd+unix:///v?socket={self.socket}"]


class OursOnce(Ours):
    """The same with one copy on one store."""

    name = "iomesh 1 copy"
    copies = 1
