// device_loop local RANKS DEADLINE WHAT [RANK]: ranks whose devices exchange in steps until something happens to them,
// for tests/comm/faults, as tests/comm/fault_loop.c is for hosts. DEVICE_LINKS says how they exchange. WHAT:
//   steps     for ever                                     outside  RANK stays outside any exchange for ever
//   holds     RANK tells what it gives and its device, which has not been told, never gives it
//   pieces    as steps, in two pieces beside the ops
#include <signal.h>
#include <unistd.h>

#include "comm/comm.h"
#include "kernels/device.h"
#include "tests/check.h"

enum { LAYER_BYTES = 8192, LAST_RESORT_S = 60, MISBEHAVES_AT = 50 };

typedef struct {
    weft_job *job;
    weft_device *device;
    weft_kernels table;
    weft_op op;
    unsigned char *memory, *beside;
    const char *what;
    int rank, size, chosen;
} loop;

static void copy(const loop *self, void *to, const void *from)
{
    self->op.table->rows.gather(&self->op, &(weft_move){.out = to, .in = from, .rows = 1, .bytes = LAYER_BYTES});
}

static weft_status exchange(loop *self, weft_channel *channel, bool holds)
{
    const weft_device_ops *ops = self->device->ops;
    weft_exchange ex;
    ops->begin(self->device);
    WEFT_TRY(weft_exchange_acquire(channel, &ex));
    copy(self, ex.slot, self->memory);
    WEFT_TRY(weft_exchange_begin(&ex, LAYER_BYTES));
    if (holds)
        for (;;) pause();
    WEFT_TRY(weft_exchange_end(&ex));
    copy(self, self->memory, ex.view[(self->rank + 1) % self->size]);
    weft_exchange_release(&ex);
    ops->end(self->device);
    return ops->sync(self->device);
}

static void turn(const loop *self, weft_channel *channel, weft_device_lane lane, bool behind)
{
    if (weft_channel_ordered(channel)) self->device->ops->links->turn(self->device, lane, behind);
}

static weft_status exchange_in_pieces(loop *self, weft_channel *channel)
{
    enum { PIECES = 2 };
    const weft_device_ops *ops = self->device->ops;
    weft_exchange ex[PIECES];
    ops->begin(self->device);
    for (int i = 0; i < PIECES; i++) WEFT_TRY(weft_exchange_acquire(channel, &ex[i]));
    for (int i = 0; i <= PIECES; i++) {
        if (i < PIECES) copy(self, ex[i].slot, self->memory);
        turn(self, channel, WEFT_DEVICE_BESIDE, false);
        if (i > 0) {
            WEFT_TRY(weft_exchange_end(&ex[i - 1]));
            copy(self, self->beside, ex[i - 1].view[(self->rank + 1) % self->size]);
            weft_exchange_release(&ex[i - 1]);
        }
        turn(self, channel, WEFT_DEVICE_BESIDE, i < PIECES);
        if (i < PIECES) WEFT_TRY(weft_exchange_begin(&ex[i], LAYER_BYTES));
        turn(self, channel, WEFT_DEVICE_OPS, i == PIECES);
    }
    ops->end(self->device);
    return ops->sync(self->device);
}

static weft_status run(loop *self)
{
    const weft_channel_spec spec = {
        .shape = WEFT_ALLGATHER, .name = "layer", .bytes = LAYER_BYTES, .device = self->device};
    weft_channel *channel;
    WEFT_TRY(weft_channel_create(weft_job_world(self->job), &spec, &channel));
    for (int64_t step = 1;; step++) {
        const bool now = step == MISBEHAVES_AT && self->rank == self->chosen;
        weft_job_set_step(self->job, step);
        if (step == 20 && self->rank == 0) puts("running");
        if (now && strcmp(self->what, "outside") == 0)
            for (;;) pause();
        if (strcmp(self->what, "pieces") == 0)
            WEFT_TRY(exchange_in_pieces(self, channel));
        else
            WEFT_TRY(exchange(self, channel, now && strcmp(self->what, "holds") == 0));
    }
}

static weft_status open_device(loop *self)
{
    const weft_device_kind *kind;
    void *stream, *memory;
    WEFT_TRY(weft_device_kind_open("emulated", &kind));
    WEFT_TRY(kind->open(0, &self->device, &self->table, &stream));
    self->op = (weft_op){.table = &self->table, .stream = stream};
    WEFT_TRY(weft_device_alloc(self->device, 2 * LAYER_BYTES, &memory));
    self->memory = memory;
    self->beside = self->memory + LAYER_BYTES;
    return weft_job_devices(self->job, self->device);
}

int main(int argc, char **argv)
{
    if (argc < 5) return 2;
    const char *links = getenv("DEVICE_LINKS");
    weft_job_options options = {.deadline_ns = (int64_t)(strtod(argv[3], NULL) * 1e9)};
    loop self = {.what = argv[4], .size = atoi(argv[2]), .chosen = argc > 5 ? atoi(argv[5]) : -1};
    int code = 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    alarm(LAST_RESORT_S); // whatever goes wrong, no test leaves a process for ever
    while (links && strcmp(weft_links_name(options.links), links) != 0) CHECK(options.links++ < WEFT_LINKS_NCCL);
    printf("pid first %d\n", (int)getpid());
    weft_status status = weft_job_open_local(&options, self.size, &self.job, &code);
    if (status == WEFT_OK && !self.job) return code;
    alarm(LAST_RESORT_S); // a forked process has lost the first one's
    if (status == WEFT_OK) {
        self.rank = weft_comm_rank(weft_job_world(self.job));
        printf("pid %d %d\n", self.rank, (int)getpid());
        status = open_device(&self);
    }
    if (status == WEFT_OK) status = run(&self);
    fprintf(stderr, "weft[%d] error: %s: %s\n", self.rank, weft_status_name(status), weft_error_text());
    weft_job_close(self.job);
    return weft_status_exit_code(status);
}
