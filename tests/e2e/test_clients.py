#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The NBD clients that people use, over a unix socket, TCP and TLS, with each sector size."""

import errno
import json
import os
import random
import shutil

import nbd
import pytest

import rig as rigs

SIZE = 64 * rigs.MIB
VOLUME = {512: "small", 4096: "large"}
TRANSPORTS = ["unix", "tcp", "tls"]


class Service:
    """One server with a volume of each sector size, and the words each client wants for it."""

    def __init__(self, rig, transport):
        self.rig = rig
        self.transport = transport
        self.pool = rigs.Pool(rig, rigs.GIB)
        for sector, volume in VOLUME.items():
            self.pool.create(volume, SIZE, sector)
        self.port = rigs.free_port()
        self.certificates = None
        words = []
        if transport != "unix":
            words += ["--listen", f"127.0.0.1:{self.port}"]
        if transport == "tls":
            self.certificates = rigs.certificates(rig.path("pki"))
            words += ["--tls-certificates", self.certificates]
        self.pool.serve(*words)
        if transport != "unix":
            rigs.wait_until("its port", lambda: rigs.connects_tcp(self.port))

    def uri(self, volume):
        if self.transport == "unix":
            return self.pool.uri(volume)
        if self.transport == "tcp":
            return f"nbd://127.0.0.1:{self.port}/{volume}"
        return f"nbds://localhost:{self.port}/{volume}?tls-certificates={self.certificates}"

    def connect(self, volume):
        handle = nbd.NBD()
        handle.set_uri_allow_local_file(True)
        handle.connect_uri(self.uri(volume))
        return handle

    def home_of_nobody(self):
        """A $HOME whose owner is `nobody`, with the client's certificates."""
        home = self.rig.path("home")
        if not home.exists():
            shutil.copytree(self.certificates, home / ".pki" / "libnbd")
            rigs.run("chmod", "-R", "a+rX", home, self.rig.directory)
            rigs.run("chown", "-R", "nobody", home)
        return home

    def qemu(self, volume):
        """The options that name the image, of which --image-opts is for the whole command."""
        if self.transport == "unix":
            return [], f"driver=nbd,path={self.pool.socket},export={volume}"
        where = f"driver=nbd,host=localhost,port={self.port},export={volume}"
        if self.transport == "tcp":
            return [], where
        credentials = f"tls-creds-x509,id=tls0,endpoint=client,dir={self.certificates}"
        return ["--object", credentials], where + ",tls-creds=tls0"


@pytest.fixture(scope="module", params=TRANSPORTS)
def service(request, tmp_path_factory):
    base = os.environ.get("IOMESH_E2E_DIR", "/var/tmp")
    directory = os.path.join(base, f"iomesh-e2e-clients-{os.getpid()}-{request.param}")
    made = rigs.Rig(directory)
    try:
        yield Service(made, request.param)
    finally:
        made.close()
        rigs.remove(directory)


@pytest.fixture(params=[512, 4096])
def sector(request):
    return request.param


@pytest.fixture
def volume(sector):
    return VOLUME[sector]


@pytest.fixture
def image(service):
    """A file of the volume's size: data, zeroes written, and holes."""
    path = service.rig.path("image")
    noise = random.Random(5)
    with open(path, "wb") as file:
        file.truncate(SIZE)
        for mib in range(0, 64, 8):
            file.seek(mib * rigs.MIB)
            file.write(noise.randbytes(3 * rigs.MIB + 4096))
            file.write(bytes(rigs.MIB))
    return path


def same(path, other):
    rigs.run("cmp", path, other)


def test_nbdinfo_shows_each_export_and_its_sizes(service, volume, sector):
    info = json.loads(rigs.run("nbdinfo", "--json", service.uri(volume)).stdout)
    export = info["exports"][0]
    assert export["export-name"] == volume
    assert export["export-size"] == SIZE
    assert export["block_size_minimum"] <= sector and export["block_size_preferred"] == 4096
    for can in ("can_flush", "can_fua", "can_multi_conn", "can_trim", "can_zero"):
        assert export[can] is True, can
    assert export["is_read_only"] is False
    listed = json.loads(rigs.run("nbdinfo", "--json", "--list", service.uri("")).stdout)
    assert {each["export-name"] for each in listed["exports"]} == set(VOLUME.values())


