/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys and values of the metadata, format 1.
 *
 * Keys are text; numbers in them are hexadecimal of a fixed width, so that their order is the order
 * of their bytes.
 *
 *   cluster
 *   counter/<name>                 the next number of a kind that was never given out
 *   store/<id, 16>
 *   session/<id, 16>               leased
 *   name/<volume's name>
 *   volume/<id, 16>
 *   group/<volume, 16>/<group, 4>
 *   map/<volume, 16>/<index, 4>    the groups of 16,384 segments
 *   snap/<volume, 16>/<cut, 12>
 *   snapgroup/<name of a group of snapshots>
 *   keeper                         leased: by whoever is the keeper
 *   wish/<volume, 16>/<group, 4>   what the keeper wants of a group
 *   progress/<volume, 16>/<group, 4>  leased: by whoever copies
 *
 * A value is a head of 8 bytes, little-endian, and a protobuf message (metadata.proto):
 *
 *    0  checksum  u32   CRC32C of bytes 4 .. end
 *    4  magic     u16   "IM"
 *    6  kind      u8    enum metadata_kind
 *    7  version   u8    of the oldest reader that understands it: 1
 *
 * Fields that a newer program added are kept when an older one changes a value (`unknown`; not
 * those within labels and members). One that an older program must not overlook raises the version
 * instead, and is refused with a sentence that names both; so is a value of an enumeration that is
 * not known.
 *
 * Decoding is total: a value, IOMESH_CORRUPT, IOMESH_FORMAT (newer), -ENOMEM. Encoding asserts.
 * What a decoder filled, and a caller set up with = {0}, holds memory until its _done().
 */
#ifndef FORMAT_METADATA_H
#define FORMAT_METADATA_H

#include "base/base.h"
#include "base/name.h"

#define METADATA_VERSION 1u
#define METADATA_HEAD_BYTES 8u
#define METADATA_KEY_BYTES_MAX 192u
#define METADATA_TEXT_BYTES_MAX 255u /* Nodes, addresses, failure domains, keys' names. */
#define METADATA_LABELS_MAX 64u
#define METADATA_MEMBERS_MAX 32u /* Copies of a group. */
#define METADATA_LEFT_MAX 64u    /* Stores that had one. */
#define METADATA_PARTS_MAX 64u   /* Snapshots of a group. */
#define METADATA_MAP_SEGMENTS 16384u
#define METADATA_WRAPPED_KEY_BYTES_MAX 256u

enum metadata_kind {
    METADATA_CLUSTER = 1,
    METADATA_COUNTER = 2,
    METADATA_STORE = 3,
    METADATA_SESSION = 4,
    METADATA_NAME = 5,
    METADATA_VOLUME = 6,
    METADATA_GROUP = 7,
    METADATA_MAP = 8,
    METADATA_SNAPSHOT = 9,
    METADATA_TOGETHER = 10,
    METADATA_READER = 11, /* Leased; its value is that of a session. */
    METADATA_KEEPER = 12,
    METADATA_WISH = 13,
    METADATA_PROGRESS = 14,
};

/* --- Keys --------------------------------------------------------------------------------- */

struct metadata_key {
    size_t length;
    uint8_t bytes[METADATA_KEY_BYTES_MAX];
};

struct metadata_key metadata_cluster_key(void);
/* `counter`: a name_check()ed word, "volume". */
struct metadata_key metadata_counter_key(const char *counter);
struct metadata_key metadata_store_key(uint64_t id);
struct metadata_key metadata_session_key(uint64_t id);
/* `name` has passed name_check(). */
struct metadata_key metadata_name_key(const void *name, size_t length);
struct metadata_key metadata_volume_key(uint64_t id);
struct metadata_key metadata_group_key(uint64_t volume, uint32_t group);
struct metadata_key metadata_map_key(uint64_t volume, uint32_t index);
struct metadata_key metadata_snapshot_key(uint64_t volume, uint64_t cut);
/* A session reads a snapshot: it is not deleted meanwhile. */
struct metadata_key metadata_reader_key(uint64_t volume, uint64_t cut, uint64_t session);
/* What the keys of all who read it begin with. */
struct metadata_key metadata_reader_prefix(uint64_t volume, uint64_t cut);
/* `name` has passed name_check(). */
struct metadata_key metadata_together_key(const void *name, size_t length);
struct metadata_key metadata_keeper_key(void);
struct metadata_key metadata_wish_key(uint64_t volume, uint32_t group);
struct metadata_key metadata_progress_key(uint64_t volume, uint32_t group);

