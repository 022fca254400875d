/* cmd_info.c -- vicmae info CHECKPOINT [--json] [--tensors] */
#include "experiments/commands.h"

#include "engine/model/model.h"

#include <argp.h>
#include <jansson.h>
#include <stdio.h>

typedef struct arguments {
    const char *path;
    bool json, tensors;
} arguments;

static const struct argp_option option_table[] = { { "json", 'j', NULL, 0, "machine-readable", 0 },
                                                   { "tensors", 't', NULL, 0, "list every tensor", 0 },
                                                   { 0 } };

static error_t on_option(int key, char *value, struct argp_state *state)
{
    arguments *a = state->input;
    switch (key) {
    case 'j': a->json = true; return 0;
    case 't': a->tensors = true; return 0;
    case ARGP_KEY_ARG:
        if (a->path)
            argp_error(state, "one CHECKPOINT only");
        a->path = value;
        return 0;
    case ARGP_KEY_NO_ARGS: argp_error(state, "CHECKPOINT is missing"); return EINVAL;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const char *shape_text(const vmae_entry *entry)
{
    static char text[160];
    size_t used = (size_t)snprintf(text, sizeof text, "[");
    for (int i = 0; i < entry->rank; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%lld", i ? ", " : "", (long long)entry->dim[i]);
    snprintf(text + used, sizeof text - used, "]");
    return text;
}

static void print_text(const vmae_checkpoint *file, const vmae_model_config *model, bool tensors)
{
    double numbers = 0.0;
    for (size_t i = 0; i < vmae_checkpoint_count(file); i++)
        numbers += (double)vmae_checkpoint_at(file, i)->count;
    printf("%zu tensors, %.2f M numbers\n", vmae_checkpoint_count(file), numbers / 1e6);
    if (model)
        printf("encoder   %lld px, patch %lld, width %lld, %lld blocks, %lld heads\n"
               "decoder   width %lld, %lld blocks, %lld heads\n"
               "projector %lld -> %lld\n",
               (long long)model->image_size, (long long)model->patch_size, (long long)model->dim,
               (long long)model->depth, (long long)model->heads, (long long)model->decoder_dim,
               (long long)model->decoder_depth, (long long)model->decoder_heads, (long long)model->projector_hidden,
               (long long)model->projector_out);
    else
        printf("not an encoder that this version knows: %s\n", vmae_error());
    for (size_t i = 0; i < vmae_checkpoint_metadata_count(file); i++) {
        const char *key, *value;
        vmae_checkpoint_metadata_at(file, i, &key, &value);
        printf("%-28s %s\n", key, value);
    }
    for (size_t i = 0; tensors && i < vmae_checkpoint_count(file); i++) {
        const vmae_entry *entry = vmae_checkpoint_at(file, i);
        printf("%-5s %-24s %s\n", vmae_dtype_name(entry->dtype), shape_text(entry), entry->name);
    }
}

static json_t *json_of(const vmae_checkpoint *file)
{
    json_t *root = json_object(), *metadata = json_object(), *tensors = json_array();
    for (size_t i = 0; i < vmae_checkpoint_metadata_count(file); i++) {
        const char *key, *value;
        vmae_checkpoint_metadata_at(file, i, &key, &value);
        json_object_set_new(metadata, key, json_string(value));
    }
    for (size_t i = 0; i < vmae_checkpoint_count(file); i++) {
        const vmae_entry *entry = vmae_checkpoint_at(file, i);
        json_t *shape = json_array();
        for (int k = 0; k < entry->rank; k++)
            json_array_append_new(shape, json_integer(entry->dim[k]));
        json_array_append_new(tensors, json_pack("{s:s, s:s, s:o}", "name", entry->name, "dtype",
                                                 vmae_dtype_name(entry->dtype), "shape", shape));
    }
    json_object_set_new(root, "metadata", metadata);
    json_object_set_new(root, "tensors", tensors);
    return root;
}

int vmae_cmd_info(int argc, char **argv)
{
    const struct argp argp = { option_table,
                               on_option,
                               "CHECKPOINT",
                               "What a safetensors checkpoint holds.\vExamples:\n"
                               "  vicmae info runs/4f2a0c.../checkpoint.safetensors\n"
                               "  vicmae info model.safetensors --json | jq .metadata",
                               NULL,
                               NULL,
                               NULL };
    arguments a = { 0 };
    vmae_checkpoint *file = NULL;
    vmae_model_config model;
    argp_err_exit_status = 2;
    argp_parse(&argp, argc, argv, 0, NULL, &a);
    const vmae_status st = vmae_checkpoint_open(&file, a.path);
    if (st == VMAE_OK && a.json) {
        json_t *root = json_of(file);
        json_dumpf(root, stdout, JSON_INDENT(1));
        putchar('\n');
        json_decref(root);
    } else if (st == VMAE_OK)
        print_text(file, vmae_model_recognise(&model, file) == VMAE_OK ? &model : NULL, a.tensors);
    vmae_checkpoint_free(file);
    return vmae_report(st);
}
