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
 * Promises: any bytes are an error or a value; nothing larger than the limits is allocated.
 */
#ifndef CONTROL_CONTROL_H
#define CONTROL_CONTROL_H

#include <iomesh/stat.h>

#include "base/base.h"

#define CONTROL_VERSION 1u
#define CONTROL_FRAME_BYTES 12u
#define CONTROL_REQUEST_BYTES_MAX 4096u
#define CONTROL_RESPONSE_BYTES_MAX (256u << 10)
/* Volumes in one answer: so many of the longest names fit. */
#define CONTROL_LIST_MAX 500u

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
};

struct control_request {
    uint64_t id;
    uint32_t kind; /* enum control_kind, or what a newer program knows. */
    uint32_t sector_bytes;
    uint64_t bytes;
    uint32_t flags;
    uint32_t limit;
    uint32_t index;
    char name[IOMESH_NAME_BYTES_MAX + 1];
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
    struct iomesh_volume_info *volumes; /* Owned. */
    uint32_t volume_count, volume_max;
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
 * too long) and -ENOTSUP (it asks for more than is known here), with ret_request->id set if it
 * could be read, for the answer.
 */
int control_request_decode(const uint8_t *bytes, size_t length,
                           struct control_request *ret_request);
int control_response_decode(const uint8_t *bytes, size_t length,
                            struct control_response *ret_response);

/* One more volume in an answer. 0, or -ENOMEM, -EMSGSIZE (CONTROL_LIST_MAX are there). */
int control_response_add(struct control_response *response, const struct iomesh_volume_info *info);
/* Frees what it owns and leaves it empty. */
void control_response_done(struct control_response *response);

#endif
