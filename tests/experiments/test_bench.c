/* test_bench.c -- `vicmae bench`: what it measures, what it counts, what it refuses. */
#include "vicmae.h"

#include <math.h>
#include <string.h>

/* The only element of the array that the last one printed; to be released. */
static json_t *only_result(void)
{
    json_t *all = json_loads(vicmae_out(), 0, NULL);
    CHECK_EQ(json_array_size(all), 1);
    json_t *one = json_incref(json_array_get(all, 0));
    json_decref(all);
    return one;
}

static double value(const json_t *of, const char *key)
{
    return json_number_value(json_object_get(of, key));
}

TEST(a_step_is_measured)
{
    RUN_OK("bench", "nano", "--pairs", "2", "--steps", "5", "--precision", "f32", "--device", "cpu", "--json");
    json_t *r = only_result();
    CHECK_STR(event_text(r, "size"), "nano");
    CHECK_STR(event_text(r, "precision"), "f32");
    CHECK_EQ(value(r, "pairs"), 2);
    CHECK(value(r, "step_ms") >= value(r, "least_ms") && value(r, "step_ms") <= value(r, "most_ms"));
    CHECK(value(r, "gflops_per_s") > 0.0 && value(r, "roof_gflops_per_s") > 0.0);
    json_decref(r);
}

TEST(ops_are_measured_one_by_one)
{
    RUN_OK("bench", "nano", "--pairs", "2", "--precision", "f32", "--device", "cpu", "--ops", "--json");
    json_t *r = only_result();
    const json_t *op;
    size_t i;
    CHECK(json_array_size(json_object_get(r, "ops")) > 10);
    json_array_foreach(json_object_get(r, "ops"), i, op) CHECK(value(op, "ms") > 0.0);
    json_decref(r);
    RUN_OK("bench", "nano", "--pairs", "2", "--precision", "f32", "--device", "cpu", "--ops");
    CHECK_STR(vicmae_out(), "roofs measured");
}

/* The FLOPs are those that a run on the CPU counts; times are bounds, and none is called measured. */
TEST(a_step_on_a_gpu_that_is_not_there_is_counted)
{
    RUN_OK("bench", "nano", "--pairs", "2", "--precision", "f32", "--predict", "h100", "--json");
    json_t *counted = only_result();
    RUN_OK("bench", "nano", "--pairs", "2", "--precision", "f32", "--device", "cpu", "--ops", "--json");
    json_t *measured = only_result();
    const json_t *op;
    size_t i;
    double sum = 0.0;
    CHECK_STR(event_text(counted, "gpu"), "H100 SXM");
    CHECK(value(counted, "flops") > 0.0);
    CHECK_EQ(value(counted, "flops"), value(measured, "flops"));
    json_array_foreach(json_object_get(counted, "ops"), i, op)
    {
        CHECK(!json_object_get(op, "ms"));
        sum += value(op, "least_ms");
    }
    CHECK_NEAR(sum, value(counted, "least_ms"), 1e-9 * sum);
    json_decref(counted);
    json_decref(measured);
    RUN_OK("bench", "large", "--pairs", "256", "--precision", "bf16", "--predict", "h100");
    CHECK_STR(vicmae_out(), "Counted, not measured.");
}

TEST(what_cannot_be_measured_is_refused)
{
    RUN_CODE(2, NULL, "bench", "nano", "--predict", "h900");
    CHECK_STR(vicmae_err(), "no data sheet of \"h900\" is known; known are h100, h200 and a100");
    RUN_CODE(2, NULL, "bench", "nano", "--predict", "h100", "--ops");
    CHECK_STR(vicmae_err(), "--predict counts and --ops measures; give one of them");
    RUN_CODE(2, NULL, "bench", "enormous");
    CHECK_STR(vicmae_err(), "model.size is enormous");
    RUN_CODE(2, NULL, "bench", "--steps", "3");
    CHECK_STR(vicmae_err(), "steps is 3; it must be 4 to ");
    RUN_CODE(2, NULL, "bench", "--device", "paper");
    CHECK_STR(vicmae_err(), "known are auto, cpu and cuda:N");
}
