/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The wire between a coordinator and a store, version 1.
 *
 * A connection carries frames in both directions. A frame is a header, what stands beside the data
 * (the *aside*), and data. Header, little-endian, 112 bytes:
 *
 *    0  crc             u32   CRC32C of bytes 4 .. 111
 *    4  magic           u32   "IMW1"
 *    8  type            u8    enum wire_type; | 0x80: its answer
 *    9  flags           u8    WIRE_FUA ...
 *   10  count           u16   blocks, 0 .. 256; RECORDS: room for the answer
 *   12  aside bytes     u32
 *   16  data bytes      u32
 *   20  aside crc       u32   CRC32C of the aside; 0 if there is none
 *   24  session         u64   what both ends chose for this connection
 *   32  number          u64   of the request; they grow. An answer has its request's
 *   40  group           u32   of the volume
 *   44  generation      u32   an answer echoes its request's
 *   48  volume          u64
 *
 *   of a request                          of an answer
 *   56  epoch           u64               56  result        i32   0 or negative
 *   64  watermark       u64               60  reserved      u32   0
 *   72  block           u64               64  found         u64   CHANGED: a block
 *   80  view            u64  1            72  room blocks   u64   new blocks that fit
 *   88  sequence        u64  2            80  reserved       32   0
 *   96  cut             u64  3
 *  104  cut count       u16  4
 *  106  reserved          6  0
 *
 *   1  READ, MAP, CHANGED, RESYNC, REPAIR: of the blocks; others: settled, wire_has_view()
 *   2  WRITE, ZERO: the write's; CHANGED, ROLE: since; VIEWS: the newest there was
 *   3  WRITE, ZERO: newest kept; CHANGED: last block
 *   4  RESYNC, REPAIR: cuts in the aside
 *
 * Aside and data, in this order:
 *
 *   WRITE            crcs[count]                          all blocks
 *   RESYNC, REPAIR   versions[count], cuts[cut count]     the blocks whose version is RAW, in order
 *   READ             -                                    -
 *     answer         versions[count] if asked for, crcs[count], state, bitmap (bad)  all blocks
 *   MAP answer       versions[count], state
 *   CHANGED answer   versions[256], state, bitmap (changed)
 *   ZERO WATERMARK   -                                    -
 *   FENCE ROLE STATE FLUSH VIEWS VIEW_SPACE RETIRE RECORD RECORDS  a message, wire.proto;
 *                                                         RECORD: its bytes
 *   VIEW_SPACE answer     crc of the data                 three u64 for each cut
 *   RECORDS answer        crc of the data, if any         a list, metadata_copy.h
 *   any answer            state, if the flag says so
 *   HELLO WELCOME REFUSED                                 a message, wire.proto
 *   PING PONG             -
 *
 * A crc is a u32, a cut a u64, a bitmap 256 bits. A version is sequence (u64), crc (u32), kind
 * (u16), 0 (u16). The state is 56 bytes, wire_state_put(). Answers that are not 0 have no versions,
 * crcs and data; but IOMESH_CORRUPT to a READ has all of them, and the bitmap.
 *
 * The header of HELLO, WELCOME and REFUSED stays as it is in every version to come.
 */
#ifndef FORMAT_WIRE_H
#define FORMAT_WIRE_H

#include "base/base.h"

#define WIRE_VERSION 1u
#define WIRE_HEADER_BYTES 112u
#define WIRE_BLOCKS_MAX 256u
#define WIRE_CUTS_MAX 4097u
#define WIRE_RUNS_MAX 1024u
#define WIRE_KEY_BYTES_MAX 192u /* As METADATA_KEY_BYTES_MAX. */
#define WIRE_BITMAP_BYTES (WIRE_BLOCKS_MAX / 8)
#define WIRE_VERSION_BYTES 16u
#define WIRE_STATE_BYTES 56u
#define WIRE_SPACE_BYTES 24u
/* 256 versions, 4097 cuts: RESYNC has the largest. Messages may have a little less. */
#define WIRE_ASIDE_BYTES_MAX (WIRE_BLOCKS_MAX * WIRE_VERSION_BYTES + WIRE_CUTS_MAX * 8)
#define WIRE_DATA_BYTES_MAX (WIRE_BLOCKS_MAX * BLOCK_BYTES)
#define WIRE_ANSWER 0x80u

