/* SPDX-License-Identifier: Apache-2.0 */
/* The grammar. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <iomesh/volume.h>

#include "cli/words.h"

static struct command command;

static void drop(void)
{
    words_done(&command);
}

static void begin(void)
{
    unsetenv("IOMESH_POOL");
}

TestSuite(words, .init = begin, .fini = drop);

/* As if the line, cut at its spaces, had been typed. */
static enum options_outcome type(const char *line)
{
    static char text[600];
    static char *argv[40];
    int argc = 0;
    words_done(&command);
    snprintf(text, sizeof text, "iomesh-cli %s", line);
    for (char *rest = text, *word; (word = strtok_r(rest, " ", &rest)) != NULL;)
        argv[argc++] = word;
    argv[argc] = NULL;
    return words_read(&command, argc, argv);
}

Test(words, flags_may_stand_before_between_and_behind_words)
{
    const char *const lines[] = {"--pool file:/p --size 10G volume create web",
                                 "volume --pool=file:/p create --size=10G web",
                                 "volume create web --size 10G --pool file:/p"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        cr_assert_eq(type(lines[i]), OPTIONS_RUN, "%s", lines[i]);
        cr_assert_eq(command.spec->id, COMMAND_VOLUME_CREATE);
        cr_assert_str_eq(command.arguments[0], "web");
        cr_assert_str_eq(command.pool, "file:/p");
        cr_assert_eq(command.size, 10ull << 30);
    }
}

Test(words, every_word_of_the_grammar_is_known_and_what_is_not_built_is_refused)
{
    for (const struct command_spec *spec = words_commands; spec->words != NULL; spec++) {
        char line[200];
        const char *one = strcmp(spec->arguments, "STORE") == 0 ? "7" : "one@a";
        snprintf(line, sizeof line, "--pool file:/p %s %s %s", spec->words,
                 spec->argument_count > 0 ? one : "", spec->argument_count > 1 ? "one" : "");
        if (spec->id == COMMAND_VOLUME_CREATE || spec->id == COMMAND_VOLUME_RESIZE)
            strncat(line, " --size 1M", sizeof line - strlen(line) - 1);
        if (spec->id == COMMAND_POOL_REBUILD)
            strncat(line, " --store /s", sizeof line - strlen(line) - 1);
        cr_assert_eq(type(line), spec->id == COMMAND_NOT_BUILT ? OPTIONS_EXIT_USAGE : OPTIONS_RUN,
                     "%s", line);
    }
}

Test(words, a_flag_of_another_command_is_refused)
{
    cr_assert_eq(type("--pool file:/p volume list --size 1G"), OPTIONS_EXIT_USAGE);
    cr_assert_eq(type("--pool file:/p volume delete web --force"), OPTIONS_EXIT_USAGE);
    cr_assert_eq(type("--pool file:/p pool check --rate 1M"), OPTIONS_EXIT_USAGE);
    cr_assert_eq(type("--pool file:/p volume list --frobnicate"), OPTIONS_EXIT_USAGE);
    cr_assert_eq(type("--pool file:/p volume list -x"), OPTIONS_EXIT_USAGE);
}

Test(words, a_flag_that_is_not_built_is_refused_not_ignored)
{
    const char *const flags[] = {"--ec 4+2", "--tier auto", "--compress zstd", "--encrypt"};
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        char line[100];
        snprintf(line, sizeof line, "--pool file:/p volume create v --size 1M %s", flags[i]);
        cr_assert_eq(type(line), OPTIONS_EXIT_USAGE, "%s", line);
    }
}

Test(words, copies_are_asked_for_by_number_domain_and_class)
{
    cr_assert_eq(type("--pool etcd://h:1/p volume create v --size 1G --copies 5 --min-copies=3 "
                      "--domain rack --class nvme --class hdd --node a --zone z --rack r"),
                 OPTIONS_RUN);
    cr_assert_eq(command.copies, 5);
    cr_assert_eq(command.copies_min, 3);
    cr_assert_eq(command.domain, IOMESH_DOMAIN_RACK);
    cr_assert_eq(command.classes, 1u << IOMESH_CLASS_NVME | 1u << IOMESH_CLASS_HDD);
    cr_assert_str_eq(command.node, "a");
    cr_assert_str_eq(command.zone, "z");
    cr_assert_str_eq(command.rack, "r");
    const char *const wrong[] = {"--copies 0", "--copies 6", "--min-copies x", "--domain room",
                                 "--class tape"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char line[100];
        snprintf(line, sizeof line, "--pool etcd://h:1/p volume create v --size 1M %s", wrong[i]);
        cr_assert_eq(type(line), OPTIONS_EXIT_USAGE, "%s", line);
    }
}

Test(words, a_store_is_a_number)
{
    cr_assert_eq(type("--pool etcd://h:1/p store drain 12 --wait"), OPTIONS_RUN);
    cr_assert_eq(command.store, 12);
    cr_assert(command.wait);
    const char *const wrong[] = {"store drain",
                                 "store drain a",
                                 "store remove 0",
                                 "store undrain -1",
                                 "store remove 1 2",
                                 "store list --wait",
                                 "store drain 1 --lost --wait"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char line[100];
        snprintf(line, sizeof line, "--pool etcd://h:1/p %s", wrong[i]);
        cr_assert_eq(type(line), OPTIONS_EXIT_USAGE, "%s", line);
    }
}

