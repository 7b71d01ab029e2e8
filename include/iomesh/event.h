/* SPDX-License-Identifier: Apache-2.0 */
/* What the library has to say: it never logs, it tells one hook. */
#ifndef IOMESH_EVENT_H
#define IOMESH_EVENT_H

#include <stdint.h>

/* Severities, as syslog numbers them. */
#define IOMESH_SEVERITY_CRITICAL 2u /* A device failed; damage that nothing repairs. */
#define IOMESH_SEVERITY_ERROR 3u
#define IOMESH_SEVERITY_WARNING 4u
#define IOMESH_SEVERITY_NOTICE 5u
#define IOMESH_SEVERITY_INFO 6u
#define IOMESH_SEVERITY_DEBUG 7u

/* Kinds. numbers[] in brackets. New ones may come: ignore what you do not know. */
#define IOMESH_EVENT_ENGINE 1u        /* Something about the ring or the engine. */
#define IOMESH_EVENT_POOL 2u          /* Opened [records recovered, nanoseconds]; other words. */
#define IOMESH_EVENT_DEVICE_FAILED 3u /* [device, code as int64_t] */
#define IOMESH_EVENT_DAMAGE 4u        /* [volume id, block, blocks]; volume 0: the pool's own. */
#define IOMESH_EVENT_SPACE 5u         /* Full, or no longer [free bytes, total bytes]. */
#define IOMESH_EVENT_CHECKPOINT 6u    /* Ended [pages, nanoseconds]. */
#define IOMESH_EVENT_SCRUB 7u         /* Began, ended [blocks checked, blocks damaged]. */
#define IOMESH_EVENT_VOLUME 8u        /* Created, deleted, its snapshots, … [volume id, bytes]. */
#define IOMESH_EVENT_CONTROL 9u       /* The control socket. */

struct iomesh_event {
    uint32_t size;     /* Of this struct, as the library knows it. */
    uint32_t severity; /* IOMESH_SEVERITY_… */
    uint32_t kind;     /* IOMESH_EVENT_… */
    uint32_t number_count;
    uint64_t numbers[4]; /* By kind. */
    const char *text;    /* One line without a newline; borrowed until the hook returns. */
};

/* Runs on the engine's thread, possibly inside a call; must not call the library. */
typedef void iomesh_trace_fn(void *context, const struct iomesh_event *event);

#endif
