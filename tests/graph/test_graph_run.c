/* test_graph_run.c -- recording, differentiating and running: sums of gradients, refusals, the search for what is not
 * finite, costs. */
#include "engine/core/mem.h"
#include "tests/device.h"
#include "tests/graph/step.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const vmae_model_config tiny = { .image_size = 20,
                                        .patch_size = 4,
                                        .channels = 3,
                                        .dim = 28,
                                        .depth = 2,
                                        .heads = 2,
                                        .mlp_hidden = 44,
                                        .decoder_dim = 20,
                                        .decoder_depth = 1,
                                        .decoder_heads = 2,
                                        .decoder_mlp_hidden = 36,
                                        .projector_hidden = 24,
                                        .projector_out = 12,
                                        .pool = VMAE_POOL_GEM,
                                        .mask_ratio = 0.6,
                                        .norm_pix = true };

static float *copy_gradients(const step *s)
{
    return device_floats(s->be, vmae_params_gradients(s->params), vmae_params_trainable(s->params));
}

/* ---- sums of gradients ---- */

TEST(two_accumulated_runs_give_twice_the_gradient_of_one)
{
    const step_options options = {
        .config = &tiny, .pairs = 5, .precision = VMAE_F32, .threads = 2, .accumulates = true
    };
    step s;
    REQUIRE_OK(step_open(&s, &options));
    CHECK_OK(vmae_graph_run(s.g, false));
    float *once = copy_gradients(&s);
    REQUIRE(once);
    CHECK_OK(vmae_graph_run(s.g, true));
    const float *twice = step_gradients(&s);
    REQUIRE(twice);
    for (int i = 0; i < vmae_params_count(s.params); i++) {
        const vmae_param *param = vmae_params_at(s.params, i);
        if (!param->trainable)
            continue;
        const double largest = vmae_max_magnitude(once, (size_t)vmae_params_trainable(s.params));
        for (int64_t k = param->offset; k < param->offset + param->count; k++)
            if (!vmae_check(fabs((double)twice[k] - 2.0 * (double)once[k]) <=
                                1e-6 * fabs((double)once[k]) + 1e-7 * largest,
                            __FILE__, __LINE__, "%s: %g, once %g", param->name, (double)twice[k], (double)once[k]))
                break;
    }
    CHECK_OK(vmae_graph_run(s.g, false)); /* and without, it starts again */
    const float *again = step_gradients(&s);
    CHECK(again && memcmp(once, again, (size_t)vmae_params_trainable(s.params) * sizeof *once) == 0);
    free(once);
    step_release(&s);
}

/* A linear network whose layers are, or are not, one: loss = mean of (w2 (w1 x + b1) + b2 - 1)^2. */
typedef struct layers {
    vmae_backend *be;
    vmae_params *params;
    vmae_graph *g;
    vmae_tensor *x, *loss;
    float gradients[4][25]; /* host copies, of gradient_of */
} layers;

enum { WIDTH = 5, SIDE = 3, ROWS = SIDE * SIDE };

static vmae_tensor *layer(layers *l, vmae_tensor *x, const char *w, const char *b)
{
    return vmae_linear(l->g, x, vmae_use_param(l->g, l->params, w, VMAE_F32),
                       vmae_use_param(l->g, l->params, b, VMAE_F32), NULL, VMAE_F32);
}