Test(words, sizes_are_strict)
{
    const struct {
        const char *text;
        uint64_t bytes; /* 0: refused. */
    } sizes[] = {{"4096", 4096},
                 {"4K", 4096},
                 {"1m", 1 << 20},
                 {"3G", 3ull << 30},
                 {"16777215T", 16777215ull << 40},
                 {"16777216T", 0},
                 {"18446744073709551616", 0},
                 {"99999999999999999999T", 0},
                 {"0", 0},
                 {"", 0},
                 {"-1", 0},
                 {"+1", 0},
                 {"1.5G", 0},
                 {"1GB", 0},
                 {"1 G", 0},
                 {"G", 0},
                 {"0x10", 0},
                 {"1e3", 0},
                 {"1P", 0}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char argument[64];
        snprintf(argument, sizeof argument, "--size=%s", sizes[i].text);
        char *argv[] = {"iomesh-cli", "--pool=file:/p", "volume", "create", "v", argument, NULL};
        words_done(&command);
        enum options_outcome outcome = words_read(&command, 6, argv);
        cr_assert_eq(outcome, sizes[i].bytes != 0 ? OPTIONS_RUN : OPTIONS_EXIT_USAGE, "%s",
                     sizes[i].text);
        if (sizes[i].bytes != 0)
            cr_assert_eq(command.size, sizes[i].bytes, "%s", sizes[i].text);
    }
}

Test(words, a_group_takes_as_many_volumes_as_there_are)
{
    cr_assert_eq(type("--pool file:/p snapshot group create g a"), OPTIONS_RUN);
    cr_assert_eq(command.argument_count, 2);
    cr_assert_eq(type("--pool file:/p snapshot group create g a b c d e f g h i j"), OPTIONS_RUN);
    cr_assert_eq(command.argument_count, 11);
    cr_assert_str_eq(command.arguments[0], "g");
    cr_assert_str_eq(command.arguments[10], "j");
    cr_assert_eq(type("--pool file:/p snapshot group create g"), OPTIONS_EXIT_USAGE);
}

Test(words, a_base_is_the_name_of_a_snapshot_alone)
{
    cr_assert_eq(type("--pool file:/p volume export web@b - --since a"), OPTIONS_RUN);
    cr_assert_str_eq(command.since, "a");
    cr_assert_str_eq(command.arguments[1], "-");
    cr_assert_eq(type("--pool file:/p volume export web@b - --since web@a"), OPTIONS_EXIT_USAGE);
    cr_assert_eq(type("--pool file:/p volume import - web --since a"), OPTIONS_EXIT_USAGE);
    cr_assert_eq(type("--pool file:/p --json volume export web@b -"), OPTIONS_EXIT_USAGE);
    cr_assert_eq(type("--pool file:/p --json volume export web@b file"), OPTIONS_RUN);
}

Test(words, too_few_and_too_many_words_are_refused)
{
    const char *const lines[] = {"",
                                 "volume",
                                 "volume create --size 1M",
                                 "volume create a b --size 1M",
                                 "volume list all",
                                 "volume show",
                                 "pool",
                                 "pool status now",
                                 "create volume",
                                 "volume clone a",
                                 "volume clone a b c",
                                 "volume import a",
                                 "snapshot",
                                 "snapshot group",
                                 "snapshot diff a@b",
                                 "snapshot group delete",
                                 "a b c d e f g h i j"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        char line[100];
        snprintf(line, sizeof line, "--pool file:/p %s", lines[i]);
        cr_assert_eq(type(line), OPTIONS_EXIT_USAGE, "%s", line);
    }
}

Test(words, a_name_that_looks_like_a_flag_is_taken_behind_two_dashes)
{
    cr_assert_eq(type("--pool file:/p volume show -- --json"), OPTIONS_RUN);
    cr_assert_str_eq(command.arguments[0], "--json");
    cr_assert(!command.json);
}

Test(words, the_environment_stands_in_for_the_pool_and_a_flag_wins)
{
    cr_assert_eq(type("volume list"), OPTIONS_EXIT_USAGE);
    setenv("IOMESH_POOL", "file:/there", 1);
    cr_assert_eq(type("volume list"), OPTIONS_RUN);
    cr_assert_str_eq(command.pool, "file:/there");
    cr_assert_eq(type("volume list --pool file:/here"), OPTIONS_RUN);
    cr_assert_str_eq(command.pool, "file:/here");
}

Test(words, create_and_resize_need_a_size)
{
    cr_assert_eq(type("--pool file:/p volume create v"), OPTIONS_EXIT_USAGE);
    cr_assert_eq(type("--pool file:/p volume resize v --force"), OPTIONS_EXIT_USAGE);
    cr_assert_eq(type("--pool file:/p volume resize v --force --size 1M"), OPTIONS_RUN);
    cr_assert(command.force);
}

Test(words, devices_are_gathered_in_their_order)
{
    cr_assert_eq(type("--pool file:/p pool init --device /a:1G --device /b,class=hdd"),
                 OPTIONS_RUN);
    cr_assert_eq(command.device_count, 2);
    cr_assert_str_eq(command.devices[0], "/a:1G");
    cr_assert_str_eq(command.devices[1], "/b,class=hdd");
}
