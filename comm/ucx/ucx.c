// The point-to-point table over UCP. What belongs to the process (which transports and devices, limits, logging) stays
// with UCX's own environment, UCX_*. MPI brings the ranks together and carries their addresses, no message.
//
// Endpoints are made with the first message to or from a peer, in UCX's error mode for peers: a peer whose connection
// breaks is remembered, and what waits for it fails. In that mode UCX will not write into a peer's memory unless it can
// take the leave to do so back, which it cannot over TCP: large messages are cut into segments of 64 KiB, and copied
// once more where they arrive. So they have endpoints of their own, without that mode; what breaks one of these
// breaks the other, which is always there too. Puts go into memory that its owner has registered.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucp/api/ucp.h>

#include "comm/p2p.h"
#include "core/build.h"
#include "core/clock.h"
#include "core/plugin.h"

// The sender's rank stands above the tag, so that a receive can name it and a probe need not.
enum { TAG_BITS = 32 };
static const uint64_t tag_mask = ((uint64_t)1 << TAG_BITS) - 1;
static const int64_t close_ns = 2000000000; // for the last bytes to leave

typedef struct {
    ucp_ep_h endpoint;   // NULL until the first message
    ucp_ep_h bulk;       // made after it, on both sides: UCX pairs endpoints by their order
    ucs_status_t status; // UCS_OK while it is there
} ucx_peer;

// Written by ucx_open; process-wide, as the launcher's ranks are.
static struct {
    const wi_p2p *boot;
    int rank, size;
    ucp_context_h context;
    ucp_worker_h worker;
    int event_fd;
    unsigned char *addresses; // [size] of pitch bytes
    size_t pitch;
    ucx_peer *peers; // [size]
    bool moved;      // something happened since a caller wanted to sleep
    int lost;        // the first peer whose connection broke, or -1
    char text[64];
} ucx = {.lost = -1};

// What a request holds: UCX's own, 0 for what was sent at once, and the peer.
enum { POINTER, PEER };

// What UCX was told by its variables does not work here.
static weft_status failed(ucs_status_t code, const char *call)
{
    return weft_fail(WEFT_USAGE, "%s: %s", call, ucs_status_string(code));
}

static weft_status peer_failed(ucs_status_t code, const char *call, int peer)
{
    return weft_fail(WEFT_LOST, "%s rank %d: %s", call, peer, ucs_status_string(code));
}

static void note_loss(int peer, ucs_status_t status)
{
    if (ucx.peers[peer].status == UCS_OK) ucx.peers[peer].status = status;
    if (ucx.lost < 0) ucx.lost = peer;
}

static bool progress(void)
{
    if (!ucp_worker_progress(ucx.worker)) return false;
    ucx.moved = true;
    return true;
}

// Called inside of progress.
static void on_error(void *arg, ucp_ep_h endpoint, ucs_status_t status) { note_loss((int)(intptr_t)arg, status); }

// ---- opening and closing ----

static weft_status make_worker(void)
{
    ucp_config_t *config = NULL;
    ucp_params_t params = {.field_mask =
                               UCP_PARAM_FIELD_FEATURES | UCP_PARAM_FIELD_ESTIMATED_NUM_EPS | UCP_PARAM_FIELD_NAME,
                           .features = UCP_FEATURE_TAG | UCP_FEATURE_RMA | UCP_FEATURE_WAKEUP,
                           .estimated_num_eps = (size_t)ucx.size,
                           .name = "weft"};
    ucp_worker_params_t worker = {.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE,
                                  .thread_mode = UCS_THREAD_MODE_SERIALIZED};
    ucs_status_t code = ucp_config_read(NULL, NULL, &config);
    if (code != UCS_OK) return failed(code, "ucp_config_read (a variable UCX_... may be wrong)");
    code = ucp_init(&params, config, &ucx.context);
    ucp_config_release(config);
    if (code != UCS_OK) return failed(code, "ucp_init (UCX_TLS and UCX_NET_DEVICES choose what it uses)");
    code = ucp_worker_create(ucx.context, &worker, &ucx.worker);
    if (code != UCS_OK) return failed(code, "ucp_worker_create");
    code = ucp_worker_get_efd(ucx.worker, &ucx.event_fd);
    return code == UCS_OK ? WEFT_OK : failed(code, "ucp_worker_get_efd");
}

