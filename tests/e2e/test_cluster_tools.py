#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What the tests of clusters rely on: the ledger of a load finds each kind of lie, and the links
between machines are cut as they say."""

import time

import pytest

import rig as rigs
from cluster_load import BLOCK, Ledger, Load, read_all, stamp, version_of
from cluster_net import Net

MIB = rigs.MIB


# --- the ledger, told what happened

def written(ledger, at=0, times=1):
    for _ in range(times):
        version = ledger.begin_write(at)
        ledger.end_write(at, version, True)
    return version


def reads(ledger, version, at=0):
    """A read that begins now and shows that write. True if the ledger finds nothing wrong."""
    ledger.end_read(at, ledger.begin_read(at), stamp(at, version))
    return not ledger.complaints


def test_a_stamp_is_of_its_block_and_whole():
    assert version_of(3, stamp(3, 7)) == 7 and version_of(3, bytes(BLOCK)) == 0
    assert version_of(4, stamp(3, 7)) is None
    assert version_of(3, stamp(3, 7)[:2048] + stamp(3, 6)[2048:]) is None


def test_an_acknowledged_write_is_read():
    ledger = Ledger(1)
    written(ledger, times=2)
    assert reads(ledger, 2) and not reads(ledger, 1)


def test_a_write_without_an_answer_may_be_seen_but_not_un_seen():
    ledger = Ledger(1)
    written(ledger)
    ledger.end_write(0, ledger.begin_write(0), False)
    assert reads(ledger, 2) and reads(ledger, 2) and not reads(ledger, 1)


def test_what_a_read_has_shown_not_to_have_happened_stays_so():
    ledger = Ledger(1)
    written(ledger)
    ledger.end_write(0, ledger.begin_write(0), False)
    assert reads(ledger, 1) and not reads(ledger, 2)


def test_a_read_beside_a_write_may_show_either_but_in_one_order():
    ledger = Ledger(1)
    version = ledger.begin_write(0)
    early = ledger.begin_read(0)
    assert reads(ledger, version), "the new one, while it is under way"
    assert not reads(ledger, 0), "the old one, after the new one was seen"
    ledger.complaints.clear()
    ledger.end_write(0, version, True)
    ledger.end_read(0, early, stamp(0, 0))  # Began before all that.
    assert not ledger.complaints


def test_an_acknowledgement_of_what_did_not_happen_is_found():
    ledger = Ledger(1)
    written(ledger)
    version = ledger.begin_write(0)
    ledger.give_up({0: version})  # Its server was stopped; another serves.
    assert reads(ledger, 1)
    ledger.end_write(0, version, True)
    assert ledger.complaints


def test_power_cuts_bring_back_what_was_not_flushed_and_no_more():
    def after(version):
        ledger = Ledger(1)
        written(ledger, times=2)
        marks = ledger.begin_flush()
        written(ledger)  # After the flush began: not in it.
        ledger.flushed(marks)
        written(ledger)
        ledger.power_cut()
        return reads(ledger, version)
    assert [after(version) for version in range(5)] == [False, False, True, True, True]


# --- loads

def serve(rig, *words):
    """nbdkit; its socket's URI."""
    path = rig.fresh("socket")
    process = rig.start("nbdkit", "-f", "-U", path, *words)
    process.must_run("its socket", lambda: rigs.connects(path))
    return process, f"nbd+unix:///?socket={path}"


def test_a_load_agrees_with_a_good_server(rig):
    _, uri = serve(rig, "memory", "16M")
    ledger = Ledger(4096)
    load = Load(ledger, uri, connections=2, rate=10000).start()
    load.must_go_on(2000)
    load.stop()
    read_all(ledger, uri)
    assert min(load.done[kind] for kind in ("read", "write", "flush")) > 10, load
    assert not load.errors, load


def test_a_server_that_forgets_is_found(rig):
    first, uri = serve(rig, "memory", "1M")
    ledger = Ledger(256)
    load = Load(ledger, uri, rate=10000).start()
    load.must_go_on(1000)
    first.kill()
    rigs.wait_until("the load sees it", load.dead.is_set)
    load.stop()
    _, uri = serve(rig, "memory", "1M")
    with pytest.raises(AssertionError, match="may show"):
        read_all(ledger, uri)


def test_a_silence_is_measured(rig):
    server, uri = serve(rig, "memory", "1M")
    load = Load(Ledger(256), uri).start()
    load.must_go_on(100)
    server.popen.send_signal(rigs.signal.SIGSTOP)
    began = time.monotonic()
    time.sleep(1)
    server.popen.send_signal(rigs.signal.SIGCONT)
    load.must_go_on(100)
    assert 0.9 < load.longest_gap(began) <= time.monotonic() - began + 0.1
    load.stop()


# --- links

def lost(hosts):
    return {f"{sender.name}>{hearer.name}" for hearer in hosts for sender in hosts
            if hearer is not sender and not hearer.hears(sender)}


@pytest.mark.parametrize("cut, mend, expected", [
    ("unplug", "plug", {"a>b", "b>a"}),
    ("mute", "mend", {"a>b"}),
    ("deafen", "mend", {"b>a"}),
    ("lose", "find", {"a>b"}),
    ("blackhole", "unblackhole", {"a>b"}),
    ("part", "join", {"a>b", "b>a"}),
])
def test_links_are_cut_and_mended(rig, cut, mend, expected):
    net = Net(rig)
    a, b = net.host("a"), net.host("b")
    other = [b] if cut in ("lose", "blackhole", "part") else []
    getattr(a, cut)(*other)
    # Who is slow has not heard either: then both are asked again.
    rigs.wait_until(f"lost is {expected}", lambda: lost([a, b]) == expected, 30)
    getattr(a, mend)(*other)
    rigs.wait_until("all is heard", lambda: lost([a, b]) == set(), 30)


def test_a_slow_link_is_slow(rig):
    net = Net(rig)
    a, b = net.host("a"), net.host("b")

    def seconds():
        ear = b.start("/usr/bin/python3", "-c", "import socket\n"
                      "ear = socket.create_server(('', 7000)); print('listening', flush=True)\n"
                      "peer = ear.accept()[0]\nwhile peer.recv(65536): pass\npeer.close()")
        ear.must_run("its socket", lambda: "listening" in ear.output())
        told = a.run("/usr/bin/python3", "-c", "import socket, time\n"
                     f"peer = socket.create_connection(('{b.address}', 7000))\n"
                     "began = time.monotonic()\n"
                     "peer.sendall(bytes(1 << 20)); peer.shutdown(1); peer.recv(1)\n"
                     "print(time.monotonic() - began)")
        ear.popen.wait()
        return float(told.stdout)

    assert seconds() < 0.6
    a.slow("8mbit")
    assert 0.7 < seconds() < 10
    a.mend()
    assert seconds() < 0.6


if __name__ == "__main__":
    rigs.main(__file__)
