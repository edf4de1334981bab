// What the files of channels over point-to-point messages share: what is laid out when a channel is made
// (p2p_layout.c) and what exchanges do with it (p2p_channel.c).
#ifndef WEFT_COMM_P2P_CHANNEL_H
#define WEFT_COMM_P2P_CHANNEL_H

#include "comm/p2p_impl.h"

typedef struct {
    int peer;  // world rank
    int block; // the first, see algorithms.h
    int count; // blocks; more than one: a pack
    int after; // receives that must be done before this one is sent
    size_t at; // ALLGATHER: where a pack lies in the buffer's packs
} wi_p2p_message;

typedef struct wi_p2p_channel wi_p2p_channel;

typedef struct {
    wi_p2p_task task; // linked while a message is under way
    wi_p2p_channel *channel;
    unsigned char *own;         // the slot; NULL where this rank gives nothing
    unsigned char *packs;       // packs that come and go
    unsigned char *blocks;      // where peers' blocks land; ALLGATHER: mine among them
    const unsigned char **view; // [size]
    size_t *bytes;              // [size] of the blocks
    size_t *give, *offset;      // [size] ALLTOALL: of my own blocks, and where they begin in the slot
    wi_request *recv, *send;    // [receives], [sends] of the channel
    int received, begun, sent;  // receives done; sends begun and done. All in the order of the schedule
    uint32_t number;
} wi_p2p_buffer;

struct wi_p2p_channel {
    weft_channel base;
    weft_job *job;
    uint32_t tag;
    bool dead; // to be freed when its last message is done
    int receives, sends;
    wi_p2p_message *receive, *send;
    size_t pitch; // between blocks; 0 where there is but one
    size_t packs; // bytes of all packs of a buffer
    unsigned char *memory;
    size_t bytes; // of memory
    const unsigned char **views;
    size_t *counts;
    wi_request *requests;
    wi_p2p_buffer *buffers; // [depth]
};

// The sizes of a pack's blocks stand before them.
size_t wi_p2p_pack_head(int count);
size_t wi_p2p_pack_room(const wi_p2p_channel *channel, int count);

// The messages of an algorithm, and then the buffers for them.
weft_status wi_p2p_plan(wi_p2p_channel *channel, wi_algo algo);
weft_status wi_p2p_make_buffers(wi_p2p_channel *channel);
void wi_p2p_free_layout(wi_p2p_channel *channel);

#endif