@pytest.mark.parametrize("connections", [1, 4])
def test_nbdcopy_brings_an_image_in_and_out(service, volume, image, connections):
    uri = service.uri(volume)
    out = service.rig.path("out")
    rigs.run("nbdcopy", "--flush", f"--connections={connections}", image, uri)
    rigs.run("nbdcopy", f"--connections={connections}", uri, out)
    same(image, out)


def test_nbdinfo_maps_holes_and_data(service, volume):
    handle = service.connect(volume)
    handle.trim(SIZE, 0)
    handle.pwrite(b"x" * rigs.MIB, 2 * rigs.MIB)
    handle.shutdown()
    extents = json.loads(rigs.run("nbdinfo", "--json", "--map", service.uri(volume)).stdout)
    data = [(each["offset"], each["length"]) for each in extents if each["type"] == 0]
    assert data == [(2 * rigs.MIB, rigs.MIB)]
    assert sum(each["length"] for each in extents) == SIZE


def test_qemu_img_converts_compares_and_maps(service, volume, image):
    objects, where = service.qemu(volume)
    source = f"driver=raw,file.driver=file,file.filename={image}"
    rigs.run("qemu-img", "convert", *objects, "--image-opts", "-n", "--target-image-opts", source,
             where)
    rigs.run("qemu-img", "compare", *objects, "--image-opts", source, where)
    out = service.rig.path("out")
    rigs.run("qemu-img", "convert", *objects, "--image-opts", "-O", "raw", where, out)
    same(image, out)
    info = json.loads(rigs.run("qemu-img", "info", *objects, "--output=json", "--image-opts",
                               where).stdout)
    assert info["virtual-size"] == SIZE
    extents = json.loads(rigs.run("qemu-img", "map", *objects, "--output=json", "--image-opts",
                                  where).stdout)
    assert sum(each["length"] for each in extents) == SIZE


def test_qemu_img_finds_a_difference(service, volume, image):
    objects, where = service.qemu(volume)
    source = f"driver=raw,file.driver=file,file.filename={image}"
    rigs.run("nbdcopy", image, service.uri(volume))
    handle = service.connect(volume)
    handle.pwrite(b"!" * 4096, 40 * rigs.MIB)
    handle.shutdown()
    done = rigs.run("qemu-img", "compare", *objects, "--image-opts", source, where, check=False)
    assert done.returncode == 1, done.stdout


def test_qemu_io_writes_zeroes_discards_and_reads_back(service, volume, sector):
    objects, where = service.qemu(volume)
    commands = [f"write -P 0x5a 0 {rigs.MIB}", f"write -P 0xa5 {sector} {sector}",
                f"write -z {64 * 1024} {64 * 1024}", f"discard {256 * 1024} {64 * 1024}", "flush",
                f"read -P 0x5a 0 {sector}", f"read -P 0xa5 {sector} {sector}",
                f"read -P 0x5a {2 * sector} {64 * 1024 - 2 * sector}",
                f"read -P 0 {64 * 1024} {64 * 1024}", f"read -P 0 {256 * 1024} {64 * 1024}",
                f"read -P 0x5a {320 * 1024} {64 * 1024}"]
    words = [word for command in commands for word in ("-c", command)]
    said = rigs.run("qemu-io", *objects, "--image-opts", *words, where).stdout
    assert "failed" not in said, said
    said = rigs.run("qemu-io", *objects, "--image-opts", "-c", f"read -P 0x11 0 {sector}", where,
                    check=False).stdout
    assert "verification failed" in said, said


