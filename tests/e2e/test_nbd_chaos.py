#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Clients that come, ask for anything, and go in the midst of it, while memory and requests are
scarce: iomesh-nbd must neither fall over nor forget to clean up, and a well-behaved client beside
them must read what it wrote."""

import os
import random
import socket
import struct
import threading
import time

import pytest

import rig as rigs
from nbd_protocol import client as nbd
from nbd_protocol.client import EXTENDED, SIMPLE, STRUCTURED, tls_context
from nbd_protocol.server import Server

MIB = rigs.MIB
SECONDS = rigs.count_from("IOMESH_CHAOS_SECONDS", 5)
CALM = 16 * MIB  # From here on the volume belongs to the well-behaved.


class Rude:
    """One rude client after the other, until it is enough."""

    def __init__(self, server, seed, enough):
        self.server, self.enough = server, enough
        self.chance = random.Random(seed)
        self.failure = None

    def connect(self):
        peer = self.server.client(timeout=5)
        if self.server.context and self.chance.random() < 0.8:
            peer.starttls(self.server.context)
        peer.open(self.chance.choice(["disk", "small", "wide"]),
                  self.chance.choice([SIMPLE, STRUCTURED, EXTENDED]))
        return peer

    def ask(self, peer):
        chance = self.chance
        kind = chance.choice([0, 0, 0, 1, 1, 1, 3, 4, 5, 6, 7, 9])
        length = chance.choice([512, 4096, 65536, MIB, 3 * MIB])
        offset = chance.randrange(0, CALM - 3 * MIB, 512)
        if chance.random() < 0.9:
            offset, length = offset & ~4095, max(4096, length)
        flags = chance.choice([0, 0, 0, nbd.FUA, nbd.NO_HOLE, nbd.DF, chance.randrange(65536)])
        if kind != nbd.CMD_WRITE:
            peer.request(kind, flags & ~nbd.PAYLOAD_LEN, offset, length)
            return True
        payload = bytes(length)
        if chance.random() < 0.1:  # Promises more than it gives.
            magic = nbd.EXTENDED_REQUEST if peer.mode == EXTENDED else nbd.REQUEST
            layout = ">IHHQQQ" if peer.mode == EXTENDED else ">IHHQQI"
            flags = nbd.PAYLOAD_LEN if peer.mode == EXTENDED else 0
            peer.send(struct.pack(layout, magic, flags, kind, 1, offset, length),
                      payload[:chance.randrange(length)])
            return False
        peer.request(kind, flags & ~nbd.PAYLOAD_LEN, offset, 0, payload)
        return True

    def live_once(self):
        with self.connect() as peer:
            for _ in range(self.chance.randrange(60)):
                if not self.ask(peer):
                    break
                if self.chance.random() < 0.5:
                    peer.peer.settimeout(0.02)
                    try:
                        peer.peer.recv(self.chance.choice([1, 100, 100000]))
                    except (socket.timeout, TimeoutError):
                        pass
                    peer.peer.settimeout(5)
            if self.chance.random() < 0.3:
                peer.request(nbd.CMD_DISC)

    def run(self):
        while not self.enough.is_set():
            try:
                self.live_once()
            except (nbd.Closed, nbd.Refused, OSError):
                pass
            except Exception as failure:  # pylint: disable=broad-except
                self.failure = failure
                return


def scarce(server):
    """Whether requests had to wait for memory, and for their turn."""
    return (server.metric("iomesh_nbd_starved_total") > 0 and
            server.metric("iomesh_nbd_throttled_total") > 0)


def behave(server):
    """Writes and reads its own corner; every answer must be right."""
    end = time.monotonic() + SECONDS
    with server.client() as peer:
        if server.context:
            peer.starttls(server.context)
        peer.open("disk", STRUCTURED)
        model = {}
        while time.monotonic() < end or (not scarce(server) and
                                         time.monotonic() < end + rigs.PATIENCE):
            for _ in range(8):
                block = random.randrange(2000)
                model[block] = os.urandom(4096)
                peer.write(CALM + block * 4096, model[block])
            for block in random.sample(sorted(model), min(8, len(model))):
                assert peer.read(CALM + block * 4096, 4096) == model[block]
        for block, data in model.items():
            assert peer.read(CALM + block * 4096, 4096) == data


@pytest.mark.parametrize("tls", [False, True])
def test_rude_clients_harm_nobody_else(rig, tls):
    words = ["--buffer-size", "4M", "--connection-buffer", "1M", "--requests", "24",
             "--connection-requests", "12", "--stall-timeout", "3", "--connections", "20"]
    directory = rigs.certificates(rig.path("tls")) if tls else None
    server = Server(rig, *words, *(["--tls-certificates", directory] if tls else []))
    server.context = tls_context(directory) if tls else None
    enough = threading.Event()
    rude = [Rude(server, seed, enough) for seed in range(8)]
    threads = [threading.Thread(target=one.run) for one in rude]
    for thread in threads:
        thread.start()
    try:
        behave(server)
    except nbd.Closed as closed:
        raise AssertionError(server.process.output()) from closed
    finally:
        enough.set()
        for thread in threads:
            thread.join()
    assert [one.failure for one in rude if one.failure] == []
    rigs.wait_until("every connection is gone",
                    lambda: server.metric("iomesh_nbd_connections") == 0)
    assert server.metric("iomesh_nbd_requests_in_flight") == 0
    assert scarce(server), "nothing was scarce"
    server.stop()


if __name__ == "__main__":
    rigs.main(__file__)
