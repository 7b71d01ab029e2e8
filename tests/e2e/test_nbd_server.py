#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""iomesh-nbd as a program: starting and ending, limits, service managers, metrics, and the clients
that people have."""

import json
import os
import re
import socket
import threading
import time

import pytest

import rig as rigs
from nbd_protocol import client as nbd
from nbd_protocol import features
from nbd_protocol.client import EXTENDED, STRUCTURED, Client, Closed
from nbd_protocol.server import VOLUMES, Server

MIB = rigs.MIB


def iomesh_nbd(*words, **options):
    return rigs.run(rigs.program("iomesh-nbd"), *words, check=False, **options)


# --- starting

@pytest.mark.parametrize("words, sentence", [
    (["--nonsense"], "unknown flag"),
    (["--socket"], "needs a value"),
    (["stray"], "not a flag"),
    (["--read-only=yes"], "takes no value"),
    (["--connections", "0"], "a number from 1"),
    (["--connections", "many"], "a number from 1"),
    (["--max-request", "33M"], "a size from"),
    (["--max-request", "1000000"], "multiple of 4K"),
    (["--scrub-interval", "0"], "a number from 1 to 365"),
    (["--scrub-rate", "1K"], "a size from 64K"),
    (["--log-level", "loud"], "is error, warning"),
    (["--socket-mode", "9"], "octal"),
    (["--default-export", "x" * 129], "1 to 128 bytes"),
    (["--config", "/nonexistent"], "No such file"),
    (["--config", "/tmp"], "Is a directory"),
    ([], "no pool"),
])
def test_wrong_usage_exits_2_with_a_sentence(words, sentence):
    environment = {name: value for name, value in os.environ.items() if name != "IOMESH_POOL"}
    done = iomesh_nbd(*words, env=environment)
    assert done.returncode == 2 and sentence in done.stdout, done.stdout
    assert done.stdout.count("\n") == 1


def test_what_cannot_be_served_exits_1_with_a_sentence(rig):
    pool = Server.make_pool(rig)
    for words, sentence in [
            (["--pool", f"file:{rig.path('nothing')}", "--socket", rig.path("s")], "nothing"),
            (["--pool", pool.url], "nowhere to listen"),
            (["--pool", pool.url, "--socket", rig.path("no/such/directory")], "no/such/directory"),
            (["--pool", pool.url, "--socket", "x" * 200], "x" * 20),
            (["--pool", pool.url, "--listen", "localhost:99999"], "99999"),
            (["--pool", pool.url, "--socket", rig.path("s"), "--tls-certificates",
              rig.path("none")], "ca-cert.pem: No such file"),
            (["--pool", pool.url, "--socket", rig.path("s"), "--metrics", "nowhere"],
             "HOST:PORT"),
            (["--pool", pool.url, "--socket", rig.path("s"), "--metrics", "127.0.0.1:99999"],
             "at most 65535")]:
        done = iomesh_nbd(*words)
        assert done.returncode == 1 and sentence in done.stdout, (words, done.stdout)
        assert not rig.path("s").exists(), "a socket was left behind"
    Server(rig, pool=pool).stop()


def test_a_pool_in_use_is_refused_and_left_alone(rig):
    server = Server(rig)
    done = iomesh_nbd("--pool", server.pool.url, "--socket", rig.path("other"))
    assert done.returncode == 1
    assert server.alive()


def test_help_and_version():
    for flag, text in [("--help", "--tls-certificates DIR"), ("--version", "iomesh-nbd 0.")]:
        done = iomesh_nbd(flag)
        assert done.returncode == 0 and text in done.stdout


def test_the_manual_names_every_flag():
    told = iomesh_nbd("--help").stdout
    flags = {word for word in told.split() if word.startswith("--")}
    manual = (rigs.ROOT / "docs/man/iomesh-nbd.8").read_text()
    documented = {f"--{flag}" for line in manual.splitlines() if line.startswith(".It Fl Fl")
                  for flag in re.findall(r"Fl Fl (\S+)", line)} | {"--version"}
    assert {flag.rstrip(",") for flag in flags} == documented


def test_a_stale_socket_is_replaced_and_a_live_one_is_not(rig):
    server = Server(rig)
    server.process.kill()
    assert server.socket.exists()
    server.process = rig.start(rigs.program("iomesh-nbd"), "--pool", server.pool.url, "--socket",
                               server.socket, *server.words)
    server.process.must_run("its socket", lambda: rigs.connects(server.socket))
    second = Server.make_pool(rig)
    done = iomesh_nbd("--pool", second.url, "--socket", server.socket)
    assert done.returncode == 1
    assert server.alive()
    server.stop()
    assert not server.socket.exists()


def test_a_file_that_is_no_socket_is_not_removed(rig):
    pool = Server.make_pool(rig)
    path = rig.path("precious")
    path.write_text("data")
    assert iomesh_nbd("--pool", pool.url, "--socket", path).returncode == 1
    assert path.read_text() == "data"


def test_a_configuration_file_is_read_and_flags_win(rig):
    pool = Server.make_pool(rig)
    port = rigs.free_port()
    config = rig.path("config")
    config.write_text(f"# what to serve\npool = {pool.url}\nsocket = {rig.path('a')}\n\n"
                      f"read-only = yes\n metrics = 127.0.0.1:{port}\n")
    process = rig.start(rigs.program("iomesh-nbd"), "--config", config, "--socket", rig.path("b"))
    process.must_run("its socket", lambda: rigs.connects(rig.path("b")))
    assert not rig.path("a").exists()
    with Client(rig.path("b")) as peer:
        assert peer.go("disk").flags & nbd.READ_ONLY
    assert process.terminate() == 0
    for line, sentence in [("soket = x", "unknown key"), ("read-only = maybe", "yes or no"),
                           ("nonsense", "key = value"), ("connections = -1", "a number")]:
        config.write_text(f"pool = {pool.url}\n{line}\n")
        done = iomesh_nbd("--config", config)
        assert done.returncode == 2 and sentence in done.stdout and "line 2" in done.stdout


def test_the_pool_may_come_from_the_environment(rig):
    pool = Server.make_pool(rig)
    process = rig.start(rigs.program("iomesh-nbd"), "--socket", rig.path("s"),
                        env={**os.environ, "IOMESH_POOL": pool.url})
    process.must_run("its socket", lambda: rigs.connects(rig.path("s")))
    assert process.terminate() == 0


def test_the_unix_socket_has_the_mode_that_was_asked_for(rig):
    server = Server(rig)
    assert server.socket.stat().st_mode & 0o777 == 0o600
    server.stop()
    server = Server(rig, "--socket-mode", "660", pool=server.pool)
    assert server.socket.stat().st_mode & 0o777 == 0o660


# --- ending

def test_sigterm_answers_what_is_in_flight_and_keeps_it(rig):
    server = Server(rig)
    data = os.urandom(MIB)
    with server.open() as peer, server.client() as idle:
        peer.write(0, data)
        for number in range(16):
            peer.request(nbd.CMD_WRITE, 0, MIB * (1 + number), 0, data)
        peer.replies(1)
        server.stop()
        with pytest.raises(Closed):
            while True:
                peer.receive_chunk()
        assert idle.is_closed()
    server.start()
    with server.open() as peer:
        assert peer.read(0, MIB) == data


def test_sigterm_right_after_it_listens_ends_it_well(rig):
    """Whoever is served may ask for its end; here it is not yet ready for anything else."""
    server = Server(rig, env={**os.environ, "LD_PRELOAD": rigs.program("slow-listen.so")})
    server.stop()


def test_sigterm_with_a_client_that_takes_nothing(rig):
    server = Server(rig)
    with server.open() as peer:
        for _ in range(8):
            peer.request(nbd.CMD_READ, 0, 0, 32 * MIB)
        time.sleep(0.2)
        status = server.process.terminate()
        assert status == 0


# --- exports

def test_read_only_refuses_every_change(rig):
    def check(server):
        with server.open() as peer:
            assert peer.flags & nbd.READ_ONLY
            assert not peer.flags & (nbd.SEND_TRIM | nbd.SEND_WRITE_ZEROES | nbd.SEND_FUA)
            before = peer.read(0, 4096)
            for call, arguments in [(peer.write, (0, b"x" * 4096)), (peer.trim, (0, 4096)),
                                    (peer.write_zeroes, (0, 4096))]:
                features.fails(nbd.EPERM, call, *arguments)
            assert peer.read(0, 4096) == before
            peer.flush()

    server = Server(rig)
    with server.open() as peer:
        peer.write(0, os.urandom(4096))
    server.stop()
    server = Server(rig, "--read-only", pool=server.pool)
    check(server)
    with server.client() as peer:
        assert peer.info("disk").flags & nbd.READ_ONLY
    server.stop()
    planted = Server(rig, "--read-only", pool=server.pool, program="iomesh-nbd-planted",
                     env={**os.environ, "IOMESH_NBD_PLANTED": "read-only"})
    with pytest.raises(AssertionError):
        check(planted)


def test_only_a_pool_of_turning_disks_is_rotational(rig):
    def check(program, **options):
        for number, (kind, rotational) in enumerate([("hdd", True), ("ssd", False)]):
            disk = rig.sparse(f"{program}-{number}", 512 * MIB)
            pool = rigs.Pool(rig, 512 * MIB, f"{disk},class={kind}")
            pool.create("disk", 16 * MIB)
            server = Server(rig, pool=pool, program=program, **options)
            with server.open() as peer:
                assert bool(peer.flags & nbd.ROTATIONAL) == rotational
            server.stop()

    check("iomesh-nbd")
    with pytest.raises(AssertionError):
        check("iomesh-nbd-planted", env={**os.environ, "IOMESH_NBD_PLANTED": "rotational"})


def test_the_default_export_is_for_those_who_name_none(rig):
    server = Server(rig, "--default-export", "small")
    with server.client() as peer:
        assert peer.info("").size == VOLUMES["small"][0]
        assert peer.go("").size == VOLUMES["small"][0]
    with server.client() as peer:
        assert peer.export_name("").size == VOLUMES["small"][0]


def test_a_new_size_is_seen_by_new_connections(rig):
    server = Server(rig)
    size = VOLUMES["disk"][0]
    with server.open() as old:
        server.pool.cli("volume", "resize", "disk", "--size", str(2 * size))
        features.fails(nbd.EINVAL, old.read, size, 4096)
        with server.open() as new:
            assert new.size == 2 * size
            new.write(2 * size - 4096, b"y" * 4096)
            assert new.read(2 * size - 4096, 4096) == b"y" * 4096
        old.read(0, 4096)


def test_what_was_cut_off_is_refused_to_old_connections(rig):
    server = Server(rig)
    size = VOLUMES["disk"][0]
    for mode in (nbd.SIMPLE, STRUCTURED, EXTENDED):
        with server.open(mode=mode) as old:
            old.write(size - 4096, b"x" * 4096)
            server.pool.cli("volume", "resize", "disk", "--size", str(size // 2), "--force")
            for call, arguments in [(old.read, (size // 2, 4096)), (old.trim, (size // 2, 4096)),
                                    (old.write, (size - 8 * MIB, bytes(8 * MIB))),
                                    (old.write_zeroes, (size - 4096, 4096)),
                                    (old.read, (size // 2 - 4096, 8192))]:
                features.fails(nbd.EINVAL, call, *arguments)
            old.write(size // 2 - 4096, b"y" * 4096)
            with server.open() as new:
                assert new.size == size // 2
                assert new.read(size // 2 - 4096, 4096) == b"y" * 4096
        server.pool.cli("volume", "resize", "disk", "--size", str(size))
        with server.open() as new:
            assert new.read(size - 4096, 4096) == bytes(4096), "what was cut off came back"


def test_volumes_come_and_go_while_serving(rig):
    server = Server(rig)
    server.pool.create("late", MIB)
    with server.client() as peer:
        assert "late" in peer.list()
        peer.go("late")
        peer.write(0, b"z" * 4096)
        assert server.pool.cli("volume", "delete", "late", check=False).returncode != 0
    rigs.wait_until("it is closed", lambda: server.pool.cli(
        "volume", "delete", "late", check=False).returncode == 0)
    with server.client() as peer:
        assert "late" not in peer.list()


def test_many_exports_are_open_at_once(rig):
    pool = rigs.Pool(rig, 2 * rigs.GIB)
    for number in range(30):
        pool.create(f"v{number}", 4 * MIB)
    server = Server(rig, pool=pool)
    peers = [server.open(f"v{number % 30}") for number in range(60)]
    for number, peer in enumerate(peers):
        peer.write(4096 * (number // 30), bytes([number]) * 4096)
    for number, peer in enumerate(peers):
        other = peers[(number + 30) % 60]
        assert other.read(4096 * (number // 30), 4096) == bytes([number]) * 4096
    assert server.metric("iomesh_pool_volumes_open") == 30
    for peer in peers:
        peer.close()
    rigs.wait_until("all are closed", lambda: server.metric("iomesh_pool_volumes_open") == 0)


# --- limits

def test_connections_over_the_limit_wait_or_are_refused(rig):
    server = Server(rig, "--connections", "4", tcp=True)
    peers = [server.open() for _ in range(4)]
    extra = Client(("127.0.0.1", server.tcp_port), greet=False, timeout=3)
    try:
        assert extra.peer.recv(18) == b""
    except (socket.timeout, ConnectionResetError):
        pass
    assert server.metric("iomesh_nbd_connections") <= 4
    for peer in peers:
        peer.read(0, 4096)
        peer.close()
    rigs.wait_until("there is room again", lambda: server.metric("iomesh_nbd_connections") == 0)
    assert server.alive()


def test_too_many_handshakes_push_out_the_oldest(rig):
    server = Server(rig, "--handshakes", "5")
    slow = [server.client() for _ in range(20)]
    assert slow[0].is_closed()
    assert server.alive(), "a newcomer gets in past those who only talk"
    assert slow[-1].list()


@pytest.mark.parametrize("words, most, waits", [
    (["--requests", "2"], 2, "iomesh_nbd_starved_total"),
    (["--connection-requests", "3"], 4 * 3, "iomesh_nbd_throttled_total"),
    (["--connection-buffer", "2M"], 4 * 2, "iomesh_nbd_throttled_total"),
    (["--buffer-size", "4M"], 4, "iomesh_nbd_starved_total")])
def test_each_limit_holds_alone(rig, words, most, waits):
    """Four clients ask for a mebibyte each time and take no answer, until all have asked."""
    server = Server(rig, *words)
    with server.open() as writer:
        data = os.urandom(MIB)
        writer.write(0, data)
    peers = [server.open(mode=STRUCTURED) for _ in range(4)]
    for peer in peers:
        for _ in range(20):
            peer.request(nbd.CMD_READ, 0, 0, MIB)
    rigs.wait_until("they wait", lambda: server.metric(waits) > 0)
    for _ in range(10):
        in_flight = server.metric("iomesh_nbd_requests_in_flight")
        # A request that waits for memory is in flight too: one of each client.
        assert in_flight <= most + (4 if words[0] == "--buffer-size" else 0), in_flight
    answers = []

    def take(peer):
        """All at once: those who take nothing keep what the others wait for."""
        for reply in peer.replies(20).values():
            answers.append(peer.assemble(reply, 0, MIB))
    threads = [threading.Thread(target=take, args=(peer,)) for peer in peers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [data] * 80
    rigs.wait_until("all is over",
                    lambda: server.metric("iomesh_nbd_requests_in_flight") == 0)


def test_the_caches_have_the_size_that_was_asked_for(rig):
    server = Server(rig, "--cache-size", "8M")
    assert server.metric("iomesh_cache_bytes") == 8 * MIB


def test_a_small_buffer_serves_many_hungry_clients(rig):
    server = Server(rig, "--buffer-size", "4M", "--connection-buffer", "2M", "--requests", "32")
    data = os.urandom(8 * MIB)
    errors = []

    def work(number):
        try:
            with server.open(mode=STRUCTURED) as peer:
                for _ in range(3):
                    peer.write(number * 8 * MIB, data)
                    assert peer.read(number * 8 * MIB, 8 * MIB) == data
        except Exception as error:  # pylint: disable=broad-except
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not errors
    assert server.metric("iomesh_nbd_starved_total") > 0
    assert server.metric("iomesh_nbd_requests_in_flight") == 0


def test_a_client_that_takes_no_replies_is_cut_off_and_harms_nobody(rig):
    server = Server(rig, "--stall-timeout", "2")
    with server.open() as peer:
        peer.write(0, os.urandom(8 * MIB))
        with server.open(mode=EXTENDED) as greedy:
            try:
                greedy.peer.settimeout(1)
                for _ in range(2000):
                    greedy.request(nbd.CMD_READ, 0, 0, 8 * MIB)
            except (socket.timeout, Closed):
                pass
            for _ in range(50):
                peer.read(0, 65536)
            rigs.wait_until("it is cut off", lambda: server.metric(
                "iomesh_nbd_connections_stalled_total") == 1)
        peer.read(0, 4096)


def test_a_client_that_owes_a_payload_is_cut_off(rig):
    server = Server(rig, "--stall-timeout", "2")
    with server.open() as peer:
        peer.request(nbd.CMD_WRITE, 0, 0, MIB)
        peer.send(b"x" * 1000)
        assert peer.is_closed()
    assert server.alive()


def test_a_smaller_request_limit_is_told_and_kept(rig):
    server = Server(rig, "--max-request", "1M")
    with server.open(mode=STRUCTURED) as peer:
        assert peer.block_sizes[2] == MIB
        data = os.urandom(MIB)
        peer.write(0, data)
        assert peer.read(0, MIB) == data
        features.fails(nbd.EINVAL, peer.write, 0, os.urandom(2 * MIB))
        features.fails(nbd.EOVERFLOW, peer.read, 0, 2 * MIB)
        assert peer.read(0, MIB) == data


# --- service managers

def test_sockets_are_taken_from_the_service_manager(rig):
    pool = Server.make_pool(rig)
    listener = socket.socket(socket.AF_UNIX)
    path = rig.path("passed")
    listener.bind(str(path))
    listener.listen(8)
    script = f'export LISTEN_PID=$$; exec "$0" --pool "{pool.url}"'

    def place():
        os.dup2(listener.fileno(), 3)

    process = rigs.Process(["sh", "-c", script, rigs.program("iomesh-nbd")], rig.path("log"),
                           env={**os.environ, "LISTEN_FDS": "1"}, preexec_fn=place,
                           close_fds=False)
    rig.at_end(process.kill)
    process.must_run("it serves", lambda: rigs.connects(path))
    with Client(path) as peer:
        peer.open("disk").read(0, 4096)
    assert process.terminate() == 0
    assert path.exists(), "the socket is its giver's"


def test_more_sockets_than_can_be_served_are_refused(rig):
    pool = Server.make_pool(rig)
    for handed, words in [(17, []), (16, ["--socket", rig.path("s")]), (100000, [])]:
        script = f'export LISTEN_PID=$$; exec "$0" --pool "{pool.url}" "$@"'
        done = rigs.run("sh", "-c", script, rigs.program("iomesh-nbd"), *words, check=False,
                        env={**os.environ, "LISTEN_FDS": str(handed)})
        assert done.returncode == 1 and "16 are served at most" in done.stdout, done.stdout


def test_the_service_manager_is_told(rig):
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.bind(str(rig.path("notify")))
    notify.settimeout(rigs.PATIENCE)
    server = Server(rig, env={**os.environ, "NOTIFY_SOCKET": str(rig.path("notify"))})
    assert notify.recv(1000) == b"READY=1"
    server.stop()
    assert notify.recv(1000) == b"STOPPING=1"


# --- numbers and lines

def test_metrics_count_what_is_done(rig):
    server = Server(rig)
    with server.open() as peer:
        for number in range(10):
            peer.write(number * 4096, b"m" * 4096)
        for number in range(7):
            peer.read(number * 4096, 4096)
        peer.flush()
        labels = 'volume="disk",operation='
        assert server.metric(f'iomesh_volume_operations_total{{{labels}"write"}}') == 10
        assert server.metric(f'iomesh_volume_bytes_total{{{labels}"read"}}') == 7 * 4096
        assert server.metric(f'iomesh_volume_latency_seconds_count{{{labels}"write"}}') == 10
        assert server.metric('iomesh_nbd_requests_total{command="flush"}') == 1
        rigs.wait_until("the probe is gone", lambda: server.metric("iomesh_nbd_connections") == 1)
        assert server.metric("iomesh_pool_total_bytes") > 0
        assert server.metric("iomesh_metadata_commits_total") > 0
        page = server.page("/metrics")
    assert re.search(r'^iomesh_device_failed{device="0",path="/.*/store"} 0$', page, re.M), page
    families = [line.split()[2] for line in page.splitlines() if line.startswith("# TYPE")]
    assert len(families) == len(set(families)) > 40
    buckets = [float(line.split()[1]) for line in page.splitlines()
               if line.startswith("iomesh_volume_latency_seconds_bucket{") and '"write"' in line]
    assert buckets == sorted(buckets) and buckets[-1] == 10
    assert server.health() == (200, "healthy\n")
    with pytest.raises(Exception, match="404"):
        server.page("/else")


def test_the_log_has_priorities_levels_and_json(rig):
    server = Server(rig, "--log-level", "info")
    with server.client() as peer:
        peer.send(b"x" * 100)
        assert peer.is_closed()
    server.stop()
    lines = server.process.output().splitlines()
    assert all(line[0] == "<" and line[2] == ">" for line in lines), lines
    assert any(line.startswith("<4>") and "option magic" in line for line in lines)
    assert any(line.startswith("<5>serving") for line in lines)
    server = Server(rig, "--log-level", "error", pool=server.pool)
    server.stop()
    assert server.process.output() == ""
    server = Server(rig, "--log-json", pool=server.pool)
    server.stop()
    objects = [json.loads(line) for line in server.process.output().splitlines()]
    assert any(entry["priority"] == 5 and "serving" in entry["message"] for entry in objects)


def test_a_flood_of_lines_is_limited(rig):
    """50 at once and 10 a second."""
    server = Server(rig)
    began = time.monotonic()
    for sent in range(1, 3001):
        with server.client() as peer:
            peer.send(b"x" * 100)
            assert peer.is_closed()
        if sent % 100 == 0 and server.metric("iomesh_log_dropped_total") > 100:
            break
    said = server.process.output().count("option magic")
    assert said < 60 + 10 * (time.monotonic() - began)
    assert said < sent - 100, f"{said} lines of {sent}"


# --- clients that people have

@pytest.mark.parametrize("name", ["disk", "small"])
def test_nbdinfo_nbdcopy_and_qemu_img(rig, name):
    server = Server(rig, tcp=True)
    size = VOLUMES[name][0]
    unix, tcp = server.pool.uri(name), f"nbd://127.0.0.1:{server.tcp_port}/{name}"
    source = rig.path("source")
    source.write_bytes(os.urandom(MIB) + bytes(size // 2 - MIB) + os.urandom(size // 2))
    rigs.run("nbdcopy", "--flush", source, unix)
    for uri in (unix, tcp):
        copy = rig.fresh("copy")
        rigs.run("nbdcopy", uri, copy)
        assert copy.read_bytes() == source.read_bytes()
    told = json.loads(rigs.run("nbdinfo", "--json", tcp).stdout)["exports"][0]
    assert told["export-size"] == size and told["can_multi_conn"] and told["can_fast_zero"]
    assert told["block_size_minimum"] == VOLUMES[name][1]
    extents = json.loads(rigs.run("nbdinfo", "--map", "--json", unix).stdout)
    assert [extent["type"] for extent in extents][0] == 0 and any(
        extent["type"] == 3 for extent in extents)
    assert len(json.loads(rigs.run("nbdinfo", "--list", "--json", tcp).stdout)["exports"]) == 3
    rigs.run("qemu-img", "compare", "-f", "raw", "-F", "raw", source, tcp)
    image = rig.path("image.qcow2")
    rigs.run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", unix, image)
    rigs.run("qemu-img", "convert", "-n", "-f", "qcow2", "-O", "raw", image, unix)
    rigs.run("qemu-img", "compare", "-f", "raw", "-F", "raw", source, unix)
    rigs.run("qemu-io", "-f", "raw", tcp, "-c", "write -P 7 64k 64k", "-c", "flush", "-c",
             "read -P 7 64k 64k", "-c", "discard 64k 64k", "-c", "write -z -u 128k 64k", "-c",
             "read -P 0 128k 64k")


if __name__ == "__main__":
    rigs.main(__file__)
