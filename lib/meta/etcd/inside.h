/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of meta/etcd share. */
#ifndef META_ETCD_INSIDE_H
#define META_ETCD_INSIDE_H

#include <netdb.h>
#include <openssl/ssl.h>
#include <pthread.h>

#include "grpc/grpc.h"
#include "meta/etcd/etcd.h"
#include "meta/history.h"
#include "meta/implement.h"

#define ETCD_LINKS_MAX 4u   /* One in use; the others finish what they have. */
#define ETCD_CALLS_MAX 200u /* Of a connection at a time; the rest wait here. */
#define ETCD_CONNECT_NS (2 * NS_PER_S)
#define ETCD_RACE_NS (250 * NS_PER_MS) /* Then the next member is tried beside it. */
#define ETCD_GREET_NS (5 * NS_PER_S)
#define ETCD_PAUSE_NS_MIN (50 * NS_PER_MS)
#define ETCD_PAUSE_NS_MAX NS_PER_S
#define ETCD_PING_GAP_NS (5500 * NS_PER_MS) /* Members take more than a few in 5 s for an attack. */
#define ETCD_PINGS_AT_ONCE 2u
#define ETCD_ANSWER_BYTES_MAX (8u << 20)
#define ETCD_TOKEN_BYTES_MAX 4096u
#define ETCD_KEY_BYTES_MAX (META_ETCD_POOL_BYTES_MAX + 1 + META_KEY_BYTES_MAX + 1)

/* One request on its way, or one watch, or a greeting of a connection.
 *
 *   submitted ──▶ waiting ◀──▶ on a link ──▶ done ──▶ told
 */
enum etcd_call_kind { CALL_REQUEST, CALL_WATCH, CALL_LOGIN, CALL_GREETING };

struct etcd_call {
    struct list node;
    enum etcd_call_kind kind;
    struct meta_request *request; /* CALL_REQUEST. */
    struct etcd_watch *watch;     /* CALL_WATCH. */
    struct etcd_link *link;       /* Whose it is, or NULL. */
    struct grpc_stream *stream;
    uint64_t deadline_ns;
    uint64_t answer_ns;  /* On a link: when it should have been answered. */
    uint64_t again_ns;   /* Not before. */
    uint32_t list_limit; /* Of each list in it, once an answer was too large; 0: as asked. */
    bool once;           /* It must not be done twice. */
    bool maybe;          /* An earlier attempt may have done it. */
    bool answered;       /* `result` is the answer's. */
    int result;
};

/* A watch, for the engine's thread and the worker's. Freed by the worker. */
struct etcd_watch {
    struct list node;         /* The engine's: of all that are active. Then etcd->dropped. */
    struct meta_watch *watch; /* The engine's. NULL: nobody listens. */

    /* Shared. */
    struct list ready; /* struct meta_item: whole revisions. */
    size_t ready_bytes;
    int ended; /* After what is ready. */

    /* The worker's. */
    struct etcd_call call;
    uint64_t next;       /* The first revision that was not told. 0: what comes next. */
    struct list pending; /* struct meta_item: of a revision that may have more. */
    size_t pending_bytes;
    uint64_t pending_revision;
    bool denied; /* Once; a second time ends it. */
    bool over;
    uint16_t prefix_length;
    uint8_t prefix[META_KEY_BYTES_MAX];
};

/* A connection to one member.
 *
 *   CONNECTING ──▶ SECURING (TLS) ──▶ GREETING ──▶ UP ──▶ LEAVING ──▶ closed
 */
enum etcd_link_state { LINK_CONNECTING, LINK_SECURING, LINK_GREETING, LINK_UP, LINK_LEAVING };

struct etcd_link {
    struct list node;
    struct meta_etcd *etcd;
    enum etcd_link_state state;
    uint32_t endpoint;
    char name[META_ETCD_NAME_BYTES_MAX + 10];
    int fd;
    SSL *ssl;
    struct addrinfo *addresses;
    struct addrinfo *address; /* Being tried. */
    struct grpc_session *grpc;
    struct list calls;
    uint32_t call_count;
    struct etcd_call greeting; /* Login, then greeting. */
    uint64_t begun_ns;
    uint64_t since_ns; /* In this state. */
    uint64_t heard_ns;
    uint64_t ping_ns;
    uint32_t pings;   /* In haste, since the member said something by itself. */
    bool wants_write; /* The socket is full. */
    bool spare;       /* Another was there sooner. */
    bool retired;     /* New calls go elsewhere: `word` says why. */
    bool dead;        /* It is to be closed: `word` says why. */
    char word[192];
};

struct meta_etcd {
    struct meta meta;
    struct meta_etcd_place place;
    size_t root_length;
    SSL_CTX *tls; /* NULL: none. */
    void (*wakeup)(void *context);
    void *wakeup_context;
    uint32_t queue_max;
    int bell; /* An eventfd: wakes the worker. */
    uint64_t wait_ns;
    uint64_t answer_ns;
    uint64_t silence_ns;
    bool stale;

    /* The engine's. */
    struct list watches;
    struct etcd_watch *delivering;
    uint64_t revision_known; /* The newest that the caller was told. 0: none. */

    /* Shared, under the mutex. */
    pthread_mutex_t mutex;
    struct list submitted; /* struct etcd_call. */
    struct list finished;  /* struct etcd_call, with request->result. */
    struct list dropped;   /* struct etcd_watch: the worker frees them. */
    struct meta_etcd_state state;
    uint64_t hurry_ns; /* No request may wait beyond it; 0: as long as it may. */
    bool stop;