// One rank's failure is everybody's, told before anybody waits for messages.
static weft_status agree(weft_status status)
{
    int32_t mine = status, *all = calloc((size_t)ucx.size, sizeof *all);
    if (!all) return weft_fail(WEFT_NO_MEMORY, "no memory for %d ranks", ucx.size);
    weft_status told = ucx.boot->allgather(&mine, sizeof mine, all);
    for (int i = 0; told == WEFT_OK && status == WEFT_OK && i < ucx.size; i++)
        if (all[i] < 0) status = weft_fail((weft_status)all[i], "rank %d cannot talk over UCX", i);
    free(all);
    return told < 0 ? told : status;
}

static weft_status collect_addresses(ucp_address_t *mine, size_t bytes)
{
    uint64_t length = bytes, *all = calloc((size_t)ucx.size, sizeof *all);
    unsigned char *padded = NULL;
    weft_status status = all ? WEFT_OK : weft_fail(WEFT_NO_MEMORY, "no memory for %d ranks", ucx.size);
    WEFT_TRY_GOTO(agree(status));
    if (!all) goto fail; // for the analyzer: they have agreed on that
    WEFT_TRY_GOTO(ucx.boot->allgather(&length, sizeof length, all));
    for (int i = 0; i < ucx.size; i++)
        if (all[i] > ucx.pitch) ucx.pitch = (size_t)all[i];
    padded = calloc(1, ucx.pitch);
    ucx.addresses = calloc((size_t)ucx.size, ucx.pitch);
    if (!padded || !ucx.addresses)
        status = weft_fail(WEFT_NO_MEMORY, "no memory for the UCX addresses of %d ranks", ucx.size);
    WEFT_TRY_GOTO(agree(status));
    if (!mine || !padded || !ucx.addresses) goto fail;
    memcpy(padded, mine, bytes);
    WEFT_TRY_GOTO(ucx.boot->allgather(padded, ucx.pitch, ucx.addresses));
fail:
    free(padded);
    free(all);
    return status;
}

static weft_status connect_by(int peer, ucp_err_handling_mode_t mode, ucp_ep_h *out)
{
    ucp_ep_params_t params = {.field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS | UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE |
                                            UCP_EP_PARAM_FIELD_ERR_HANDLER,
                              .address = (const ucp_address_t *)(ucx.addresses + (size_t)peer * ucx.pitch),
                              .err_mode = mode,
                              .err_handler = {.cb = on_error, .arg = (void *)(intptr_t)peer}};
    ucs_status_t code = ucp_ep_create(ucx.worker, &params, out);
    if (code == UCS_OK) return WEFT_OK;
    *out = NULL;
    return weft_fail(WEFT_LOST, "ucp_ep_create to rank %d: %s; UCX_TLS and UCX_NET_DEVICES choose how UCX may reach it",
                     peer, ucs_status_string(code));
}

static weft_status connect_to(int peer)
{
    return connect_by(peer, UCP_ERR_HANDLING_MODE_PEER, &ucx.peers[peer].endpoint);
}

static void free_all(void)
{
    if (ucx.worker) ucp_worker_destroy(ucx.worker);
    if (ucx.context) ucp_cleanup(ucx.context);
    free(ucx.addresses);
    free(ucx.peers);
    ucx.worker = NULL;
    ucx.context = NULL;
    ucx.addresses = NULL;
    ucx.peers = NULL;
}

