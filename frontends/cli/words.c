/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/words.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <iomesh/volume.h>

#include "cli/text.h"

#define BIT(id) (UINT64_C(1) << (id))
#define ANY (BIT(COMMAND_NOT_BUILT) - 1)
#define CREATE BIT(COMMAND_VOLUME_CREATE)
#define ATTACH "attaching as a block device is not built yet: connect an NBD client to iomesh-nbd"

const struct command_spec words_commands[] = {
    {"pool init", "", "make a pool", 0, COMMAND_POOL_INIT},
    {"pool status", "", "what it holds, how it is, what its memory is used for", 0,
     COMMAND_POOL_STATUS},
    {"pool check", "", "look at everything in a pool that nobody uses, change nothing", 0,
     COMMAND_POOL_CHECK},
    {"pool scrub", "", "read and check everything, in use or not", 0, COMMAND_POOL_SCRUB},
    {"pool rebuild-metadata", "", "make the metadata of a cluster anew of what its stores have", 0,
     COMMAND_POOL_REBUILD},
    {"pool show", "", "the settings of a cluster's pool", 0, COMMAND_POOL_SHOW},
    {"pool set", "KEY=VALUE ...", "change settings of a cluster's pool", 1, COMMAND_POOL_SET},
    {"store list", "", "the stores of a cluster's pool", 0, COMMAND_STORE_LIST},
    {"store add", "DIR|DEVICE", "make a store of a cluster's pool", 1, COMMAND_STORE_ADD},
    {"store check", "DIR|DEVICE",
     "look at everything in a store of a cluster that nobody serves, change nothing", 1,
     COMMAND_STORE_CHECK},
    {"store drain", "STORE", "move what a store holds to others, place nothing new on it", 1,
     COMMAND_STORE_DRAIN},
    {"store undrain", "STORE", "take a store into use again", 1, COMMAND_STORE_UNDRAIN},
    {"store remove", "STORE", "remove an empty store from the pool", 1, COMMAND_STORE_REMOVE},
    {"volume create", "NAME", "make a volume; it takes no space until it is written", 1,
     COMMAND_VOLUME_CREATE},
    {"volume list", "", "the volumes of a pool", 0, COMMAND_VOLUME_LIST},
    {"volume show", "NAME", "one volume", 1, COMMAND_VOLUME_SHOW},
    {"volume resize", "NAME", "change the size of a volume", 1, COMMAND_VOLUME_RESIZE},
    {"volume delete", "NAME", "delete a volume and all that is in it", 1, COMMAND_VOLUME_DELETE},
    {"volume attach", "NAME", ATTACH, 1, COMMAND_NOT_BUILT},
    {"volume detach", "NAME", ATTACH, 1, COMMAND_NOT_BUILT},
    {"volume clone", "NAME[@SNAP] NEW", "make a volume that begins as a snapshot, or a volume, is",
     2, COMMAND_VOLUME_CLONE},
    {"volume flatten", "NAME", "copy into a clone what it reads from its parent", 1,
     COMMAND_VOLUME_FLATTEN},
    {"volume export", "NAME[@SNAP] FILE|-", "write a backup, with --since what has changed", 2,
     COMMAND_VOLUME_EXPORT},
    {"volume import", "FILE|- NAME", "read a backup into a new volume, or onto its base", 2,
     COMMAND_VOLUME_IMPORT},
    {"volume abandon", "NAME", "give up an import that did not end", 1, COMMAND_VOLUME_ABANDON},
    {"snapshot create", "NAME@SNAP", "keep what a volume holds now", 1, COMMAND_SNAPSHOT_CREATE},
    {"snapshot list", "NAME", "the snapshots of a volume and the space that they take", 1,
     COMMAND_SNAPSHOT_LIST},
    {"snapshot delete", "NAME@SNAP", "delete a snapshot", 1, COMMAND_SNAPSHOT_DELETE},
    {"snapshot rollback", "NAME@SNAP", "make a volume again what a snapshot shows", 1,
     COMMAND_SNAPSHOT_ROLLBACK},
    {"snapshot diff", "NAME@A NAME[@B]", "what was written between two snapshots, or since one", 2,
     COMMAND_SNAPSHOT_DIFF},
    {"snapshot group create", "GROUP NAME ...", "snapshots of several volumes at one instant", 2,
     COMMAND_GROUP_CREATE},
    {"snapshot group list", "", "the groups of a pool", 0, COMMAND_GROUP_LIST},
    {"snapshot group delete", "GROUP", "delete a group and its snapshots", 1, COMMAND_GROUP_DELETE},
    {NULL, NULL, NULL, 0, COMMAND_NOT_BUILT},
};

