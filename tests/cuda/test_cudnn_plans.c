/* test_cudnn_plans.c -- every graph that the CUDA backend gives to cuDNN has a plan, at every shape that pre-training,
 * probe and fine-tuning of ViT-B, L and H use, on an A100 and an H100. No GPU is needed: both are described, and the
 * real library accepts, compiles and finalizes for them. What it says about engines and workspaces is printed, not
 * tested: a GPU that is there may choose among more. */
#include "engine/backend/cuda/cudnn_graph.h"
#include "tests/cuda/described_gpu.h"
#include "tests/test.h"

#include <stdio.h>

static const struct {
    const char *name, *json;
} gpus[] = { { "A100", DESCRIBED_A100 }, { "H100", DESCRIBED_H100 } };
enum { GPUS = sizeof gpus / sizeof *gpus };

/* The heads of each size, at the number of tokens of its encoder under a mask of 0.75 (50), of a whole image (197; 257
 * of ViT-H/14), and of the decoder. Batches: of pre-training on one GPU, and small ones. */
static const struct {
    const char *what;
    cudnn_attention shape;
    bool grad;
} attentions[] = {
    { "ViT-B encoder", { 256, 50, 12, 64 }, true },     { "ViT-L encoder", { 256, 50, 16, 64 }, true },
    { "ViT-H/16 encoder", { 128, 50, 16, 80 }, true },  { "ViT-H/14 encoder", { 128, 65, 16, 80 }, true },
    { "decoder", { 256, 197, 16, 32 }, true },          { "ViT-H/14 decoder", { 128, 257, 16, 32 }, true },
    { "ViT-B probe", { 512, 197, 12, 64 }, false },     { "ViT-L probe", { 512, 197, 16, 64 }, false },
    { "ViT-H/14 probe", { 256, 257, 16, 80 }, false },  { "ViT-B fine-tuning", { 64, 197, 12, 64 }, true },
    { "ViT-L fine-tuning", { 64, 197, 16, 64 }, true }, { "ViT-H/14 fine-tuning", { 32, 257, 16, 80 }, true },
    { "demo encoder", { 32, 17, 3, 32 }, true },        { "one image", { 1, 197, 12, 64 }, true },
};

static void report(const char *gpu, const char *what, const char *graph, const cudnn_plan *plan)
{
    printf("  %s  %-22s %-20s engine %2lld, workspace %11lld, %lld of %lld configurations refused before it\n", gpu,
           what, graph, (long long)plan->engine, (long long)plan->workspace, (long long)plan->refused,
           (long long)plan->suggested);
}

static void expect_plan(const cudnn_gpu *gpu, const char *name, cudnn_graph *g, const char *what, const char *graph)
{
    cudnn_plan plan;
    const vmae_status status = cudnn_plan_new(&plan, g, gpu);
    if (status == VMAE_OK)
        report(name, what, graph, &plan);
    else
        printf("  %s  %-22s %-20s %s\n", name, what, graph, vmae_error());
    CHECK(status == VMAE_OK);
    cudnn_plan_free(&plan);
    cudnn_graph_end(g);
}

TEST(cudnn_has_plans_for_attention_at_every_shape)
{
    for (int i = 0; i < GPUS; i++) {
        cudnn_gpu gpu = { 0 };
        REQUIRE_OK(cudnn_gpu_described(&gpu, gpus[i].json));
        for (size_t k = 0; k < sizeof attentions / sizeof *attentions; k++) {
            cudnn_graph g;
            cudnn_graph_begin(&g);
            cudnn_attention_forward(&g, &attentions[k].shape, true);
            expect_plan(&gpu, gpus[i].name, &g, attentions[k].what, "attention");
            if (!attentions[k].grad)
                continue;
            cudnn_graph_begin(&g);
            cudnn_attention_backward(&g, &attentions[k].shape);
            expect_plan(&gpu, gpus[i].name, &g, attentions[k].what, "attention_grad");
        }
        cudnn_graph g;
        cudnn_graph_begin(&g);
        cudnn_attention_forward(&g, &attentions[0].shape, false);
        expect_plan(&gpu, gpus[i].name, &g, attentions[0].what, "attention, inference");
        cudnnBackendDestroyDescriptor(gpu.properties);
    }
}

/* Patch embedding, and the 3 x 3 of a detector's head; what each direction computes is in one type. */
static const struct {
    const char *what;
    cudnn_convolution shape;
} convolutions[] = {
    { "patch embedding", { CUDNN_DATA_BFLOAT16, 64, 3, 768, 224, 224, 16, 0, 16 } },
    { "3 x 3", { CUDNN_DATA_BFLOAT16, 16, 256, 256, 56, 56, 3, 1, 1 } },
    { "3 x 3, stride 2", { CUDNN_DATA_BFLOAT16, 16, 256, 256, 56, 56, 3, 1, 2 } },
    { "1 x 1", { CUDNN_DATA_BFLOAT16, 16, 768, 256, 14, 14, 1, 0, 1 } },
    { "3 x 3 in f32", { CUDNN_DATA_FLOAT, 16, 256, 256, 56, 56, 3, 1, 1 } },
};

TEST(cudnn_has_plans_for_convolutions_in_all_three_directions)
{
    static const char *const direction[] = { "convolution", "its data gradient", "its filter gradient" };
    for (int i = 0; i < GPUS; i++) {
        cudnn_gpu gpu = { 0 };
        REQUIRE_OK(cudnn_gpu_described(&gpu, gpus[i].json));
        for (size_t k = 0; k < sizeof convolutions / sizeof *convolutions; k++)
            for (cudnn_direction d = CUDNN_FORWARD; d <= CUDNN_FILTER; d++) {
                if (d == CUDNN_DATA && convolutions[k].shape.in == 3)
                    continue; /* nobody wants the gradient of pixels */
                cudnn_graph g;
                cudnn_graph_begin(&g);
                cudnn_convolve(&g, &convolutions[k].shape, d);
                expect_plan(&gpu, gpus[i].name, &g, convolutions[k].what, direction[d]);
            }
        cudnnBackendDestroyDescriptor(gpu.properties);
    }
}

TEST(what_cudnn_cannot_do_is_refused_with_its_reason)
{
    cudnn_gpu gpu = { 0 };
    REQUIRE_OK(cudnn_gpu_described(&gpu, DESCRIBED_H100));
    cudnn_graph g;
    cudnn_plan plan;
    cudnn_graph_begin(&g);
    cudnn_attention_forward(&g, &(cudnn_attention){ 2, 50, 3, 60 }, true);
    CHECK(cudnn_plan_new(&plan, &g, &gpu) == VMAE_EUSER);
    printf("  width 60: %s\n", vmae_error());
    cudnn_graph_end(&g);
    cudnnBackendDestroyDescriptor(gpu.properties);
    CHECK(cudnn_gpu_described(&gpu, "{\"warpSize\":32}") == VMAE_EUSER);
    printf("  22 keys missing: %s\n", vmae_error());
}
