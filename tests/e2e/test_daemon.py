#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""iomesh-nbd as a service: socket activation, readiness, SIGTERM, metrics."""

import os
import re
import socket
import subprocess
import time
import urllib.request

import nbd
import pytest

import rig as rigs


@pytest.fixture
def pool(rig):
    made = rigs.Pool(rig, 512 * rigs.MIB)
    made.create("v", 256 * rigs.MIB)
    return made


def connect(uri):
    handle = nbd.NBD()
    handle.connect_uri(uri)
    return handle


def activate(rig, pool, path):
    """As systemd does: a listening socket as descriptor 3, told in the environment."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen(16)
    command = "exec 3<&$0 && export LISTEN_PID=$$ LISTEN_FDS=1 && exec \"$@\""
    process = rig.start("bash", "-c", command, listening.fileno(), rigs.program("iomesh-nbd"),
                        "--pool", pool.url, pass_fds=[listening.fileno()])
    listening.close()
    return process


def test_a_socket_of_systemd_is_served(rig, pool):
    path = rig.path("activated")
    process = activate(rig, pool, path)
    handle = connect(f"nbd+unix:///v?socket={path}")
    handle.pwrite(b"a" * 4096, 0, nbd.CMD_FLAG_FUA)
    assert handle.pread(4096, 0) == b"a" * 4096
    handle.shutdown()
    assert process.terminate() == 0
    assert path.exists(), "the socket is systemd's: it must stay"


def test_systemd_is_told_when_it_is_ready_and_when_it_stops(rig, pool):
    path = rig.path("notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(str(path))
        told.settimeout(rigs.PATIENCE)
        server = pool.serve(wait=False, env={**os.environ, "NOTIFY_SOCKET": str(path)})
        said = told.recv(4096).decode()
        assert "READY=1" in said.split("\n")
        connect(pool.uri("v")).shutdown()  # Ready means ready.
        server.popen.terminate()
        while "STOPPING=1" not in told.recv(4096).decode().split("\n"):
            pass
        assert server.popen.wait(rigs.PATIENCE) == 0


def test_sigterm_under_load_loses_nothing_and_exits_0(rig, pool):
    verifier = rigs.Verifier(rig, pool.uri("v"), "--small", "--connections", "4", "--bytes", "16M")
    for _ in range(5):
        server = pool.serve()
        load = verifier.start("--seconds", str(rigs.PATIENCE))
        load.must_run("its load", lambda: "checked" in load.output())
        time.sleep(0.3)
        assert server.terminate() == 0, server.output()
        verifier.finish(load)
        pool.check()


def write_and_leave(pool, value):
    handle = connect(pool.uri("v"))
    for block in range(64):
        handle.pwrite(bytes([value]) * 4096, block * 4096)
    handle.shutdown()


def test_after_sigterm_everything_has_been_flushed(rig):
    """A clean end flushes: not even a power cut right after it loses anything acknowledged."""
    drive = rigs.Drive(rig, 256 * rigs.MIB)
    pool = rigs.Pool(rig, 256 * rigs.MIB, device=drive.path)
    pool.create("v", 64 * rigs.MIB)
    for value in range(1, 6):
        server = pool.serve()
        write_and_leave(pool, value)
        assert server.terminate() == 0
        drive.control("cut")
        drive.control("arm")
        pool.serve()
        assert connect(pool.uri("v")).pread(64 * 4096, 0) == bytes([value]) * (64 * 4096)
        pool.server.kill()


def test_what_the_last_client_leaves_is_flushed(rig):
    """Well before the store would flush by itself: a power cut right after it loses nothing."""
    drive = rigs.Drive(rig, 256 * rigs.MIB)
    pool = rigs.Pool(rig, 256 * rigs.MIB, device=drive.path)
    pool.create("v", 64 * rigs.MIB)
    for value in range(1, 6):
        server = pool.serve()
        write_and_leave(pool, value)
        rigs.wait_until("it is closed", lambda: '"open_count": 0' in pool.cli(
            "--json", "volume", "show", "v").stdout)
        drive.control("cut")
        server.kill()
        drive.control("arm")
        pool.serve()
        assert connect(pool.uri("v")).pread(64 * 4096, 0) == bytes([value]) * (64 * 4096)
        pool.server.kill()


def scrape(port):
    url = f"http://127.0.0.1:{port}/metrics"
    with urllib.request.urlopen(url, timeout=rigs.PATIENCE) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/plain")
        return answer.read().decode()


def parse(text):
    """The Prometheus text format, every line understood: (name, labels) -> value, and types."""
    sample = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)'
                        r'(?:\{((?:[a-zA-Z_]\w*="(?:[^"\\]|\\.)*",?)*)\})? '
                        r'(-?[0-9.eE+-]+|[+-]Inf|NaN)$')
    found, types = {}, {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            name, kind = line.split()[2:4]
            assert kind in ("counter", "gauge", "histogram", "summary", "untyped"), line
            assert name not in types, f"{name} has two types"
            types[name] = kind
        elif line and not line.startswith("# HELP "):
            match = sample.match(line)
            assert match, f"not a sample: {line}"
            key = (match[1], match[2] or "")
            assert key not in found, f"{key} twice"
            found[key] = float(match[3])
    for name, _ in found:
        base = re.sub(r"_(bucket|sum|count)$", "", name)
        assert name in types or types.get(base) == "histogram", f"{name} has no type"
    return found, types


def test_metrics_count_what_was_done_and_health_is_told(pool):
    port = rigs.free_port()
    pool.serve("--metrics", f"127.0.0.1:{port}")
    handle = connect(pool.uri("v"))
    before, _ = parse(scrape(port))
    for block in range(100):
        handle.pwrite(b"m" * 4096, block * 4096)
    for block in range(50):
        handle.pread(4096, block * 4096)
    after, types = parse(scrape(port))
    grown = {key: value - before.get(key, 0) for key, value in after.items()
             if value > before.get(key, 0)}
    of_volume = {key: value for key, value in grown.items() if 'volume="v"' in key[1]}

    def counts(word, amount):
        return any(word in " ".join(key) and types.get(key[0]) == "counter" and value == amount
                   for key, value in of_volume.items())

    assert counts("write", 100) and counts("read", 50), of_volume
    assert counts("write", 100 * 4096) and counts("read", 50 * 4096), of_volume
    assert any(name.endswith("_bucket") for name, _ in of_volume), "no latency histogram"
    for word in ("pool_free", "journal", "scrub", "error"):
        assert any(word in name for name, _ in after), f"nothing about {word}"
    url = f"http://127.0.0.1:{port}/healthz"
    with urllib.request.urlopen(url, timeout=rigs.PATIENCE) as answer:
        assert answer.status == 200


def test_a_second_server_of_the_pool_is_refused_in_one_sentence(rig, pool):
    pool.serve()
    other = subprocess.run([rigs.program("iomesh-nbd"), "--pool", pool.url, "--socket",
                            str(rig.path("other"))], stderr=subprocess.PIPE, text=True, timeout=300,
                           check=False)
    assert other.returncode == 1
    # It may be told meanwhile (<5>) what is waited for.
    told = [line for line in other.stderr.splitlines() if not line.startswith("<5>")]
    assert len(told) == 1 and "in use by another process" in told[0], other.stderr
    connect(pool.uri("v")).shutdown()


if __name__ == "__main__":
    rigs.main(__file__)