    /* The worker's. */
    pthread_t thread;
    struct prng prng;
    struct list waiting;
    struct list done;
    struct list links;
    struct etcd_link *current; /* Being made, or up. */
    uint32_t endpoint_next;
    uint32_t failures;   /* In a row. */
    uint64_t connect_ns; /* Not before. */
    uint64_t expire_ns;  /* The first deadline, or earlier. */
    uint64_t repeated;
    uint64_t unknown;
    uint64_t cluster; /* Its id; 0: not known yet. */
    uint64_t revision_first;
    bool events; /* Something is ready for a watch. */
    char token[ETCD_TOKEN_BYTES_MAX + 1];

    /* Never change. */
    char root[META_ETCD_POOL_BYTES_MAX + 2]; /* "POOL/": before every key. */
    char password[META_ETCD_NAME_BYTES_MAX + 1];
};

uint64_t etcd_now_ns(void);

/* message.c: what is said. Memory of ret_bytes is the caller's, to free(). */
int etcd_encode(const struct meta_etcd *etcd, const struct etcd_call *call, uint8_t **ret_bytes,
                uint32_t *ret_length);
const char *etcd_path(const struct etcd_call *call);
/* Can it be said? 0, or -E2BIG with a sentence. */
int etcd_check(const struct meta_etcd *etcd, const struct meta_request *request);
/* The first key after all that begin with this. */
size_t etcd_range_end(const uint8_t *key, size_t length, uint8_t ret_end[ETCD_KEY_BYTES_MAX]);

/* The shape in which a transaction goes over: flat, or each branch in pieces of so many. */
struct etcd_shape {
    bool nested;
    uint32_t piece; /* Operations in each piece. */
};
bool etcd_shape_find(uint32_t limit, uint32_t compares, uint32_t most_ops,
                     struct etcd_shape *ret_shape);

/* answer.c: what was answered, into request->responses. 0; -ENOENT, -E2BIG, -ENOMEM as meta.h has
 * them; or -EPROTO: it is no answer to this request. */
int etcd_answer(const struct meta_etcd *etcd, struct etcd_call *call, const void *data,
                uint32_t length, uint64_t *ret_cluster);

/* What a status means for the request that it ended. */
enum etcd_verdict {
    VERDICT_RESULT, /* *ret_result; nothing happened. */
    VERDICT_AGAIN,  /* Nothing happened; ask again, here. */
    VERDICT_MOVE,   /* Nothing happened; ask again, elsewhere. */
    VERDICT_LOGIN,  /* Nothing happened; the token is no good. */
    VERDICT_FULL,   /* There is no space; it may have happened: a member may say so after it. */
    VERDICT_LOST    /* Who knows. */
};
enum etcd_verdict etcd_judge(const struct grpc_end *end, int *ret_result);

/* tls.c */
int etcd_tls_open(const struct meta_etcd_place *place, SSL_CTX **ret_tls);
SSL *etcd_tls_new(SSL_CTX *tls, int fd, const char *host);
/* What OpenSSL's last error is, in words. */
void etcd_tls_word(SSL *ssl, char *ret_text, size_t room);

/* link.c */
void etcd_link_begin(struct meta_etcd *etcd);
void etcd_link_retire(struct etcd_link *link, const char *word);
void etcd_link_kill(struct etcd_link *link, const char *word);
void etcd_link_io(struct etcd_link *link, short events);
void etcd_link_flush(struct etcd_link *link);
/* Looks at the clock: time outs and signs of life. When to look again. */
uint64_t etcd_link_tick(struct etcd_link *link, uint64_t now);
void etcd_link_close(struct etcd_link *link);
short etcd_link_events(const struct etcd_link *link);

/* call.c, the worker's. */
void etcd_call_message(void *owner, struct grpc_stream *stream, const void *data, uint32_t length);
void etcd_call_ended(void *owner, struct grpc_stream *stream, const struct grpc_end *end);
/* Sends what waits over the connection that is up, as much as it takes. */
void etcd_calls_send(struct meta_etcd *etcd, uint64_t now);
/* Ends what has waited long enough. */
void etcd_calls_expire(struct meta_etcd *etcd, uint64_t now);
/* Ends whatever waits: nobody will let us in. */
void etcd_calls_refuse(struct meta_etcd *etcd, int result);
/* Takes back from a connection what may be asked elsewhere. */
void etcd_calls_take_back(struct etcd_link *link);
void etcd_call_finish(struct meta_etcd *etcd, struct etcd_call *call, int result);
/* Begins a call on a connection. 0 or negative: it is not there. */
int etcd_call_send(struct etcd_link *link, struct etcd_call *call, uint64_t timeout_ns);
void etcd_greet(struct etcd_link *link);

/* watch.c. The engine's: */
int etcd_watch_start(struct meta *meta, struct meta_watch *watch);
void etcd_watch_cancel(struct meta *meta, struct meta_watch *watch);
unsigned etcd_watch_deliver(struct meta_etcd *etcd);
/* The worker's: */
void etcd_watch_message(struct etcd_watch *watch, struct etcd_link *link, const void *data,
                        uint32_t length);
void etcd_watch_restart(struct etcd_watch *watch);
void etcd_watch_end(struct meta_etcd *etcd, struct etcd_watch *watch, int result);
void etcd_watch_free(struct etcd_watch *watch);

/* worker.c */
void etcd_ring(struct meta_etcd *etcd);
void etcd_trouble(struct meta_etcd *etcd, const char *who, const char *word);

#endif
