# SPDX-License-Identifier: Apache-2.0
"""What is measured: raw, iomesh-nbd and its peers, each over a file on the same disk."""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time

GIB = 1 << 30
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def say(text):
    print(text, flush=True)


def run(*words, timeout=3600, **options):
    words = [str(word) for word in words]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=timeout, check=False, **options)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(words)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def connects(path):
    with socket.socket(socket.AF_UNIX) as peer:
        try:
            peer.connect(str(path))
            return True
        except OSError:
            return False


def connects_tcp(port):
    with socket.socket() as peer:
        return peer.connect_ex(("127.0.0.1", port)) == 0


def cpu_s(pid, with_children=False):
    """User and system time; of children that were waited for, too, if asked."""
    stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    fields = stat[stat.rindex(")") + 2:].split()
    return sum(int(each) for each in fields[11:15 if with_children else 13]) / TICKS_PER_S


def free_port():
    """One that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Cgroup:
    """512 MiB of memory, page cache included, by whichever cgroup version is mounted."""

    LIMIT = 512 << 20

    def __init__(self, name):
        if pathlib.Path("/sys/fs/cgroup/cgroup.controllers").exists():
            self.path, self.limit = pathlib.Path("/sys/fs/cgroup") / name, "memory.max"
        elif pathlib.Path("/sys/fs/cgroup/memory").is_dir():
            self.path = pathlib.Path("/sys/fs/cgroup/memory") / name
            self.limit = "memory.limit_in_bytes"
        else:
            raise OSError("no cgroup with a memory controller is mounted")

    def make(self):
        self.path.mkdir(exist_ok=True)
        (self.path / self.limit).write_text(str(self.LIMIT))

    def enter(self):
        """For preexec_fn: the child is in it from its first page on."""
        (self.path / "cgroup.procs").write_text(str(os.getpid()))

    def remove(self):
        try:
            self.path.rmdir()
        except OSError:
            pass


class Target:
    """One server over one volume of `size` bytes, written once."""

    name = ""
    compared = True  # Peers that do not bypass the page cache are shown, not compared.

    def __init__(self, directory, size):
        self.directory = pathlib.Path(directory) / self.name.replace(" ", "-")
        self.directory.mkdir(parents=True, exist_ok=True)
        self.size = size
        self.file = self.directory / "disk"
        self.socket = self.directory / "socket"
        self.process = None
        self.log = self.directory / "log"

    def make(self):
        """The volume, empty."""
        with open(self.file, "wb") as file:
            file.truncate(self.size)

    def words(self):
        raise NotImplementedError

    def ready(self):
        return connects(self.socket)

    def preexec(self):
        return None

    def open_log(self):
        """Where the server's output goes."""
        return open(self.log, "ab")

    def start(self):
        """Starts the server; seconds until it accepted a connection."""
        self.socket.unlink(missing_ok=True)
        began = time.monotonic()
        with self.open_log() as log:
            self.process = subprocess.Popen([str(word) for word in self.words()], stdout=log,
                                            stderr=log, stdin=subprocess.DEVNULL,
                                            preexec_fn=self.preexec())
        while not self.ready():
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended: {self.log.read_text()}")
            if time.monotonic() - began > 120:
                raise RuntimeError(f"{self.name} does not listen")
            time.sleep(0.001)
        return time.monotonic() - began

    def stop(self, how=signal.SIGTERM):
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            self.process.wait(120)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def fio(self):
        """The words that tell fio where."""
        return ["--ioengine=nbd", f"--uri=nbd+unix:///?socket={self.socket}"]

    def cpu_s(self):
        """User and system time so far, threads that ended included."""
        return cpu_s(self.process.pid) if self.process else 0.0

    def settle(self):
        """After a measurement: nothing of it may reach the disk during the next one."""

    def discard(self):
        """Stops it, and gives its space back."""
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def written_bytes(self):
        """What it has caused to be written to storage so far."""
        for line in pathlib.Path(f"/proc/{self.process.pid}/io").read_text().splitlines():
            if line.startswith("write_bytes:"):
                return int(line.split()[1])
        raise RuntimeError("no write_bytes in /proc/PID/io")

    def memory_high_bytes(self):
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
        raise RuntimeError("no VmHWM in /proc/PID/status")


class Raw(Target):
    name = "raw"

    def start(self):
        return 0.0

    def stop(self, how=signal.SIGTERM):
        pass

    def fio(self):
        return ["--ioengine=io_uring", "--direct=1", f"--filename={self.file}"]


class QemuNbdRaw(Target):
    name = "qemu-nbd raw"
    image = "raw"

    def words(self):
        return ["qemu-nbd", "-k", self.socket, "-f", self.image, "--cache=none", "--aio=io_uring",
                "--discard=unmap", "-t", "-e", "16", self.file]


class QemuNbdQcow2(QemuNbdRaw):
    name = "qemu-nbd qcow2"
    image = "qcow2"

    def make(self):
        self.file.unlink(missing_ok=True)
        run("qemu-img", "create", "-q", "-f", "qcow2", self.file, self.size)


