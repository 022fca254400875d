/* knn.c -- the kNN protocol: frozen features, no training. */
#include "engine/core/log.h"
#include "experiments/dataset_facts.h"
#include "experiments/encoder.h"
#include "experiments/evaluate.h"

static const vmae_option *const tables[] = { vmae_common_options, vmae_model_options, vmae_eval_options,
                                             vmae_knn_options, NULL };

static vmae_status knn_run(vmae_run *run)
{
    vmae_features train = { 0 }, val = { 0 };
    double top1 = 0.0, top5 = 0.0;
    vmae_status st = vmae_evaluation_features(run, &train, &val);
    if (st == VMAE_OK)
        st = vmae_knn_classify(&train, &val, vmae_config_int(run->config, "knn.k"),
                               vmae_config_float(run->config, "knn.temperature"), &top1, &top5, NULL);
    if (st == VMAE_OK) {
        const vmae_metric metrics[] = { { "top1", top1 }, { "top5", top5 } };
        log_info("kNN top-1 %.2f %%, top-5 %.2f %% on %lld images", 100 * top1, 100 * top5, (long long)val.count);
        st = vmae_run_metrics(run, 1, metrics, 2);
    }
    vmae_features_release(&train);
    vmae_features_release(&val);
    return st;
}

static vmae_status knn_estimate(const vmae_config *config, vmae_estimate *estimate)
{
    return vmae_evaluation_estimate(config, 1, INT64_MAX, 1.0, estimate);
}

extern const vmae_protocol vmae_protocol_knn;
const vmae_protocol vmae_protocol_knn = { "knn",
                                          "Weighted nearest neighbours on frozen features",
                                          tables,
                                          true,
                                          vmae_evaluation_resolve,
                                          vmae_evaluation_fingerprint,
                                          knn_estimate,
                                          knn_run };