/* The first are those of part/part.h. A number is never used for something else. */
enum wire_type {
    WIRE_FENCE = 1,
    WIRE_ROLE = 2,
    WIRE_STATE = 3,
    WIRE_WRITE = 4,
    WIRE_ZERO = 5,
    WIRE_RESYNC = 6,
    WIRE_REPAIR = 7,
    WIRE_READ = 8,
    WIRE_MAP = 9,
    WIRE_CHANGED = 10,
    WIRE_FLUSH = 11,
    WIRE_WATERMARK = 12,
    WIRE_VIEWS = 13,
    WIRE_VIEW_SPACE = 14,
    WIRE_RETIRE = 15,
    WIRE_RECORD = 16,
    WIRE_RECORDS = 17,
    WIRE_REQUEST_LAST = WIRE_RECORDS,
    WIRE_HELLO = 32,   /* The first of who connects. */
    WIRE_WELCOME = 33, /* The first of who was connected to, */
    WIRE_REFUSED = 34, /* or this, and the connection ends. */
    WIRE_PING = 35,
    WIRE_PONG = 36,
};

#define WIRE_FUA 0x01u           /* WRITE, ZERO, RESYNC, REPAIR: durable when answered. */
#define WIRE_VIEWS_MAY 0x02u     /* WRITE, ZERO: the part may have views. */
#define WIRE_PARENT 0x04u        /* ZERO: also where there is nothing. */
#define WIRE_WITH_VERSIONS 0x08u /* READ, and its answer: versions too. */
#define WIRE_WITH_STATE 0x10u    /* An answer: the state is in the aside. */
#define WIRE_WITH_BITMAP 0x20u   /* An answer: so is a bitmap. */
#define WIRE_SETTLE 0x40u        /* READ: whatever the part's role is. */
#define WIRE_FLAGS 0x7fu

struct wire_header {
    uint8_t type, flags;
    uint16_t count;
    uint32_t aside_bytes, data_bytes, aside_crc;
    uint64_t session, number;
    uint32_t group, generation;
    uint64_t volume;
    /* Requests. */
    uint64_t epoch, watermark, block, sequence, cut;
    uint64_t view; /* Or what is settled. */
    uint16_t cut_count;
    /* Answers. */
    int32_t result;
    uint64_t found, room_blocks;
};

/* Encoding asserts: it is our data. */
void wire_header_put(uint8_t to[WIRE_HEADER_BYTES], const struct wire_header *header);
/*
 * Total. 0, and then aside and data have the size that type, flags, count and result ask for: what
 * follows can be skipped and read without fear. Or
 *   IOMESH_CORRUPT  the sum is wrong, or fields that no frame has
 *   IOMESH_FORMAT   not of this wire
 */
int wire_header_get(const uint8_t from[WIRE_HEADER_BYTES], struct wire_header *ret_header);
/* Whether the blocks of a request are in one mebibyte, and of a type that has blocks at least one:
 * 0 or -EPROTO. The frame can be skipped all the same. */
int wire_request_check(const struct wire_header *header);
/* The sum of an aside: what the header says of it. 0 or IOMESH_CORRUPT. */
int wire_aside_check(const struct wire_header *header, const uint8_t *aside);
/* Whether this is a request whose aside is a message. */
bool wire_is_control(uint8_t type);
/* Whether requests of this type are about blocks as a view shows them. Where those have the view,
 * others have what is settled. */
bool wire_has_view(uint8_t type);
const char *wire_type_name(uint8_t type);

/* --- Elements of an aside. `to` and `from` may be the same memory. ------------------------- */

void wire_crcs_put(uint8_t *to, const uint32_t *crcs, uint32_t count);
void wire_crcs_get(const uint8_t *from, uint32_t count, uint32_t *ret_crcs);
void wire_cuts_put(uint8_t *to, const uint64_t *cuts, uint32_t count);
/* 0, or -EPROTO: not of a sequence's width, or not in order. */
int wire_cuts_get(const uint8_t *from, uint32_t count, uint64_t *ret_cuts);

