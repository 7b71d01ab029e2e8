/* SPDX-License-Identifier: Apache-2.0 */
#include "common/options.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_BYTES_MAX = 4096 };

struct reading {
    const char *program;
    const struct option_spec *table;
    int argc;
    char **argv;
    options_take_fn *take;
    void *context;
};

bool options_number(const char *text, uint64_t low, uint64_t high, uint64_t *ret_number)
{
    if (!isdigit((unsigned char)text[0]))
        return false;
    char *end;
    errno = 0;
    const unsigned long long number = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0' || number < low || number > high)
        return false;
    *ret_number = number;
    return true;
}

bool options_size(const char *text, uint64_t *ret_bytes)
{
    static const char units[] = "KMGT";
    if (!isdigit((unsigned char)text[0]))
        return false;
    char *end;
    errno = 0;
    const unsigned long long number = strtoull(text, &end, 10);
    unsigned shift = 0;
    if (*end != '\0') {
        const char *unit = strchr(units, toupper((unsigned char)*end));
        if (unit == NULL || end[1] != '\0')
            return false;
        shift = 10 * (unsigned)(unit - units + 1);
    }
    if (errno != 0 || number > UINT64_MAX >> shift)
        return false;
    *ret_bytes = (uint64_t)number << shift;
    return true;
}

static const struct option_spec *find(const struct option_spec *table, const char *name,
                                      size_t length)
{
    for (; table->name != NULL; table++)
        if (strlen(table->name) == length && memcmp(table->name, name, length) == 0)
            return table;
    return NULL;
}

static enum options_outcome complain(const struct reading *reading, const char *where,
                                     const char *name, const char *sentence)
{
    fprintf(stderr, "%s: %s%s: %s\n", reading->program, where, name, sentence);
    return OPTIONS_EXIT_USAGE;
}

static enum options_outcome use(const struct reading *reading, const char *where,
                                const struct option_spec *spec, const char *value)
{
    if (spec->missing != NULL)
        return complain(reading, where, spec->name, spec->missing);
    if (spec->value == NULL && strcmp(value, "yes") != 0 && strcmp(value, "no") != 0)
        return complain(reading, where, spec->name, "is yes or no");
    const char *sentence = reading->take(reading->context, spec, value);
    return sentence == NULL ? OPTIONS_RUN : complain(reading, where, spec->name, sentence);
}

/* One flag at argv[*index]; moves on past its value. Its parts are told without using them. */
static enum options_outcome parse(const struct reading *reading, int *index,
                                  const struct option_spec **ret_spec, const char **ret_value)
{
    static const struct option_spec config = {.name = "config", .value = "FILE"};
    const char *word = reading->argv[(*index)++];
    if (strncmp(word, "--", 2) != 0 || word[2] == '\0')
        return complain(reading, "", word, "not a flag; see --help");
    const char *name = word + 2;
    const char *equals = strchr(name, '=');
    const size_t length = equals == NULL ? strlen(name) : (size_t)(equals - name);
    const struct option_spec *spec = find(reading->table, name, length);
    if (spec == NULL && length == 6 && memcmp(name, "config", 6) == 0)
        spec = &config;
    if (spec == NULL)
        return complain(reading, "", word, "unknown flag; see --help");
    if (spec->value == NULL && equals != NULL)
        return complain(reading, "", word, "takes no value");
    if (spec->value != NULL && equals == NULL && *index >= reading->argc)
        return complain(reading, "", word, "needs a value");
    *ret_spec = spec;
    if (spec->value == NULL)
        *ret_value = "yes";
    else
        *ret_value = equals != NULL ? equals + 1 : reading->argv[(*index)++];
    return OPTIONS_RUN;
}

/* Whether a flag of this name is on the command line. The flags are known to be well formed. */
static bool on_command_line(const struct reading *reading, const struct option_spec *spec)
{
    for (int index = 1; index < reading->argc;) {
        const struct option_spec *other;
        const char *value;
        if (parse(reading, &index, &other, &value) == OPTIONS_RUN && other == spec)
            return true;
    }
    return false;
}

static char *trim(char *text)
{
    while (isspace((unsigned char)*text))
        text++;
    char *end = text + strlen(text);
    while (end > text && isspace((unsigned char)end[-1]))
        *--end = '\0';
    return text;
}