class QemuStorageDaemon(Target):
    name = "qemu-storage-daemon"

    def words(self):
        # Without an iothread: 7.2 aborts with one when a client leaves.
        return ["qemu-storage-daemon", "--blockdev",
                f"driver=file,node-name=disk,filename={self.file},cache.direct=on,aio=io_uring",
                "--nbd-server", f"addr.type=unix,addr.path={self.socket},max-connections=16",
                "--export", "type=nbd,id=export,node-name=disk,name=,writable=on"]


class Confined(Target):
    """A peer without O_DIRECT, in 512 MiB; its page cache makes it no equal."""

    compared = False

    def __init__(self, directory, size):
        super().__init__(directory, size)
        self.cgroup = Cgroup(f"iomesh-bench-{os.getpid()}-" + self.name.replace(" ", "-"))
        self.cgroup.make()  # Where that is refused, the peer is left out, not let loose.

    def preexec(self):
        self.cgroup.make()
        return self.cgroup.enter

    def settle(self):
        """What its page cache holds back is written now."""
        with open(self.file, "rb+") as file:
            os.fsync(file.fileno())

    def stop(self, how=signal.SIGTERM):
        super().stop(how)
        self.cgroup.remove()


class Nbdkit(Confined):
    name = "nbdkit file"

    def words(self):
        return ["nbdkit", "-f", "-U", self.socket, "file", self.file]


class NbdServer(Confined):
    """A daemon with a child per client. Over TCP: 3.24 resets clients of a unix socket."""

    name = "nbd-server"
    pid = None

    def __init__(self, directory, size):
        super().__init__(directory, size)
        self.port = free_port()

    def start(self):
        config, pid = self.directory / "config", self.directory / "pid"
        pid.unlink(missing_ok=True)
        config.write_text(f"[generic]\nlistenaddr = 127.0.0.1\nport = {self.port}\n"
                          f"[disk]\nexportname = {self.file}\nflush = true\nfua = true\n")
        began = time.monotonic()
        with open(self.log, "ab") as log:
            subprocess.run(["nbd-server", "-C", str(config), "-p", str(pid)], check=True,
                           preexec_fn=self.preexec(), stdout=log, stderr=log, timeout=30)
        while not (pid.exists() and pid.read_text().strip() and self.ready()):
            if time.monotonic() - began > 30:
                raise RuntimeError(f"{self.name} does not listen: {self.log.read_text()}")
            time.sleep(0.01)
        self.pid = int(pid.read_text())
        return time.monotonic() - began

    def stop(self, how=signal.SIGTERM):
        if self.pid:
            os.kill(self.pid, how)
            self.wait_until(lambda: not pathlib.Path(f"/proc/{self.pid}").exists())
            self.pid = None
        super().stop(how)

    @staticmethod
    def wait_until(over):
        end = time.monotonic() + 10
        while not over() and time.monotonic() < end:
            time.sleep(0.01)

    def children(self):
        return pathlib.Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()

    def cpu_s(self):
        """A child's time counts once it has ended: its client is gone, so it is about to."""
        if not self.pid:
            return 0.0
        self.wait_until(lambda: not self.children())
        return cpu_s(self.pid, with_children=True)

    def ready(self):
        return connects_tcp(self.port)

    def fio(self):
        return ["--ioengine=nbd", f"--uri=nbd://127.0.0.1:{self.port}/disk"]


class Iomesh(Target):
    """An embedded pool of the default options, room for what the run needs, and iomesh-nbd."""

    name = "iomesh-nbd"
    bin = None  # Directory of the programs.
    volume = "v"
    more = ()  # Options that a row adds.

    def __init__(self, directory, size, pool_bytes=None):
        super().__init__(directory, size)
        self.pool = self.directory / "pool"
        self.url = f"file:{self.pool}"
        self.pool_bytes = pool_bytes or size * 2 + 2 * GIB
        self.metrics_port = free_port()

    def cli(self, *words):
        return run(self.bin / "iomesh-cli", "--pool", self.url, *words)

    def make(self):
        run("rm", "-rf", self.pool)
        self.cli("pool", "init", "--size", self.pool_bytes)
        self.create(self.volume, self.size)

    def create(self, volume, size):
        self.cli("volume", "create", volume, "--size", size)

    def words(self):
        return [self.bin / "iomesh-nbd", "--pool", self.url, "--socket", self.socket, "--metrics",
                f"127.0.0.1:{self.metrics_port}", *self.more]

    def fio(self, volume=None):
        uri = f"nbd+unix:///{volume or self.volume}?socket={self.socket}"
        return ["--ioengine=nbd", f"--uri={uri}"]

    def metrics(self):
        """{name: sum over its labels}"""
        found = {}
        url = f"http://127.0.0.1:{self.metrics_port}/metrics"
        for line in run("curl", "-sS", "--max-time", "10", url).splitlines():
            if line and not line.startswith("#"):
                name = line.split("{")[0].split(" ")[0]
                found[name] = found.get(name, 0.0) + float(line.rsplit(" ", 1)[1])
        return found


PEERS = [Raw, QemuNbdRaw, QemuNbdQcow2, QemuStorageDaemon, Nbdkit, NbdServer]