struct wire_version {
    uint64_t sequence;
    uint32_t crc;
    uint16_t kind, reserved;
};
void wire_versions_put(uint8_t *to, const struct wire_version *versions, uint32_t count);
/* 0, or -EPROTO: of no kind that a view shows, or more than a sequence has bits. */
int wire_versions_get(const uint8_t *from, uint32_t count, struct wire_version *ret_versions);

struct wire_state {
    uint64_t epoch, watermark, heard, flushed, settled;
    uint32_t generation, role_generation, aside;
    uint8_t role;
    bool restarted;
};
void wire_state_put(uint8_t to[WIRE_STATE_BYTES], const struct wire_state *state);
/* 0 or -EPROTO. */
int wire_state_get(const uint8_t from[WIRE_STATE_BYTES], struct wire_state *ret_state);

/* --- Messages: wire.proto ------------------------------------------------------------------- */

#define WIRE_UUID_BYTES 16u
#define WIRE_SENTENCE_BYTES 256u
#define WIRE_MESSAGE_BYTES_MAX 1024u /* Of a handshake. */

/* Who I am, whom I want. */
struct wire_hello {
    uint32_t version_first, version_last; /* That I speak. */
    uint64_t features;                    /* That I know. */
    uint8_t pool[WIRE_UUID_BYTES];        /* None: any, to look only (STATE, CHANGED, RECORDS); */
    uint64_t store;                       /* the first then that is there from this number on. */
    uint64_t engine; /* The session in the metadata: a new connection of it ends its old one. */
    uint32_t half;   /* My half of the session's number. */
};

struct wire_welcome {
    uint32_t version;
    uint64_t features; /* Of those that I know, yours. */
    uint8_t pool[WIRE_UUID_BYTES];
    uint64_t store;
    uint64_t session;     /* half << 32 | mine */
    uint64_t incarnation; /* Of the store. */
    uint8_t boot_id[WIRE_UUID_BYTES];
    uint32_t requests_max; /* In flight. */
    uint64_t bytes_max;    /* Of data in flight, of both directions together. */
    uint64_t room_blocks;
};

struct wire_refused {
    int32_t code;
    uint32_t version_first, version_last; /* That I speak. */
    char sentence[WIRE_SENTENCE_BYTES];
};

/* What a request says that is not in its header. Points into the memory it was decoded to. */
struct wire_control {
    uint32_t role;
    const uint32_t *runs; /* first, count, first, count ... */
    uint32_t run_count;
    const uint64_t *cuts;
    uint32_t cut_count;
    const char *key;   /* RECORD, RECORDS. Ends with a zero. NULL: none. */
    uint32_t data_crc; /* RECORD. */
};
#define WIRE_CONTROL_MEMORY_BYTES (48u << 10)

/* Encoding: how many bytes it took of `room`, which is WIRE_MESSAGE_BYTES_MAX or more. */
uint32_t wire_hello_put(uint8_t *to, const struct wire_hello *hello);
uint32_t wire_welcome_put(uint8_t *to, const struct wire_welcome *welcome);
uint32_t wire_refused_put(uint8_t *to, const struct wire_refused *refused);
/* `to` has WIRE_ASIDE_BYTES_MAX. 0: what is asked for does not fit into a frame. */
uint32_t wire_control_put(uint8_t *to, const struct wire_control *control);

/* Total: 0 or -EPROTO. What newer ones say beside is passed over. */
int wire_hello_get(const uint8_t *from, uint32_t bytes, struct wire_hello *ret_hello);
int wire_welcome_get(const uint8_t *from, uint32_t bytes, struct wire_welcome *ret_welcome);
int wire_refused_get(const uint8_t *from, uint32_t bytes, struct wire_refused *ret_refused);
/* Total, without the heap: `memory`, aligned to 8, holds what the answer points to; for the largest
 * it has WIRE_CONTROL_MEMORY_BYTES. 0 or -EPROTO; a field that is not known is refused: what it
 * asks for must not be half done. */
int wire_control_get(const uint8_t *from, uint32_t bytes, void *memory, uint32_t memory_bytes,
                     struct wire_control *ret_control);

#endif