static vmae_status layers_open(layers *l, const char *const names[4])
{
    *l = (layers){ 0 };
    VMAE_TRY(vmae_backend_open(&l->be, vmae_test_device(), 2));
    l->params = vmae_params_new();
    for (int i = 0; i < 4; i++)
        if (!vmae_params_find(l->params, names[i]))
            VMAE_TRY(vmae_params_add(l->params, names[i], i % 2 ? VMAE_SHAPE(WIDTH) : VMAE_SHAPE(WIDTH, WIDTH), true));
    VMAE_TRY(vmae_params_allocate(l->params, l->be, true, false));
    l->g = vmae_graph_new(l->be, VMAE_F32);
    l->x = vmae_input(l->g, "x", VMAE_F32, VMAE_SHAPE(1, ROWS, WIDTH));
    vmae_tensor *target = vmae_input(l->g, "target", VMAE_F32, VMAE_SHAPE(1, WIDTH, SIDE, SIDE)); /* a pixel a row */
    vmae_tensor *mask = vmae_input(l->g, "mask", VMAE_F32, VMAE_SHAPE(1, ROWS));
    vmae_tensor *y = layer(l, vmae_gelu(l->g, layer(l, l->x, names[0], names[1])), names[2], names[3]);
    l->loss = vmae_keep(vmae_patch_mse(l->g, y, target, mask, 1, false));
    VMAE_TRY(vmae_graph_backward(l->g, l->loss));
    VMAE_TRY(vmae_graph_plan(l->g));
    float values[ROWS * WIDTH];
    for (int i = 0; i < ROWS * WIDTH; i++)
        values[i] = sinf((float)i);
    VMAE_TRY(vmae_tensor_write(l->g, l->x, values, ROWS * WIDTH));
    for (int i = 0; i < vmae_params_count(l->params); i++)
        VMAE_TRY(vmae_params_write(l->params, vmae_params_at(l->params, i), values + (i % 2)));
    for (int i = 0; i < ROWS * WIDTH; i++)
        values[i] = 1.0f;
    VMAE_TRY(vmae_tensor_write(l->g, mask, values, ROWS));
    return vmae_tensor_write(l->g, target, values, ROWS * WIDTH);
}

static void layers_release(layers *l)
{
    vmae_graph_free(l->g);
    vmae_params_free(l->params);
    vmae_backend_close(l->be);
}

static void read_gradients(layers *l)
{
    for (int i = 0; i < vmae_params_count(l->params); i++) {
        const vmae_param *param = vmae_params_at(l->params, i);
        CHECK_OK(l->be->download(l->be, l->gradients[i], vmae_params_gradients(l->params) + param->offset,
                                 (size_t)param->count * sizeof(float)));
    }
}

static const float *gradient_of(const layers *l, const char *name)
{
    for (int i = 0; i < vmae_params_count(l->params); i++)
        if (strcmp(vmae_params_at(l->params, i)->name, name) == 0)
            return l->gradients[i];
    return NULL;
}

/* Gives parameter `to` the numbers of `from`. */
static void copy_param(layers *l, const char *to, const char *from)
{
    float values[25];
    CHECK_OK(vmae_params_read(l->params, vmae_params_find(l->params, from), values));
    CHECK_OK(vmae_params_write(l->params, vmae_params_find(l->params, to), values));
}

TEST(parameter_that_is_used_twice_gets_the_sum)
{
    static const char *const one[] = { "w", "b", "w", "b" }, *const two[] = { "w1", "b1", "w2", "b2" };
    layers shared, apart;
    REQUIRE_OK(layers_open(&shared, one));
    REQUIRE_OK(layers_open(&apart, two));
    copy_param(&apart, "w2", "w1");
    copy_param(&apart, "b2", "b1");
    for (int run = 0; run < 2; run++) { /* the second run must not add to the first */
        CHECK_OK(vmae_graph_run(shared.g, false));
        CHECK_OK(vmae_graph_run(apart.g, false));
        read_gradients(&shared);
        read_gradients(&apart);
        for (int i = 0; i < WIDTH * WIDTH; i++)
            CHECK_NEAR((double)gradient_of(&shared, "w")[i],
                       (double)gradient_of(&apart, "w1")[i] + (double)gradient_of(&apart, "w2")[i], 1e-6);
        for (int i = 0; i < WIDTH; i++)
            CHECK_NEAR((double)gradient_of(&shared, "b")[i],
                       (double)gradient_of(&apart, "b1")[i] + (double)gradient_of(&apart, "b2")[i], 1e-6);
    }
    CHECK(vmae_max_magnitude(gradient_of(&apart, "w1"), WIDTH * WIDTH) > 0.01);
    layers_release(&shared);
    layers_release(&apart);
}

