/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the keeper asks of the catalog of a cluster.
 *
 * A volume that is kept is owned, and yields: no I/O of it is answered, its copies are brought up
 * to date and what is wished of its groups is done. Whoever wants it, here or elsewhere, takes it
 * as if nobody had it; the handle has ended then, and is yet to be closed.
 */
#ifndef VOLUME_CATALOG_KEEP_H
#define VOLUME_CATALOG_KEEP_H

#include "volume/catalog.h"

/* Until when catalog_session() surely lives; 0: it does not. */
uint64_t catalog_session_until_ns(const struct catalog *catalog);
/* As its record says; "": not known. Until the catalog is closed. */
void catalog_session_who(const struct catalog *catalog, const char **ret_node,
                         const char **ret_address);
/* Its port is up here. */
bool catalog_store_up(const struct catalog *catalog, uint64_t store);

/* By number; one that was deleted and is kept for clones, too. `opened`: -ENOENT (there is none, or
 * it is being deleted), -EBUSY (somebody has it open),
 * IOMESH_FENCED (somebody wanted it meanwhile). */
int catalog_keep(struct catalog *catalog, uint64_t volume, catalog_opened_fn *opened,
                 void *context);
/* Its opening, or that of all (0), need not be waited for: IOMESH_FENCED. */
void catalog_keep_stop(struct catalog *catalog, uint64_t volume);
/* 0, or why it is not this handle's any more. */
int catalog_handle_ended(const struct catalog_handle *handle);

/* A volume that is deleted: what is left of it goes. Does nothing if that is under way. */
void catalog_delete_go_on(struct catalog *catalog, uint64_t volume);

#endif
