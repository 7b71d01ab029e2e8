/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One NBD connection as the server sees it: bytes in, events out, replies encoded.
 *
 * Owns: the negotiated state of a connection and a small buffer of option replies.
 * Does not own: sockets, TLS, volumes, time. It never allocates, and whatever bytes arrive it
 * answers with an event; a broken peer gets NBD_EVENT_BROKEN and a sentence.
 *
 *               client flags            GO, EXPORT_NAME found
 *   FLAGS ────────────────────▶ OPTIONS ─────────────────────▶ REQUESTS
 *                               │  ▲ ▲                             │
 *          LIST, an export name ▼  │ └── STARTTLS: nbd_secured()   │ DISC
 *                               ASKING                             ▼
 *                                  any state: garbage, ABORT ──▶ CLOSED
 *
 * The caller feeds what it has received to nbd_step() and does what the event says. It calls
 * again only when it has sent everything in `out`, and when the event asked a question, only
 * after the answer.
 */
#ifndef NBD_PROTO_H
#define NBD_PROTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nbd/wire.h"

enum {
    NBD_GREETING_BYTES = 18,
    /* Longer option data is skipped and refused; beyond the second, the client is cut off. */
    NBD_OPTION_BYTES_MAX = 16384,
    NBD_OPTION_SKIP_BYTES_MAX = 1 << 20,
    /* An input buffer of this size can hold whatever a step needs to see at once. */
    NBD_INPUT_BYTES_MIN = 16 + NBD_OPTION_BYTES_MAX,
    NBD_OUT_BYTES_MAX = 4096,
    /* Options one client may send before it must choose an export. */
    NBD_OPTIONS_MAX = 1024,
    /* VOLUME@SNAPSHOT, 128 bytes each; longer names belong to no export. */
    NBD_NAME_BYTES_MAX = 257,
    /* The specification's limit for strings. */
    NBD_STRING_BYTES_MAX = 4096,
    /* The largest payload that must not be taken for an attack, and our largest. */
    NBD_PAYLOAD_BYTES_MAX = 32 << 20,
    NBD_REPLY_BYTES_MAX = 192, /* Room for any one reply without its data. */
    NBD_SNAPSHOT_BYTES_MAX = 128,
    /* Snapshots that one client may compare with at once. */
    NBD_SINCE_MAX = 15,
    NBD_CONTEXTS_MAX = 1 + NBD_SINCE_MAX,
    NBD_CONTEXT_ALLOCATION = 1, /* The id of base:allocation; see struct nbd_contexts. */
};

enum nbd_mode { NBD_SIMPLE, NBD_STRUCTURED, NBD_EXTENDED };
enum nbd_state {
    NBD_STATE_FLAGS,
    NBD_STATE_OPTIONS,
    NBD_STATE_ASKING,
    NBD_STATE_REQUESTS,
    NBD_STATE_CLOSED
};

/* What a client is told about an export; the caller fills it in. */
struct nbd_export {
    uint64_t size_bytes;
    uint32_t block_bytes_min; /* 512 or 4096: requests must be multiples of it. */
    uint32_t block_bytes_preferred;
    uint32_t payload_bytes_max; /* Largest READ or WRITE, at most NBD_PAYLOAD_BYTES_MAX. */
    bool read_only;
    bool rotational;
};

/*
 * Metadata contexts of one export. Bit 0 is base:allocation, bit n is iomesh:changed-since: and
 * snapshots[n - 1]; the id of a context is the number of its bit plus 1.
 */
struct nbd_contexts {
    uint32_t bits; /* Granted. */
    uint32_t snapshot_count;
    uint64_t cuts[NBD_SINCE_MAX]; /* The snapshots' moments, as the caller told them. */
    char snapshots[NBD_SINCE_MAX][NBD_SNAPSHOT_BYTES_MAX + 1];
};

struct nbd_request {
    uint16_t type;      /* NBD_CMD_… */
    uint16_t flags;     /* Only ones that are allowed with this type. */
    uint32_t error;     /* 0, or the NBD error to answer with instead of doing it. */
    const char *reason; /* With an error: why, in words. Static text. */
    uint64_t cookie;
    uint64_t offset; /* Bytes; inside the export unless `error` is set. */
    uint64_t length; /* Bytes of the export that the request is about. */
    /* Bytes of a WRITE that follow in the stream; the caller takes them before the next step. */
    uint32_t payload_bytes;
    uint32_t contexts; /* Of a BLOCK_STATUS: bits of struct nbd_contexts; each gets a chunk. */
};

enum nbd_event_kind {
    NBD_EVENT_MORE,   /* Not enough bytes: `needed` in one piece, counted after `used`. */
    NBD_EVENT_SEND,   /* An answer is in `out`. */
    NBD_EVENT_TLS,    /* Send `out`, start TLS, then nbd_secured(). */
    NBD_EVENT_LIST,   /* Name the exports: nbd_list_add() for each, then nbd_list_end(). */
    NBD_EVENT_EXPORT, /* Look up session->name: nbd_export_found() or nbd_export_refused(). */
    /* Name the snapshots that session->name can be compared with: nbd_context_add() for each, then
     * nbd_context_end(); or nbd_export_refused(). */
    NBD_EVENT_CONTEXTS,
    NBD_EVENT_REQUEST, /* `request` wants a reply. */
    NBD_EVENT_END,     /* The client says goodbye: send `out`, finish what is in flight, close. */
    NBD_EVENT_BROKEN,  /* Close; `reason` says why. */
};

struct nbd_event {
    enum nbd_event_kind kind;
    size_t used; /* Bytes of the input that are done with, whatever the kind. */
    size_t needed;
    const char *reason;
    bool opening; /* NBD_EVENT_EXPORT: success starts transmission; else only facts are wanted. */
    struct nbd_request request;
};