struct flag {
    struct option_spec option;
    uint64_t commands; /* BIT(id) of each that takes it. */
};

static const struct flag flags[] = {
    {{"pool", "URL", "the pool, file:DIR or etcd://HOST:PORT/NAME; IOMESH_POOL stands in for it",
      NULL},
     ANY},
    {{"node", "NAME", "of a cluster: the node that this is (the name of the machine)", NULL}, ANY},
    {{"zone", "NAME", "of a cluster: where this is", NULL}, ANY},
    {{"rack", "NAME", "of a cluster: where this is", NULL}, ANY},
    {{"peer-tls-certificates", "DIR", "of a cluster: TLS to its stores", NULL}, ANY},
    {{"size", "SIZE", "of the pool's file or of a device (16G), of a volume", NULL},
     BIT(COMMAND_POOL_INIT) | BIT(COMMAND_STORE_ADD) | CREATE | BIT(COMMAND_VOLUME_RESIZE)},
    {{"device", "DEVICE", "PATH[:SIZE][,class=nvme|ssd|hdd]; may be repeated", NULL},
     BIT(COMMAND_POOL_INIT) | BIT(COMMAND_STORE_ADD)},
    {{"overwrite", NULL, "take devices that hold something already", NULL},
     BIT(COMMAND_POOL_INIT) | BIT(COMMAND_STORE_ADD)},
    {{"store", "DIR|DEVICE", "a store that is left, served by nobody; may be repeated", NULL},
     BIT(COMMAND_POOL_REBUILD)},
    {{"from", "ADDRESS|FILE", "tcp:HOST:PORT or unix:PATH of an iomeshd; a file of --save", NULL},
     BIT(COMMAND_POOL_REBUILD)},
    {{"save", "FILE", "make no metadata: save what the stores of this node say", NULL},
     BIT(COMMAND_POOL_REBUILD)},
    {{"accept-loss", NULL, "though writes that were acknowledged may be missing", NULL},
     BIT(COMMAND_POOL_REBUILD)},
    {{"look", NULL, "tell what would be made, make nothing", NULL}, BIT(COMMAND_POOL_REBUILD)},
    {{"no-data", NULL, "check pages and records only, read no data", NULL},
     BIT(COMMAND_POOL_CHECK) | BIT(COMMAND_STORE_CHECK)},
    {{"rate", "SIZE", "bytes a second (the pool's; 1G when nobody uses it)", NULL},
     BIT(COMMAND_POOL_SCRUB)},
    {{"background", NULL, "let the owner of the pool go on, do not wait", NULL},
     BIT(COMMAND_POOL_SCRUB)},
    {{"stop", NULL, "end the scrub that the owner of the pool runs", NULL},
     BIT(COMMAND_POOL_SCRUB)},
    {{"sector", "BYTES", "logical sector, 512 or 4096 (4096)", NULL}, CREATE},
    {{"copies", "N", "of a cluster: 1 to 5 (3)", NULL}, CREATE | BIT(COMMAND_VOLUME_IMPORT)},
    {{"min-copies", "N", "writes wait while fewer are in sync (1 of 2, 2 of 3)", NULL},
     CREATE | BIT(COMMAND_VOLUME_IMPORT)},
    {{"domain", "WHAT", "no two copies in one store, node, rack or zone (node)", NULL},
     CREATE | BIT(COMMAND_VOLUME_IMPORT)},
    {{"class", "CLASS", "nvme, ssd or hdd: of stores, may be repeated; of the store", NULL},
     CREATE | BIT(COMMAND_STORE_ADD) | BIT(COMMAND_VOLUME_IMPORT)},
    {{"ec", "K+M", "not built yet", "erasure coding is not built yet"}, CREATE},
    {{"tier", "POLICY", "not built yet", "tiers are not built yet"}, CREATE},
    {{"compress", "HOW", "not built yet", "compression is not built yet"}, CREATE},
    {{"encrypt", NULL, "not built yet", "encryption is not built yet"}, CREATE},
    {{"force", NULL, "cut off the end of the volume; roll its size back as well", NULL},
     BIT(COMMAND_VOLUME_RESIZE) | BIT(COMMAND_SNAPSHOT_ROLLBACK) | BIT(COMMAND_VOLUME_IMPORT)},
    {{"since", "SNAP", "only what has changed since this snapshot of it", NULL},
     BIT(COMMAND_VOLUME_EXPORT)},
    {{"all", NULL, "those too that were deleted and are still needed, or on their way", NULL},
     BIT(COMMAND_SNAPSHOT_LIST)},
    {{"no-space", NULL, "do not find out what space each takes", NULL}, BIT(COMMAND_SNAPSHOT_LIST)},
    {{"lost", NULL, "it will not come back: make its copies anew from others", NULL},
     BIT(COMMAND_STORE_DRAIN)},
    {{"wait", NULL, "until it is empty", NULL}, BIT(COMMAND_STORE_DRAIN)},
    {{"json", NULL, "answer in JSON", NULL}, ANY},
    {{"log-level", "LEVEL", "error, warning, notice, info or debug (warning)", NULL}, ANY},
    {{"log-json", NULL, "log and complain in JSON objects, one a line", NULL}, ANY},
};

