# SPDX-License-Identifier: Apache-2.0
"""Pools of three stores on this machine, each a volume of three copies: what ours is compared with,
and what they all share. Every one is on the same disk, and is driven by fio."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import time
import uuid

from .servers import GIB, cpu_s, free_port, run

BS = 4096


def fio(job, seconds, *words):
    """iops, p50 and p99 (microseconds), I/Os done."""
    rw, depth = job
    told = run("fio", "--name=job", f"--rw={rw}", "--bs=4k", f"--iodepth={depth}", "--direct=1",
               f"--runtime={seconds}", "--time_based", "--randrepeat=0", "--norandommap",
               "--output-format=json", "--percentile_list=50:99", *words)
    side = json.loads(told[told.index("{"):])["jobs"][0]["read" if "read" in rw else "write"]
    percentiles = side["clat_ns"]["percentile"]
    return {"iops": side["iops"], "count": side["total_ios"],
            "p50_us": percentiles["50.000000"] / 1e3, "p99_us": percentiles["99.000000"] / 1e3}


class Pool:
    """Processes, their directory, and a volume of `size` bytes, written once."""

    name = ""

    def __init__(self, directory, size, binaries):
        self.directory = pathlib.Path(directory) / self.name.replace(" ", "-")
        self.size, self.bin = size, binaries
        self.processes = []

    def make(self):
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        self.begin()
        self.fill()

    def start(self, *words, **options):
        words = [str(word) for word in words]
        name = f"{pathlib.Path(words[0]).name}.{len(self.processes)}.log"
        with open(self.directory / name, "wb") as log:
            process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                       cwd=self.directory, **options)
        self.processes.append(process)
        return process

    def wait(self, what, condition, seconds=60):
        end = time.monotonic() + seconds
        while not condition():
            for process in self.processes:
                if process.poll() not in (None, 0):
                    raise RuntimeError(f"{self.name}: {process.args[0]} ended: {self.said()}")
            if time.monotonic() > end:
                raise RuntimeError(f"{self.name}: waited in vain for {what}: {self.said()}")
            time.sleep(0.02)

    def said(self):
        return "\n".join(f"{log.name}: {log.read_text(errors='replace')[-500:]}"
                         for log in self.directory.glob("*.log"))

    def engine(self):
        """fio's words for the volume."""
        raise NotImplementedError

    def begin(self):
        raise NotImplementedError

    def fill(self):
        run("fio", "--name=fill", "--rw=write", "--bs=1M", "--iodepth=8", "--direct=1",
            f"--size={self.size}", *self.engine())

    def cpu_s(self):
        return sum(cpu_s(process.pid) for process in self.processes if process.poll() is None)

    def job(self, job, seconds):
        """One measurement; CPU per I/O is that of all processes of the pool, fio's included where
        the client is inside of it."""
        before, children = self.cpu_s(), os.times()
        result = fio(job, seconds, f"--size={self.size}", *self.engine())
        after = os.times()
        spent = self.cpu_s() - before
        if self.client_in_fio:
            spent += after.children_user + after.children_system
            spent -= children.children_user + children.children_system
        result["cpu_us"] = spent / max(1, result["count"]) * 1e6
        return result

    client_in_fio = False

    def end(self):
        for process in reversed(self.processes):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes = []

    def remove(self):
        self.end()
        shutil.rmtree(self.directory, ignore_errors=True)


