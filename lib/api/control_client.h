/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The other end of a pool's control socket: <iomesh/sys/control.h>.
 *
 * One connection, any number of calls on it, each inside whatever waits for it. Calls that wait ask
 * one after the other; I/O on volumes goes on beside them. What breaks the connection ends every
 * call.
 */
#ifndef API_CONTROL_CLIENT_H
#define API_CONTROL_CLIENT_H

#include "api/engine.h"
#include "api/pool.h"
#include "control/control.h"

/* I/O under way on the volumes of one connection. */
#define CONTROL_REQUESTS_MAX 64u

/* A request and its answers. */
struct control_call {
    /* The caller's. */
    void *data; /* Where the payload of the answer goes; all of data_bytes, or none. */
    uint32_t data_bytes;
    /* An answer that another follows; NULL is fine. */
    void (*told)(struct control_call *call, const struct control_response *response);
    /* Once, from a turn. response: NULL if the connection broke; `result` says how. Else its own
     * result is in it; what is left of it then is freed. */
    void (*done)(struct control_call *call, int result, struct control_response *response);

    /* The connection's. */
    struct iomesh_control *control;
    struct list node; /* In control->calls. */
    uint64_t id;
    struct control_bytes bytes;
    struct iovec parts[2];
    struct iomesh_send send;
    bool sending, answered;
    struct control_response response; /* If it came before the send had ended. */
};

struct iomesh_control {
    struct iomesh_engine *engine;
    struct iomesh_stream *stream; /* NULL: it ended. */
    struct api_waiter closed;     /* Its closing. */
    struct timer limit;           /* Of the next answer. */
    uint64_t limit_ns;
    int refused;        /* Why it was ended here; 0: it was not. */
    char sentence[256]; /* Of that. */
    uint64_t id;        /* Of the last request. */
    uint32_t process;
    struct list calls; /* That wait for an answer. */

    /* What is being received. */
    bool reading; /* Since a call began; it may go on when there is none. */
    uint8_t head[CONTROL_FRAME_BYTES];
    uint8_t *body;
    uint32_t body_bytes;
    struct control_call *filling; /* With its payload. */
    struct control_response response;

    struct control_response answer; /* To the last call that waited. */
    uint32_t volume_count, request_count;
    bool abandoned; /* Closed before its volumes. */
};

/* 0, and call->done runs; or -ENOTCONN, -ENOMEM with a sentence. payload: request->payload bytes,
 * borrowed until then. */
int control_call_start(struct iomesh_control *control, struct control_call *call,
                       struct control_request *request, const void *payload);
/* What the answer says: its result, and its sentence here. */
int control_call_result(int result, const struct control_response *response);

/* What is heard before the last answer, and in it. */
struct control_ear {
    void (*rows)(void *context, const struct control_response *response);
    iomesh_progress_fn *progress;
    void *context;
};
/* Asks and waits. The last answer is in control->answer. ear: NULL is fine. */
int control_ask(struct iomesh_control *control, struct control_request *request,
                const struct control_ear *ear);
/* A name, checked here: no other fits into a request. at: it may have an '@'. */
int control_named(const char *name, bool at, struct control_request *request);
/* The last volume is closed, or the program has closed it: frees it once both are. */
void control_client_release(struct iomesh_control *control);

/* Of remote.c. An open volume of another process. */
int api_remote_submit(struct iomesh_volume *volume, const struct volume_io *with,
                      iomesh_done_fn *done, iomesh_extents_fn *extents_done, void *context);
int api_remote_close(struct iomesh_volume *volume, iomesh_done_fn *done, void *context);
int api_remote_import_end(struct iomesh_volume *volume, iomesh_done_fn *done, void *context);

#endif