enum { FLAGS = sizeof flags / sizeof *flags };

/* --- Values -------------------------------------------------------------------------------- */

static const char *take_bool(struct command *command, const char *name, bool yes)
{
    const struct {
        const char *name;
        bool *value;
    } switches[] = {{"json", &command->json},
                    {"log-json", &command->log_json},
                    {"force", &command->force},
                    {"overwrite", &command->overwrite},
                    {"no-data", &command->no_data},
                    {"stop", &command->stop},
                    {"background", &command->background},
                    {"all", &command->all},
                    {"no-space", &command->no_space},
                    {"lost", &command->lost},
                    {"wait", &command->wait},
                    {"accept-loss", &command->accept_loss},
                    {"look", &command->look}};
    for (size_t i = 0; i < sizeof switches / sizeof *switches; i++)
        if (strcmp(switches[i].name, name) == 0)
            *switches[i].value = yes;
    return NULL;
}

static const char *take_device(struct command *command, const char *value)
{
    if (value[0] == '\0')
        return "is empty";
    if (command->device_count == DEVICES_GIVEN_MAX)
        return "a pool has at most 64 devices";
    command->devices[command->device_count] = strdup(value);
    return command->devices[command->device_count++] == NULL ? "no memory" : NULL;
}

static const char *take_one(char **list, unsigned *count, const char *value)
{
    if (value[0] == '\0')
        return "is empty";
    if (*count == STORES_GIVEN_MAX)
        return "is given more than 256 times";
    list[*count] = strdup(value);
    return list[(*count)++] == NULL ? "no memory" : NULL;
}

/* What is no address is a file. */
static const char *take_from(struct command *command, const char *value)
{
    if (strncmp(value, "tcp:", 4) == 0 || strncmp(value, "unix:", 5) == 0)
        return take_one(command->addresses, &command->address_count, value);
    return take_one(command->files, &command->file_count, value);
}

static const char *take_text(char **text, const char *value)
{
    if (value[0] == '\0')
        return "is empty";
    free(*text);
    *text = strdup(value);
    return *text == NULL ? "no memory" : NULL;
}

static const char *take_pool(struct command *command, const char *value)
{
    const char *sentence = take_text(&command->pool_named, value);
    if (sentence == NULL)
        command->pool = command->pool_named;
    return sentence;
}

static const char *take_since(struct command *command, const char *value)
{
    return strchr(value, '@') != NULL ? "is the name of a snapshot alone, without NAME@"
                                      : take_text(&command->since, value);
}

/* Who and where this is, in a cluster. */
static bool is_place(const char *name)
{
    return strcmp(name, "node") == 0 || strcmp(name, "zone") == 0 || strcmp(name, "rack") == 0 ||
           strcmp(name, "peer-tls-certificates") == 0;
}

static const char *take_place(struct command *command, const char *name, const char *value)
{
    if (strcmp(name, "node") == 0)
        return take_text(&command->node, value);
    if (strcmp(name, "zone") == 0)
        return take_text(&command->zone, value);
    return take_text(strcmp(name, "rack") == 0 ? &command->rack : &command->peer_tls, value);
}

