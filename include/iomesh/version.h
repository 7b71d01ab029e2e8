/* SPDX-License-Identifier: Apache-2.0 */
/* The version, and the mark of a function that the library promises. */
#ifndef IOMESH_VERSION_H
#define IOMESH_VERSION_H

#include <stdint.h>

#define IOMESH_VERSION_MAJOR 0
#define IOMESH_VERSION_MINOR 3
#define IOMESH_VERSION_PATCH 0

/* True when the headers are of this version or a later one. */
#define IOMESH_VERSION_AT_LEAST(major, minor) \
    (IOMESH_VERSION_MAJOR > (major) ||        \
     (IOMESH_VERSION_MAJOR == (major) && IOMESH_VERSION_MINOR >= (minor)))

#ifdef __cplusplus
#define IOMESH_API extern "C" __attribute__((visibility("default")))
#else
#define IOMESH_API __attribute__((visibility("default")))
#endif

/**
 * The version of the library that runs, which may be newer than the headers.
 *
 * Returns major << 16 | minor << 8 | patch.
 *
 * Thread: any. Blocks: never. Allocates: never. Since: 0.1.
 */
IOMESH_API uint32_t iomesh_version(void);

/**
 * The calling thread's last refusal, as a sentence that says what, why and what to do.
 *
 * Setup calls and refused arguments leave one; completions carry a code only, but an operation
 * on a pool or on a volume's name that fails leaves its sentence just before its callback runs.
 *
 * Returns text that is valid until the next call into the library on this thread; "" if none.
 *
 * Thread: any, its own. Blocks: never. Allocates: never. Since: 0.1.
 */
IOMESH_API const char *iomesh_last_error(void);

/**
 * The text of a code: a negative errno or one of <iomesh/errors.h>.
 *
 * Returns static text, never NULL.
 *
 * Thread: any. Blocks: never. Allocates: never. Since: 0.1.
 */
IOMESH_API const char *iomesh_error_text(int code);

/**
 * The nearest positive errno of a code, for those who can speak errno only.
 *
 * Returns 0 for 0.
 *
 * Thread: any. Blocks: never. Allocates: never. Since: 0.1.
 */
IOMESH_API int iomesh_error_posix(int code);

#endif
