#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""iomesh-nbd with --tls-certificates: nothing in the clear, certificates of ours only, and all that
works without TLS works with it."""

import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import time

import pytest

import rig as rigs
from nbd_protocol import client as nbd
from nbd_protocol.client import EXTENDED, STRUCTURED, Closed, Refused, tls_context
from nbd_protocol.server import VOLUMES, Server

MIB = rigs.MIB


@pytest.fixture(name="secured")
def secured_server(rig):
    directory = rigs.certificates(rig.path("tls"))
    server = Server(rig, "--tls-certificates", directory, tcp=True)
    server.certificates = directory
    return server


def refused_without_tls(call, *arguments):
    with pytest.raises(Refused) as told:
        call(*arguments)
    assert told.value.type == nbd.REP_ERR_TLS_REQD


def test_nothing_but_starttls_is_heard_before_tls(secured):
    with secured.client() as peer:
        refused_without_tls(peer.list)
        refused_without_tls(peer.go, "disk")
        refused_without_tls(peer.info, "gone")
        refused_without_tls(peer.structured)
        refused_without_tls(peer.option, 99, b"x" * 30)
        refused_without_tls(peer.option, nbd.OPT_GO, bytes(30000))
        assert peer.abort()
    with secured.client() as peer:
        peer.send_option(nbd.OPT_EXPORT_NAME, b"disk")
        assert peer.is_closed()
    with secured.client(flags=0) as peer:
        peer.send_option(nbd.OPT_STARTTLS)
        assert peer.is_closed()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("mode", [nbd.SIMPLE, STRUCTURED, EXTENDED])
def test_everything_works_through_tls(secured, version, mode):
    context = tls_context(secured.certificates)
    context.minimum_version = context.maximum_version = version
    with secured.client() as peer:
        peer.starttls(context)
        assert peer.peer.version() == {ssl.TLSVersion.TLSv1_2: "TLSv1.2"}.get(version, "TLSv1.3")
        with pytest.raises(Refused) as told:
            peer.option(nbd.OPT_STARTTLS)
        assert told.value.type == nbd.REP_ERR_INVALID
        assert peer.list() == sorted(VOLUMES)
        peer.open("disk", mode, context=mode != nbd.SIMPLE)
        data = os.urandom(20 * MIB)
        peer.write(0, data)
        assert peer.read(0, len(data)) == data
        for number in range(100):
            peer.request(nbd.CMD_WRITE, 0, number * 4096, 0, data[number:number + 4096])
        assert all(not reply.error for reply in peer.replies(100).values())
        assert peer.read(4096, 4096) == data[1:4097]
        if mode != nbd.SIMPLE:
            assert peer.block_status(0, 20 * MIB)
        assert peer.disconnect(), "and TLS is closed in order"


def test_what_was_agreed_before_tls_is_forgotten(secured):
    with secured.client() as peer:
        # Sent at once with STARTTLS: not part of TLS, so it must not be obeyed.
        head = nbd.struct.pack(">QII", nbd.IHAVEOPT, nbd.OPT_STARTTLS, 0)
        smuggled = nbd.struct.pack(">QII", nbd.IHAVEOPT, nbd.OPT_STRUCTURED_REPLY, 0)
        peer.send(head + smuggled)
        assert peer.receive_answer(nbd.OPT_STARTTLS)[0] == nbd.REP_ACK
        # What follows is TLS's alert, if anything: no answer to the smuggled option.
        rest = b""
        while piece := peer.peer.recv(1000):
            rest += piece
        assert len(rest) < 20 and nbd.struct.pack(">Q", nbd.OPTION_REPLY) not in rest


def test_a_client_without_a_certificate_of_ours_is_refused(secured, rig):
    other = rigs.certificates(rig.path("other"))
    strange = tls_context(other)
    strange.load_verify_locations(str(secured.certificates / "ca-cert.pem"))
    for context in (tls_context(secured.certificates, who=None), strange):
        with secured.client() as peer, pytest.raises((ssl.SSLError, Closed, OSError)):
            peer.starttls(context)
            peer.list()
    old = tls_context(secured.certificates)
    old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("DEFAULT@SECLEVEL=0")
    with secured.client() as peer, pytest.raises((ssl.SSLError, OSError)):
        peer.starttls(old)
    rigs.wait_until("they are counted",
                    lambda: secured.metric("iomesh_nbd_tls_failed_total") >= 3)


def test_garbage_instead_of_tls(secured):
    for garbage in (os.urandom(1000), b"\x16\x03\x01\xff\xff" + os.urandom(70000), b"\0" * 70000):
        with secured.client() as peer:
            assert peer.option(nbd.OPT_STARTTLS) == []
            try:
                peer.send(garbage)
                peer.peer.shutdown(socket.SHUT_WR)
                while peer.peer.recv(1000):
                    pass
            except (Closed, OSError):
                pass
    with secured.client() as peer:
        peer.starttls(tls_context(secured.certificates))
        peer.open("disk")
        raw = socket.socket(fileno=os.dup(peer.peer.fileno()))
        raw.sendall(os.urandom(5000))
        raw.close()
        with pytest.raises((ssl.SSLError, Closed, OSError)):
            peer.receive(1)
    with secured.client() as peer:
        peer.starttls(tls_context(secured.certificates))
        peer.open("disk").read(0, 4096)


def test_certificates_that_cannot_be_used_are_named_with_the_cause(rig):
    pool = Server.make_pool(rig)
    directory = rigs.certificates(rig.path("tls"))
    key = directory / "server-key.pem"
    sealed = rig.path("sealed")
    rigs.run("openssl", "ec", "-aes128", "-passout", "pass:x", "-in", key, "-out", sealed)
    for text, sentence in [(sealed.read_text(), "server-key.pem: has a passphrase"),
                           ((directory / "client-key.pem").read_text(),
                            "server-key.pem: key values mismatch"),
                           ("nonsense", "server-key.pem: unsupported"),
                           (None, "server-key.pem: No such file")]:
        key.unlink()
        if text is not None:
            key.write_text(text)
        done = rigs.run(rigs.program("iomesh-nbd"), "--pool", pool.url, "--socket", rig.path("s"),
                        "--tls-certificates", directory, check=False, stdin=subprocess.DEVNULL)
        assert done.returncode == 1 and re.search(sentence, done.stdout), done.stdout
        assert done.stdout.count("\n") == 1, "it asks for something: " + done.stdout


def test_a_client_that_leaves_while_the_disk_stands_still_harms_nobody(rig):
    """Its connection is closed, and kept until the disk has answered what it asked."""
    drive = rig.path("drive")
    disk = rig.start("nbdkit", "-f", "-U", drive, "memory", "256M")
    rigs.wait_until("the drive", lambda: rigs.connects(drive))
    pool = rigs.Pool(rig, 256 * MIB, rigs.fuse_file(rig, f"nbd+unix:///?socket={drive}"))
    pool.create("disk", 64 * MIB)
    directory = rigs.certificates(rig.path("tls"))
    server = Server(rig, "--tls-certificates", directory, "--handshake-timeout", "1", pool=pool)
    with server.client() as peer:
        peer.starttls(tls_context(directory))
        peer.open("disk")
        disk.popen.send_signal(signal.SIGSTOP)
        try:
            for number in range(8):
                peer.request(nbd.CMD_WRITE, nbd.FUA, number * 4096, 0, os.urandom(4096))
            time.sleep(0.2)
            peer.close()
            time.sleep(2.5)
            assert server.process.running(), server.process.output()
        finally:
            disk.popen.send_signal(signal.SIGCONT)
    rigs.wait_until("it is forgotten", lambda: server.metric("iomesh_nbd_connections") == 0)
    server.stop()


def client_certificates(secured):
    """As libnbd and qemu want them."""
    directory = secured.rig.path("client-tls")
    directory.mkdir()
    for ours, theirs in [("ca-cert.pem", "ca-cert.pem"), ("client-cert.pem", "client-cert.pem"),
                         ("client-key.pem", "client-key.pem")]:
        shutil.copy(secured.certificates / ours, directory / theirs)
    return directory


def test_common_clients_through_tls(secured):
    directory = client_certificates(secured)
    uri = f"nbds://localhost:{secured.tcp_port}/small?tls-certificates={directory}"
    source, copy = secured.rig.path("source"), secured.rig.path("copy")
    source.write_bytes(os.urandom(VOLUMES["small"][0]))
    rigs.run("nbdcopy", source, uri)
    rigs.run("nbdcopy", uri, copy)
    assert source.read_bytes() == copy.read_bytes()
    told = json.loads(rigs.run("nbdinfo", "--json", uri).stdout)
    assert told["TLS"] is True
    rigs.run("qemu-img", "compare", "--object",
             f"tls-creds-x509,id=tls0,endpoint=client,dir={directory}", "--image-opts",
             f"driver=file,filename={source}",
             f"driver=nbd,host=localhost,port={secured.tcp_port},export=small,tls-creds=tls0")


if __name__ == "__main__":
    rigs.main(__file__)