/* x is read by three ops: y = x + gelu(x) + relu(gelu(x)); dy/dx = 1 + 2 gelu'(x) where gelu(x) > 0. */
TEST(tensor_that_is_read_three_times_gets_the_sum)
{
    vmae_backend *be = NULL;
    enum { N = 6 };
    const float values[N] = { 0.3f, 0.9f, 1.4f, 2.2f, 0.05f, 3.1f }, ones[N] = { 1, 1, 1, 1, 1, 1 }, zeros[N] = { 0 };
    float y[N], dx[N];
    REQUIRE_OK(vmae_backend_open(&be, vmae_test_device(), 1));
    vmae_graph *g = vmae_graph_new(be, VMAE_F32);
    vmae_tensor *x = vmae_input(g, "x", VMAE_F32, VMAE_SHAPE(1, 1, N)),
                *target = vmae_input(g, "target", VMAE_F32, VMAE_SHAPE(1, N, 1, 1));
    vmae_tensor *mask = vmae_input(g, "mask", VMAE_F32, VMAE_SHAPE(1, 1));
    x->wants_gradient = true;
    vmae_tensor *h = vmae_gelu(g, x), *out = vmae_keep(vmae_add(g, vmae_add(g, x, h), vmae_relu(g, h)));
    REQUIRE_OK(vmae_graph_backward(g, vmae_patch_mse(g, out, target, mask, 1, false)));
    vmae_keep(x->gradient);
    REQUIRE_OK(vmae_graph_plan(g));
    CHECK_OK(vmae_tensor_write(g, x, values, N));
    CHECK_OK(vmae_tensor_write(g, target, zeros, N));
    CHECK_OK(vmae_tensor_write(g, mask, ones, 1));
    CHECK_OK(vmae_graph_run(g, false));
    CHECK_OK(vmae_tensor_read(g, out, y, N));
    CHECK_OK(vmae_tensor_read(g, x->gradient, dx, N));
    for (int i = 0; i < N; i++) {
        const double v = (double)values[i], cdf = 0.5 * (1.0 + erf(v / sqrt(2.0))),
                     slope = cdf + v * exp(-v * v / 2.0) / sqrt(2.0 * acos(-1.0));
        CHECK_NEAR((double)y[i], v + 2.0 * v * cdf, 1e-6);
        CHECK_NEAR((double)dx[i], 2.0 / N * (double)y[i] * (1.0 + 2.0 * slope), 2e-6);
    }
    vmae_graph_free(g);
    vmae_backend_close(be);
}

/* ---- what is refused ---- */

typedef struct bare {
    vmae_backend *be;
    vmae_params *params;
    vmae_graph *g;
    vmae_tensor *x; /* [3, 5] */
} bare;

/* Parameters w [5, 5], b, c, d [5] trainable, s [5] frozen. */
static vmae_status bare_open(bare *b)
{
    *b = (bare){ 0 };
    VMAE_TRY(vmae_backend_open(&b->be, vmae_test_device(), 1));
    b->params = vmae_params_new();
    VMAE_TRY(vmae_params_add(b->params, "w", VMAE_SHAPE(5, 5), true));
    VMAE_TRY(vmae_params_add(b->params, "b", VMAE_SHAPE(5), true));
    VMAE_TRY(vmae_params_add(b->params, "c", VMAE_SHAPE(5), true));
    VMAE_TRY(vmae_params_add(b->params, "d", VMAE_SHAPE(5), true));
    VMAE_TRY(vmae_params_add(b->params, "s", VMAE_SHAPE(5), false));
    VMAE_TRY(vmae_params_allocate(b->params, b->be, true, false));
    b->g = vmae_graph_new(b->be, VMAE_F32);
    b->x = vmae_input(b->g, "x", VMAE_F32, VMAE_SHAPE(3, 5));
    return VMAE_OK;
}

