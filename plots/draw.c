/* draw.c -- one picture in every format asked for. */
#include "plots/draw.h"
#include "plots/gnuplot.h"

#include "engine/core/fs.h"
#include "engine/core/mem.h"

#include <stdlib.h>
#include <string.h>

vmae_status vmae_draw(vmae_plot *plot, const char *template_name, const char *name, const char *data,
                      const char *const *arguments, size_t count)
{
    static const struct {
        unsigned format;
        const char *terminal;
    } files[] = { { VMAE_PLOT_SVG, "svg" }, { VMAE_PLOT_PNG, "png" } };
    for (size_t i = 0; i < 2; i++) {
        if (!(plot->formats & files[i].format))
            continue;
        char *file = vmae_format("%s.%s", name, files[i].terminal),
             *path = file ? vmae_path_join(plot->folder, file) : NULL;
        const vmae_status st =
            path ? vmae_gnuplot(template_name, files[i].terminal, path, NULL, data, arguments, count) : VMAE_ENOMEM;
        if (st == VMAE_OK) {
            plot->report.files++;
            snprintf(plot->report.last, sizeof plot->report.last, "%s", path);
        }
        free(file);
        free(path);
        VMAE_TRY(st);
    }
    return plot->formats & VMAE_PLOT_DUMB
               ? vmae_gnuplot(template_name, "dumb", NULL, plot->terminal, data, arguments, count)
               : VMAE_OK;
}

char *vmae_draw_file_name(const char *text)
{
    char *name = vmae_strdup(text);
    for (char *c = name; c && *c; c++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+", *c) &&
            (*c != '.' || c == name))
            *c = '_';
    return name;
}

char *vmae_draw_word(vmae_arena *arena, const char *text)
{
    char *word = vmae_arena_calloc(arena, strlen(text) * 2 + 1, 1), *to = word;
    char *label = vmae_arena_calloc(arena, strlen(text) + 1, 1);
    if (!word || !label)
        return NULL;
    vmae_plot_label(label, strlen(text) + 1, text);
    for (const char *from = label; *from; from++) {
        if (*from == ' ')
            *to++ = '\xc2', *to++ = '\xa0';
        else
            *to++ = *from == '\'' ? '.' : *from; /* a quote would join words */
    }
    return word;
}
