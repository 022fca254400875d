/* device.c -- the device and the libraries that computed a run, for its record. */
#include "engine/backend/backend.h"
#include "experiments/encoder.h"

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libswscale/swscale.h>
#include <stdio.h>
#include <string.h>

static void version_text(char *text, size_t size, const char *name, unsigned version)
{
    const size_t used = strlen(text);
    snprintf(text + used, size - used, "%s%s %u.%u.%u", used ? ", " : "", name, version >> 16, version >> 8 & 255,
             version & 255);
}

vmae_status vmae_record_algorithms(vmae_run *run, vmae_backend *be)
{
    const char *algorithms = be->algorithms(be);
    return *algorithms ? vmae_run_fact(run, "algorithms", algorithms) : VMAE_OK;
}

vmae_status vmae_record_device(vmae_run *run, vmae_backend *be)
{
    char threads[16], media[256] = "";
    snprintf(threads, sizeof threads, "%d", be->threads);
    version_text(media, sizeof media, "libavcodec", avcodec_version());
    version_text(media, sizeof media, "libavformat", avformat_version());
    version_text(media, sizeof media, "libswscale", swscale_version());
    const size_t used = strlen(media);
    snprintf(media + used, sizeof media - used, ", libturbojpeg %s (headers)", VMAE_TURBOJPEG_VERSION);
    VMAE_TRY(vmae_run_fact(run, "device", be->description));
    VMAE_TRY(vmae_run_fact(run, "gpu", strcmp(be->name, "cpu") == 0 ? "none" : be->name));
    VMAE_TRY(vmae_record_algorithms(run, be));
    VMAE_TRY(vmae_run_fact(run, "threads", threads));
    return vmae_run_fact(run, "media_libraries", media);
}
