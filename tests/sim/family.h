/* SPDX-License-Identifier: Apache-2.0 */
/*
 * family: what volumes, snapshots, groups and clones may legally be, and operations on them.
 *
 * One operation of the catalog at a time, beside it a flattening, and one writer, which begins a
 * write when the one before it has ended: so what a snapshot, or all of a group, shows is what the
 * first so many of those writes left. After a crash all there is is read and compared with what was
 * before the operation that had not ended, and with what it leaves.
 */
#ifndef SIM_FAMILY_H
#define SIM_FAMILY_H

#include "sim/catalog_rig.h"

#define FAMILY_VOLUMES 4u
#define FAMILY_GROUPS 2u
#define FAMILY_SINGLES 3u
#define FAMILY_SNAPS (FAMILY_SINGLES + FAMILY_GROUPS) /* The last ones are those of groups. */
#define FAMILY_BLOCKS 5u
#define FAMILY_WRITES 256u
#define FAMILY_NONE UINT32_MAX

struct family_snap {
    bool exists;
    uint64_t bytes;
    uint64_t tags[FAMILY_BLOCKS];
};

struct family_volume {
    bool exists;
    bool incomplete; /* An import into it has not ended. */
    uint64_t bytes;
    uint64_t tags[FAMILY_BLOCKS];
    struct family_snap snaps[FAMILY_SNAPS];
};

struct family_state {
    struct family_volume volumes[FAMILY_VOLUMES];
};

enum family_kind {
    FAMILY_NOTHING,
    FAMILY_CREATE,
    FAMILY_DELETE,
    FAMILY_RESIZE,
    FAMILY_OPEN,
    FAMILY_CLOSE,
    FAMILY_SNAP,
    FAMILY_DROP,
    FAMILY_GROUP,
    FAMILY_UNGROUP,
    FAMILY_CLONE,
    FAMILY_ROLLBACK,
    FAMILY_IMPORT,   /* Makes a volume, which is open then, and incomplete. */
    FAMILY_IMPORTED, /* It is complete, with the snapshot. */
    FAMILY_ABANDON,
};

struct family_op {
    enum family_kind kind;
    uint32_t volume, target; /* target: of a clone. */
    uint32_t snap;           /* FAMILY_NONE: a clone of the volume as it is. */
    uint32_t group, mask;
    uint64_t bytes;
    bool force;
    bool done;  /* It ended well; which writes it covers is not known yet. */
    bool doubt; /* It ended without space: some of it may have happened. */
};

struct family_write {
    uint32_t volume, block;
    uint64_t tag;
};

struct family_counts {
    uint64_t operations, refused, writes, cuts, kills, verified, full;
    uint64_t imports, imported, abandoned, half_begun;
};

struct family {
    struct catalog_rig rig;
    struct prng prng;
    struct family_state state; /* Known, but for the operation and the write under way. */
    struct family_op op;
    /* Those that were under way while the operation was, in order. */
    struct family_write writes[FAMILY_WRITES];
    uint32_t write_count;
    uint64_t heads[FAMILY_VOLUMES][FAMILY_BLOCKS]; /* When it began. */
    struct catalog_handle *handles[FAMILY_VOLUMES];
    bool importing[FAMILY_VOLUMES];   /* The handle is an import's... */
    uint32_t imports[FAMILY_VOLUMES]; /* ...which makes this snapshot. */
    bool writing;
    struct family_write write;
    uint64_t tag;
    uint32_t flattening;   /* A volume, or FAMILY_NONE. */
    bool flattened_beside; /* One was under way beside the operation. */
    bool power_went;
    bool full; /* The metadata had no space in this round. */
    struct volume_io io, look_io;
    uint8_t *data, *look_data;
    struct catalog_handle *opened;
    struct family_counts counts;
    /* Of looking. */
    struct family_state seen;
    struct family_volume *seen_volume;
};

extern const uint64_t family_offsets[FAMILY_BLOCKS];
extern const char *const family_volume_names[FAMILY_VOLUMES];
extern const char *const family_snap_names[FAMILY_SNAPS];

/* --- family.c ------------------------------------------------------------------------------- */

void family_open(struct family *family, uint64_t seed);
void family_close(struct family *family);
/* None is under way. */
void family_start(struct family *family, const struct family_op *op);
void family_flatten(struct family *family, uint32_t volume);
/* Writes a block of some volume that is open, if none is being written. */
void family_write_some(struct family *family);
/* One turn, and a write now and then. False: power went or something is wrong. */
bool family_turn(struct family *family);
/* Until the operation and the write have ended, and what it covered is known. */
bool family_wait(struct family *family);
/* The pool goes, and comes again; everything is compared. */
bool family_crash(struct family *family, bool power_cut);
bool family_wrong(struct family *family, const char *what, int result);
/* What this operation leaves of a state, if it covers so many of the writes. */
void family_apply(const struct family *family, const struct family_op *op, uint32_t writes,
                  struct family_state *state);

/* --- family_look.c -------------------------------------------------------------------------- */

/* All there is against what may be there; it is known from then on. */
bool family_verify(struct family *family);
/* The store has no view of any volume. */
bool family_viewless(struct family *family);
/* The records: none of any volume, snapshot or group. */
bool family_empty(struct family *family);

#endif
