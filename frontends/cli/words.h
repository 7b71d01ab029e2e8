/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The grammar: which words make a command, which flags it takes, what is not built yet.
 *
 * One table of commands and one of flags; help, usage errors, the manual page's test and shell
 * completion read these.
 */
#ifndef CLI_WORDS_H
#define CLI_WORDS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/log.h"
#include "common/options.h"

enum command_id {
    COMMAND_POOL_INIT,
    COMMAND_POOL_STATUS,
    COMMAND_POOL_CHECK,
    COMMAND_STORE_CHECK,
    COMMAND_POOL_SCRUB,
    COMMAND_POOL_REBUILD,
    COMMAND_POOL_SHOW,
    COMMAND_POOL_SET,
    COMMAND_STORE_LIST,
    COMMAND_STORE_ADD,
    COMMAND_STORE_DRAIN,
    COMMAND_STORE_UNDRAIN,
    COMMAND_STORE_REMOVE,
    COMMAND_VOLUME_CREATE,
    COMMAND_VOLUME_LIST,
    COMMAND_VOLUME_SHOW,
    COMMAND_VOLUME_RESIZE,
    COMMAND_VOLUME_DELETE,
    COMMAND_VOLUME_CLONE,
    COMMAND_VOLUME_FLATTEN,
    COMMAND_VOLUME_EXPORT,
    COMMAND_VOLUME_IMPORT,
    COMMAND_VOLUME_ABANDON,
    COMMAND_SNAPSHOT_CREATE,
    COMMAND_SNAPSHOT_LIST,
    COMMAND_SNAPSHOT_DELETE,
    COMMAND_SNAPSHOT_ROLLBACK,
    COMMAND_SNAPSHOT_DIFF,
    COMMAND_GROUP_CREATE,
    COMMAND_GROUP_LIST,
    COMMAND_GROUP_DELETE,
    COMMAND_NOT_BUILT,
};

struct command_spec {
    const char *words;     /* "volume create" */
    const char *arguments; /* "NAME", or ""; "NAME ..." takes any more. */
    const char *help;      /* Or, not built, what is missing. */
    unsigned argument_count;
    enum command_id id;
};

/* The most that a group takes, and words before them. */
enum { WORDS_MAX = 264, DEVICES_GIVEN_MAX = 64, STORES_GIVEN_MAX = 256 };

/* A command line, understood. */
struct command {
    const struct command_spec *spec;
    const char *arguments[WORDS_MAX];
    unsigned argument_count;
    const char *pool;
    bool json;
    enum log_level log_level;
    bool log_json;
    bool size_given, force, overwrite, no_data, stop, background, all, no_space, lost, wait,
        accept_loss, look;
    uint64_t size, rate;
    uint64_t store; /* A number. */
    uint32_t sector;
    uint32_t copies, copies_min;         /* 0: not given. */
    uint32_t domain;                     /* IOMESH_DOMAIN_… */
    uint32_t classes;                    /* 1 << IOMESH_CLASS_… */
    char *node, *zone, *rack, *peer_tls; /* NULL: not given. */
    char *devices[DEVICES_GIVEN_MAX];    /* As they were given. */
    unsigned device_count;
    char *stores[STORES_GIVEN_MAX]; /* As they were given. */
    unsigned store_count;
    char *files[STORES_GIVEN_MAX]; /* --from. */
    unsigned file_count;
    char *addresses[STORES_GIVEN_MAX]; /* --from, too. */
    unsigned address_count;
    char *save;       /* NULL: not given. */
    char *pool_named; /* By a flag or the file. */
    char *since;      /* NULL: not given. */
};

/* Ends with one whose words are NULL. */
extern const struct command_spec words_commands[];

/* Reads argv. Prints help or what is wrong itself; the caller exits with 0 or 2 when told to. */
enum options_outcome words_read(struct command *command, int argc, char **argv);
void words_done(struct command *command);

/* Flags and words, a line each, for shell completion: "volume create\t--size --sector …". */
void words_print_completion(void);

#endif
