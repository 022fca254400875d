/* reconstruct.c -- a picture of what the decoder makes of masked images: input, what it saw, what it painted. */
#include "experiments/evaluate.h"

#include "engine/core/log.h"
#include "engine/core/mem.h"
#include "engine/core/png.h"
#include "engine/core/rng.h"
#include "experiments/images.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const vmae_option *const tables[] = { vmae_common_options, vmae_model_options, vmae_eval_options,
                                             vmae_picture_options, NULL };

enum { COLUMNS = 3, GAP = 4, BATCH_MIN = 2 };

typedef struct painter {
    vmae_backend *be;
    vmae_params *params;
    vmae_graph *g;
    vmae_vicmae model;
    vmae_model_config config;
    int64_t count; /* images; the batch holds them twice, as the two views */
    float *images, *pred, *mask;
} painter;

static void painter_close(painter *p)
{
    vmae_graph_free(p->g);
    vmae_params_free(p->params);
    vmae_backend_close(p->be);
    free(p->images);
    free(p->pred);
    free(p->mask);
}

static vmae_status load(painter *p, const vmae_config *config)
{
    const char *path = vmae_config_text(config, "checkpoint");
    vmae_checkpoint *checkpoint = NULL;
    const vmae_type precision = vmae_options_precision(config);
    vmae_status st = VMAE_OK;
    vmae_options_model(config, &p->config);
    if (strcmp(path, "random") != 0) {
        VMAE_TRY(vmae_checkpoint_open(&checkpoint, path));
        if ((st = vmae_model_recognise(&p->config, checkpoint)) != VMAE_OK) {
            vmae_checkpoint_free(checkpoint);
            return vmae_fail_in(st, "%s", path);
        }
    }
    p->config.mask_ratio = vmae_config_float(config, "reconstruct.mask_ratio");
    p->config.pool = VMAE_POOL_MEAN; /* the contrastive half is recorded, but not looked at */
    if ((st = vmae_model_check(&p->config)) == VMAE_OK &&
        (st = vmae_backend_open(&p->be, vmae_config_text(config, "device"), (int)vmae_config_int(config, "threads"))) ==
            VMAE_OK &&
        (st = (p->params = vmae_params_new()) ? VMAE_OK : VMAE_ENOMEM) == VMAE_OK &&
        (st = vmae_declare_encoder(p->params, &p->config, false, true)) == VMAE_OK &&
        (st = vmae_declare_pretraining(p->params, &p->config)) == VMAE_OK &&
        (st = vmae_params_allocate(p->params, p->be, false, precision == VMAE_BF16)) == VMAE_OK &&
        (st = vmae_model_init(p->params, &p->config, (uint64_t)vmae_config_int(config, "seed"))) == VMAE_OK &&
        checkpoint)
        st = vmae_model_load(p->params, checkpoint);
    vmae_checkpoint_free(checkpoint);
    return st;
}

static vmae_status painter_open(painter *p, const vmae_config *config, int64_t count)
{
    p->count = count;
    VMAE_TRY(load(p, config));
    const int64_t side = p->config.image_size, patches = vmae_model_patches(&p->config), rows = 2 * count,
                  values = 3 * p->config.patch_size * p->config.patch_size;
    const vmae_vicmae_options options = { .pairs = count, .temperature = 0.1, .positive_ranks = 1, .keep_all = true };
    p->images = vmae_calloc((size_t)(rows * 3 * side * side), sizeof(float));
    p->pred = vmae_calloc((size_t)(rows * (1 + patches) * values), sizeof(float));
    p->mask = vmae_calloc((size_t)(rows * patches), sizeof(float));
    if (!p->images || !p->pred || !p->mask || !(p->g = vmae_graph_new(p->be, vmae_options_precision(config))))
        return VMAE_ENOMEM;
    vmae_record_vicmae(&p->model, p->g, p->params, &p->config, &options);
    return vmae_graph_plan(p->g);
}

static vmae_status open_images(const vmae_config *config, vmae_run *run, vmae_dataset **dataset)
{
    VMAE_TRY(vmae_evaluation_open_split(config, false, dataset));
    if ((*dataset)->media != VMAE_IMAGES)
        return vmae_config_refuse(config, "dataset.kind", "pictures are made of images");
    return vmae_run_dataset(run, "val", (*dataset)->description, (*dataset)->fingerprint);
}

/* The batch to both views of the model, and back: the picture shows it. */
static vmae_status take_images(painter *p, bool records, const vmae_batch *batch)
{
    const int64_t pixels = 3 * p->config.image_size * p->config.image_size;
    vmae_images put = { 0 };
    VMAE_TRY(vmae_images_open(&put, p->be, records, p->count, p->config.image_size));
    vmae_status st = VMAE_OK;
    for (int view = 0; view < 2 && st == VMAE_OK; view++)
        st = vmae_images_put(&put, (float *)p->model.images->data + view * p->count * pixels, batch, p->count);
    if (st == VMAE_OK)
        st = vmae_tensor_read(p->g, p->model.images, p->images, 2 * p->count * pixels);
    vmae_images_close(&put);
    return st;
}

