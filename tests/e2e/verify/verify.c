/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loads an NBD server with stamped writes, and after the server died checks that it kept its word.
 *
 * One run is one life of the server. The side file carries what is known from run to run:
 *
 *   check all blocks against the side file, if there is one  ->  load  ->  the server dies, or time
 *   is over  ->  save the side file
 *
 * Exit status: 0 the server has kept its word so far; 1 it has not, and one sentence says where;
 * 2 usage; 3 no connection.
 */
#include "check.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

struct options {
    const char *uri;
    const char *side;
    enum model_mode mode;
    unsigned connections;
    uint64_t bytes;
    uint64_t spread;
    unsigned atomic_bytes;
    double wait_s;
    struct load_options load;
};

static const char usage[] =
    "usage: verify --uri URI --side FILE [options]\n"
    "  --mode kill|powercut  what a crash may lose: nothing acknowledged, or nothing flushed "
    "(kill)\n"
    "  --seconds S           of load after the check (1); 0 only checks\n"
    "  --connections N       (1)          --depth N        per connection (16)\n"
    "  --bytes N             tested (64M)  --spread N       bytes between extents of 2 MiB (2M)\n"
    "  --atomic 512|4096     the unit that is old or new (4096)\n"
    "  --read P --zero P --trim P --flush P   percent of operations (20 5 0 1)\n"
    "  --fua P               percent of writes (5)\n"
    "  --max-io N            bytes (1M)   --small          sub-block and unaligned requests too\n"
    "  --wait S              for the server to come (60)    --seed N\n";

static uint64_t number(const char *text)
{
    char *end;
    uint64_t value = strtoull(text, &end, 10);
    switch (*end) {
    case 'K': return value << 10;
    case 'M': return value << 20;
    case 'G': return value << 30;
    case 'T': return value << 40;
    case '\0': return value;
    default: fprintf(stderr, "verify: %s is not a number\n", text); exit(2);
    }
}

static void refuse(const char *why)
{
    fprintf(stderr, "verify: %s\n%s", why, usage);
    exit(2);
}

static const struct option long_options[] = {
    {"uri", required_argument, NULL, 'u'},
    {"side", required_argument, NULL, 's'},
    {"mode", required_argument, NULL, 'm'},
    {"seconds", required_argument, NULL, 't'},
    {"connections", required_argument, NULL, 'c'},
    {"depth", required_argument, NULL, 'd'},
    {"bytes", required_argument, NULL, 'b'},
    {"spread", required_argument, NULL, 'p'},
    {"atomic", required_argument, NULL, 'a'},
    {"read", required_argument, NULL, 'r'},
    {"zero", required_argument, NULL, 'z'},
    {"trim", required_argument, NULL, 'i'},
    {"flush", required_argument, NULL, 'f'},
    {"fua", required_argument, NULL, 'F'},
    {"max-io", required_argument, NULL, 'x'},
    {"small", no_argument, NULL, 'S'},
    {"wait", required_argument, NULL, 'w'},
    {"seed", required_argument, NULL, 'e'},
    {NULL, 0, NULL, 0},
};

static void set(struct options *options, int option, const char *value)
{
    struct load_options *load = &options->load;
    switch (option) {
    case 'u': options->uri = value; break;
    case 's': options->side = value; break;
    case 'm':
        if (strcmp(value, "kill") != 0 && strcmp(value, "powercut") != 0)
            refuse("--mode is kill or powercut");
        options->mode = *value == 'p' ? MODEL_POWER_CUT : MODEL_RUNNING;
        break;
    case 't': load->seconds = strtod(value, NULL); break;
    case 'c': options->connections = (unsigned)number(value); break;
    case 'd': load->depth = (unsigned)number(value); break;
    case 'b': options->bytes = number(value); break;
    case 'p': options->spread = number(value); break;
    case 'a': options->atomic_bytes = (unsigned)number(value); break;
    case 'r': load->read_percent = (unsigned)number(value); break;
    case 'z': load->zero_percent = (unsigned)number(value); break;
    case 'i': load->trim_percent = (unsigned)number(value); break;
    case 'f': load->flush_percent = (unsigned)number(value); break;
    case 'F': load->fua_percent = (unsigned)number(value); break;
    case 'x': load->io_bytes_max = (uint32_t)number(value); break;
    case 'S': load->small = true; break;
    case 'w': options->wait_s = strtod(value, NULL); break;
    case 'e': load->seed = number(value); break;
    default: refuse("unknown option");
    }
}

static struct options parse(int count, char **words)
{
    struct options options = {
        .connections = 1,
        .bytes = 64u << 20,
        .spread = EXTENT_BLOCKS * BLOCK_BYTES,
        .atomic_bytes = BLOCK_BYTES,
        .wait_s = 60,
        .load = {.seconds = 1,
                 .depth = 16,
                 .read_percent = 20,
                 .zero_percent = 5,
                 .flush_percent = 1,
                 .fua_percent = 5,
                 .io_bytes_max = 1u << 20},
    };
    int option;

