#include "sweep_text.h"

#include "../test.h"
#include "engine/core/fs.h"
#include "engine/core/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static vmae_arena *texts(void)
{
    static vmae_arena *arena;
    if (!arena)
        arena = vmae_arena_new();
    return arena;
}

const char *write_text(const char *folder, const char *name, const char *text)
{
    char *path = vmae_arena_format(texts(), "%s/%s", folder, name);
    CHECK_OK(vmae_write_file(path, text, strlen(text)));
    return path;
}

const char *sweep_text(const char *grids, const char *more)
{
    return vmae_arena_format(texts(),
                             "name = \"test\"; title = \"A test\";\n"
                             "stages = ( { protocol = \"pretrain\"; }, { protocol = \"probe\"; } );\n"
                             "scales = { demo = { data = \"numbers\"; pretrain = { train = { steps = 20; }; }; };\n"
                             "           big = { data = \"more numbers\"; seeds = [ 1, 2, 3 ];\n"
                             "                   pretrain = { train = { steps = 40; }; }; }; };\n"
                             "%s\ngrids = (\n%s\n);\n",
                             more, grids);
}

vmae_status load_sweep_text(vmae_sweep **sweep, const char *text, const vmae_sweep_choice *choice)
{
    static int count;
    char name[32];
    snprintf(name, sizeof name, "sweep%d.cfg", count++);
    return vmae_sweep_load(sweep, write_text(vmae_test_folder(), name, text), choice);
}

char *labels_of(const vmae_sweep *sweep, size_t grid)
{
    char *text = NULL;
    size_t count;
    FILE *out = open_memstream(&text, &count);
    for (size_t i = 0; i < sweep->grids[grid].row_count; i++)
        fprintf(out, "%s%s", i ? "|" : "", sweep->grids[grid].rows[i].label);
    fclose(out);
    return text;
}

char *settings_of(const vmae_sweep *sweep, size_t grid)
{
    char *text = NULL;
    size_t count;
    FILE *out = open_memstream(&text, &count);
    for (size_t i = 0; i < sweep->grids[grid].row_count; i++) {
        const vmae_sweep_row *row = &sweep->grids[grid].rows[i];
        for (size_t k = 0; k < row->set_count; k++)
            fprintf(out, "%s%s:%s=%s",
                    k   ? ","
                    : i ? "|"
                        : "",
                    sweep->stages[row->set[k]->stage].name, row->set[k]->name, row->set[k]->text);
    }
    fclose(out);
    return text;
}
