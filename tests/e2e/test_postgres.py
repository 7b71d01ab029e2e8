#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A PostgreSQL cluster on ext4 on a volume: pgbench runs, iomesh-nbd is killed, PostgreSQL
recovers, every transaction that it acknowledged is there, and its books balance."""

import os
import pathlib
import random
import time


import rig as rigs

KILLS = rigs.count_from("IOMESH_POSTGRES_KILLS", 2)
CLIENTS = 4


def postgres_bin():
    versions = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    assert versions, "PostgreSQL is not installed"
    return versions[-1].parent


class Cluster:
    def __init__(self, rig, mount_point):
        self.bin = postgres_bin()
        self.rig = rig
        self.data = mount_point / "data"
        self.sockets = rig.path("pg")
        self.sockets.mkdir()
        rigs.run("chmod", "a+rx", rig.directory, mount_point)
        rigs.run("chown", "postgres", self.sockets)
        rig.at_end(self.stop_now)

    def run(self, name, *words, check=True, timeout=300):
        return rigs.run("runuser", "-u", "postgres", "--", self.bin / name, *words, check=check,
                        timeout=timeout, cwd="/")

    def create(self):
        self.data.mkdir()
        rigs.run("chown", "postgres", self.data)
        self.run("initdb", "-D", self.data, "--data-checksums", "-A", "trust")
        with open(self.data / "postgresql.auto.conf", "a", encoding="utf-8") as config:
            config.write("listen_addresses = ''\nshared_buffers = 64MB\n"
                         f"unix_socket_directories = '{self.sockets}'\n"
                         "checkpoint_timeout = 30s\nmax_wal_size = 128MB\n")
        rigs.run("sync", "-f", self.data)  # PostgreSQL syncs what it writes, not what we wrote.

    def start(self):
        log = self.sockets / "log"
        done = self.run("pg_ctl", "-D", self.data, "-w", "-t", "90", "-l", log, "start",
                        check=False)
        assert done.returncode == 0, done.stdout + log.read_text()

    def stop(self):
        self.run("pg_ctl", "-D", self.data, "-w", "-m", "fast", "stop")

    def stop_now(self):
        """However it is: its disk may be gone, and with it what pg_ctl reads."""
        for process in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                words = (process / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if len(words) > 2 and words[0].endswith(b"/postgres") and words[2:3] == [
                    str(self.data).encode()]:
                os.kill(int(process.name), 9)
                rigs.wait_until("postgres is gone", lambda gone=process: not gone.exists())
        time.sleep(0.2)  # Its children follow it.

    def query(self, sql):
        return self.run("psql", "-h", self.sockets, "-At", "-c", sql, "postgres").stdout.strip()

    def transactions(self):
        """In pgbench's own books."""
        return int(self.query("select count(*) from pgbench_history"))

    def bench(self, *words, check=True):
        return self.run("pgbench", "-h", self.sockets, *words, "postgres", check=check)

    def start_bench(self, log_prefix):
        return self.rig.start("runuser", "-u", "postgres", "--", self.bin / "pgbench", "-h",
                              self.sockets, "-n", "-c", CLIENTS, "-j", "2", "-T", "300", "-l",
                              f"--log-prefix={log_prefix}", "postgres", cwd=self.sockets)


def acknowledged(directory, prefix):
    """Transactions whose commit a client has seen: one line each."""
    lines = 0
    for log in directory.glob(f"{prefix}.*"):
        text = log.read_text()
        lines += text.count("\n")
    return lines


def check_books(cluster, at_least, at_most):
    cluster.run("pg_amcheck", "-h", cluster.sockets, "--install-missing", "postgres")
    sums = cluster.query(
        "select (select sum(abalance) from pgbench_accounts), "
        "(select sum(bbalance) from pgbench_branches), "
        "(select sum(tbalance) from pgbench_tellers), "
        "(select coalesce(sum(delta), 0) from pgbench_history)").split("|")
    assert len(set(sums)) == 1, f"the books do not balance: {sums}"
    history = cluster.transactions()
    assert at_least <= history <= at_most, \
        f"{history} transactions, {at_least} were acknowledged, {at_most} were begun"
    return history


def test_postgres_recovers_with_every_acknowledged_transaction(rig):
    pool = rigs.Pool(rig, 2 * rigs.GIB)
    pool.create("v", rigs.GIB)
    system = rigs.FileSystem(rig, pool.uri("v"), "ext4")
    pool.serve()
    system.attach()
    system.format()
    system.mount()
    cluster = Cluster(rig, system.mount_point)
    cluster.create()
    cluster.start()
    cluster.bench("-i", "-q", "-s", "2")
    history = 0
    for kill in range(KILLS):
        bench = cluster.start_bench(f"log{kill}")
        rigs.wait_until("transactions to lose", lambda: cluster.transactions() > history + 100)
        time.sleep(random.uniform(0, 2))
        pool.server.kill()
        bench.popen.wait(rigs.PATIENCE)
        cluster.stop_now()
        system.detach()

        pool.serve()
        system.attach()
        system.check()
        system.mount()
        cluster.start()
        seen = acknowledged(cluster.sockets, f"log{kill}")
        assert seen > 50, f"only {seen} transactions before the kill\n{bench.output()}"
        history = check_books(cluster, history + seen, history + seen + CLIENTS)
        rigs.progress(f"{kill + 1} of {KILLS} kills, {history} transactions")
    cluster.stop()
    system.detach()
    assert pool.server.terminate() == 0
    pool.check()


if __name__ == "__main__":
    rigs.main(__file__)
