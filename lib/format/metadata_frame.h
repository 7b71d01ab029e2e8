/* SPDX-License-Identifier: Apache-2.0 */
/* What the files that encode metadata share: the head of a value, and the fields of a newer one. */
#ifndef FORMAT_METADATA_FRAME_H
#define FORMAT_METADATA_FRAME_H

#include <protobuf-c/protobuf-c.h>

#include "format/metadata.h"

/* Packs a message behind a head, and appends the fields that were not known. 0 or -ENOMEM. */
int metadata_frame_pack(enum metadata_kind kind, const ProtobufCMessage *message,
                        const struct metadata_bytes *unknown, struct metadata_bytes *ret_value);

/* Checks the head and unpacks. *ret_message is freed by the caller, also after -ENOMEM later. */
int metadata_frame_unpack(enum metadata_kind kind, const ProtobufCMessageDescriptor *descriptor,
                          const void *value, size_t length, ProtobufCMessage **ret_message);

/* The fields that were not known, as bytes. 0, IOMESH_CORRUPT or -ENOMEM. */
int metadata_frame_unknown(const ProtobufCMessage *message, struct metadata_bytes *ret_unknown);

/* The sentence for what a newer program wrote without raising the version. */
#define METADATA_UNKNOWN                                                                           \
    "the metadata has %s that is not known to this program, of version %u of the metadata: use a " \
    "newer one"

/* Copies a text of at most `size` - 1 bytes. False if it is longer. */
bool metadata_text_take(const char *from, char *to, size_t size);
/* As above, for a name: one that name_check() refuses is damage. */
bool metadata_name_take(const char *from, char to[NAME_BYTES_MAX + 1]);

/* A string of ours, for a message that only reads it. */
static inline char *metadata_text_lend(const char *text)
{
    union {
        const char *ours;
        char *theirs;
    } lent = {.ours = text};
    return lent.theirs;
}

#endif