static const char *take_copies(struct command *command, const char *name, const char *value)
{
    static const char *const domains[] = {[IOMESH_DOMAIN_NODE] = "node",
                                          [IOMESH_DOMAIN_STORE] = "store",
                                          [IOMESH_DOMAIN_RACK] = "rack",
                                          [IOMESH_DOMAIN_ZONE] = "zone"};
    uint64_t number = 0;
    if (strcmp(name, "domain") == 0) {
        for (uint32_t i = 0; i < sizeof domains / sizeof *domains; i++) {
            if (strcmp(domains[i], value) == 0) {
                command->domain = i;
                return NULL;
            }
        }
        return "is store, node, rack or zone";
    }
    if (strcmp(name, "class") == 0) {
        for (uint32_t i = IOMESH_CLASS_NVME; i <= IOMESH_CLASS_HDD; i++) {
            if (strcmp(text_class(i), value) == 0) {
                command->classes |= 1u << i;
                return NULL;
            }
        }
        return "is nvme, ssd or hdd";
    }
    if (!options_number(value, 1, 5, &number))
        return "is 1 to 5";
    *(strcmp(name, "copies") == 0 ? &command->copies : &command->copies_min) = (uint32_t)number;
    return NULL;
}

static bool is_copies(const char *name)
{
    return strcmp(name, "copies") == 0 || strcmp(name, "min-copies") == 0 ||
           strcmp(name, "domain") == 0 || strcmp(name, "class") == 0;
}

static const char *take(void *context, const struct option_spec *spec, const char *value)
{
    struct command *command = context;
    const char *name = spec->name;
    uint64_t number = 0;
    if (spec->value == NULL)
        return take_bool(command, name, strcmp(value, "yes") == 0);
    if (is_place(name))
        return take_place(command, name, value);
    if (is_copies(name))
        return take_copies(command, name, value);
    if (strcmp(name, "pool") == 0)
        return take_pool(command, value);
    if (strcmp(name, "since") == 0)
        return take_since(command, value);
    if (strcmp(name, "device") == 0)
        return take_device(command, value);
    if (strcmp(name, "store") == 0)
        return take_one(command->stores, &command->store_count, value);
    if (strcmp(name, "from") == 0)
        return take_from(command, value);
    if (strcmp(name, "save") == 0)
        return take_text(&command->save, value);
    if (strcmp(name, "log-level") == 0)
        return log_level_from(value, &command->log_level)
                   ? NULL
                   : "is error, warning, notice, info or debug";
    if (strcmp(name, "sector") == 0) {
        if (!options_number(value, 512, 4096, &number) || (number != 512 && number != 4096))
            return "is 512 or 4096";
        command->sector = (uint32_t)number;
        return NULL;
    }
    if (!options_size(value, &number))
        return "is not a size: a whole number, K, M, G or T behind it";
    if (number == 0)
        return "is zero";
    if (strcmp(name, "rate") == 0) {
        command->rate = number;
    } else {
        command->size = number;
        command->size_given = true;
    }
    return NULL;
}

/* --- Words --------------------------------------------------------------------------------- */

static enum options_outcome complain(const char *what, const char *why)
{
    fprintf(stderr, "iomesh-cli: %s: %s\n", what, why);
    return OPTIONS_EXIT_USAGE;
}

static const struct flag *find_flag(const char *word)
{
    for (size_t i = 0; i < FLAGS; i++) {
        size_t length = strlen(flags[i].option.name);
        if (strncmp(word + 2, flags[i].option.name, length) == 0 &&
            (word[2 + length] == '\0' || word[2 + length] == '='))
            return &flags[i];
    }
    return NULL;
}

/* How many of the words the name of a command takes; 0: it is another command. */
static unsigned match(const struct command_spec *spec, const char *const *words, unsigned count)
{
    const char *rest = spec->words;
    unsigned used = 0;
    while (*rest != '\0') {
        size_t length = strcspn(rest, " ");
        if (used == count || strlen(words[used]) != length ||
            memcmp(words[used], rest, length) != 0)
            return 0;
        used++;
        rest += length;
        rest += *rest == ' ';
    }
    return used;
}

static void print_help(void)
{
    puts("usage: iomesh-cli [--pool URL] [--json] COMMAND ...\n"
         "Makes and looks after pools and volumes. iomesh-cli COMMAND --help tells its flags.\n");
    for (const struct command_spec *spec = words_commands; spec->words != NULL; spec++) {
        char left[80];
        snprintf(left, sizeof left, "%s %s", spec->words, spec->arguments);
        printf("  %-36s %s\n", left, spec->help);
    }
    puts("\nSizes: K, M, G, T are powers of 1024. Exit status: 0 done, 1 refused or failed, 2 "
         "usage.");
}