static void bare_release(bare *b)
{
    vmae_graph_free(b->g);
    vmae_params_free(b->params);
    vmae_backend_close(b->be);
}

static vmae_tensor *use(bare *b, const char *name)
{
    return vmae_use_param(b->g, b->params, name, VMAE_F32);
}

static vmae_tensor *entropy(bare *b, vmae_tensor *logits)
{
    return vmae_cross_entropy(b->g, logits, vmae_input(b->g, "labels", VMAE_I32, VMAE_SHAPE(3)), NULL, 0.0f);
}

TEST(graph_that_was_not_planned_does_not_run)
{
    bare b;
    REQUIRE_OK(bare_open(&b));
    vmae_tensor *y = vmae_keep(vmae_gelu(b.g, b.x));
    float values[15] = { 0 };
    CHECK_FAILS(vmae_graph_run(b.g, false), VMAE_EINTERNAL, "before it was planned");
    CHECK_FAILS(vmae_graph_find_nonfinite(b.g), VMAE_EINTERNAL, "before it was planned");
    CHECK_FAILS(vmae_tensor_write(b.g, b.x, values, 15), VMAE_EINTERNAL, "x [3, 5] cannot take 15 elements");
    CHECK_FAILS(vmae_tensor_read(b.g, y, values, 15), VMAE_EINTERNAL, "gelu [3, 5] cannot be read");
    REQUIRE_OK(vmae_graph_plan(b.g));
    CHECK_FAILS(vmae_graph_run(b.g, true), VMAE_EINTERNAL, "before it was planned for this");
    vmae_graph_will_accumulate(b.g); /* too late */
    CHECK_FAILS(vmae_graph_run(b.g, true), VMAE_EINTERNAL, "before it was planned for this");
    CHECK_FAILS(vmae_graph_plan(b.g), VMAE_EINTERNAL, "planned already");
    CHECK_OK(vmae_graph_run(b.g, false));
    bare_release(&b);
}

TEST(only_what_lasts_is_read_and_only_inputs_are_written)
{
    bare b;
    float values[15] = { 0 };
    REQUIRE_OK(bare_open(&b));
    vmae_tensor *w = use(&b, "w"), *y = vmae_gelu(b.g, b.x),
                *z = vmae_keep(vmae_linear(b.g, y, w, NULL, NULL, VMAE_F32));
    REQUIRE_OK(vmae_graph_plan(b.g));
    CHECK_OK(vmae_tensor_write(b.g, b.x, values, 15));
    CHECK_OK(vmae_graph_run(b.g, false));
    CHECK_FAILS(vmae_tensor_read(b.g, y, values, 15), VMAE_EINTERNAL, "gelu [3, 5] cannot be read as 15 elements");
    vmae_keep(y); /* too late: its memory is shared */
    CHECK_FAILS(vmae_tensor_read(b.g, y, values, 15), VMAE_EINTERNAL, "cannot be read");
    CHECK_OK(vmae_tensor_read(b.g, z, values, 15));
    CHECK_FAILS(vmae_tensor_read(b.g, z, values, 14), VMAE_EINTERNAL, "linear [3, 5] cannot be read as 14 elements");
    CHECK_FAILS(vmae_tensor_write(b.g, b.x, values, 16), VMAE_EINTERNAL, "x [3, 5] cannot take 16 elements");
    CHECK_FAILS(vmae_tensor_write(b.g, z, values, 15), VMAE_EINTERNAL, "cannot take");
    CHECK_FAILS(vmae_tensor_write(b.g, w, values, 25), VMAE_EINTERNAL, "w [5, 5] cannot take 25 elements");
    bare_release(&b);
}

