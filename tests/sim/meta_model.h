/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What metadata should be, told a second time and simply: a few keys, and random transactions
 * that are done here after they were done there.
 */
#ifndef SIM_META_MODEL_H
#define SIM_META_MODEL_H

#include "meta/meta.h"

#define MODEL_KEYS 12u /* "a/0" .. "a/5", "b/0" .. "b/5" */
#define MODEL_VALUE_BYTES_MAX 9000u
#define MODEL_COMPARES_MAX 2u
#define MODEL_OPS_MAX 3u

struct model_cell {
    uint64_t tag; /* What the value is made from; 0: the key is absent. */
    size_t length;
    uint64_t created;
    uint64_t modified;
    uint64_t lease;
};

struct model {
    uint64_t revision;
    struct model_cell cells[MODEL_KEYS];
};

struct model_op {
    enum meta_op_kind kind;
    unsigned key; /* META_DELETE_PREFIX, META_LIST: 0 is "a/", 1 is "b/". */
    struct model_cell put;
};

enum model_compare_kind { MODEL_ABSENT, MODEL_PRESENT, MODEL_MODIFIED, MODEL_CREATED, MODEL_VALUE };

struct model_compare {
    enum model_compare_kind kind;
    unsigned key;
    struct model_cell with; /* tag and length for MODEL_VALUE, else `modified` or `created`. */
};

struct model_transaction {
    unsigned compare_count;
    struct model_compare compares[MODEL_COMPARES_MAX];
    unsigned op_count[2];
    struct model_op ops[2][MODEL_OPS_MAX];
};

void model_init(struct model *model);
/* Draws one, with compares that hold about as often as not in `model`. Tags come from *tag. */
void model_draw(const struct model *model, struct prng *prng, uint64_t lease, uint64_t *tag,
                struct model_transaction *ret_transaction);
void model_build(const struct model_transaction *transaction, struct meta_request *request);
/* Does it, and looks at what was answered. NULL, or a sentence on what differs. */
const char *model_apply(struct model *model, const struct model_transaction *transaction,
                        const struct meta_request *request);
/* Deletes what is attached to a lease; 0: to any. */
void model_end_lease(struct model *model, uint64_t lease);
bool model_equal(const struct model *a, const struct model *b);

/* What an entry is as a cell; false if its value was not made here. Sets *ret_key. */
bool model_read(const struct meta_entry *entry, unsigned *ret_key, struct model_cell *ret_cell);

#endif
