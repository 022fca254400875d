/* machine.c -- read from /proc, /etc/os-release and the build. */
#include "experiments/machine.h"

#include "revision.h"

#include <openssl/crypto.h>
#include <png.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <zlib.h>

/* The rest of the first line of a file that starts with `key`, without quotes and white space around it; "" if there is
 * none. */
static void line_after(const char *path, const char *key, char *value, size_t size)
{
    char line[1024];
    value[0] = 0;
    FILE *file = fopen(path, "re");
    if (!file)
        return;
    while (fgets(line, sizeof line, file)) {
        if (strncmp(line, key, strlen(key)) != 0)
            continue;
        const char *from = line + strlen(key);
        from += strspn(from, " \t:=\"");
        size_t count = strcspn(from, "\"\n");
        if (count >= size)
            count = size - 1;
        memcpy(value, from, count);
        value[count] = 0;
        break;
    }
    fclose(file);
}

static void put(json_t *facts, const char *name, const char *value)
{
    if (*value)
        json_object_set_new(facts, name, json_string(value));
}

json_t *vmae_machine_facts(void)
{
    json_t *facts = json_object();
    char text[512];
    if (!facts)
        return NULL;
    line_after("/proc/cpuinfo", "model name", text, sizeof text);
    put(facts, "cpu", text);
    snprintf(text, sizeof text, "%d", vmae_machine_cores());
    put(facts, "cores", text);
    const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGE_SIZE);
    snprintf(text, sizeof text, "%.0f", (double)pages * (double)page);
    put(facts, "memory_bytes", text);
    line_after("/etc/os-release", "PRETTY_NAME", text, sizeof text);
    put(facts, "os", text);
    struct utsname kernel;
    if (uname(&kernel) == 0) {
        snprintf(text, sizeof text, "%s %s %s", kernel.sysname, kernel.release, kernel.machine);
        put(facts, "kernel", text);
    }
    put(facts, "compiler", VMAE_COMPILER);
    snprintf(text, sizeof text, "%s, zlib %s, jansson %s, libpng %s, libconfig %s (headers)",
             OpenSSL_version(OPENSSL_VERSION), zlibVersion(), jansson_version_str(), png_get_libpng_ver(NULL),
             VMAE_LIBCONFIG_VERSION);
    put(facts, "libraries", text);
    return facts;
}

const char *vmae_machine_boot_id(void)
{
    static char id[64];
    if (!*id)
        line_after("/proc/sys/kernel/random/boot_id", "", id, sizeof id);
    return id;
}

const char *vmae_machine_host(void)
{
    static char name[256];
    if (!*name && gethostname(name, sizeof name - 1) != 0)
        snprintf(name, sizeof name, "unknown");
    return name;
}

const char *vmae_revision(void)
{
    return VMAE_REVISION;
}

int vmae_machine_cores(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0)
        return CPU_COUNT(&set);
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);
    return cores > 0 ? (int)cores : 1;
}