static enum options_outcome read_line(const struct reading *reading, const char *where, char *line)
{
    char *key = trim(line);
    if (*key == '\0' || *key == '#')
        return OPTIONS_RUN;
    char *equals = strchr(key, '=');
    if (equals == NULL)
        return complain(reading, where, key, "expected: key = value");
    *equals = '\0';
    key = trim(key);
    const struct option_spec *spec = find(reading->table, key, strlen(key));
    if (spec == NULL)
        return complain(reading, where, key, "unknown key");
    if (on_command_line(reading, spec))
        return OPTIONS_RUN;
    return use(reading, where, spec, trim(equals + 1));
}

static enum options_outcome read_file(const struct reading *reading, const char *path)
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return complain(reading, "--config ", path, strerror(errno));
    enum options_outcome outcome = OPTIONS_RUN;
    char line[LINE_BYTES_MAX];
    for (unsigned number = 1; outcome == OPTIONS_RUN && fgets(line, sizeof line, file) != NULL;
         number++) {
        char where[512];
        snprintf(where, sizeof where, "%s line %u: ", path, number);
        if (strlen(line) == sizeof line - 1)
            outcome = complain(reading, where, "", "too long");
        else
            outcome = read_line(reading, where, line);
    }
    if (ferror(file) && outcome == OPTIONS_RUN) /* A directory opens like a file. */
        outcome = complain(reading, "--config ", path, strerror(errno));
    fclose(file);
    return outcome;
}

static void print_help(const struct reading *reading, const char *usage)
{
    printf("%s\n\n", usage);
    for (const struct option_spec *spec = reading->table; spec->name != NULL; spec++) {
        char flag[64];
        snprintf(flag, sizeof flag, "--%s %s", spec->name, spec->value == NULL ? "" : spec->value);
        printf("  %-28s %s\n", flag, spec->help);
    }
    printf("  %-28s %s\n", "--config FILE", "read flags from FILE: name = value, a line each");
    printf("  %-28s %s\n", "--help, --version", "say this, or the version, and exit");
}

enum options_outcome options_read(const char *program, const char *version, const char *usage,
                                  const struct option_spec *table, int argc, char **argv,
                                  options_take_fn *take, void *context)
{
    const struct reading reading = {program, table, argc, argv, take, context};
    const char *path = NULL;
    for (int index = 1; index < argc;) {
        if (strcmp(argv[index], "--help") == 0) {
            print_help(&reading, usage);
            return OPTIONS_EXIT_WELL;
        }
        if (strcmp(argv[index], "--version") == 0) {
            printf("%s %s\n", program, version);
            return OPTIONS_EXIT_WELL;
        }
        const struct option_spec *spec;
        const char *value;
        if (parse(&reading, &index, &spec, &value) != OPTIONS_RUN)
            return OPTIONS_EXIT_USAGE;
        if (strcmp(spec->name, "config") == 0)
            path = value;
    }
    if (path != NULL && read_file(&reading, path) != OPTIONS_RUN)
        return OPTIONS_EXIT_USAGE;
    for (int index = 1; index < argc;) {
        const struct option_spec *spec;
        const char *value;
        if (parse(&reading, &index, &spec, &value) != OPTIONS_RUN)
            return OPTIONS_EXIT_USAGE;
        if (strcmp(spec->name, "config") != 0 && use(&reading, "--", spec, value) != OPTIONS_RUN)
            return OPTIONS_EXIT_USAGE;
    }
    return OPTIONS_RUN;
}

/* --- Taking values ------------------------------------------------------------------------- */

const char *options_take_text(char **text, const char *value)
{
    if (value[0] == '\0')
        return "is empty";
    free(*text);
    *text = strdup(value);
    return *text == NULL ? "no memory" : NULL;
}

const char *options_take_number(const char *value, uint64_t low, uint64_t high, uint32_t *number)
{
    static char sentence[80];
    uint64_t wide;
    if (!options_number(value, low, high, &wide)) {
        snprintf(sentence, sizeof sentence, "is a number from %llu to %llu",
                 (unsigned long long)low, (unsigned long long)high);
        return sentence;
    }
    *number = (uint32_t)wide;
    return NULL;
}

const char *options_take_size(const char *value, uint64_t low, uint64_t high, uint64_t *bytes)
{
    static char sentence[80];
    if (!options_size(value, bytes) || *bytes < low || *bytes > high) {
        snprintf(sentence, sizeof sentence, "is a size from %lluK to %lluM",
                 (unsigned long long)low >> 10, (unsigned long long)high >> 20);
        return sentence;
    }
    return NULL;
}

const char *options_take_days(const char *value, uint64_t *ns)
{
    uint32_t days;
    const char *sentence = options_take_number(value, 1, 365, &days);
    if (sentence == NULL)
        *ns = (uint64_t)days * 86400u * 1000000000u;
    return sentence;
}