/* What all keys of a kind begin with: "name/". For a list, a watch. */
struct metadata_key metadata_prefix(enum metadata_kind kind);
/* What a volume's groups, maps, snapshots, wishes begin with: "map/<volume>/". */
struct metadata_key metadata_volume_prefix(enum metadata_kind kind, uint64_t volume);

/* A key taken apart. */
struct metadata_key_parts {
    enum metadata_kind kind;
    uint64_t id;         /* Of the store, session or volume. */
    uint64_t index;      /* The group, the map's index, the cut. */
    uint64_t session;    /* Of METADATA_READER. */
    const uint8_t *name; /* Of METADATA_NAME, _COUNTER, _TOGETHER: within the key. */
    size_t name_length;
};
/* Total: 0, or IOMESH_FORMAT if it is no key of ours. */
int metadata_key_parse(const void *key, size_t length, struct metadata_key_parts *ret_parts);

/* --- Values ------------------------------------------------------------------------------- */

/* Bytes on the heap. Freed by metadata_bytes_done(), or with what they are in. */
struct metadata_bytes {
    size_t length;
    uint8_t *bytes;
};
void metadata_bytes_done(struct metadata_bytes *bytes);

/* The kind of a value without its contents. Total: 0, IOMESH_CORRUPT or IOMESH_FORMAT. */
int metadata_kind_of(const void *value, size_t length, enum metadata_kind *ret_kind);

/*
 * Each record has
 *   int metadata_X_encode(const struct metadata_X *, struct metadata_bytes *ret_value)
 *       0 or -ENOMEM; the bytes are the caller's
 *   int metadata_X_decode(const void *value, size_t length, struct metadata_X *ret_X)
 *       total; fills all of *ret_X
 *   void metadata_X_done(struct metadata_X *)
 *       frees what it holds, not itself
 */
#define METADATA_DECLARE(record)                                            \
    int metadata_##record##_encode(const struct metadata_##record *record,  \
                                   struct metadata_bytes *ret_value);       \
    int metadata_##record##_decode(const void *value, size_t length,        \
                                   struct metadata_##record *ret_##record); \
    void metadata_##record##_done(struct metadata_##record *record)

#define METADATA_TEXT_ROOM (METADATA_TEXT_BYTES_MAX + 1)

struct metadata_cluster {
    uint8_t uuid[16];
    uint32_t format; /* Of the pool as a whole. */
    uint64_t created_ns;
    /* What the keeper is held to; 0: as it is built. Percents: of what a store or the pool has. */
    uint64_t out_after_ms;         /* A store silent for so long is out. */
    uint32_t moves_per_store_max;  /* Copies into or out of one store at a time. */
    uint32_t moves_per_pool_max;   /* At a time. */
    uint64_t move_store_bytes_max; /* A second, into or out of one store. */
    uint64_t move_pool_bytes_max;  /* A second. */
    uint32_t balance_percent;      /* Fullness may differ by so much before anything is moved. */
    /* When coordinators give up a copy; 0: as it is built (replica_options). */
    uint64_t grace_ms;        /* Refused or reset for so long. */
    uint64_t copy_timeout_ms; /* Silent for so long. */
    uint64_t slow_ms;         /* Slower than siblings and than this: read last. */
    /* Bytes a second that go to copies which catch up, and are compared; 0: without a limit. */
    uint64_t resync_volume_bytes_max;
    uint64_t resync_engine_bytes_max; /* Of all volumes of one engine. */
    struct metadata_bytes unknown;
};
METADATA_DECLARE(cluster);