TEST(backward_refuses_what_is_no_loss)
{
    bare b;
    REQUIRE_OK(bare_open(&b));
    CHECK_FAILS(vmae_graph_backward(b.g, vmae_linear(b.g, b.x, use(&b, "w"), NULL, NULL, VMAE_F32)), VMAE_EINTERNAL,
                "the loss is [3, 5]; it must be a single number");
    CHECK_FAILS(vmae_graph_plan(b.g), VMAE_EINTERNAL, "the loss is [3, 5]"); /* the first sentence stands */
    bare_release(&b);
    REQUIRE_OK(bare_open(&b));
    CHECK_FAILS(vmae_graph_backward(b.g, entropy(&b, b.x)), VMAE_EINTERNAL, "nothing trainable leads to the loss");
    bare_release(&b);
    REQUIRE_OK(bare_open(&b));
    CHECK_FAILS(vmae_graph_backward(b.g, NULL), VMAE_EINTERNAL, "there is no loss");
    bare_release(&b);
    REQUIRE_OK(bare_open(&b));
    vmae_tensor *loss = entropy(&b, vmae_linear(b.g, b.x, use(&b, "w"), NULL, NULL, VMAE_F32));
    CHECK_OK(vmae_graph_backward(b.g, loss));
    CHECK_FAILS(vmae_graph_backward(b.g, loss), VMAE_EINTERNAL, "differentiated already");
    bare_release(&b);
}

TEST(backward_refuses_an_op_for_inference_behind_something_trainable)
{
    bare b;
    REQUIRE_OK(bare_open(&b));
    vmae_tensor *h = vmae_linear_gelu(b.g, b.x, use(&b, "w"), use(&b, "b"));
    CHECK_FAILS(vmae_graph_backward(b.g, entropy(&b, vmae_linear(b.g, h, use(&b, "w"), NULL, NULL, VMAE_F32))),
                VMAE_EINTERNAL, "linear_gelu (op 0) has no gradient, but what it reads from w is trainable");
    bare_release(&b);
}

TEST(parameters_stand_where_they_get_their_gradient)
{
    bare b;
    REQUIRE_OK(bare_open(&b)); /* a parameter as an activation */
    vmae_tensor *h = vmae_linear(b.g, vmae_gelu(b.g, use(&b, "w")), use(&b, "w"), NULL, NULL, VMAE_F32);
    vmae_tensor *labels = vmae_input(b.g, "labels", VMAE_I32, VMAE_SHAPE(5));
    CHECK_FAILS(vmae_graph_backward(b.g, vmae_cross_entropy(b.g, h, labels, NULL, 0.0f)), VMAE_EINTERNAL,
                "parameter w stands where only an activation gets a gradient");
    bare_release(&b);
    REQUIRE_OK(bare_open(&b)); /* likewise, of an op that takes the sum so far along */
    h = vmae_layer_norm(b.g, use(&b, "w"), use(&b, "b"), use(&b, "c"), 1e-6f, VMAE_F32);
    labels = vmae_input(b.g, "labels", VMAE_I32, VMAE_SHAPE(5));
    CHECK_FAILS(vmae_graph_backward(b.g, vmae_cross_entropy(b.g, h, labels, NULL, 0.0f)), VMAE_EINTERNAL,
                "parameter w stands where");
    bare_release(&b);
    REQUIRE_OK(bare_open(&b)); /* a result as a weight */
    h = vmae_linear(b.g, b.x, use(&b, "w"), NULL, NULL, VMAE_F32);
    CHECK_FAILS(
        vmae_graph_backward(
            b.g, entropy(&b, vmae_linear(b.g, h, vmae_linear(b.g, use(&b, "w"), use(&b, "w"), NULL, NULL, VMAE_F32),
                                         NULL, NULL, VMAE_F32))),
        VMAE_EINTERNAL, "linear is computed, but stands where a parameter belongs");
    bare_release(&b);
    REQUIRE_OK(bare_open(&b)); /* of two norms, the weights are one and the biases are not */
    h = vmae_layer_norm(b.g, vmae_layer_norm(b.g, b.x, use(&b, "b"), use(&b, "d"), 1e-6f, VMAE_F32), use(&b, "b"),
                        use(&b, "c"), 1e-6f, VMAE_F32);
    CHECK_FAILS(vmae_graph_backward(b.g, entropy(&b, h)), VMAE_EINTERNAL,
                "is used by several ops, but not together with the same parameters");
    bare_release(&b);
}

