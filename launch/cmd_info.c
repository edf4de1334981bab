// weft info: what this build is, and what of it works on this machine; or what a model is.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/build.h"
#include "core/cpu.h"
#include "core/plugin.h"
#include "kernels/kernels.h"
#include "launch/commands.h"
#include "launch/doctor.h"
#include "launch/info_model.h"
#include "launch/libraries.h"
#include "launch/probe.h"

static const char *const operands[] = {"MODEL", NULL};

static const weft_command command = {
    .name = "info",
    .summary = "what this build of weft is, and its libraries; or what a model is",
    .usage = "weft info [MODEL] [flags]",
    .about =
        "Of a MODEL, which is a directory, a config.json or the name of a shape: its architecture, parameters, bytes, "
        "tokenizer, and what each layer is. Without one it prints the build, the backends it was built with and "
        "whether they can be opened here, the libraries in "
        "use, the instruction set that was chosen, and the table of collective algorithms of this job. weft doctor "
        "looks at the machine and the job.",
    .examples =
        "weft info\nweft info tinyllama-1.1b\nmpirun -np 2 weft info --transport mpi --algorithms allgather:8k-=ring",
    .common = wi_common_flags,
    .operands_max = 1,
    .operands = operands,
};

static void print_plugins(void)
{
    char text[WI_LIBRARY_TEXT];
    if (wi_library_mpi(text) == WEFT_OK)
        printf("plug-ins    mpi: %s\n", text);
    else
        printf("plug-ins    mpi: none (%s)\n", weft_error_text());
    weft_error_clear();
}

static void print_processor(const weft_cpu *cpu, weft_isa isa)
{
    char features[160];
    printf("processor   %s: %s\n", cpu->name, weft_cpu_features_text(cpu->features, features));
    printf("isa         %s of", weft_isa_name(isa));
    for (int level = 0; level <= (int)cpu->isa; level++) printf(" %s", weft_isa_name((weft_isa)level));
    printf("; kernels: %s\n", weft_isa_name(weft_kernels_for(isa).isa));
}

static void print_gpus(void)
{
    wi_hardware *h = calloc(1, sizeof *h), *told = calloc(1, sizeof *told);
    char text[200];
    weft_status status = h && told ? wi_hardware_read(NULL, h) : WEFT_NO_MEMORY;
    if (status == WEFT_OK && wi_probe_gpus(told) == WEFT_OK) wi_hardware_add(h, told);
    weft_error_clear();
    if (status == WEFT_OK && h->gpus == 0) printf("gpus        none\n");
    if (status == WEFT_OK && h->driver[0])
        printf("driver      %s, CUDA %d.%d\n", h->driver, h->cuda / 1000, h->cuda % 1000 / 10);
    for (int i = 0; status == WEFT_OK && i < h->gpus; i++)
        printf("gpu %-8d%s%s\n", i, wi_gpu_text(h, i, text, sizeof text),
               h->gpu[i].closed ? " (not open to this process)" : "");
    free(h);
    free(told);
}

static void print_build(weft_job *job, const weft_cpu *cpu, weft_isa isa)
{
    char libraries[WI_LIBRARY_TEXT];
    printf("weft        %s, build %s\n", weft_version(), weft_build_id());
    printf("built by    %s\n", weft_build_text());
    printf("built with  %s\n", WEFT_BUILD_BACKENDS);
    print_plugins();
    wi_libraries_linked(libraries);
    printf("libraries   %s\n", libraries);
    print_processor(cpu, isa);
    print_gpus();
    printf("\n");
    weft_comm_print_algorithms(weft_job_world(job), stdout);
}

static weft_status run_info(weft_job *job, const wi_call *call)
{
    wi_rank_seat seat = {0};
    weft_cpu cpu = weft_cpu_detect();
    weft_isa isa;
    if (call->operands->count) {
        const bool leads = weft_comm_rank(weft_job_world(job)) == 0;
        return weft_comm_agree(weft_job_world(job), leads ? wi_info_model(call->operands->operand[0], stdout) : WEFT_OK,
                               NULL);
    }
    WEFT_TRY(weft_comm_agree(weft_job_world(job), weft_isa_choose(&cpu, &isa), NULL));
    if (wi_seat_find(wi_seat_place(weft_job_world(job)), 0, NULL, NULL, &seat, NULL) < 0) seat.device = -1;
    weft_error_clear();
    int64_t with_gpus = seat.device >= 0;
    WEFT_TRY(weft_comm_max(weft_job_world(job), &with_gpus, 1));
    if (weft_comm_rank(weft_job_world(job)) == 0) print_build(job, &cpu, isa);
    return with_gpus ? wi_seats_tell(weft_job_world(job), &seat, "", stdout) : WEFT_OK;
}
const wi_entry wi_info_entry = {.command = &command, .run = run_info};