/* A number of a kind that was never given out; everything below it may have been. */
struct metadata_counter {
    uint64_t next;
    struct metadata_bytes unknown;
};
METADATA_DECLARE(counter);

enum metadata_media { METADATA_NVME, METADATA_SSD, METADATA_HDD };
enum metadata_store_state { METADATA_STORE_UP, METADATA_STORE_DRAINING, METADATA_STORE_OUT };

/* Why a store is in its state, or a member of a group not in sync: for people, and so that what
 * the keeper did by itself it may undo. One that is not known here is kept, and is no error. */
enum metadata_reason {
    METADATA_REASON_NONE,      /* It is as it should be, or is new. */
    METADATA_REASON_SILENT,    /* It did not answer within copy_timeout. */
    METADATA_REASON_REFUSED,   /* Its node refused or reset connections. */
    METADATA_REASON_FAILED,    /* A device of its failed. */
    METADATA_REASON_FULL,      /* A write found no space. */
    METADATA_REASON_RESTARTED, /* Its machine restarted: what was not flushed is lost. */
    METADATA_REASON_SLOW,
    METADATA_REASON_DAMAGED,  /* It says itself that it lost something; or an old image. */
    METADATA_REASON_OPERATOR, /* Somebody said so. */
    METADATA_REASON_MOVED,    /* Its copy is made elsewhere. */
};
#define METADATA_REASONS (METADATA_REASON_MOVED + 1)

struct metadata_store {
    uint64_t id;
    uint8_t uuid[16]; /* As in its superblock. */
    char node[METADATA_TEXT_ROOM];
    char address[METADATA_TEXT_ROOM];
    char zone[METADATA_TEXT_ROOM];
    char rack[METADATA_TEXT_ROOM];
    enum metadata_media media; /* Of its fast class. */
    uint64_t bytes;
    uint64_t bytes_used; /* As it last said. */
    enum metadata_store_state state;
    uint64_t incarnation;    /* Raised at each opening: an older one is an old image. */
    uint64_t bytes_promised; /* What it would hold if the volumes placed on it were full, as the
                                keeper last saw it, to a hundredth of the store. */
    uint64_t state_since_ns; /* Since 1970. */
    uint32_t state_reason;   /* enum metadata_reason, or a newer one. */
    uint32_t weight_percent; /* Of its capacity, for placement; 0: all of it. */
    char path[METADATA_TEXT_ROOM]; /* On its node, its first bytes; "": not known. */
    bool failed; /* A device failed under it, and it was not opened since: what it has beyond what
                  * was flushed is not to be trusted. Whoever says that it may be used again clears
                  * the reason, and leaves this to the opening. */
    bool drains; /* It was to be emptied when it was put out, and is when back. */
    /* How long it has been silent, as the keepers saw it, and when that was told; 0: it is not. */
    uint64_t silent_ms, silent_told_ns;
    struct metadata_bytes unknown;
};
METADATA_DECLARE(store);

struct metadata_session {
    uint64_t id;
    char node[METADATA_TEXT_ROOM];
    char address[METADATA_TEXT_ROOM];
    uint64_t started_ns;
    struct metadata_bytes unknown;
};
METADATA_DECLARE(session);

struct metadata_name {
    uint64_t volume;
    struct metadata_bytes unknown;
};
METADATA_DECLARE(name);

/* KEPT: deleted by its user and without a name; clones need snapshots of it. */
enum metadata_volume_state {
    METADATA_VOLUME_LIVE,
    METADATA_VOLUME_DELETING,
    METADATA_VOLUME_KEPT,
};
enum metadata_tier { METADATA_TIER_AUTO, METADATA_TIER_PIN_FAST, METADATA_TIER_CAPACITY };
enum metadata_compression { METADATA_COMPRESS_NONE, METADATA_COMPRESS_ZSTD };
enum metadata_cipher { METADATA_CIPHER_NONE, METADATA_CIPHER_AES_256_XTS };

