/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Error codes of libiomesh.
 *
 * Calls answer 0, or a negative number: a negative errno where POSIX has the
 * word, else one of these. One table grows the constants, the texts and the
 * mapping to errno for front ends that can only speak errno.
 */
#ifndef IOMESH_ERRORS_H
#define IOMESH_ERRORS_H

/* X(name, value, nearest errno, text) */
#define IOMESH_ERRORS(X)                                                                 \
    X(CORRUPT, -5001, EIO, "stored data failed its checksum")                            \
    X(NO_QUORUM, -5002, EIO, "too few copies can be reached")                            \
    X(FENCED, -5003, ESTALE, "another node has taken the volume")                        \
    X(FORMAT, -5004, ENOTSUP, "written by an unknown version, or not written by iomesh") \
    X(FAILED, -5005, EIO, "the device failed earlier and stays failed")                  \
    X(IN_USE, -5006, EBUSY, "another process owns the pool")                             \
    X(UNKNOWN, -5007, EIO, "the outcome of the transaction is not known")                \
    X(COMPACTED, -5008, EINVAL, "the history before this revision is gone")              \
    X(CONFLICT, -5009, EAGAIN, "something else changed first")

#define IOMESH_ERROR_CONSTANT(name, value, posix, text) IOMESH_##name = (value),
enum iomesh_error { IOMESH_ERRORS(IOMESH_ERROR_CONSTANT) IOMESH_ERROR_LAST = -5999 };
#undef IOMESH_ERROR_CONSTANT

#endif