struct nbd_session {
    enum nbd_state state;
    enum nbd_mode mode;
    bool tls_required; /* No option but STARTTLS and ABORT before TLS. */
    bool tls_offered;
    bool secured;
    bool closing; /* The server is going away: options and requests get a SHUTDOWN error. */
    bool fixed;
    bool no_zeroes;
    uint32_t contexts_active; /* Bits of `contexts`, once in transmission. */
    uint32_t options_count;
    uint64_t skip_bytes; /* Input to throw away before anything else. */

    /* The question that is open in NBD_STATE_ASKING. */
    uint32_t asking_option;
    bool asking_every; /* Snapshot: a query of LIST_META_CONTEXT stands for all of them. */
    bool info_name_wanted;
    uint16_t name_bytes;
    char name[NBD_NAME_BYTES_MAX + 1];
    struct nbd_contexts asking;   /* What the queries of a meta context option named. */
    struct nbd_contexts contexts; /* What was set, for the export context_name. */
    char context_name[NBD_NAME_BYTES_MAX + 1];

    struct nbd_export export; /* Valid in NBD_STATE_REQUESTS. */
    uint16_t out_bytes;
    uint8_t out[NBD_OUT_BYTES_MAX];
};

/* A new connection: puts the greeting into `out`. */
void nbd_session_init(struct nbd_session *session, bool tls_offered, bool tls_required);

/* Look at the next bytes. `from` may be NULL when length is 0. */
void nbd_step(struct nbd_session *session, const uint8_t *from, size_t length,
              struct nbd_event *ret_event);

/* Everything in `out` was sent. */
void nbd_out_taken(struct nbd_session *session);

/* TLS is up: what was negotiated in the clear is forgotten. */
void nbd_secured(struct nbd_session *session);

/* Answers to NBD_EVENT_EXPORT. `reply` is an NBD_REP_ERR_…; `sentence` goes to the client.
 * Both return false where only closing is left (EXPORT_NAME cannot be refused in words). */
bool nbd_export_found(struct nbd_session *session, const struct nbd_export *export);
bool nbd_export_refused(struct nbd_session *session, uint32_t reply, const char *sentence);

/* Answers to NBD_EVENT_LIST. False: `out` is full, send it and add the same name again. */
bool nbd_list_add(struct nbd_session *session, const char *name);
bool nbd_list_end(struct nbd_session *session);

/* Answers to NBD_EVENT_CONTEXTS; those that were not asked for are passed over. False: `out` is
 * full, send it and say the same again. */
bool nbd_context_add(struct nbd_session *session, const char *snapshot, uint64_t cut);
bool nbd_context_end(struct nbd_session *session);

/* What was or would be advertised for this export. */
uint16_t nbd_transmission_flags(const struct nbd_session *session, const struct nbd_export *export,
                                bool context);
/* The bits of the contexts that were set for this name. */
uint32_t nbd_contexts_of(const struct nbd_session *session, const char *name);

/* errno (negative, or an IOMESH_… code's errno) to the protocol's few. */
uint32_t nbd_error_from(int error);

/*
 * Reply encoders: write at `to`, return the bytes written, at most NBD_REPLY_BYTES_MAX.
 * `last` marks the final chunk of the reply.
 */
size_t nbd_put_done(enum nbd_mode mode, uint8_t *to, const struct nbd_request *request);
size_t nbd_put_error(enum nbd_mode mode, uint8_t *to, const struct nbd_request *request,
                     uint32_t error, const char *sentence);
/* The head before `length` bytes of data read from `offset`; in simple mode all of the request. */
size_t nbd_put_data(enum nbd_mode mode, uint8_t *to, const struct nbd_request *request,
                    uint64_t offset, uint32_t length, bool last);
/* `length` bytes of zeros from `offset`; not in simple mode. */
size_t nbd_put_hole(enum nbd_mode mode, uint8_t *to, const struct nbd_request *request,
                    uint64_t offset, uint32_t length, bool last);
/* The head before `count` extents of nbd_extent_bytes(mode) each, of the context with this id; not
 * in simple mode. */
size_t nbd_put_status(enum nbd_mode mode, uint8_t *to, const struct nbd_request *request,
                      uint32_t context, uint32_t count, bool last);
size_t nbd_extent_bytes(enum nbd_mode mode);
size_t nbd_put_extent(enum nbd_mode mode, uint8_t *to, uint64_t length, uint32_t flags);

/* Between this room's own files. */
void nbd_option(struct nbd_session *session, uint32_t option, const uint8_t *data, uint32_t length,
                struct nbd_event *event);
void nbd_option_oversize(struct nbd_session *session, uint32_t option, uint32_t length,
                         struct nbd_event *event);
void nbd_option_contexts(struct nbd_session *session, uint32_t option, const uint8_t *data,
                         uint32_t length, struct nbd_event *event);
/* Puts an answer into `out`; whether it has room is nbd_answer_fits(). */
void nbd_answer(struct nbd_session *session, uint32_t option, uint32_t type, const void *data,
                size_t length);
bool nbd_answer_fits(const struct nbd_session *session, size_t length);
void nbd_refuse(struct nbd_session *session, uint32_t option, uint32_t type, const char *sentence,
                struct nbd_event *event);
/* Keeps the name for the caller's lookup; false if no export can be called that. */
bool nbd_ask(struct nbd_session *session, uint32_t option, const uint8_t *name, size_t length,
             struct nbd_event *event);
void nbd_request_step(struct nbd_session *session, const uint8_t *from, size_t length,
                      struct nbd_event *event);
void nbd_broken(struct nbd_session *session, struct nbd_event *event, const char *reason);

#endif
