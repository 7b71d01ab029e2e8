/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control: what is said on a pool's control socket, as bytes and as words.
 *
 * Owns the frame (version, length), the messages and their limits; knows no socket. Pure.
 *
 * A frame is 12 bytes, little-endian, and a message of control.proto:
 *
 *    0  magic    u32   "IMCS"
 *    4  version  u16   1
 *    6  zero     u16
 *    8  length   u32   of the message, bytes
 *
 * Behind a message that says so follow the bytes of its payload, in no frame of their own.
 *
 * Promises: any bytes are an error or a value; nothing larger than the limits is allocated.
 */
#ifndef CONTROL_CONTROL_H
#define CONTROL_CONTROL_H

#include <iomesh/snapshot.h>
#include <iomesh/stat.h>
#include <iomesh/sys/control.h>

#include "base/base.h"

#define CONTROL_VERSION 1u
#define CONTROL_FRAME_BYTES 12u
/* A group of the longest names fits. */
#define CONTROL_REQUEST_BYTES_MAX (12u << 10)
#define CONTROL_RESPONSE_BYTES_MAX (256u << 10)
/* In one answer: so many of the longest names fit. */
#define CONTROL_LIST_MAX 500u
#define CONTROL_SNAPSHOTS_MAX 400u
#define CONTROL_GROUPS_MAX 20u
#define CONTROL_EXTENTS_MAX 4096u
#define CONTROL_PAYLOAD_BYTES_MAX IOMESH_CONTROL_IO_BYTES_MAX
/* "NAME@SNAP" */
#define CONTROL_NAME_BYTES_MAX (2 * IOMESH_NAME_BYTES_MAX + 1)
/* That an answer may hold before it is cut into several. */
#define CONTROL_ROWS_MAX (4 * IOMESH_SNAPSHOTS_MAX)

enum control_kind {
    CONTROL_STATUS = 1,
    CONTROL_DEVICE,
    CONTROL_SCRUB_START,
    CONTROL_SCRUB_STOP,
    CONTROL_VOLUME_CREATE,
    CONTROL_VOLUME_DELETE,
    CONTROL_VOLUME_RESIZE,
    CONTROL_VOLUME_LIST,
    CONTROL_VOLUME_SHOW,
    CONTROL_VOLUME_ATTACH,
    CONTROL_VOLUME_DETACH,
    CONTROL_SNAPSHOT_CREATE,
    CONTROL_SNAPSHOT_DELETE,
    CONTROL_SNAPSHOT_ROLLBACK,
    CONTROL_SNAPSHOT_LIST,
    CONTROL_SNAPSHOT_SHOW,
    CONTROL_GROUP_CREATE,
    CONTROL_GROUP_DELETE,
    CONTROL_GROUP_LIST,
    CONTROL_VOLUME_CLONE,
    CONTROL_VOLUME_FLATTEN,
    CONTROL_IMPORT_ABANDON,
    CONTROL_OPEN,
    CONTROL_IMPORT_BEGIN, /* Opens too. */
    CONTROL_IMPORT_END,   /* From here on: of a handle. */
    CONTROL_CLOSE,
    CONTROL_READ, /* From here on: several at once. */
    CONTROL_WRITE,
    CONTROL_FLUSH,
    CONTROL_DISCARD,
    CONTROL_ZEROES,
    CONTROL_BLOCK_STATUS,
    CONTROL_CHANGED,
    CONTROL_KIND_END,
};

static inline bool control_is_io(uint32_t kind)
{
    return kind >= CONTROL_READ && kind < CONTROL_KIND_END;
}

struct control_request {
    uint64_t id;
    uint32_t kind; /* enum control_kind, or what a newer program knows. */
    uint32_t sector_bytes;
    uint64_t bytes;
    uint32_t flags;
    uint32_t limit;
    uint32_t index;
    uint32_t handle;
    uint64_t offset, length, since;
    uint32_t payload; /* Bytes. */
    bool has_uuid, has_base;
    uint8_t uuid[IOMESH_UUID_BYTES], base[IOMESH_UUID_BYTES];
    char name[CONTROL_NAME_BYTES_MAX + 1];
    char target[IOMESH_NAME_BYTES_MAX + 1];
    const char *const *names; /* Owned if it was decoded, in one piece. */
    uint32_t name_count;
};

struct control_response {
    uint64_t id;
    int result;
    uint32_t process;
    char sentence[512];
    bool has_status, has_device;
    struct iomesh_pool_status status;
    struct iomesh_device_status device; /* Its path is device_path. */
    char *device_path;                  /* Owned; NULL: none. */
    struct iomesh_volume_info *volumes; /* Owned, as the other rows. */
    uint32_t volume_count, volume_max;
    struct iomesh_snapshot_info *snapshots;
    uint32_t snapshot_count, snapshot_max;
    struct iomesh_group_info *groups; /* The names of each are one piece, owned. */
    uint32_t group_count, group_max;
    struct iomesh_extent *extents;
    uint32_t extent_count;
    bool more;
    uint64_t progress_done, progress_total;
    uint32_t handle;
    bool read_only;
    uint32_t payload; /* Bytes. */
};

struct control_bytes {
    uint8_t *bytes; /* malloc(). */
    size_t length;
};

/*
 * The length of the message behind a frame's head, at most `length_max`. 0, or
 * -EPROTO (no frame), IOMESH_FORMAT (another version), -EMSGSIZE, with a sentence.
 */
int control_frame_decode(const uint8_t head[CONTROL_FRAME_BYTES], uint32_t length_max,
                         uint32_t *ret_length);

/* With their frame. 0 or -ENOMEM.*/
int control_request_encode(const struct control_request *request, struct control_bytes *ret_bytes);
int control_response_encode(const struct control_response *response,
                            struct control_bytes *ret_bytes);

/*
 * Without their frame. 0, or -EPROTO, -ENOMEM with a sentence; of a request also -EINVAL (a name
 * too long, too many names) and -ENOTSUP (it asks for more than is known here), with
 * ret_request->id and payload set if they could be read. A request that was decoded with 0 is
 * given to control_request_done().
 */
int control_request_decode(const uint8_t *bytes, size_t length,
                           struct control_request *ret_request);
int control_response_decode(const uint8_t *bytes, size_t length,
                            struct control_response *ret_response);

/* Frees the names of one that was decoded. */
void control_request_done(struct control_request *request);

/* One more volume in an answer. 0, or -ENOMEM, -EMSGSIZE (CONTROL_LIST_MAX are there). */
int control_response_add(struct control_response *response, const struct iomesh_volume_info *info);
/* One more of these, in as many answers as it takes. 0, -ENOMEM, or -EMSGSIZE: CONTROL_ROWS_MAX. */
int control_response_add_snapshot(struct control_response *response,
                                  const struct iomesh_snapshot_info *info);
int control_response_add_group(struct control_response *response,
                               const struct iomesh_group_info *info);
/* Frees what it owns and leaves it empty. */
void control_response_done(struct control_response *response);

#endif