/* The first batch of the validation split, shuffled by the seed; what cannot be read is replaced as in training. */
static vmae_status read_images(painter *p, const vmae_config *config, const vmae_dataset *dataset, vmae_run *run)
{
    const vmae_source source = { .dataset = dataset,
                                 .batch = (int)p->count,
                                 .view = { vmae_options_evaluation(p->config.image_size) } };
    const vmae_loader_spec spec = { .sources = &source,
                                    .source_count = 1,
                                    .records = vmae_images_on_device(config, p->be),
                                    .shuffle = true,
                                    .seed = (uint64_t)vmae_config_int(config, "seed"),
                                    .threads = (int)vmae_config_int(config, "loader.threads"),
                                    .prefetch = 1,
                                    .bad_limit = vmae_config_int(config, "loader.bad_limit") };
    vmae_loader *loader = NULL;
    const vmae_batch *batch;
    int64_t recorded = 0;
    VMAE_TRY(vmae_loader_start(&loader, &spec));
    vmae_status st = vmae_loader_next(loader, &batch);
    if (st == VMAE_OK)
        st = take_images(p, spec.records, batch);
    st = vmae_record_skipped(run, loader, &recorded, st);
    vmae_loader_stop(loader);
    return st;
}

static vmae_status paint(painter *p, uint64_t seed)
{
    const int64_t patches = vmae_model_patches(&p->config), rows = 2 * p->count;
    const float one = 1.0f;
    float *noise = vmae_calloc((size_t)(rows * patches), sizeof *noise);
    if (!noise)
        return VMAE_ENOMEM;
    for (int64_t i = 0; i < rows; i++) {
        vmae_rng rng = vmae_rng_at(seed, VMAE_RNG_MASK, (uint32_t)i, 0);
        for (int64_t l = 0; l < patches; l++)
            noise[i * patches + l] = vmae_rng_uniform(&rng);
    }
    vmae_status st = vmae_tensor_write(p->g, p->model.noise, noise, rows * patches);
    free(noise);
    VMAE_TRY(st);
    VMAE_TRY(vmae_tensor_write(p->g, p->model.recon_weight, &one, 1));
    VMAE_TRY(vmae_tensor_write(p->g, p->model.lambda, &one, 1));
    VMAE_TRY(vmae_graph_run(p->g, false));
    VMAE_TRY(vmae_tensor_read(p->g, p->model.pred, p->pred, vmae_shape_count(p->model.pred->shape)));
    return vmae_tensor_read(p->g, p->model.masking.mask, p->mask, rows * patches);
}

/* ---- the grid ---- */

typedef struct canvas {
    uint8_t *rgb;
    int64_t width, height, zoom;
} canvas;

static uint8_t to_byte(float normalised, int channel)
{
    const float value = 255.0f * (normalised * vmae_imagenet_std[channel] + vmae_imagenet_mean[channel]);
    return (uint8_t)(value < 0.0f ? 0.0f : value > 255.0f ? 255.0f : value + 0.5f);
}

static void put(const canvas *c, int64_t x, int64_t y, const uint8_t colour[3])
{
    for (int64_t dy = 0; dy < c->zoom; dy++)
        for (int64_t dx = 0; dx < c->zoom; dx++)
            memcpy(c->rgb + 3 * ((y + dy) * c->width + x + dx), colour, 3);
}

/* Mean and deviation of a patch, over its values: what a normalised prediction is relative to. */
static void patch_statistics(const painter *p, const float *image, int64_t row, int64_t column, double *mean,
                             double *deviation)
{
    const int64_t side = p->config.image_size, size = p->config.patch_size, n = 3 * size * size;
    double sum = 0.0, squares = 0.0;
    for (int64_t i = 0; i < n; i++) {
        const float v =
            image[(i / (size * size)) * side * side + (row * size + i / size % size) * side + column * size + i % size];
        sum += v;
        squares += (double)v * v;
    }
    *mean = sum / (double)n;
    *deviation = sqrt(fmax(0.0, (squares - sum * sum / (double)n) / (double)(n - 1)) + 1e-6);
}

static void draw_patch(const painter *p, const canvas *c, int64_t image, int64_t patch, int64_t top)
{
    const int64_t side = p->config.image_size, size = p->config.patch_size, grid = side / size, patches = grid * grid,
                  row = patch / grid, column = patch % grid;
    const float *pixels = p->images + image * 3 * side * side,
                *pred = p->pred + (image * (1 + patches) + 1 + patch) * 3 * size * size;
    const bool removed = p->mask[image * patches + patch] != 0.0f;
    double mean = 0.0, deviation = 1.0;
    if (p->config.norm_pix)
        patch_statistics(p, pixels, row, column, &mean, &deviation);
    for (int64_t i = 0; i < size * size; i++) {
        const int64_t y = row * size + i / size, x = column * size + i % size;
        uint8_t input[3], seen[3], painted[3];
        for (int k = 0; k < 3; k++) {
            input[k] = to_byte(pixels[k * side * side + y * side + x], k);
            seen[k] = removed ? 128 : input[k];
            painted[k] = removed ? to_byte((float)(pred[3 * i + k] * deviation + mean), k) : input[k];
        }
        const uint8_t *tiles[COLUMNS] = { input, seen, painted };
        for (int64_t t = 0; t < COLUMNS; t++)
            put(c, GAP + t * (side * c->zoom + GAP) + x * c->zoom, top + y * c->zoom, tiles[t]);
    }
}

