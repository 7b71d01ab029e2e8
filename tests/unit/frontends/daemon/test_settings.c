/* SPDX-License-Identifier: Apache-2.0 */
/* What --store, --listen and --advertise say. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/settings.h"

static void store_is(const char *text, const char *path, uint64_t bytes, uint32_t device_class)
{
    struct settings_store store;
    cr_assert_null(settings_store_parse(text, &store), "%s", text);
    cr_assert_str_eq(store.path, path);
    cr_assert_eq(store.bytes, bytes);
    cr_assert_eq(store.device_class, device_class);
    free(store.path);
}

Test(daemon_settings, a_store_is_a_path_with_a_size_and_a_class)
{
    store_is("/s", "/s", 0, IOMESH_CLASS_NVME);
    store_is("/s:1G", "/s", 1u << 30, IOMESH_CLASS_NVME);
    store_is("/s:67108864", "/s", 64u << 20, IOMESH_CLASS_NVME);
    store_is("/s,class=hdd", "/s", 0, IOMESH_CLASS_HDD);
    store_is("/dev/sd:b:2T,class=ssd", "/dev/sd:b", (uint64_t)2 << 40, IOMESH_CLASS_SSD);
    store_is("/dev/disk/by-path/pci-0:1f.2-ata-1", "/dev/disk/by-path/pci-0:1f.2-ata-1", 0, 0);
}

Test(daemon_settings, what_is_no_store_is_refused)
{
    struct settings_store store = {.path = NULL};
    static const char *const wrong[] = {"",      ":1G",          "/s:1M",         "/s:100000001",
                                        "/s:1K", "/s,class=dvd", "/s,class=hdd,", ",class=hdd"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        cr_assert_not_null(settings_store_parse(wrong[i], &store), "%s", wrong[i]);
    cr_assert_null(store.path);
}

static void address_is(const char *text, const char *wanted)
{
    char *address;
    cr_assert_null(settings_address_parse(text, true, &address), "%s", text);
    cr_assert_str_eq(address, wanted);
    free(address);
}

Test(daemon_settings, addresses_are_as_the_library_has_them)
{
    address_is("10.0.0.1:7000", "tcp:10.0.0.1:7000");
    address_is("tcp:host:1", "tcp:host:1");
    address_is("[::1]:7000", "tcp:[::1]:7000");
    address_is("unix:/run/x.sock", "unix:/run/x.sock");
}

Test(daemon_settings, what_others_cannot_find_is_not_published)
{
    static const char *const vague[] = {"0.0.0.0:7000", "[::]:7000",     ":7000",
                                        "*:7000",       "tcp:0.0.0.0:1", "host:0"};
    for (size_t i = 0; i < sizeof vague / sizeof *vague; i++) {
        char *address = NULL;
        cr_assert_not_null(settings_address_parse(vague[i], true, &address), "%s", vague[i]);
        cr_assert_null(settings_address_parse(vague[i], false, &address), "but listened on");
        free(address);
    }
    static const char *const wrong[] = {"", "host", "host:", "host:x", "host:65536", "unix:"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char *address = NULL;
        cr_assert_not_null(settings_address_parse(wrong[i], false, &address), "%s", wrong[i]);
    }
}