struct split {
    const char *words[WORDS_MAX];
    unsigned word_count;
    char **flags; /* As argv: begins with the program, ends with NULL. */
    int flag_count;
};

/* Flags may be anywhere; what follows "--" is words. */
static enum options_outcome divide(struct split *split, int argc, char **argv)
{
    bool only_words = false;
    split->flags[split->flag_count++] = argv[0];
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        if (!only_words && strcmp(word, "--") == 0) {
            only_words = true;
        } else if (only_words || word[0] != '-' || word[1] == '\0') {
            if (split->word_count == WORDS_MAX)
                return complain(word, "too many words; see iomesh-cli --help");
            split->words[split->word_count++] = word;
        } else {
            const struct flag *flag = strncmp(word, "--", 2) == 0 ? find_flag(word) : NULL;
            bool valued = flag != NULL ? flag->option.value != NULL : strcmp(word, "--config") == 0;
            split->flags[split->flag_count++] = argv[i];
            if (valued && strchr(word, '=') == NULL && i + 1 < argc)
                split->flags[split->flag_count++] = argv[++i];
        }
    }
    return OPTIONS_RUN;
}

static bool split_has(const struct split *split, const char *flag)
{
    for (int i = 1; i < split->flag_count; i++)
        if (strcmp(split->flags[i], flag) == 0)
            return true;
    return false;
}

/* Nothing was asked for, or help in general. */
static enum options_outcome nothing_asked(const struct split *split)
{
    if (split_has(split, "--version")) {
        printf("iomesh-cli %s\n", IOMESH_PROGRAM_VERSION);
        return OPTIONS_EXIT_WELL;
    }
    if (split_has(split, "--completion")) {
        words_print_completion();
        return OPTIONS_EXIT_WELL;
    }
    if (split_has(split, "--help")) {
        print_help();
        return OPTIONS_EXIT_WELL;
    }
    return complain("no command", "say what to do; see iomesh-cli --help");
}

static void all_words(const struct split *split, char *ret_text, size_t size)
{
    size_t length = 0;
    ret_text[0] = '\0';
    for (unsigned i = 0; i < split->word_count && length < size; i++)
        length += (size_t)snprintf(ret_text + length, size - length, "%s%.40s", i == 0 ? "" : " ",
                                   split->words[i]);
}

static enum options_outcome complain_of_few(const struct command_spec *spec)
{
    char text[100];
    snprintf(text, sizeof text, "needs %s", spec->arguments);
    return complain(spec->words, text);
}

static enum options_outcome find_command(struct command *command, const struct split *split)
{
    for (const struct command_spec *spec = words_commands; spec->words != NULL; spec++) {
        unsigned used = match(spec, split->words, split->word_count);
        if (used == 0)
            continue;
        if (spec->id == COMMAND_NOT_BUILT)
            return complain(spec->words, spec->help);
        unsigned given = split->word_count - used;
        if (given < spec->argument_count)
            return complain_of_few(spec);
        if (given > spec->argument_count && strstr(spec->arguments, "...") == NULL)
            return complain(split->words[used + spec->argument_count],
                            "one word too many; see iomesh-cli --help");
        for (unsigned i = 0; i < given; i++)
            command->arguments[i] = split->words[used + i];
        command->argument_count = given;
        command->spec = spec;
        return OPTIONS_RUN;
    }
    if (split_has(split, "--help"))
        return nothing_asked(split);
    char text[400];
    all_words(split, text, sizeof text);
    return complain(text, "no such command; see iomesh-cli --help");
}

/* --- All of it ----------------------------------------------------------------------------- */

static enum options_outcome read_flags(struct command *command, const struct split *split)
{
    struct option_spec table[FLAGS + 1];
    size_t count = 0;
    for (size_t i = 0; i < FLAGS; i++)
        if (flags[i].commands & BIT(command->spec->id))
            table[count++] = flags[i].option;
    table[count] = (struct option_spec){NULL, NULL, NULL, NULL};
    char usage[400];
    snprintf(usage, sizeof usage, "usage: iomesh-cli %s %s\nTo %s.", command->spec->words,
             command->spec->arguments, command->spec->help);
    return options_read("iomesh-cli", IOMESH_PROGRAM_VERSION, usage, table, split->flag_count,
                        split->flags, take, command);
}

