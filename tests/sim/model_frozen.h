/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_frozen: what one snapshot of a volume must show for ever, and what it takes.
 *
 * Frozen while every change has ended: a block is what the newest change made it. Where changes
 * failed it is in doubt, one of a few: the first whole read says which, and then it stays that.
 */
#ifndef SIM_MODEL_FROZEN_H
#define SIM_MODEL_FROZEN_H

#include "sim/store_model.h"

struct model_frozen {
    struct model_shown shown[MODEL_BLOCKS];
    struct model_block *doubts[MODEL_BLOCKS]; /* NULL: none. */
};

/* Aborts without memory. */
struct model_frozen *frozen_take(const struct model *model);
void frozen_free(struct model_frozen *frozen);
bool frozen_in_doubt(const struct model_frozen *frozen);

/* What was read of sectors [first, first + count) of a block: NULL, or what is wrong with it. */
const char *frozen_check(struct model_frozen *frozen, uint32_t index, uint32_t first,
                         uint32_t count, const uint8_t *data);
/* A new volume's first contents: its holes show the snapshot. */
void frozen_clone(const struct model_frozen *frozen, struct model *model);
/* What a rollback changes in the head. Answers whether that is a change, and makes it a version.
 * False: none is needed. */
bool frozen_roll_back(const struct model_frozen *frozen, struct model *model, uint32_t index,
                      uint32_t *ret_version);
/* Holes of the head that the parents fill become the volume's own, now or soon. */
void frozen_flatten(struct model *model, bool ended);

/* How many blocks each of `views`, oldest first, shows alone and with others; the head is `model`.
 * Slack: how many of them are not known for sure. */
struct model_space {
    uint64_t unique, shared, slack;
};
void frozen_space(struct model_frozen *const *views, uint32_t count, const struct model *model,
                  struct model_space *ret_spaces);

/* Whether a block differs between `since` (NULL: nothing at all) and `view` (NULL: the head). */
enum frozen_change { FROZEN_SAME, FROZEN_CHANGED, FROZEN_EITHER };
enum frozen_change frozen_changed(const struct model_frozen *since, const struct model_frozen *view,
                                  const struct model *model, uint32_t index);

#endif
