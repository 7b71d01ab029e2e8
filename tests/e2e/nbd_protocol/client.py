# SPDX-License-Identifier: Apache-2.0
"""An NBD client written from the specification: every option, every command, three kinds of
headers, and the means to break each rule."""

import socket
import ssl
import struct

NBDMAGIC = 0x4E42444D41474943
IHAVEOPT = 0x49484156454F5054
OPTION_REPLY = 0x0003E889045565A9
REQUEST = 0x25609513
EXTENDED_REQUEST = 0x21E41C71
SIMPLE_REPLY = 0x67446698
STRUCTURED_REPLY = 0x668E33EF
EXTENDED_REPLY = 0x6E8A278C

FIXED_NEWSTYLE, NO_ZEROES = 1, 2

(OPT_EXPORT_NAME, OPT_ABORT, OPT_LIST, OPT_STARTTLS, OPT_INFO, OPT_GO, OPT_STRUCTURED_REPLY,
 OPT_LIST_META_CONTEXT, OPT_SET_META_CONTEXT, OPT_EXTENDED_HEADERS) = 1, 2, 3, 5, 6, 7, 8, 9, 10, 11

REP_ACK, REP_SERVER, REP_INFO, REP_META_CONTEXT = 1, 2, 3, 4
ERROR = 1 << 31
(REP_ERR_UNSUP, REP_ERR_POLICY, REP_ERR_INVALID, REP_ERR_PLATFORM, REP_ERR_TLS_REQD,
 REP_ERR_UNKNOWN, REP_ERR_SHUTDOWN, REP_ERR_BLOCK_SIZE_REQD, REP_ERR_TOO_BIG,
 REP_ERR_EXT_HEADER_REQD) = (ERROR + number for number in range(1, 11))

INFO_EXPORT, INFO_NAME, INFO_DESCRIPTION, INFO_BLOCK_SIZE = 0, 1, 2, 3

(HAS_FLAGS, READ_ONLY, SEND_FLUSH, SEND_FUA, ROTATIONAL, SEND_TRIM, SEND_WRITE_ZEROES, SEND_DF,
 CAN_MULTI_CONN) = (1 << bit for bit in range(9))
SEND_CACHE, SEND_FAST_ZERO, BLOCK_STATUS_PAYLOAD = 1 << 10, 1 << 11, 1 << 12

CMD_READ, CMD_WRITE, CMD_DISC, CMD_FLUSH, CMD_TRIM, CMD_CACHE, CMD_WRITE_ZEROES, \
    CMD_BLOCK_STATUS = range(8)
FUA, NO_HOLE, DF, REQ_ONE, FAST_ZERO, PAYLOAD_LEN = (1 << bit for bit in range(6))

CHUNK_NONE, CHUNK_DATA, CHUNK_HOLE, CHUNK_STATUS, CHUNK_STATUS_EXT = 0, 1, 2, 5, 6
CHUNK_ERROR, CHUNK_ERROR_OFFSET = 0x8001, 0x8002
DONE = 1

EPERM, EIO, ENOMEM, EINVAL, ENOSPC, EOVERFLOW, ENOTSUP, ESHUTDOWN = 1, 5, 12, 22, 28, 75, 95, 108

# Ours, not the specification's.
SINCE, CHANGED = "iomesh:changed-since:", 1

SIMPLE, STRUCTURED, EXTENDED = "simple", "structured", "extended"


class Closed(Exception):
    """The server ended the connection."""


class Refused(Exception):
    """An option was refused. type: REP_ERR_…"""

    def __init__(self, kind, sentence):
        super().__init__(f"{kind:#x} {sentence}")
        self.type = kind
        self.sentence = sentence


class Failed(Exception):
    """A request was answered with an error."""

    def __init__(self, error, sentence=""):
        super().__init__(f"{error} {sentence}")
        self.error = error
        self.sentence = sentence


class Reply:
    def __init__(self):
        self.error = 0
        self.sentence = ""
        self.chunks = []  # (type, offset, data or length)
        self.statuses = {}  # (length, flags) of each context, by its id


