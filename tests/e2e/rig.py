# SPDX-License-Identifier: Apache-2.0
"""What the end-to-end tests are built from: programs, processes, a pool served over NBD, a drive
whose power can be cut, a verifier, a file system on a volume, certificates.

Everything started here is ended by `Rig.close()`, in reverse order, whatever happened."""

import errno
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
MIB = 1 << 20
GIB = 1 << 30
# What a condition may take where it should take no time at all: machines that run tests are slow.
PATIENCE = 120.0


def bin_directory():
    """$IOMESH_BIN, $IOMESH_BUILD/bin, or the bin directory of the build last made."""
    if "IOMESH_BIN" in os.environ:
        return pathlib.Path(os.environ["IOMESH_BIN"])
    if "IOMESH_BUILD" in os.environ:
        return pathlib.Path(os.environ["IOMESH_BUILD"]) / "bin"
    builds = sorted(ROOT.glob("build/*/bin/e2e-verify"), key=lambda path: path.stat().st_mtime)
    if not builds:
        raise FileNotFoundError("no build/*/bin/e2e-verify: build first, or set IOMESH_BIN")
    return builds[-1].parent


def program(name):
    path = bin_directory() / name
    if not path.exists():
        raise FileNotFoundError(f"{path} is not built")
    return str(path)


def count_from(variable, otherwise):
    return int(os.environ.get(variable, otherwise))


def soak_only(test):
    """A test that ./dev soak runs, and CI does not: there it does not exist (skipped is failed)."""
    return test if "IOMESH_SOAK" in os.environ else None


def progress(text):
    """To whoever watches a long run; pytest holds back what tests print."""
    if "IOMESH_PROGRESS" in os.environ:
        os.write(main.told, f"     {text}\n".encode())


def run(*words, check=True, timeout=300, **options):
    """Runs to the end. A failure shows what the program said."""
    words = [str(word) for word in words]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=timeout, **options)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(words)}: exit {done.returncode}\n{done.stdout}")
    return done


def wait_until(what, condition, timeout=PATIENCE):
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"waited {timeout} s in vain: {what}")
        time.sleep(0.01)


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


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def read_file(path):
    try:
        return pathlib.Path(path).read_text(errors="replace").strip()
    except OSError as error:
        return str(error)


def waits(pid):
    """What each thread of a process is at, and where in the kernel."""
    for task in sorted(pathlib.Path(f"/proc/{pid}/task").glob("*")):
        state = re.search(r"^State:\s*(.*)$", read_file(task / "status"), re.M)
        yield " ".join(["  thread", task.name, read_file(task / "comm"),
                        state.group(1) if state else "gone", read_file(task / "syscall")])
        yield "    " + read_file(task / "stack").replace("\n", "\n    ")


class Process:
    """A program that runs beside the test, its output in a file."""

    def __init__(self, words, log, **options):
        self.words = [str(word) for word in words]
        self.log = pathlib.Path(log)
        with open(log, "ab") as out:
            self.popen = subprocess.Popen(self.words, stdin=subprocess.DEVNULL, stdout=out,
                                          stderr=subprocess.STDOUT, **options)

    @property
    def pid(self):
        return self.popen.pid

    def output(self):
        return self.log.read_text(errors="replace")

    def running(self):
        return self.popen.poll() is None

    def wait(self, timeout):
        """Its status, or None: it runs on."""
        try:
            return self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def kill(self):
        """kill -9, and wait until it is gone."""
        if self.running():
            self.popen.kill()
        self.popen.wait()

    def terminate(self, timeout=PATIENCE):
        """SIGTERM; the exit status."""
        if self.running():
            self.popen.send_signal(signal.SIGTERM)
        try:
            return self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.words[0]} did not end within {timeout} s of SIGTERM")

    def must_run(self, what, condition, timeout=PATIENCE):
        """Waits for a condition, and says why if the program ends or stands still instead."""
        try:
            wait_until(f"{self.words[0]}: {what}",
                       lambda: condition() or not self.running(), timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.state()}") from None
        if not condition():
            raise AssertionError(self.state())

    def state(self):
        """For a complaint: how it ended, or where each of its threads waits, and what it said."""
        ended = self.popen.poll()
        if ended is not None:
            how = f"ended by signal {-ended}" if ended < 0 else f"ended with status {ended}"
        else:
            how = "\n".join(["runs:", *waits(self.pid), "locks:", read_file("/proc/locks")])
        return f"{' '.join(self.words)} {how}\n{self.output()}"


