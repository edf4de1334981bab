#include "tests/kernels/on_device.h"

#include "tests/check.h"

bool on_device_open(on_device *out)
{
    const char *wanted = getenv("WEFT_WALK_DEVICE");
    int count = 0;
    *out = (on_device){0};
    if (!wanted) return false;
    setenv("CUDA_LAUNCH_BLOCKING", "1", 0);
    if (weft_device_kind_open(wanted, &out->kind) < 0 || out->kind->count(&count) < 0 || count == 0 ||
        out->kind->open(0, &out->device, &out->table, &out->stream) < 0) {
        printf("skipped: %s\n", weft_error_text());
        exit(77);
    }
    out->emulated = strcmp(wanted, "emulated") == 0;
    if (getenv("WEFT_CUBLASLT")) CHECK_OK(out->kind->open_blas(out->device, &out->table));
    return true;
}
