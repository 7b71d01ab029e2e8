#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A peer of another version of the wire (lib/format/wire.h), as a program of its own, so that it
can run on a machine of a cluster: only what every version keeps, the header, HELLO and REFUSED.

    cluster_peer.py hello ADDRESS PORT FIRST LAST   says that it speaks those; prints the answer
    cluster_peer.py store ADDRESS PORT VERSION      a store that speaks that one: refuses others"""

import pathlib
import socket
import struct
import sys

HEADER_BYTES = 112
MAGIC = b"IMW1"
HELLO, REFUSED = 32, 34
IOMESH_FORMAT = -2003
TABLE = []


def crc32c(data):
    if not TABLE:
        for value in range(256):
            for _ in range(8):
                value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
            TABLE.append(value)
    crc = 0xFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def frame(kind, aside):
    header = bytearray(HEADER_BYTES)
    struct.pack_into("<4sBBHIII", header, 4, MAGIC, kind, 0, 0, len(aside), 0, crc32c(aside))
    struct.pack_into("<I", header, 0, crc32c(header[4:]))
    return bytes(header) + aside


def varint(number):
    made = b""
    while number > 0x7F:
        made += bytes([number & 0x7F | 0x80])
        number >>= 7
    return made + bytes([number])


def field(number, value):
    """Of a protobuf message: bytes, or a number."""
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(value)


def fields(message):
    """{number: value} of one that has numbers, bytes and fixed ones."""
    found, at = {}, 0

    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        tag = number()
        if tag & 7 == 0:
            found[tag >> 3] = number()
        else:
            size = {1: 8, 5: 4}.get(tag & 7) or number()
            found[tag >> 3] = message[at:at + size]
            at += size
    return found


def receive(peer, size):
    data = b""
    while len(data) < size:
        more = peer.recv(size - len(data))
        if not more:
            raise ConnectionError("it ended")
        data += more
    return data


def receive_frame(peer):
    """(type, {number: value} of its message)"""
    header = receive(peer, HEADER_BYTES)
    magic, kind, _, _, aside, _, crc = struct.unpack_from("<4sBBHIII", header, 4)
    message = receive(peer, aside)
    if magic != MAGIC or crc32c(message) != crc:
        raise ValueError("no frame")
    return kind, fields(message)


def say_hello(address, port, first, last):
    with socket.create_connection((address, port), 5) as peer:
        peer.settimeout(5)
        peer.sendall(frame(HELLO, field(1, first) + field(2, last) + field(4, bytes(16))
                           + field(5, 1) + field(6, 7)))
        kind, said = receive_frame(peer)
        print(kind == REFUSED and said.get(4, b"").decode())


def serve(address, port, version):
    ear = socket.create_server((address, port))
    print("listening", flush=True)
    while True:
        peer = ear.accept()[0]
        try:
            kind, said = receive_frame(peer)
            if kind != HELLO:
                raise ValueError("no hello")
            print(f"asked for {said[1]} to {said[2]}", flush=True)
            sentence = f"this store speaks version {version} of the wire"
            peer.sendall(frame(REFUSED, field(1, -IOMESH_FORMAT * 2 - 1) + field(2, version)
                               + field(3, version) + field(4, sentence.encode())))
        except (OSError, ValueError) as error:
            print(error, flush=True)
        peer.close()


# --- from a test

def hello(host, node, first, last):
    """What the store of a node answers to one on `host`; a failure if it says nothing."""
    return host.run("/usr/bin/python3", pathlib.Path(__file__), "hello", node.host.address,
                    node.port, first, last, check=False).stdout


def store(node, version):
    """Instead of a node's iomeshd; a process that runs."""
    fake = node.host.start("/usr/bin/python3", pathlib.Path(__file__), "store", node.host.address,
                           node.port, version)
    fake.must_run("its socket", lambda: "listening" in fake.output())
    return fake


if __name__ == "__main__":
    if sys.argv[1] == "hello":
        say_hello(sys.argv[2], *map(int, sys.argv[3:]))
    else:
        serve(sys.argv[2], *map(int, sys.argv[3:]))