/* What no two copies may share. Where there is more room, copies are farther apart than that. */
enum metadata_domain {
    METADATA_DOMAIN_NODE,
    METADATA_DOMAIN_STORE,
    METADATA_DOMAIN_RACK,
    METADATA_DOMAIN_ZONE,
};

struct metadata_policy {
    uint32_t copies;     /* Replicated: whole copies. 0 if erasure-coded. */
    uint32_t copies_min; /* Writes pause below it. */
    uint32_t ec_data;
    uint32_t ec_parity;
    enum metadata_tier tier;
    enum metadata_compression compression;
    enum metadata_domain domain;
    uint32_t media; /* 1 << enum metadata_media of each that its stores may be of; 0: any. */
};
#define METADATA_MEDIA_MASK ((1u << METADATA_NVME) | (1u << METADATA_SSD) | (1u << METADATA_HDD))

struct metadata_label {
    char key[64];
    char value[METADATA_TEXT_ROOM];
};

struct metadata_volume {
    uint64_t id;
    char name[NAME_BYTES_MAX + 1];
    uint64_t bytes;
    uint32_t sector_bytes; /* 512 or 4096. */
    enum metadata_volume_state state;
    uint64_t owner_session; /* 0: nobody. */
    uint64_t epoch;         /* 48 bits, as the next. */
    uint64_t sequence_end;  /* Of the last lot: no sequence at or above it was ever used. */
    uint64_t created_ns;    /* Since 1970. */
    struct metadata_policy policy;
    uint64_t parent_volume; /* 0: not a clone. */
    uint64_t parent_cut;
    enum metadata_cipher cipher;
    char key_name[METADATA_TEXT_ROOM];
    uint32_t wrapped_key_length;
    uint8_t wrapped_key[METADATA_WRAPPED_KEY_BYTES_MAX];
    uint64_t operations_max; /* Per second; 0: no limit. */
    uint64_t bytes_max;      /* Per second; 0: no limit. */
    uint64_t burst_ms;

    /* The head does not need the parent, nor does a snapshot whose cut is not below; 0: all do. */
    uint64_t flattened;
    /* A rollback that has not ended: to which cut (0: none), every block whose sequence is above it
     * and below rollback_from; then the volume has rollback_bytes. */
    uint64_t rollback_cut, rollback_from, rollback_bytes;
    bool unclean; /* Open for writing, or it was and was not closed: a cut may be in the store that
                     no snapshot has. */
    /* An import that has not ended: which snapshot it makes, out of which cut (0: a new volume),
     * and the size that the volume had (0: its size in that cut). */
    bool incomplete;
    uint8_t import_uuid[16];
    char import_name[NAME_BYTES_MAX + 1];
    uint64_t import_base, import_bytes;
    /* When this was the next sequence, the head showed what this cut shows; 0: never. */
    uint64_t equal_cut, equal_sequence;
    uint32_t snapshots; /* That are LIVE. */
    bool emptied;       /* KEPT: there is nothing left of the head. */
    bool owner_yields;  /* Its owner answers no I/O, it copies: who wants the volume takes it. */

    uint32_t label_count;
    struct metadata_label *labels; /* On the heap, from malloc(). */
    struct metadata_bytes unknown;
};
METADATA_DECLARE(volume);

enum metadata_member_state { METADATA_IN_SYNC, METADATA_STALE, METADATA_CATCHING_UP };

struct metadata_member {
    uint64_t store;
    enum metadata_member_state state;
    uint32_t reason;   /* Why it is not in sync: enum metadata_reason, or a newer one. */
    uint32_t fragment; /* Its place in the stripe; 0 if replicated. */
    uint64_t since_ns; /* Of its state, since 1970; 0: not known. */
    bool leaving;      /* It goes as soon as enough others are in sync. */
};

