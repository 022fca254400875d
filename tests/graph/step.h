/* step.h -- a whole pre-training step of a small ViC-MAE on random images: the graph that the tests here take apart. */
#ifndef VMAE_TESTS_GRAPH_STEP_H
#define VMAE_TESTS_GRAPH_STEP_H

#include "engine/model/model.h"
#include "tests/test.h"

extern const vmae_model_config nano_model, small_model,
    base_model; /* as in the table of step times: 32, 64 and 224 pixels */

typedef struct step {
    vmae_backend *be;
    vmae_params *params;
    vmae_graph *g;
    vmae_vicmae model;
    float *gradients; /* host copy, of step_gradients */
} step;

typedef struct step_options {
    const vmae_model_config *config;
    int64_t pairs;
    vmae_type precision;
    int threads;
    bool keep_everything, accumulates;
} step_options;

/* Recorded, differentiated; planned and filled with numbers that depend on nothing but the sizes. On failure, too,
 * release it. */
vmae_status step_open(step *s, const step_options *options);
/* Only recorded and differentiated: no memory is taken for activations. */
vmae_status step_record(step *s, const step_options *options);
void step_release(step *s);

/* Every trainable gradient as it is now, in the order of the flat buffer: vmae_params_trainable() floats, valid until
 * the next call for the same step. NULL: said why. */
const float *step_gradients(step *s);
float step_loss(const step *s);

#endif