class Ceph(Pool):
    """RBD over three OSDs (BlueStore on files), size 3; the client is in fio: no NBD between."""

    name = "ceph"
    client_in_fio = True

    @staticmethod
    def missing():
        return [word for word in ("ceph-osd", "ceph-mon", "rbd") if shutil.which(word) is None]

    def begin(self):
        here = self.directory
        fsid = str(uuid.uuid4())
        port = free_port()
        self.conf = here / "ceph.conf"
        self.conf.write_text(f"""[global]
fsid = {fsid}
mon_host = v1:127.0.0.1:{port}
mon_initial_members = a
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
public_network = 127.0.0.0/8
osd_pool_default_size = 3
osd_pool_default_min_size = 2
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
osd_class_update_on_start = false
osd_crush_update_on_start = false
osd_objectstore = bluestore
bluestore_block_size = {max(10 * GIB, 3 * self.size)}
bluestore_block_create = true
run_dir = {here}
admin_socket = {here}/$name.asok
log_file = {here}/$name.ceph.log
mon_data = {here}/mon.$id
osd_data = {here}/osd.$id
mon_allow_pool_size_one = true
keyring = {here}/keyring
""")
        run("monmaptool", "--create", "--addv", "a", f"[v1:127.0.0.1:{port}]", "--fsid", fsid,
            here / "monmap")
        run("ceph-mon", "-c", self.conf, "--mkfs", "-i", "a", "--monmap", here / "monmap")
        self.start("ceph-mon", "-c", self.conf, "-i", "a", "-f")
        self.ceph("osd", "set", "noscrub")
        for i in range(3):
            number = str(uuid.uuid4())
            self.ceph("osd", "new", number)
            (here / f"osd.{i}").mkdir()
            run("ceph-osd", "-c", self.conf, "-i", i, "--mkfs", "--osd-uuid", number)
            self.ceph("osd", "crush", "add", f"osd.{i}", "1.0", "root=default", f"host=h{i}")
            self.start("ceph-osd", "-c", self.conf, "-i", i, "-f")
        self.wait("three OSDs", lambda: '"num_up_osds":3' in self.ceph("osd", "stat", "-f", "json"))
        self.ceph("osd", "pool", "create", "rbd", "32", "32")
        self.ceph("osd", "pool", "application", "enable", "rbd", "rbd")
        run("rbd", "-c", self.conf, "create", "v", "--size", f"{self.size >> 20}M",
            "--image-feature", "layering", "--image-feature", "exclusive-lock")

    def ceph(self, *words):
        return run("ceph", "-c", self.conf, *words, timeout=60)

    def engine(self):
        os.environ["CEPH_CONF"] = str(self.conf)
        return ["--ioengine=rbd", "--pool=rbd", "--rbdname=v", "--clientname=admin"]


class Vitastor(Pool):
    """Three OSDs on files, checksums on, volatile caches flushed; the client is in fio: no NBD.

    Debian has no package: $VITASTOR names its source tree with what was built in build/, fio's
    engine too (-DWITH_FIO=true), and its monitor's npm modules installed; lp_solve is needed."""

    name = "vitastor"
    client_in_fio = True

    @staticmethod
    def tree():
        return pathlib.Path(os.environ.get("VITASTOR", "/nonexistent"))

    @classmethod
    def missing(cls):
        needed = ["src/osd/vitastor-osd", "src/client/libfio_vitastor.so", "src/cmd/vitastor-cli"]
        return [name for name in needed if not (cls.tree() / "build" / name).exists()] + \
               [name for name in ("node", "etcd") if shutil.which(name) is None]

    def begin(self):
        here, build = self.directory, self.tree() / "build" / "src"
        ports = [free_port(), free_port()]
        self.url = f"http://127.0.0.1:{ports[0]}"
        self.conf = here / "vitastor.conf"
        self.conf.write_text(json.dumps({"etcd_address": self.url}))
        self.start("etcd", "--data-dir", here / "etcd", "--listen-client-urls", self.url,
                   "--advertise-client-urls", self.url, "--listen-peer-urls",
                   f"http://127.0.0.1:{ports[1]}", "--max-txn-ops", "100000",
                   "--max-request-bytes", "104857600", "--log-level", "error")
        self.wait("etcd", lambda: self.etcd("endpoint", "health").returncode == 0)
        self.put("config/global", {"immediate_commit": "none"})
        self.start("node", self.tree() / "mon" / "mon-main.js", "--config_path", self.conf)
        for i in range(1, 4):
            disk = here / f"osd{i}"
            with open(disk, "wb") as file:
                file.truncate(self.size * 2)
            offsets = run(build / "disk_tool" / "vitastor-disk", "simple-offsets", "--format",
                          "options", "--data_csum_type", "crc32c", disk).split()
            self.start(build / "osd" / "vitastor-osd", "--osd_num", i, "--bind_address",
                       "127.0.0.1", "--config_path", self.conf, "--data_csum_type", "crc32c",
                       "--journal_sector_buffer_count", 1024, *offsets)
        self.put("config/pools", {"1": {
            "name": "p", "failure_domain": "osd", "scheme": "replicated", "pg_size": 3,
            "pg_minsize": 2, "pg_count": 16}})
        self.wait("placement groups", lambda: self.etcd(
            "get", "--prefix", "/vitastor/pg/state/1/").stdout.count('"active"') == 16)
        run(build / "cmd" / "vitastor-cli", "--config_path", self.conf, "create", "-s",
            f"{self.size >> 20}M", "v")

    def etcd(self, *words):
        return subprocess.run(["etcdctl", "--endpoints", self.url, *words], capture_output=True,
                              env={**os.environ, "ETCDCTL_API": "3"}, timeout=30, check=False,
                              text=True)

    def put(self, key, value):
        told = self.etcd("put", f"/vitastor/{key}", json.dumps(value))
        if told.returncode != 0:
            raise RuntimeError(told.stderr)

    def engine(self):
        return [f"--ioengine={self.tree()}/build/src/client/libfio_vitastor.so",
                f"--conf={self.conf}", "--image=v", "--thread"]