static vmae_status draw(const painter *p, const vmae_config *config, const char *path)
{
    const int64_t side = p->config.image_size, asked = vmae_config_int(config, "reconstruct.zoom");
    canvas c = { .zoom = asked ? asked : side >= 128 ? 1 : 128 / side };
    const int64_t tile = side * c.zoom + GAP, across = p->count >= 8 ? 2 : 1, down = (p->count + across - 1) / across;
    c.width = across * COLUMNS * tile + GAP + (across - 1) * 4 * GAP;
    c.height = down * tile + GAP;
    if (c.width > 32768 || c.height > 32768)
        return vmae_config_refuse(config, "reconstruct.zoom", "the picture would be %lld x %lld pixels",
                                  (long long)c.width, (long long)c.height);
    c.rgb = vmae_calloc((size_t)(c.width * c.height), 3);
    if (!c.rgb)
        return VMAE_ENOMEM;
    memset(c.rgb, 255, (size_t)(3 * c.width * c.height));
    for (int64_t i = 0; i < p->count; i++) {
        const int64_t left = (i / down) * (COLUMNS * tile + 4 * GAP);
        const canvas shifted = { c.rgb + 3 * left, c.width, c.height, c.zoom };
        for (int64_t patch = 0; patch < vmae_model_patches(&p->config); patch++)
            draw_patch(p, &shifted, i, patch, GAP + (i % down) * tile);
    }
    const vmae_status st = vmae_png_write(path, c.rgb, (int)c.width, (int)c.height);
    free(c.rgb);
    return st;
}

/* The picture of what was painted, and how good it is. */
static vmae_status record_picture(painter *p, vmae_run *run)
{
    float loss = 0.0f;
    VMAE_TRY(vmae_tensor_read(p->g, p->model.loss_recon, &loss, 1));
    const vmae_metric metrics[] = { { "loss_recon", loss } };
    VMAE_TRY(vmae_run_metrics(run, 1, metrics, 1));
    p->count = vmae_config_int(run->config, "reconstruct.count");
    char *path = vmae_run_path(run, "reconstruction.png");
    vmae_status st = path ? draw(p, run->config, path) : VMAE_ENOMEM;
    if (st == VMAE_OK)
        st = vmae_run_artefact(run, "picture", "reconstruction.png");
    if (st == VMAE_OK)
        log_info("%s: input, visible patches, reconstruction of %lld images", path, (long long)p->count);
    free(path);
    return st;
}

static vmae_status reconstruct_run(vmae_run *run)
{
    painter p = { 0 };
    vmae_dataset *dataset = NULL;
    const vmae_config *config = run->config;
    const int64_t asked = vmae_config_int(config, "reconstruct.count");
    vmae_status st = painter_open(&p, config, asked < BATCH_MIN ? BATCH_MIN : asked);
    if (st == VMAE_OK)
        st = open_images(config, run, &dataset);
    if (st == VMAE_OK)
        st = vmae_record_device(run, p.be);
    if (st == VMAE_OK)
        st = vmae_run_begin(run, 0);
    if (st == VMAE_OK && (st = read_images(&p, config, dataset, run)) == VMAE_OK &&
        (st = paint(&p, (uint64_t)vmae_config_int(config, "seed"))) == VMAE_OK)
        st = record_picture(&p, run);
    vmae_dataset_close(dataset);
    painter_close(&p);
    return st;
}

static vmae_status reconstruct_resolve(vmae_config *config)
{
    if (strcmp(vmae_config_text(config, "checkpoint"), "pixels") == 0)
        return vmae_config_refuse(config, "checkpoint", "a reconstruction needs a model with its decoder");
    return vmae_evaluation_resolve(config);
}

/* It sees nothing of the training split, nor needs one. */
static vmae_status reconstruct_fingerprint(const vmae_config *config, vmae_hash *hash)
{
    return vmae_evaluation_identify_split(config, false, hash);
}

static vmae_status reconstruct_estimate(const vmae_config *config, vmae_estimate *estimate)
{
    (void)config; /* one small batch: nothing beside the time to start */
    *estimate = (vmae_estimate){ .steps = 1, .disk_bytes = 1e6 };
    return VMAE_OK;
}

extern const vmae_protocol vmae_protocol_reconstruct;
const vmae_protocol vmae_protocol_reconstruct = { "reconstruct",
                                                  "A picture: input, visible patches, reconstruction",
                                                  tables,
                                                  true,
                                                  reconstruct_resolve,
                                                  reconstruct_fingerprint,
                                                  reconstruct_estimate,
                                                  reconstruct_run };
