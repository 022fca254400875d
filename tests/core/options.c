/* options.c -- the option table of the config tests, and files for them. */
#include "tests/core/options.h"

#include "engine/core/fs.h"
#include "tests/test.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const vmae_option options[] = {
    { "seed", VMAE_INT, VMAE_IDENTITY, "0", 0, 0, NULL, NULL, "the seed" },
    { "model.dim", VMAE_INT, VMAE_IDENTITY, "192", 1, 4096, NULL, NULL, "width" },
    { "model.mask_ratio", VMAE_FLOAT, VMAE_IDENTITY, "0.75", 0, 1, NULL, NULL, "fraction of patches removed" },
    { "model.pool", VMAE_CHOICE, VMAE_IDENTITY, "mean", 0, 0, "mean max gem cls", NULL, "pooling" },
    { "model.norm_pix_loss", VMAE_BOOL, VMAE_IDENTITY, "false", 0, 0, NULL, NULL, "normalised targets" },
    { NULL, VMAE_BOOL, VMAE_IDENTITY, NULL, 0, 0, NULL, NULL, NULL },
};
static const vmae_option more_options[] = {
    { "optim.blr", VMAE_FLOAT, VMAE_IDENTITY, "1.5e-4", 0, INFINITY, NULL, "per 256 images", "base learning rate" },
    { "train.epochs", VMAE_INT, VMAE_IDENTITY, "800", 1, 10000, NULL, "epochs", "length" },
    { "data.root", VMAE_TEXT, VMAE_SPEED_ONLY, "", 0, 0, NULL, NULL, "folder" },
    { NULL, VMAE_BOOL, VMAE_IDENTITY, NULL, 0, 0, NULL, NULL, NULL },
};
static const vmae_option *const tables[] = { options, more_options, NULL };

vmae_config *new_config(void)
{
    vmae_config *config = NULL;
    CHECK_OK(vmae_config_new(&config, tables));
    return config;
}

void write_text(const char *name, const char *text)
{
    char path[700];
    snprintf(path, sizeof path, "%s/%s", vmae_test_folder(), name);
    char *slash = strrchr(path, '/');
    *slash = '\0';
    CHECK_OK(vmae_make_folders(path));
    *slash = '/';
    CHECK_OK(vmae_write_file(path, text, strlen(text)));
}