class Client:
    def __init__(self, address, flags=FIXED_NEWSTYLE | NO_ZEROES, greet=True, timeout=120):
        """address: a path, or (host, port)."""
        family = socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX
        self.peer = socket.socket(family)
        self.peer.settimeout(timeout)
        self.peer.connect(address if isinstance(address, tuple) else str(address))
        self.mode = SIMPLE
        self.cookie = 0
        self.size = self.flags = None
        self.block_sizes = self.name = None
        self.context = None  # The id of base:allocation.
        self.contexts = {}
        self.zeroes = not flags & NO_ZEROES
        self.lengths = {}  # of READs under way, by cookie
        if greet:
            self.greet(flags)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.peer.close()

    def send(self, *parts):
        try:
            self.peer.sendall(b"".join(parts))
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Closed from error

    def receive(self, length):
        pieces = []
        while length > 0:
            try:
                piece = self.peer.recv(min(length, 1 << 20))
            except (ConnectionResetError, ssl.SSLError) as error:
                raise Closed from error
            if not piece:
                raise Closed
            pieces.append(piece)
            length -= len(piece)
        return b"".join(pieces)

    def unpack(self, layout):
        return struct.unpack(layout, self.receive(struct.calcsize(layout)))

    def is_closed(self):
        """Reads until the server closes; anything but silence before that is an error."""
        try:
            rest = self.peer.recv(1)
        except ConnectionResetError:
            return True
        assert rest == b"", rest
        return True

    # --- handshake

    def greet(self, flags):
        magic, option_magic, self.server_flags = self.unpack(">QQH")
        assert magic == NBDMAGIC and option_magic == IHAVEOPT
        assert self.server_flags == FIXED_NEWSTYLE | NO_ZEROES
        self.send(struct.pack(">I", flags))

    def send_option(self, option, data=b"", length=None):
        length = len(data) if length is None else length
        self.send(struct.pack(">QII", IHAVEOPT, option, length), data)

    def receive_answer(self, option):
        magic, told, kind, length = self.unpack(">QIII")
        assert magic == OPTION_REPLY and told == option, (hex(magic), told)
        return kind, self.receive(length)

    def option(self, option, data=b""):
        """The answers before the final ACK."""
        self.send_option(option, data)
        answers = []
        while True:
            kind, text = self.receive_answer(option)
            if kind == REP_ACK:
                assert text == b""
                return answers
            if kind & ERROR:
                raise Refused(kind, text.decode())
            answers.append((kind, text))

    def list(self):
        names = []
        for kind, data in self.option(OPT_LIST):
            assert kind == REP_SERVER
            length, = struct.unpack(">I", data[:4])
            assert 4 + length == len(data)
            names.append(data[4:].decode())
        return names

    def structured(self):
        assert self.option(OPT_STRUCTURED_REPLY) == []
        self.mode = STRUCTURED

    def extended(self):
        assert self.option(OPT_EXTENDED_HEADERS) == []
        self.mode = EXTENDED

    def starttls(self, context, name="localhost"):
        assert self.option(OPT_STARTTLS) == []
        self.peer = context.wrap_socket(self.peer, server_hostname=name)
        self.mode = SIMPLE

    @staticmethod
    def info_data(name, wanted=()):
        name = name.encode()
        return struct.pack(">I", len(name)) + name + struct.pack(
            f">H{len(wanted)}H", len(wanted), *wanted)

    def info(self, name, wanted=(INFO_BLOCK_SIZE,), option=OPT_INFO):
        self.block_sizes = self.name = None
        for kind, data in self.option(option, self.info_data(name, wanted)):
            assert kind == REP_INFO
            about, = struct.unpack(">H", data[:2])
            if about == INFO_EXPORT:
                self.size, self.flags = struct.unpack(">QH", data[2:])
            elif about == INFO_BLOCK_SIZE:
                self.block_sizes = struct.unpack(">III", data[2:])
            elif about == INFO_NAME:
                self.name = data[2:].decode()
        return self

    def go(self, name, wanted=(INFO_BLOCK_SIZE,)):
        return self.info(name, wanted, OPT_GO)

    def export_name(self, name):
        self.send_option(OPT_EXPORT_NAME, name.encode())
        self.size, self.flags = self.unpack(">QH")
        if self.zeroes:
            assert self.receive(124) == bytes(124)
        return self

    @staticmethod
    def meta_data(name, queries):
        name = name.encode()
        parts = [struct.pack(">I", len(name)), name, struct.pack(">I", len(queries))]
        for query in queries:
            parts += [struct.pack(">I", len(query)), query.encode()]
        return b"".join(parts)

    def meta(self, option, name, *queries):
        """{name: id} of the contexts found."""
        found = {}
        for kind, data in self.option(option, self.meta_data(name, queries)):
            assert kind == REP_META_CONTEXT
            found[data[4:].decode()] = struct.unpack(">I", data[:4])[0]
        if option == OPT_SET_META_CONTEXT:
            self.context = found.get("base:allocation")
            self.contexts = found
            assert len(set(found.values())) == len(found)
        return found

    def abort(self):
        assert self.option(OPT_ABORT) == []
        return self.is_closed()

    def open(self, name, mode=SIMPLE, context=False, since=()):
        """From the greeting to transmission; context: base:allocation, since: snapshots."""
        if mode == STRUCTURED:
            self.structured()
        if mode == EXTENDED:
            self.extended()
        queries = ["base:allocation"] * context + [SINCE + snapshot for snapshot in since]
        if queries:
            assert set(self.meta(OPT_SET_META_CONTEXT, name, *queries)) == set(queries)
        return self.go(name)

    # --- transmission

    def request(self, kind, flags=0, offset=0, length=0, payload=b"", magic=None):
        """Sends it; the cookie."""
        self.cookie += 1
        if self.mode == EXTENDED:
            if payload:
                flags |= PAYLOAD_LEN
                length = len(payload)
            head = struct.pack(">IHHQQQ", magic or EXTENDED_REQUEST, flags, kind, self.cookie,
                               offset, length)
        else:
            length = len(payload) or length
            head = struct.pack(">IHHQQI", magic or REQUEST, flags, kind, self.cookie, offset,
                               length)
        if kind == CMD_READ:
            self.lengths[self.cookie] = (offset, length)
        self.send(head, payload)
        return self.cookie

    def receive_chunk(self):
        """(cookie, flags, type, payload); a simple reply has flags DONE and type None."""
        magic, = self.unpack(">I")
        if magic == SIMPLE_REPLY:
            assert self.mode != EXTENDED
            error, cookie = self.unpack(">IQ")
            data = b""
            if cookie in self.lengths:
                assert self.mode == SIMPLE, "a READ was answered simply"
                if not error:
                    data = self.receive(self.lengths[cookie][1])
            return cookie, DONE, None, (error, data)
        if self.mode == EXTENDED:
            assert magic == EXTENDED_REPLY, hex(magic)
            flags, kind, cookie, offset, length = self.unpack(">HHQQQ")
            if cookie in self.lengths:
                assert offset == self.lengths[cookie][0]
        else:
            assert magic == STRUCTURED_REPLY and self.mode == STRUCTURED, hex(magic)
            flags, kind, cookie, length = self.unpack(">HHQI")
        return cookie, flags, kind, self.receive(length)

    def add_chunk(self, reply, kind, payload):
        if kind is None:
            reply.error, data = payload
            if data:
                reply.chunks.append((CHUNK_DATA, None, data))
        elif kind == CHUNK_DATA:
            assert len(payload) > 8
            reply.chunks.append((kind, struct.unpack(">Q", payload[:8])[0], payload[8:]))
        elif kind == CHUNK_HOLE:
            offset, length = struct.unpack(">QI", payload)
            assert length > 0
            reply.chunks.append((kind, offset, length))
        elif kind == CHUNK_STATUS:
            assert self.mode == STRUCTURED
            self.add_status(reply, struct.unpack(">I", payload[:4])[0],
                            list(struct.iter_unpack(">II", payload[4:])))
        elif kind == CHUNK_STATUS_EXT:
            assert self.mode == EXTENDED
            context, count = struct.unpack(">II", payload[:8])
            self.add_status(reply, context, list(struct.iter_unpack(">QQ", payload[8:])))
            assert len(reply.statuses[context]) == count
        elif kind & 0x8000:
            reply.error, length = struct.unpack(">IH", payload[:6])
            reply.sentence = payload[6:6 + length].decode()
        else:
            assert kind == CHUNK_NONE and payload == b"", kind

    def add_status(self, reply, context, extents):
        """Each context once, neighbours that differ."""
        assert context in self.contexts.values() and context not in reply.statuses, context
        assert extents and all(length for length, _ in extents)
        assert all(one[1] != two[1] for one, two in zip(extents, extents[1:])), extents
        reply.statuses[context] = extents

    def replies(self, count):
        """The next `count` replies, by cookie."""
        open_replies, done = {}, {}
        while len(done) < count:
            cookie, flags, kind, payload = self.receive_chunk()
            assert cookie not in done and 0 < cookie <= self.cookie
            reply = open_replies.setdefault(cookie, Reply())
            self.add_chunk(reply, kind, payload)
            if flags & DONE:
                done[cookie] = open_replies.pop(cookie)
                self.lengths.pop(cookie, None)
        assert not open_replies
        return done

    def call(self, kind, flags=0, offset=0, length=0, payload=b""):
        """One request and its reply."""
        cookie = self.request(kind, flags, offset, length, payload)
        reply = self.replies(1)[cookie]
        if reply.error:
            raise Failed(reply.error, reply.sentence)
        return reply

    @staticmethod
    def assemble(reply, offset, length):
        data = bytearray(length)
        covered = 0
        for kind, at, what in reply.chunks:
            at = offset if at is None else at
            size = what if kind == CHUNK_HOLE else len(what)
            assert offset <= at and at + size <= offset + length, "a chunk outside the request"
            if kind == CHUNK_DATA:
                data[at - offset:at - offset + size] = what
            covered += size
        assert covered == length, "chunks overlap or leave something out"
        return bytes(data)

    def read(self, offset, length, flags=0):
        return self.assemble(self.call(CMD_READ, flags, offset, length), offset, length)

    def write(self, offset, data, flags=0):
        self.call(CMD_WRITE, flags, offset, 0, data)

    def flush(self):
        self.call(CMD_FLUSH)

    def trim(self, offset, length, flags=0):
        self.call(CMD_TRIM, flags, offset, length)

    def cache(self, offset, length):
        self.call(CMD_CACHE, 0, offset, length)

    def write_zeroes(self, offset, length, flags=0):
        self.call(CMD_WRITE_ZEROES, flags, offset, length)

    def statuses(self, offset, length, flags=0, wanted=None):
        """{context: extents}; wanted: contexts of a payload that filters."""
        payload = b""
        if wanted is not None:
            payload = struct.pack(f">Q{len(wanted)}I", length,
                                  *(self.contexts[name] for name in wanted))
        reply = self.call(CMD_BLOCK_STATUS, flags, offset, 0 if payload else length, payload)
        names = {number: name for name, number in self.contexts.items()}
        return {names[number]: extents for number, extents in reply.statuses.items()}

    def block_status(self, offset, length, flags=0):
        return self.statuses(offset, length, flags)["base:allocation"]

    def changed(self, offset, length, snapshot, flags=0):
        """The ranges that were written since a snapshot; as many questions as it takes."""
        found, end = [], offset + length
        while offset < end:
            for size, changed in self.statuses(offset, end - offset, flags)[SINCE + snapshot]:
                assert changed in (0, CHANGED)
                if changed and found and sum(found[-1]) == offset:
                    found[-1] = (found[-1][0], found[-1][1] + size)
                elif changed:
                    found.append((offset, size))
                offset += size
        assert offset == end
        return found

    def disconnect(self):
        self.request(CMD_DISC)
        return self.is_closed()


def tls_context(directory, who="client", verify=True):
    """A client's side of TLS, with the certificates of `directory`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = verify
    context.load_verify_locations(str(directory / "ca-cert.pem"))
    if who:
        context.load_cert_chain(str(directory / f"{who}-cert.pem"),
                                str(directory / f"{who}-key.pem"))
    return context
