/* fuzz_config.c -- any text as a config: refused with a sentence, or what it sets prints and reads back to the same
 * values. */
#include "engine/core/config.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const vmae_option options[] = {
    { "seed", VMAE_INT, VMAE_IDENTITY, "0", 0, 0, NULL, NULL, "" },
    { "a.dim", VMAE_INT, VMAE_IDENTITY, "192", 1, 4096, NULL, NULL, "" },
    { "a.ratio", VMAE_FLOAT, VMAE_IDENTITY, "0.75", 0, 1, NULL, NULL, "" },
    { "a.x", VMAE_FLOAT, VMAE_IDENTITY, "0", 0, 0, NULL, NULL, "" },
    { "a.pool", VMAE_CHOICE, VMAE_IDENTITY, "mean", 0, 0, "mean max gem cls", NULL, "" },
    { "a.b.on", VMAE_BOOL, VMAE_IDENTITY, "false", 0, 0, NULL, NULL, "" },
    { "text", VMAE_TEXT, VMAE_SPEED_ONLY, "", 0, 0, NULL, NULL, "" },
    { NULL, VMAE_BOOL, VMAE_IDENTITY, NULL, 0, 0, NULL, NULL, NULL },
};
static const vmae_option *const tables[] = { options, NULL };
static const char *const also[] = { "grid", NULL };

/* libconfig 1.5 itself loses the string it is reading at a syntax error; every other leak counts. */
__attribute__((visibility("default"))) const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libconfig_yylex\nleak:strbuf_append\n";
}

static void check_round_trip(const vmae_config *config)
{
    vmae_config *again = NULL;
    char *printed = vmae_config_print(config);
    if (!printed || vmae_config_new(&again, tables) != VMAE_OK ||
        vmae_config_read_text(again, printed, "printed", NULL) != VMAE_OK)
        abort();
    for (size_t i = 0; i < vmae_config_count(config); i++) {
        const char *name = vmae_config_at(config, i)->name;
        if (strcmp(vmae_config_value(config, name), vmae_config_value(again, name)) != 0)
            abort();
    }
    free(printed);
    vmae_config_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    vmae_config *config = NULL;
    char *text = malloc(size + 1);
    if (!text || vmae_config_new(&config, tables) != VMAE_OK)
        abort();
    if (size)
        memcpy(text, data, size);
    text[size] = '\0';
    if (vmae_config_read_text(config, text, "/nonexistent/fuzz.cfg", also) == VMAE_OK)
        check_round_trip(config);
    else if (!*vmae_error())
        abort();
    if (vmae_config_assign(config, text) == VMAE_OK)
        check_round_trip(config);
    vmae_config_free(config);
    free(text);
    return 0;
}