static weft_status ucx_open(const wi_p2p *boot, int *rank, int *size)
{
    weft_status status;
    ucp_address_t *address = NULL;
    size_t bytes = 0;
    ucx.boot = boot;
    ucx.rank = *rank;
    ucx.size = *size;
    snprintf(ucx.text, sizeof ucx.text, "UCX %.32s", ucp_get_version_string());
    status = make_worker();
    if (status == WEFT_OK) {
        ucs_status_t code = ucp_worker_get_address(ucx.worker, &address, &bytes);
        if (code != UCS_OK) status = failed(code, "ucp_worker_get_address");
    }
    ucx.peers = calloc((size_t)ucx.size, sizeof *ucx.peers);
    if (!ucx.peers && status == WEFT_OK) status = weft_fail(WEFT_NO_MEMORY, "no memory for %d peers", ucx.size);
    WEFT_TRY_GOTO(agree(status));
    WEFT_TRY_GOTO(collect_addresses(address, bytes));
    ucp_worker_release_address(ucx.worker, address);
    address = NULL;
    // A way to one other rank is tried, so that a job without any is told so here.
    WEFT_TRY_GOTO(agree(ucx.size > 1 ? connect_to((ucx.rank + 1) % ucx.size) : WEFT_OK));
    return WEFT_OK;
fail:
    if (address) ucp_worker_release_address(ucx.worker, address);
    free_all();
    return status;
}

static void finish(ucs_status_ptr_t request, int64_t until_ns)
{
    if (!UCS_PTR_IS_PTR(request)) return;
    while (ucp_request_check_status(request) == UCS_INPROGRESS && weft_clock_ns() < until_ns) progress();
    ucp_request_free(request);
}

static void ucx_flush(int64_t until_ns)
{
    const ucp_request_param_t plain = {.op_attr_mask = 0};
    finish(ucp_worker_flush_nbx(ucx.worker, &plain), until_ns);
}

// Nobody closes a connection before everybody has sent all: the others would take it for a loss.
static void ucx_close(void)
{
    const ucp_request_param_t force = {.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS, .flags = UCP_EP_CLOSE_FLAG_FORCE};
    ucx_flush(weft_clock_ns() + close_ns);
    agree(WEFT_OK);
    for (int i = 0; i < ucx.size; i++) {
        if (ucx.peers[i].bulk) finish(ucp_ep_close_nbx(ucx.peers[i].bulk, &force), weft_clock_ns() + close_ns);
        if (ucx.peers[i].endpoint) finish(ucp_ep_close_nbx(ucx.peers[i].endpoint, &force), weft_clock_ns() + close_ns);
    }
    free_all();
}

// ---- messages ----

static weft_status find_peer(int peer)
{
    if (ucx.peers[peer].status != UCS_OK) return peer_failed(ucx.peers[peer].status, "the connection to", peer);
    return ucx.peers[peer].endpoint ? WEFT_OK : connect_to(peer);
}

static uint64_t full_tag(int from, uint32_t tag) { return (uint64_t)(uint32_t)from << TAG_BITS | tag; }

static weft_status send_by(ucp_ep_h endpoint, int to, uint32_t tag, const void *data, size_t bytes, wi_request *out)
{
    const ucp_request_param_t plain = {.op_attr_mask = 0};
    ucs_status_ptr_t request = ucp_tag_send_nbx(endpoint, data, bytes, full_tag(ucx.rank, tag), &plain);
    if (UCS_PTR_IS_ERR(request)) {
        note_loss(to, UCS_PTR_STATUS(request));
        return peer_failed(UCS_PTR_STATUS(request), "ucp_tag_send_nbx to", to);
    }
    *out = (wi_request){{(uint64_t)(uintptr_t)request, (uint64_t)to}};
    return WEFT_OK;
}

static weft_status ucx_send(int to, uint32_t tag, const void *data, size_t bytes, wi_request *out)
{
    WEFT_TRY(find_peer(to));
    return send_by(ucx.peers[to].endpoint, to, tag, data, bytes, out);
}

