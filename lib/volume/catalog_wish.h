/* SPDX-License-Identifier: Apache-2.0 */
/* What the keeper wants of groups: a mirror of wish/, for catalog_wish.c. */
#ifndef VOLUME_CATALOG_WISH_H
#define VOLUME_CATALOG_WISH_H

#include "format/metadata.h"
#include "host/clock.h"
#include "meta/meta.h"

#define CATALOG_WISHES_MAX 65536u /* That are known of; the keeper wants fewer at a time. */

struct catalog_wish {
    uint64_t volume, target, source, bytes_second;
    uint32_t group;
    enum metadata_wish_kind kind;
    uint64_t revision;
    bool listed; /* By the list that is under way. */
};

struct catalog_wishes {
    struct catalog_wish *items; /* In order of volumes and groups. */
    uint32_t count, capacity;
    bool watching;
    uint64_t from;
    struct metadata_key after;
    struct meta_request request;
    struct meta_watch watch;
    struct timer timer;
};

#endif