TEST(unknown_parameters_and_copies_are_refused_by_name)
{
    bare b;
    REQUIRE_OK(bare_open(&b));
    CHECK(!use(&b, "blocks.7.norm1.weight"));
    CHECK_FAILS(vmae_graph_plan(b.g), VMAE_EINTERNAL, "the model has no parameter blocks.7.norm1.weight");
    bare_release(&b);
    REQUIRE_OK(bare_open(&b));
    CHECK(!vmae_use_param(b.g, b.params, "w", VMAE_BF16));
    CHECK_FAILS(vmae_graph_plan(b.g), VMAE_EINTERNAL, "w: the parameters have no bf16 copy");
    bare_release(&b);
    REQUIRE_OK(bare_open(&b));
    CHECK(!vmae_input(b.g, "images", VMAE_F32, VMAE_SHAPE(3, 0)));
    CHECK_FAILS(vmae_graph_plan(b.g), VMAE_EINTERNAL, "images: shape [3, 0] has an empty dimension");
    bare_release(&b);
    REQUIRE_OK(bare_open(&b));
    CHECK_OK(vmae_graph_plan(b.g));
    CHECK(!vmae_gelu(b.g, b.x));
    CHECK_OK(vmae_graph_run(b.g, false)); /* what was planned still runs */
    bare_release(&b);
}

TEST(trainable_parameters_of_a_graph_come_from_one_set)
{
    bare a, b;
    REQUIRE_OK(bare_open(&a));
    REQUIRE_OK(bare_open(&b));
    CHECK(use(&a, "w"));
    CHECK(vmae_use_param(a.g, b.params, "s", VMAE_F32)); /* a frozen one may come from elsewhere */
    CHECK(!vmae_use_param(a.g, b.params, "b", VMAE_F32));
    CHECK_FAILS(vmae_graph_plan(a.g), VMAE_EINTERNAL, "b: the graph's trainable parameters come from two sets");
    bare_release(&a);
    bare_release(&b);
}

TEST(parameters_are_declared_once_and_before_they_are_allocated)
{
    bare b;
    REQUIRE_OK(bare_open(&b));
    CHECK_FAILS(vmae_params_add(b.params, "late", VMAE_SHAPE(1), true), VMAE_EINTERNAL, "late is declared after");
    CHECK_FAILS(vmae_params_allocate(b.params, b.be, true, false), VMAE_EINTERNAL, "allocated already");
    CHECK_EQ(vmae_params_numbers(b.params), 40);
    CHECK_EQ(vmae_params_trainable(b.params), 32 + 3 * 16);
    CHECK_EQ(vmae_params_total(b.params), 32 + 4 * 16);
    bare_release(&b);
    vmae_params *params = vmae_params_new();
    CHECK_OK(vmae_params_add(params, "w", VMAE_SHAPE(1), true));
    CHECK_FAILS(vmae_params_add(params, "w", VMAE_SHAPE(2), true), VMAE_EINTERNAL, "w is declared twice");
    vmae_params_free(params);
}

/* ---- what is not finite ---- */

static void poison(step *s, const char *name)
{
    const vmae_param *param = vmae_params_find(s->params, name);
    float *values = vmae_calloc((size_t)param->count, sizeof *values);
    REQUIRE(values);
    CHECK_OK(vmae_params_read(s->params, param, values));
    values[param->count / 2] = NAN;
    CHECK_OK(vmae_params_write(s->params, param, values));
    CHECK_OK(vmae_params_refresh(s->params));
    free(values);
}