static weft_status ucx_send_bulk(int to, uint32_t tag, const void *data, size_t bytes, wi_request *out)
{
    WEFT_TRY(find_peer(to));
    if (!ucx.peers[to].bulk) WEFT_TRY(connect_by(to, UCP_ERR_HANDLING_MODE_NONE, &ucx.peers[to].bulk));
    return send_by(ucx.peers[to].bulk, to, tag, data, bytes, out);
}

// A receive that could be done at once leaves a request all the same: UCX 1.13 does not tell the length otherwise.
static weft_status ucx_recv(int from, uint32_t tag, void *data, size_t capacity, wi_request *out)
{
    const ucp_request_param_t later = {.op_attr_mask = UCP_OP_ATTR_FLAG_NO_IMM_CMPL};
    WEFT_TRY(find_peer(from));
    ucs_status_ptr_t request = ucp_tag_recv_nbx(ucx.worker, data, capacity, full_tag(from, tag), UINT64_MAX, &later);
    if (UCS_PTR_IS_ERR(request)) return peer_failed(UCS_PTR_STATUS(request), "ucp_tag_recv_nbx from", from);
    *out = (wi_request){{(uint64_t)(uintptr_t)request, (uint64_t)from}};
    return WEFT_OK;
}

// `bytes` is NULL for what was sent.
static ucs_status_t look(void *request, size_t *bytes)
{
    ucp_tag_recv_info_t info = {0};
    if (!bytes) return ucp_request_check_status(request);
    ucs_status_t code = ucp_tag_recv_request_test(request, &info);
    *bytes = info.length;
    return code;
}

static weft_status ucx_test(wi_request *request, bool *done, size_t *bytes)
{
    void *pending = (void *)(uintptr_t)request->handle[POINTER]; // NOLINT(performance-no-int-to-ptr): put there by us
    *done = true;
    if (!pending) return WEFT_OK;
    ucs_status_t code = look(pending, bytes);
    if (code == UCS_INPROGRESS) {
        progress();
        code = look(pending, bytes);
    }
    const int peer = (int)request->handle[PEER];
    if (code == UCS_INPROGRESS) {
        *done = false;
        if (ucx.peers[peer].status == UCS_OK) return WEFT_OK;
        return peer_failed(ucx.peers[peer].status, bytes ? "a message from" : "a message to", peer);
    }
    ucp_request_free(pending);
    request->handle[POINTER] = 0;
    if (code == UCS_OK) return WEFT_OK;
    if (!bytes) note_loss(peer, code);
    return peer_failed(code, bytes ? "a message from" : "a message to", peer);
}

static weft_status ucx_probe(uint32_t tag, bool *found, int *from, size_t *bytes)
{
    ucp_tag_recv_info_t info = {0};
    *found = ucp_tag_probe_nb(ucx.worker, tag, tag_mask, 0, &info) != NULL;
    if (!*found) {
        progress();
        *found = ucp_tag_probe_nb(ucx.worker, tag, tag_mask, 0, &info) != NULL;
    }
    if (!*found) return WEFT_OK;
    *from = (int)(info.sender_tag >> TAG_BITS);
    *bytes = info.length;
    return WEFT_OK;
}

// What happened may be what the caller's other messages wait for: it looks at all of them once more before it sleeps.
static int ucx_arm(void)
{
    bool quiet = !progress() && !ucx.moved;
    ucx.moved = false;
    return quiet && ucp_worker_arm(ucx.worker) == UCS_OK ? ucx.event_fd : -1;
}

static int ucx_lost(void) { return ucx.lost; }

// ---- memory that peers write into ----