struct metadata_group {
    uint64_t volume;
    uint32_t id;
    uint32_t generation;
    uint32_t member_count;
    struct metadata_member members[METADATA_MEMBERS_MAX];
    /* Stores that were members and may have something of the volume yet, oldest first. */
    uint32_t left_count;
    uint64_t left[METADATA_LEFT_MAX];
    struct metadata_bytes unknown;
};
METADATA_DECLARE(group);

/* Segments index * 16,384 .. + segment_count - 1 of a volume. 32 KiB: not for the stack. */
struct metadata_map {
    uint64_t volume;
    uint32_t index;
    uint32_t segment_count;
    uint16_t groups[METADATA_MAP_SEGMENTS];
    struct metadata_bytes unknown;
};
METADATA_DECLARE(map);

/* HIDDEN: deleted by its user, kept because a clone needs it. DELETING: it may stand for all cuts
 * of the store from `first` on, of which no snapshot is left, or never was. */
enum metadata_snapshot_state {
    METADATA_SNAPSHOT_LIVE,
    METADATA_SNAPSHOT_HIDDEN,
    METADATA_SNAPSHOT_DELETING,
};

struct metadata_snapshot {
    uint64_t volume;
    uint64_t cut;
    char name[NAME_BYTES_MAX + 1];
    uint64_t created_ns;
    enum metadata_snapshot_state state;
    uint8_t uuid[16];
    uint64_t bytes;                 /* Of the volume at the cut. */
    char group[NAME_BYTES_MAX + 1]; /* "": of none. */
    uint32_t clones;                /* Volumes whose parent it is. */
    uint64_t first;                 /* 0: the cut alone. */
    struct metadata_bytes unknown;
};
METADATA_DECLARE(snapshot);

/* Snapshots that were taken at one instant, and go together. */
struct metadata_part {
    uint64_t volume;
    uint64_t cut;
};

struct metadata_together {
    char name[NAME_BYTES_MAX + 1];
    uint64_t created_ns;
    uint32_t part_count;
    struct metadata_part parts[METADATA_PARTS_MAX];
    struct metadata_bytes unknown;
};
METADATA_DECLARE(together);

/* Who is the keeper of the pool. */
struct metadata_keeper {
    uint64_t session;
    char node[METADATA_TEXT_ROOM];
    char address[METADATA_TEXT_ROOM];
    uint64_t since_ns; /* Since 1970. */
    struct metadata_bytes unknown;
};
METADATA_DECLARE(keeper);

/*
 * What the keeper wants of a group: whoever owns the volume does it, if it still makes sense to
 * whoever knows best; the owner that comes next sees it too. Only the keeper puts and deletes
 * wishes, and each may be done any number of times. ADD stays while the copy is on its way.
 */
enum metadata_wish_kind {
    METADATA_WISH_ADD,  /* A copy on `target`; the one on `source` (0: none) is leaving then. */
    METADATA_WISH_DROP, /* The copy on `source` goes, if as many as the policy wants stay. */
};

struct metadata_wish {
    uint64_t volume;
    uint32_t group;
    enum metadata_wish_kind kind;
    uint64_t target, source; /* Stores. */
    uint64_t bytes_second;   /* That copying may take; 0: no limit but the usual. */
    uint64_t session;        /* Of the keeper that wants it. */
    uint64_t since_ns;       /* Since 1970. */
    struct metadata_bytes unknown;
};
METADATA_DECLARE(wish);

/* How far the copies of a group are that catch up, as their coordinator said a while ago. */
struct metadata_progress {
    uint64_t volume;
    uint32_t group;
    uint64_t copied_bytes;
    uint64_t segments_done, segments_total; /* In all views. */
    uint64_t bytes_second;                  /* Lately. */
    uint64_t told_ns;                       /* Since 1970. */
    struct metadata_bytes unknown;
};
METADATA_DECLARE(progress);

#endif