def test_libnbd_writes_and_reads_at_each_sector(service, volume, sector):
    handle = service.connect(volume)
    noise = random.Random(3)
    shadow = bytearray(rigs.MIB)
    handle.zero(rigs.MIB, 8 * rigs.MIB)
    for _ in range(300):
        length = sector * noise.randrange(1, 40)
        at = sector * noise.randrange(0, (rigs.MIB - length) // sector)
        kind = noise.randrange(4)
        flags = nbd.CMD_FLAG_FUA if noise.random() < 0.1 else 0
        if kind == 0:
            handle.zero(length, 8 * rigs.MIB + at, flags | noise.choice([0, nbd.CMD_FLAG_NO_HOLE]))
            shadow[at:at + length] = bytes(length)
        elif kind == 1:
            assert handle.pread(length, 8 * rigs.MIB + at) == shadow[at:at + length]
        else:
            data = noise.randbytes(length)
            handle.pwrite(data, 8 * rigs.MIB + at, flags)
            shadow[at:at + length] = data
    assert handle.pread(rigs.MIB, 8 * rigs.MIB) == shadow


def test_libnbd_is_refused_beyond_the_end_and_goes_on(service, volume):
    handle = service.connect(volume)
    handle.set_strict_mode(0)
    with pytest.raises(nbd.Error) as refused:
        handle.pwrite(b"x" * 8192, SIZE - 4096)
    assert refused.value.errnum in (errno.ENOSPC, errno.EINVAL)
    with pytest.raises(nbd.Error) as refused:
        handle.pread(4096, SIZE)
    assert refused.value.errnum == errno.EINVAL
    handle.pwrite(b"y" * 4096, SIZE - 4096)
    assert handle.pread(4096, SIZE - 4096) == b"y" * 4096


def test_an_unknown_export_is_refused(service):
    with pytest.raises(nbd.Error):
        service.connect("nobody")


def test_sixteen_connections_see_each_others_writes(service, volume):
    handles = [service.connect(volume) for _ in range(16)]
    for number, handle in enumerate(handles):
        handle.pwrite(bytes([number + 1]) * 4096, number * 4096)
    handles[0].flush()
    for handle in handles:
        data = handle.pread(16 * 4096, 0)
        assert data == b"".join(bytes([number + 1]) * 4096 for number in range(16))


@pytest.mark.parametrize("jobs, block", [(1, "sector"), (4, "4k"), (1, "64k")])
def test_fio_verifies_what_it_wrote(service, volume, sector, jobs, block):
    size = 4 if block == "sector" else 8
    uri = service.uri(volume)
    words = []
    if service.certificates:
        # fio does not let libnbd read a directory of the URI; it looks in $HOME, but not root's.
        uri = uri.split("?")[0]
        words = ["runuser", "-u", "nobody", "--", "env", f"HOME={service.home_of_nobody()}"]
    rigs.run(*words, "fio", "--name=verify", "--ioengine=nbd", f"--uri={uri}", "--rw=randwrite",
             f"--bs={sector if block == 'sector' else block}", f"--size={size}m",
             f"--offset_increment={size}m", f"--numjobs={jobs}", "--iodepth=16",
             "--verify=crc32c", "--do_verify=1", "--verify_fatal=1", "--fsync=64",
             "--group_reporting", "--verify_state_save=0", cwd="/tmp")


@pytest.mark.parametrize("service", ["tls"], indirect=True)
def test_tls_refuses_strangers_and_plain_text(service):
    strangers = service.rig.path("strangers")
    if not strangers.exists():
        rigs.certificates(strangers)
    mixed = service.rig.path("mixed")
    mixed.mkdir()
    for name in ("client-cert.pem", "client-key.pem"):
        (mixed / name).symlink_to(strangers / name)
    (mixed / "ca-cert.pem").symlink_to(service.certificates / "ca-cert.pem")
    bare = service.rig.path("bare")
    bare.mkdir()
    (bare / "ca-cert.pem").symlink_to(service.certificates / "ca-cert.pem")
    refused = [f"nbd://127.0.0.1:{service.port}/small",
               f"nbds://localhost:{service.port}/small?tls-certificates={mixed}",
               f"nbds://localhost:{service.port}/small?tls-certificates={bare}"]
    for uri in refused:
        done = rigs.run("nbdinfo", "--size", uri, check=False)
        assert done.returncode != 0, f"{uri} was let in"
    assert rigs.run("nbdinfo", "--size", service.uri("small")).stdout.strip() == str(SIZE)


if __name__ == "__main__":
    rigs.main(__file__)