class Rig:
    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.endings = []
        self.names = 0

    def path(self, name):
        return self.directory / name

    def fresh(self, stem):
        self.names += 1
        return self.directory / f"{stem}{self.names}"

    def at_end(self, action):
        self.endings.append(action)

    def start(self, *words, name=None, **options):
        log = self.fresh((name or pathlib.Path(str(words[0])).name) + ".log")
        process = Process(words, log, **options)
        self.at_end(process.kill)
        return process

    def close(self):
        while self.endings:
            try:
                self.endings.pop()()
            except Exception as error:  # The others must end as well.
                print(f"while cleaning up: {error}")

    def sparse(self, name, size):
        path = self.path(name)
        with open(path, "wb") as file:
            file.truncate(size)
        return path


class Loop:
    """A file as a block device."""

    def __init__(self, rig, size, sector=512):
        self.file = rig.sparse(rig.fresh("disk").name, size)
        self.path = run("losetup", "--show", "--sector-size", sector, "-f",
                             self.file).stdout.strip()
        rig.at_end(self.detach)

    def detach(self):
        if self.path:
            run("partx", "-d", self.path, check=False)  # They would outlive it.
            run("losetup", "-d", self.path, check=False)
        self.path = None

    def blocks(self):
        """What its file takes, in bytes."""
        run("sync", self.path, self.file)
        return os.stat(self.file).st_blocks * 512

    def is_held(self):
        try:
            os.close(os.open(self.path, os.O_RDWR | os.O_EXCL))
            return False
        except OSError as error:
            assert error.errno == errno.EBUSY
            return True


class Drive:
    """The powercut plugin, seen as a file through nbdfuse: O_DIRECT works on it."""

    def __init__(self, rig, size, seed=None, fuse=True):
        self.rig = rig
        self.seed = seed if seed is not None else random.randrange(1, 1 << 62)
        self.platter = rig.sparse(rig.fresh("platter").name, size)
        self.socket = rig.fresh("drive.socket")
        self.control_path = rig.fresh("drive.control")
        self.process = rig.start("nbdkit", "-f", "-U", self.socket, program("powercut.so"),
                                 f"file={self.platter}", f"control={self.control_path}",
                                 f"seed={self.seed}")
        self.process.must_run("its sockets",
                              lambda: connects(self.socket) and connects(self.control_path))
        self.path = fuse_file(rig, f"nbd+unix:///?socket={self.socket}") if fuse else None

    def control(self, line):
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(str(self.control_path))
            peer.sendall(line.encode() + b"\n")
            answer = peer.recv(1024).decode().strip()
        assert not answer.startswith("error"), f"{line}: {answer}"
        return answer

    def counts(self):
        words = self.control("status").split()
        return {name: int(value) for name, value in zip(words[::2], words[1::2])}


def fuse_file(rig, uri, connections=1):
    """A volume as a file, by nbdfuse. Returns its path."""
    mount = rig.fresh("fuse")
    mount.mkdir()
    process = rig.start("nbdfuse", "-C", connections, mount / "disk", uri)
    rig.at_end(lambda: run("fusermount3", "-u", "-z", "-q", mount, check=False))
    process.must_run("its file", (mount / "disk").exists)
    return mount / "disk"


class Pool:
    """An embedded pool and the iomesh-nbd that serves it. Without a size over devices that have
    theirs, or one that is there."""

    def __init__(self, rig, size=None, device=None, devices=(), directory=None):
        self.rig = rig
        self.directory = directory or rig.fresh("pool")
        self.url = f"file:{self.directory}"
        self.socket = rig.path("nbd.socket")
        self.server = None
        words = ["--size", size] if size else []
        for path in [device] if device else devices:
            words += ["--device", path]
        if not self.directory.exists():
            self.cli("pool", "init", *words)

    def cli(self, *words, check=True):
        return run(program("iomesh-cli"), "--pool", self.url, *words, check=check)

    def create(self, volume, size, sector=512):
        self.cli("volume", "create", volume, "--size", str(size), "--sector", str(sector))

    def serve(self, *words, wait=True, planted=None, **options):
        """Starts iomesh-nbd on the unix socket; or the test build in which a feature is empty."""
        if self.socket.exists():
            self.socket.unlink()
        name = "iomesh-nbd"
        if planted:
            name = "iomesh-nbd-planted"
            options["env"] = {**os.environ, "IOMESH_NBD_PLANTED": planted}
        self.server = self.rig.start(program(name), "--pool", self.url, "--socket", self.socket,
                                     *words, **options)
        if wait:
            self.server.must_run("its socket", lambda: connects(self.socket))
        return self.server

    def uri(self, volume):
        return f"nbd+unix:///{volume}?socket={self.socket}"

    def check(self):
        self.cli("pool", "check")


