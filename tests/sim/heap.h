/* SPDX-License-Identifier: Apache-2.0 */
/*
 * heap: memory of a storm whose processes die by being forgotten. Linked into a storm it is that
 * program's malloc; what a seed took since heap_mark, leaked or not, is taken back by heap_reset,
 * and the next seed finds the same pages, which the kernel need not clear and map again.
 *
 * One thread. Not under sanitizers, which bring a heap of their own: there both do nothing.
 */
#ifndef SIM_HEAP_H
#define SIM_HEAP_H

#include <stdbool.h>

void heap_mark(void);
void heap_reset(void);
/* From now on memory that is given out or freed is filled with what nobody put there. */
void heap_perturb(bool on);

#endif
