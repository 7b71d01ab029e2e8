/* SPDX-License-Identifier: Apache-2.0 */
/* Flags and the configuration file. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/options.h"

static const struct option_spec table[] = {
    {"name", "NAME", "a name", NULL},
    {"quiet", NULL, "a switch", NULL},
    {"later", "X", "not yet", "is not built yet"},
    {NULL, NULL, NULL, NULL},
};

struct taken {
    char text[200];
};

/* Writes down what it is given; refuses the name "bad". */
static const char *take(void *context, const struct option_spec *spec, const char *value)
{
    struct taken *taken = context;
    const size_t used = strlen(taken->text);
    snprintf(taken->text + used, sizeof taken->text - used, "%s=%s;", spec->name, value);
    return strcmp(value, "bad") == 0 ? "is bad" : NULL;
}

static enum options_outcome read_words(struct taken *taken, int argc, char **argv)
{
    *taken = (struct taken){.text = ""};
    return options_read("test", "1", "usage", table, argc, argv, take, taken);
}

#define READ(taken, ...)                                                                 \
    read_words((taken), (int)(sizeof((char *[]){"test", __VA_ARGS__}) / sizeof(char *)), \
               (char *[]){"test", __VA_ARGS__})

Test(options, flags_are_taken_in_both_spellings)
{
    struct taken taken;
    cr_assert_eq(READ(&taken, "--name", "a", "--quiet", "--name=b=c"), OPTIONS_RUN);
    cr_assert_str_eq(taken.text, "name=a;quiet=yes;name=b=c;");
}

Test(options, what_is_not_in_the_table_is_wrong_usage)
{
    struct taken taken;
    cr_assert_eq(READ(&taken, "--nam", "a"), OPTIONS_EXIT_USAGE);
    cr_assert_eq(READ(&taken, "--names", "a"), OPTIONS_EXIT_USAGE);
    cr_assert_eq(READ(&taken, "stray"), OPTIONS_EXIT_USAGE);
    cr_assert_eq(READ(&taken, "--"), OPTIONS_EXIT_USAGE);
    cr_assert_eq(READ(&taken, "--name"), OPTIONS_EXIT_USAGE);
    cr_assert_eq(READ(&taken, "--quiet=yes"), OPTIONS_EXIT_USAGE);
    cr_assert_eq(READ(&taken, "--later", "1"), OPTIONS_EXIT_USAGE);
    cr_assert_eq(READ(&taken, "--name", "bad"), OPTIONS_EXIT_USAGE);
}

Test(options, nothing_is_taken_when_a_later_flag_is_wrong)
{
    struct taken taken;
    cr_assert_eq(READ(&taken, "--name", "a", "--wrong"), OPTIONS_EXIT_USAGE);
    cr_assert_str_eq(taken.text, "");
}

Test(options, help_and_version_end_well)
{
    struct taken taken;
    cr_assert_eq(READ(&taken, "--help"), OPTIONS_EXIT_WELL);
    cr_assert_eq(READ(&taken, "--name", "a", "--version"), OPTIONS_EXIT_WELL);
}

static enum options_outcome read_file_text(struct taken *taken, const char *text)
{
    char path[] = "/tmp/iomesh-options-XXXXXX";
    const int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    const enum options_outcome outcome = READ(taken, "--name", "flag", "--config", path);
    unlink(path);
    return outcome;
}

Test(options, a_flag_wins_over_the_file)
{
    struct taken taken;
    cr_assert_eq(read_file_text(&taken, "# comment\n\n name = file \nquiet=no\n"), OPTIONS_RUN);
    cr_assert_str_eq(taken.text, "quiet=no;name=flag;");
}

Test(options, a_file_with_a_wrong_line_is_refused)
{
    struct taken taken;
    cr_assert_eq(read_file_text(&taken, "quiet = perhaps\n"), OPTIONS_EXIT_USAGE);
    cr_assert_eq(read_file_text(&taken, "quiet\n"), OPTIONS_EXIT_USAGE);
    cr_assert_eq(read_file_text(&taken, "config = x\n"), OPTIONS_EXIT_USAGE);
    cr_assert_eq(read_file_text(&taken, "later = x\n"), OPTIONS_EXIT_USAGE);
    cr_assert_eq(READ(&taken, "--config", "/nonexistent"), OPTIONS_EXIT_USAGE);
}

Test(options, sizes_have_units_and_limits)
{
    uint64_t bytes;
    cr_assert(options_size("4096", &bytes) && bytes == 4096);
    cr_assert(options_size("64k", &bytes) && bytes == 65536);
    cr_assert(options_size("3M", &bytes) && bytes == 3u << 20);
    cr_assert(options_size("16777215T", &bytes) && bytes == UINT64_C(16777215) << 40);
    const char *wrong[] = {"", "-1", "M", "1X", "1MB", "16777216T", "99999999999999999999", " 1"};
    for (size_t index = 0; index < sizeof wrong / sizeof *wrong; index++)
        cr_assert_not(options_size(wrong[index], &bytes), "%s", wrong[index]);
}

Test(options, numbers_have_limits)
{
    uint64_t number;
    cr_assert(options_number("5", 5, 7, &number) && number == 5);
    cr_assert(options_number("7", 5, 7, &number));
    cr_assert_not(options_number("4", 5, 7, &number));
    cr_assert_not(options_number("8", 5, 7, &number));
    cr_assert_not(options_number("5x", 5, 7, &number));
    cr_assert_not(options_number("", 0, 7, &number));
}