class Verifier:
    """e2e-verify with the side file of one volume."""

    def __init__(self, rig, uri, *options):
        self.rig = rig
        self.uri = uri
        self.options = options
        self.side = rig.fresh("side")

    def start(self, *options):
        return self.rig.start(program("e2e-verify"), "--uri", self.uri, "--side", self.side,
                              *self.options, *options)

    @staticmethod
    def result(process, timeout=300):
        process.popen.wait(timeout)
        return process.popen.returncode, process.output()

    def run(self, *options):
        return self.result(self.start(*options))

    def finish(self, process):
        """The server has kept its word, or the test ends with the verifier's sentence."""
        status, said = self.result(process)
        assert status == 0, said + self.history()
        return said

    def history(self):
        """What the verifier knew of the block that it complained of."""
        path = pathlib.Path(str(self.side) + ".history")
        return path.read_text() if path.exists() else ""


class FileSystem:
    """A file system on a volume: nbdfuse, a loop device over its file, mount."""

    def __init__(self, rig, uri, kind, sector=512):
        self.rig, self.uri, self.kind, self.sector = rig, uri, kind, sector
        self.mount_point = rig.fresh("mnt")
        self.mount_point.mkdir()
        self.loop = self.fuse = None
        self.mounted = False
        rig.at_end(self.detach)

    def attach(self):
        self.fuse = fuse_file(self.rig, self.uri)
        self.loop = run("losetup", "--show", "--direct-io=on", "--sector-size", self.sector, "-f",
                        self.fuse).stdout.strip()

    def format(self):
        if self.kind == "ext4":
            run("mkfs.ext4", "-q", "-E", "nodiscard", self.loop)
        else:
            run("mkfs.xfs", "-q", "-K", self.loop)

    def mount(self):
        run("mount", "-t", self.kind, self.loop, self.mount_point)
        self.mounted = True

    def unmount(self):
        if self.mounted:
            self.mounted = False
            run("umount", self.mount_point, check=False)

    def check(self):
        """Replays the journal, then nothing may be wrong."""
        if self.kind == "ext4":
            replayed = run("e2fsck", "-p", self.loop, check=False)
            assert replayed.returncode in (0, 1), replayed.stdout
            run("e2fsck", "-f", "-n", self.loop)
        else:
            self.mount()
            self.unmount()
            run("xfs_repair", "-n", self.loop)

    def detach(self):
        """All of it, even if a part of it hangs."""
        try:
            self.unmount()
        finally:
            if self.loop:
                run("losetup", "-d", self.loop, check=False)
                self.loop = None
            if self.fuse:
                run("fusermount3", "-u", "-z", "-q", self.fuse.parent, check=False)
                self.fuse = None


def certificates(directory):
    """A CA, and a server's and a client's certificate by it. Returns the directory."""
    directory = pathlib.Path(directory)
    directory.mkdir()
    for who in ("ca", "server", "client"):
        run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out",
            directory / f"{who}-key.pem")
    run("openssl", "req", "-x509", "-new", "-key", directory / "ca-key.pem", "-days", 2, "-subj",
        "/CN=test CA", "-out", directory / "ca-cert.pem")
    (directory / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    for who in ("server", "client"):
        run("openssl", "req", "-new", "-key", directory / f"{who}-key.pem", "-subj",
            f"/CN={who}", "-out", directory / f"{who}.csr")
        run("openssl", "x509", "-req", "-in", directory / f"{who}.csr", "-CA",
            directory / "ca-cert.pem", "-CAkey", directory / "ca-key.pem", "-CAcreateserial",
            "-days", 2, "-extfile", directory / "names", "-out", directory / f"{who}-cert.pem")
    return directory


def remove(directory):
    shutil.rmtree(directory, ignore_errors=True)


class Tally:
    """pytest plugin: how many passed and failed, for ./dev test, and what each took. A skipped test
    has failed."""

    def __init__(self):
        self.good = self.bad = 0
        self.took = {}

    def pytest_runtest_logreport(self, report):
        self.took[report.nodeid] = self.took.get(report.nodeid, 0) + report.duration
        if report.when == "call" and report.passed:
            self.good += 1
        elif report.failed or report.skipped:
            self.bad += 1


def interrupt(*_):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # Cleaning up is not to be interrupted.
    raise KeyboardInterrupt


def main(file):
    """Runs the tests of one file, as a program. Options of pytest go through."""
    sys.dont_write_bytecode = True
    signal.signal(signal.SIGTERM, interrupt)  # When time is over: servers and mounts end as well.
    tally = Tally()
    main.told = os.dup(2)
    status = pytest.main(["-q", "-p", "no:cacheprovider", file, *sys.argv[1:]], plugins=[tally])
    if "TALLY" in os.environ:
        with open(os.environ["TALLY"], "a", encoding="utf-8") as said:
            said.write(f"{tally.good} {tally.bad}\n")
    if "IOMESH_DURATIONS" in os.environ:
        with open(os.environ["IOMESH_DURATIONS"], "a", encoding="utf-8") as said:
            said.writelines(f"{seconds:.1f} {pathlib.Path(name).name}\n"
                            for name, seconds in tally.took.items())
    sys.exit(int(status) or (1 if tally.bad else 0))