static weft_status ucx_expose(void *memory, size_t bytes, wi_exposed *out)
{
    const ucp_mem_map_params_t params = {.field_mask = UCP_MEM_MAP_PARAM_FIELD_ADDRESS | UCP_MEM_MAP_PARAM_FIELD_LENGTH,
                                         .address = memory,
                                         .length = bytes};
    ucp_mem_h handle;
    void *key = NULL;
    ucs_status_t code = ucp_mem_map(ucx.context, &params, &handle);
    if (code != UCS_OK)
        return weft_fail(WEFT_NO_MEMORY,
                         "ucp_mem_map of %zu bytes: %s; a limit of locked memory (ulimit -l) may be low", bytes,
                         ucs_status_string(code));
    code = ucp_rkey_pack(ucx.context, handle, &key, &out->key_bytes);
    if (code != UCS_OK) {
        ucp_mem_unmap(ucx.context, handle);
        return failed(code, "ucp_rkey_pack");
    }
    out->handle = handle;
    out->key = key;
    return WEFT_OK;
}

static void ucx_hide(wi_exposed *exposed)
{
    if (!exposed->handle) return;
    ucp_rkey_buffer_release(exposed->key);
    ucp_mem_unmap(ucx.context, exposed->handle);
    *exposed = (wi_exposed){0};
}

static weft_status ucx_reach(int peer, const void *key, void **out)
{
    ucp_rkey_h rkey;
    WEFT_TRY(find_peer(peer));
    ucs_status_t code = ucp_ep_rkey_unpack(ucx.peers[peer].endpoint, key, &rkey);
    if (code != UCS_OK) return peer_failed(code, "ucp_ep_rkey_unpack of", peer);
    *out = rkey;
    return WEFT_OK;
}

static void ucx_leave(void *reached)
{
    if (reached) ucp_rkey_destroy(reached);
}

// What becomes of the request, the next flush tells.
static weft_status ucx_put(int to, void *reached, uint64_t address, const void *data, size_t bytes)
{
    const ucp_request_param_t plain = {.op_attr_mask = 0};
    WEFT_TRY(find_peer(to));
    ucs_status_ptr_t request = ucp_put_nbx(ucx.peers[to].endpoint, data, bytes, address, reached, &plain);
    if (UCS_PTR_IS_PTR(request)) ucp_request_free(request);
    if (!UCS_PTR_IS_ERR(request)) return WEFT_OK;
    note_loss(to, UCS_PTR_STATUS(request));
    return peer_failed(UCS_PTR_STATUS(request), "ucp_put_nbx to", to);
}

// UCP orders puts and messages by nothing else than this.
static weft_status ucx_arrive(int to, wi_request *out)
{
    const ucp_request_param_t plain = {.op_attr_mask = 0};
    WEFT_TRY(find_peer(to));
    ucs_status_ptr_t request = ucp_ep_flush_nbx(ucx.peers[to].endpoint, &plain);
    if (UCS_PTR_IS_ERR(request)) {
        note_loss(to, UCS_PTR_STATUS(request));
        return peer_failed(UCS_PTR_STATUS(request), "ucp_ep_flush_nbx to", to);
    }
    *out = (wi_request){{(uint64_t)(uintptr_t)request, (uint64_t)to}};
    return WEFT_OK;
}

static const wi_p2p_puts ucx_puts = {ucx_expose, ucx_hide, ucx_reach, ucx_leave, ucx_put, ucx_arrive};

static const char *ucx_describe(void) { return ucx.text; }

static const wi_p2p ucx_table = {
    .name = "ucx",
    .open = ucx_open,
    .send = ucx_send,
    .send_bulk = ucx_send_bulk,
    .recv = ucx_recv,
    .test = ucx_test,
    .probe = ucx_probe,
    .flush = ucx_flush,
    .arm = ucx_arm,
    .lost = ucx_lost,
    .puts = &ucx_puts,
    .tag_bits = TAG_BITS - 1,
    .describe = ucx_describe,
    .close = ucx_close,
};

extern const weft_plugin weft_plugin_ucx;
const weft_plugin weft_plugin_ucx = {"ucx", WEFT_BUILD_ID, &ucx_table};
