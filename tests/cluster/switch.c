// switch DELAY_US RATE_MBIT LOSS_PPM PID...: an Ethernet switch between the network namespaces of processes, for
// machines whose kernel cannot delay packets. In each namespace it makes eth0, a TAP; a frame reaches the others
// DELAY_US later, at most RATE_MBIT into one host (0: any), and LOSS_PPM of a million are lost. Says "ready" on stdout.
// Needs root. Ends with the process.
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "core/clock.h"

enum { PORTS_MAX = 64, FRAME_MAX = 65536, MTU = 9000, AT_ONCE = 64, MAC_BYTES = 6 };
// A port whose rate is used up queues frames for so long, and then loses them.
static const int64_t queue_ns = 100000000;

typedef struct frame frame;
struct frame {
    frame *next;
    int64_t due_ns;
    size_t bytes;
    unsigned char data[];
};

typedef struct {
    int fd;
    frame *first, **last; // on their way to this host, by the time that they are due
    int64_t free_ns;      // when the link has sent all that it was given
} port;

typedef struct {
    port ports[PORTS_MAX];
    int count;
    int64_t delay_ns;
    double ns_per_byte; // 0: no limit
    uint32_t loss_ppm, random;
    unsigned char data[FRAME_MAX];
} net_switch;

static void fail(const char *what)
{
    fprintf(stderr, "switch: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void set_interface(int request, struct ifreq *interface)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || ioctl(fd, (unsigned long)request, interface) < 0) fail("setting up eth0");
    close(fd);
}

// The last byte of a host's address is its port's number, from 1: no table of addresses is needed.
static void open_port(port *to, int number, const char *pid)
{
    char path[64];
    struct ifreq interface = {.ifr_flags = IFF_TAP | IFF_NO_PI};
    snprintf(path, sizeof path, "/proc/%.20s/ns/net", pid);
    int space = open(path, O_RDONLY | O_CLOEXEC);
    if (space < 0 || setns(space, CLONE_NEWNET) < 0) fail(path);
    close(space);
    to->last = &to->first;
    to->fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    snprintf(interface.ifr_name, sizeof interface.ifr_name, "eth0");
    if (to->fd < 0 || ioctl(to->fd, TUNSETIFF, &interface) < 0) fail("/dev/net/tun");
    interface.ifr_hwaddr = (struct sockaddr){.sa_family = 1}; // Ethernet
    memcpy(interface.ifr_hwaddr.sa_data, (unsigned char[MAC_BYTES]){2, 0, 0, 0, 0, (unsigned char)number}, MAC_BYTES);
    set_interface(SIOCSIFHWADDR, &interface);
    interface.ifr_mtu = MTU;
    set_interface(SIOCSIFMTU, &interface);
}

static bool lost(net_switch *net)
{
    net->random = net->random * 1664525u + 1013904223u;
    return net->loss_ppm && (net->random >> 8) % 1000000u < net->loss_ppm;
}

static void pass_on(net_switch *net, port *to, size_t bytes, int64_t now)
{
    int64_t sent = now;
    if (net->ns_per_byte > 0) {
        if (to->free_ns < now) to->free_ns = now;
        if (to->free_ns - now > queue_ns) return;
        to->free_ns += (int64_t)((double)bytes * net->ns_per_byte);
        sent = to->free_ns;
    }
    frame *copy = malloc(sizeof *copy + bytes);
    if (!copy) return; // as a switch that is full
    *copy = (frame){.due_ns = sent + net->delay_ns, .bytes = bytes};
    memcpy(copy->data, net->data, bytes);
    *to->last = copy;
    to->last = &copy->next;
}

static void take_frames(net_switch *net, int from)
{
    for (int i = 0; i < AT_ONCE; i++) {
        ssize_t bytes = read(net->ports[from].fd, net->data, sizeof net->data);
        if (bytes < MAC_BYTES) return;
        int64_t now = weft_clock_ns();
        for (int to = 0; to < net->count; to++) {
            bool meant = net->data[0] & 1 || net->data[MAC_BYTES - 1] == to + 1;
            if (to != from && meant && !lost(net)) pass_on(net, &net->ports[to], (size_t)bytes, now);
        }
    }
}

// Hands over what is due and returns when the next frame is.
static int64_t deliver(port *to, int64_t now)
{
    while (to->first && to->first->due_ns <= now) {
        frame *due = to->first;
        if (write(to->fd, due->data, due->bytes) < 0 && errno == EAGAIN) return now + 100000;
        to->first = due->next; // a link that is down loses its frames
        if (!to->first) to->last = &to->first;
        free(due);
    }
    return to->first ? to->first->due_ns : INT64_MAX;
}

static void run(net_switch *net)
{
    struct pollfd fds[PORTS_MAX];
    for (;;) {
        int64_t next = INT64_MAX;
        for (int i = 0; i < net->count; i++) {
            int64_t due = deliver(&net->ports[i], weft_clock_ns());
            if (due < next) next = due;
            fds[i] = (struct pollfd){.fd = net->ports[i].fd, .events = POLLIN};
        }
        int64_t left = next == INT64_MAX ? 1000000000 : next - weft_clock_ns();
        if (left < 0) left = 0;
        struct timespec wait = {left / 1000000000, left % 1000000000};
        if (ppoll(fds, (nfds_t)net->count, &wait, NULL) < 0 && errno != EINTR) fail("ppoll");
        for (int i = 0; i < net->count; i++)
            if (fds[i].revents & POLLIN) take_frames(net, i);
    }
}

int main(int argc, char **argv)
{
    static net_switch net = {.random = 1};
    if (argc < 5 || argc - 4 > PORTS_MAX) {
        fprintf(stderr, "usage: switch DELAY_US RATE_MBIT LOSS_PPM PID...\n");
        return 2;
    }
    double rate = strtod(argv[2], NULL);
    net.delay_ns = (int64_t)(strtod(argv[1], NULL) * 1e3);
    net.ns_per_byte = rate > 0 ? 8e3 / rate : 0;
    net.loss_ppm = (uint32_t)strtoul(argv[3], NULL, 10);
    net.count = argc - 4;
    for (int i = 0; i < net.count; i++) open_port(&net.ports[i], i + 1, argv[i + 4]);
    // Ranks that spin would keep it from its turn for ticks of the scheduler. Where that is not allowed it is late.
    struct sched_param first = {.sched_priority = 10};
    sched_setscheduler(0, SCHED_FIFO, &first);
    puts("ready");
    fflush(stdout);
    run(&net);
}