/* Of one volume, and from a snapshot. */
static enum options_outcome check_diff(const struct command *command)
{
    const char *from = command->arguments[0];
    const char *to = command->arguments[1];
    const size_t length = strcspn(from, "@");
    if (from[length] == '\0')
        return complain(from, "is no snapshot: needs NAME@A NAME[@B]");
    if (strcspn(to, "@") != length || memcmp(from, to, length) != 0)
        return complain(to, "is not of the same volume: a diff is of one volume");
    return OPTIONS_RUN;
}

static enum options_outcome check_whole(struct command *command)
{
    enum command_id id = command->spec->id;
    if ((id == COMMAND_VOLUME_CREATE || id == COMMAND_VOLUME_RESIZE) && !command->size_given)
        return complain(command->spec->words, "needs --size SIZE");
    if (command->json && id == COMMAND_VOLUME_EXPORT && strcmp(command->arguments[1], "-") == 0)
        return complain("--json", "standard output is the backup's: name a FILE");
    if (id == COMMAND_VOLUME_IMPORT && strchr(command->arguments[1], '@') != NULL)
        return complain(command->arguments[1],
                        "is no name of a volume; the name of the snapshot comes from the stream");
    if ((id == COMMAND_STORE_DRAIN || id == COMMAND_STORE_UNDRAIN || id == COMMAND_STORE_REMOVE) &&
        !options_number(command->arguments[0], 1, UINT64_MAX, &command->store))
        return complain(command->arguments[0],
                        "is not the number of a store; iomesh-cli store list tells them");
    if (id == COMMAND_SNAPSHOT_DIFF && check_diff(command) != OPTIONS_RUN)
        return OPTIONS_EXIT_USAGE;
    if (command->stop && (command->background || command->rate != 0))
        return complain("--stop", "goes with neither --rate nor --background");
    if (id == COMMAND_STORE_ADD && (command->classes & (command->classes - 1)) != 0)
        return complain("--class", "a store has one");
    if (command->save != NULL && (command->look || command->accept_loss))
        return complain("--save", "makes nothing: it goes with neither --look nor --accept-loss");
    if (id == COMMAND_POOL_REBUILD &&
        command->store_count + command->file_count + command->address_count == 0)
        return complain(command->spec->words, "needs --store DIR|DEVICE, all that are left");
    if (command->lost && command->wait)
        return complain("--lost", "does not go with --wait: pool status tells how far it is");
    if (command->pool == NULL)
        command->pool = getenv("IOMESH_POOL");
    if (id == COMMAND_STORE_CHECK)
        return OPTIONS_RUN; /* It is found by its path. */
    if (command->pool == NULL || command->pool[0] == '\0')
        return complain("no pool", "give --pool URL or set IOMESH_POOL");
    return OPTIONS_RUN;
}

enum options_outcome words_read(struct command *command, int argc, char **argv)
{
    *command = (struct command){.log_level = LOG_LEVEL_WARNING};
    struct split split = {.flags = calloc((size_t)argc + 1, sizeof *split.flags)};
    if (split.flags == NULL)
        return complain("the command line", "no memory");
    enum options_outcome outcome = divide(&split, argc, argv);
    if (outcome == OPTIONS_RUN)
        outcome = split.word_count == 0 ? nothing_asked(&split) : find_command(command, &split);
    if (outcome == OPTIONS_RUN)
        outcome = read_flags(command, &split);
    if (outcome == OPTIONS_RUN)
        outcome = check_whole(command);
    free(split.flags);
    return outcome;
}

void words_done(struct command *command)
{
    for (unsigned i = 0; i < command->device_count; i++)
        free(command->devices[i]);
    for (unsigned i = 0; i < command->store_count; i++)
        free(command->stores[i]);
    for (unsigned i = 0; i < command->file_count; i++)
        free(command->files[i]);
    for (unsigned i = 0; i < command->address_count; i++)
        free(command->addresses[i]);
    free(command->save);
    free(command->pool_named);
    free(command->since);
    free(command->node);
    free(command->zone);
    free(command->rack);
    free(command->peer_tls);
    *command = (struct command){0};
}

void words_print_completion(void)
{
    for (const struct command_spec *spec = words_commands; spec->words != NULL; spec++) {
        if (spec->id == COMMAND_NOT_BUILT)
            continue;
        printf("%s\t", spec->words);
        for (size_t i = 0; i < FLAGS; i++)
            if (flags[i].commands & BIT(spec->id) && flags[i].option.missing == NULL)
                printf("--%s%s ", flags[i].option.name, flags[i].option.value != NULL ? "=" : "");
        puts("--config= --help");
    }
}
