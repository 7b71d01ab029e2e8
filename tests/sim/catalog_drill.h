/* SPDX-License-Identifier: Apache-2.0 */
/*
 * catalog_drill: what a few names may legally be, and operations on them.
 *
 * One operation of the catalog and one write at a time per name. What had not ended when the power
 * went may have happened or not; everything else is known. After a crash each name is looked at,
 * compared, and what was found is what is known from then on.
 */
#ifndef SIM_CATALOG_DRILL_H
#define SIM_CATALOG_DRILL_H

#include "sim/catalog_rig.h"

#define DRILL_NAMES 4u
#define DRILL_BLOCKS 6u
#define DRILL_IDS_MAX 8192u
#define DRILL_SIZES 5u

enum drill_kind {
    DRILL_NONE,
    DRILL_CREATE,
    DRILL_DELETE,
    DRILL_RESIZE,
    DRILL_OPEN,
    DRILL_CLOSE,
    DRILL_WRITE, /* For scripts; it runs beside the others. */
};

struct drill;

struct drill_name {
    struct drill *drill;
    char name[8];
    /* Known. */
    bool exists;
    uint64_t id, bytes, epoch;
    uint64_t tags[DRILL_BLOCKS];
    uint64_t sequence_high; /* The first that was never used. */
    /* Under way. */
    enum drill_kind doing;
    uint64_t doing_bytes;
    struct catalog_handle *handle; /* For writing. */
    bool writing;
    unsigned write_block;
    uint64_t write_tag;
    struct volume_io io;
    uint8_t *data;
};

struct drill_counts {
    uint64_t cuts, kills, operations, writes, refused, verified, resumed, in_doubt, happened;
};

struct drill {
    struct catalog_rig rig;
    struct prng prng;
    struct drill_name names[DRILL_NAMES];
    uint64_t tag;
    uint64_t ids[DRILL_IDS_MAX]; /* Every number ever seen. */
    uint32_t id_count;
    bool power_went; /* Errors are legal: nothing of it happened, or it is in doubt. */
    struct drill_counts counts;
    struct meta_request request;
    void *seen; /* catalog_verify.c's. */
};

extern const uint64_t drill_offsets[DRILL_BLOCKS];
extern const uint64_t drill_sizes[DRILL_SIZES];

void drill_open(struct drill *drill, uint64_t seed);
void drill_close(struct drill *drill);

/* Starts one; the name must have none under way. bytes: of a creation or resize. */
void drill_start(struct drill_name *name, enum drill_kind kind, uint64_t bytes);
/* Writes one of the blocks that the volume has. The name is open and has no write under way. */
void drill_write(struct drill_name *name, unsigned block);
/* Asks about it, whatever is under way, and does not wait for the answer. */
void drill_peek(struct drill_name *name);
/* One turn; notes what was used. False: power went or something is wrong. */
bool drill_turn(struct drill *drill);
/* Until nothing is under way on any name. */
bool drill_wait(struct drill *drill);

/* Crash, open again, compare everything. A second cut may come: then again. */
bool drill_crash(struct drill *drill, bool power_cut);
/* What the metadata holds by itself is consistent. */
bool drill_check_metadata(struct drill *drill, bool settled);
/* The store holds nothing of volumes that do not exist. Settled. */
bool drill_check_store(struct drill *drill);
/* Ends well: closes everything, deletes everything, proves that all space came back. */
bool drill_end(struct drill *drill);

/* catalog_verify.c: after opening. */
bool drill_verify(struct drill *drill);
/* The number of a volume that was just created: new. */
void drill_note_id(struct drill_name *name, uint64_t id);

#endif