    while ((option = getopt_long(count, words, "", long_options, NULL)) >= 0)
        set(&options, option, optarg);
    if (options.uri == NULL || options.side == NULL || optind != count)
        refuse("--uri and --side are needed, and nothing else");
    if (options.connections < 1 || options.connections > CLIENT_CONNECTIONS_MAX)
        refuse("--connections is 1 to 64");
    if (options.load.depth < 1 || options.load.depth > 1024)
        refuse("--depth is 1 to 1024");
    if (options.load.io_bytes_max < BLOCK_BYTES || options.load.io_bytes_max > 1u << 20)
        refuse("--max-io is 4K to 1M");
    if (options.atomic_bytes != SECTOR_BYTES && options.atomic_bytes != BLOCK_BYTES)
        refuse("--atomic is 512 or 4096");
    if (options.bytes < BLOCK_BYTES || options.spread < EXTENT_BLOCKS * BLOCK_BYTES ||
        options.spread % BLOCK_BYTES != 0)
        refuse("--bytes is at least 4K, and --spread whole blocks and at least 2M");
    options.load.errors_end = options.mode == MODEL_POWER_CUT;
    return options;
}

/* True if there was a side file. */
static bool recall(struct model *model, const struct options *options)
{
    if (model_load(model, options->side) == 0) {
        model->atomic_bytes = options->atomic_bytes;
        return true;
    }
    if (errno != ENOENT) {
        fprintf(stderr, "verify: %s: %s\n", options->side, strerror(errno));
        exit(2);
    }
    uint64_t session;
    if (getrandom(&session, sizeof session, 0) != sizeof session)
        abort();
    model_init(model, session, options->bytes / BLOCK_BYTES, options->spread);
    model->atomic_bytes = options->atomic_bytes;
    return false;
}

static void connect_or_exit(struct client *client, const struct options *options,
                            const struct model *model)
{
    if (client_connect(client, options->uri, options->connections, options->wait_s) != 0) {
        fprintf(stderr, "verify: %s: %s\n", options->uri, nbd_get_error());
        exit(3);
    }
    if (model_offset(model, model->block_count - 1) + BLOCK_BYTES > client->size_bytes)
        refuse("the export is too small for --bytes and --spread");
    if (options->connections > 1 && !client->multi_conn)
        refuse("the server does not promise that a flush covers other connections");
    if (!client->can_flush)
        refuse("the export can't flush");
}

static void save(const struct model *model, const char *side)
{
    char path[4096];
    snprintf(path, sizeof path, "%s.new", side);
    if (model_save(model, path) != 0 || rename(path, side) != 0) {
        fprintf(stderr, "verify: %s: %s\n", side, strerror(errno));
        exit(2);
    }
}

static int tell_violation(const struct model *model, const struct report *report, const char *side)
{
    char path[4096];

    fprintf(stderr, "verify: round %" PRIu64 ": %s\n", model->rounds, report->sentence);
    if (report->block != UINT64_MAX) {
        snprintf(path, sizeof path, "%s.history", side);
        model_tell(model, report->block, path);
    }
    return 1;
}

static enum verdict load_round(const struct options *options, struct client *client,
                               struct model *model, struct report *report)
{
    static const char *const endings[] = {"time over", "server died", "violation"};
    struct load_options wanted = options->load;
    struct load_counts counts;

    printf("round %" PRIu64 ": checked\n", model->rounds);
    fflush(stdout); /* Whoever cuts the power may wait for this line. */
    wanted.fua_percent = client->can_fua ? wanted.fua_percent : 0;
    wanted.zero_percent = client->can_zero ? wanted.zero_percent : 0;
    wanted.trim_percent = client->can_trim ? wanted.trim_percent : 0;
    wanted.small = wanted.small && client->block_min <= SECTOR_BYTES;
    if (wanted.seed == 0)
        wanted.seed = model->session + model->rounds;
    enum verdict verdict = load(client, model, &wanted, &counts, report);
    printf("round %" PRIu64 ": writes %" PRIu64 " fua %" PRIu64 " zeroes %" PRIu64 " trims %" PRIu64
           " reads %" PRIu64 " flushes %" PRIu64 " in-doubt %" PRIu64 ": %s\n",
           model->rounds, counts.writes, counts.through, counts.zeroes, counts.trims, counts.reads,
           counts.flushes, counts.in_doubt, endings[verdict]);
    return verdict;
}

int main(int argc, char **argv)
{
    const struct options options = parse(argc, argv);
    struct report report = {.block = UINT64_MAX};
    enum verdict verdict;
    struct client client;
    struct model model;

    bool known = recall(&model, &options);
    connect_or_exit(&client, &options, &model);
    printf("connected\n");
    fflush(stdout);
    model.rounds++;
    verdict = sweep(&client, &model, known ? options.mode : MODEL_RUNNING, &report);
    if (verdict == VERDICT_FINE && options.load.seconds > 0)
        verdict = load_round(&options, &client, &model, &report);
    else if (verdict != VERDICT_VIOLATION)
        printf("round %" PRIu64 ": %s\n", model.rounds,
               verdict == VERDICT_FINE ? "checked" : "the server died during the check");
    if (verdict == VERDICT_VIOLATION)
        return tell_violation(&model, &report, options.side);
    save(&model, options.side);
    model_done(&model);
    return 0;
}