static void check_found(const char *name, const char *op)
{
    const step_options options = { .config = &tiny, .pairs = 3, .precision = VMAE_F32, .threads = 2 };
    step s;
    REQUIRE_OK(step_open(&s, &options));
    CHECK_OK(vmae_graph_find_nonfinite(s.g));
    poison(&s, name);
    CHECK_OK(vmae_graph_run(s.g, false)); /* a run itself does not look */
    CHECK(!isfinite(step_loss(&s)));
    CHECK_FAILS(vmae_graph_find_nonfinite(s.g), VMAE_EDIVERGED, op);
    CHECK_STR(vmae_error(), name);
    CHECK_STR(vmae_error(), "(itself not finite), is the first whose result");
    CHECK_STR(vmae_error(), "is not finite (nan at element");
    step_release(&s);
}

TEST(first_op_that_is_not_finite_is_named_with_its_parameter)
{
    check_found("blocks.1.mlp.fc1.weight", "linear of ");
    check_found("decoder_norm.bias", "layer_norm of ");
    check_found("mask_token", "unshuffle_tokens of ");
    check_found("projector.4.weight", "batch_norm of ");
}

TEST(infinite_pixel_is_found_where_it_comes_in)
{
    const step_options options = { .config = &tiny, .pairs = 3, .precision = VMAE_F32, .threads = 2 };
    step s;
    REQUIRE_OK(step_open(&s, &options));
    const int64_t count = vmae_shape_count(s.model.images->shape);
    float *images = vmae_calloc((size_t)count, sizeof *images);
    REQUIRE(images);
    for (int64_t i = 0; i < count; i++)
        images[i] = INFINITY;
    CHECK_OK(vmae_tensor_write(s.g, s.model.images, images, count));
    CHECK_FAILS(vmae_graph_find_nonfinite(s.g), VMAE_EDIVERGED, "op 1, gather_patches, is the first whose result");
    free(images);
    step_release(&s);
}

/* ---- costs ---- */

/* Matrix products of blocks over t tokens of an image. */
static double blocks_flops(double t, double width, double blocks)
{
    return blocks * (t * 24.0 * width * width + 4.0 * t * t * width);
}

/* 3 x forward; forward = blocks, patch embedding, decoder embedding, prediction head, projector. */
static double step_flops(const vmae_model_config *c, double pairs)
{
    const double patches = (double)vmae_model_patches(c), keep = (double)vmae_model_keep(c), d = (double)c->dim,
                 dd = (double)c->decoder_dim;
    const double values = (double)(c->channels * c->patch_size * c->patch_size), hidden = (double)c->projector_hidden;
    double image =
        blocks_flops(keep + 1.0, d, (double)c->depth) + blocks_flops(patches + 1.0, dd, (double)c->decoder_depth);
    image += 2.0 * (keep * values * d + (keep + 1.0) * d * dd + (patches + 1.0) * dd * values);
    image += 2.0 * (d * hidden + hidden * hidden + hidden * (double)c->projector_out);
    return 3.0 * 2.0 * pairs * image;
}

TEST(flops_of_a_step_follow_the_formula)
{
    static const struct {
        const vmae_model_config *config;
        int64_t pairs;
    } sizes[] = { { &nano_model, 64 }, { &small_model, 32 }, { &base_model, 8 } };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const step_options options = {
            .config = sizes[i].config, .pairs = sizes[i].pairs, .precision = VMAE_F32, .threads = 1
        };
        step s;
        REQUIRE_OK(step_record(&s, &options));
        const double wanted = step_flops(sizes[i].config, (double)sizes[i].pairs);
        CHECK_NEAR(vmae_graph_flops(s.g) / wanted, 1.0, 0.01);
        CHECK(vmae_graph_bytes(s.g) > 1e6);
        step_release(&s);
    }
}
