/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A test build, iomesh-nbd-planted, can make one feature do nothing: the one that the environment
 * variable IOMESH_NBD_PLANTED names. It proves that the feature's test would notice. In every
 * other build PLANTED() is constant and false.
 */
#ifndef NBD_PLANT_H
#define NBD_PLANT_H

#include <stdbool.h>

#ifdef NBD_PLANTED
#include <stdlib.h>
#include <string.h>

static inline bool nbd_planted(const char *what)
{
    const char *planted = getenv("IOMESH_NBD_PLANTED");
    return planted != NULL && strcmp(planted, what) == 0;
}
#define PLANTED(what) nbd_planted(what)
#else
#define PLANTED(what) false
#endif

#endif
