// What a step costs a rank: operations, bytes read, bytes sent. Estimates by what the code does, one small function for
// each thing that is computed or sent; how fast a machine does it is the caller's to say. Pure functions.
#ifndef WEFT_MODEL_PRICE_H
#define WEFT_MODEL_PRICE_H

#include <stdbool.h>

#include "model/layout.h"

#ifdef __cplusplus
extern "C" {
#endif

// One step of a replica.
typedef struct {
    double rows;     // that the rank computes
    double attended; // that it attends for: those of its whole context group
    double share;    // of a sequence's positions that the rank holds, 1 for all
    double requests; // whose caches are read
    double keys;     // that a row sees, whole sequence
    double logits;   // rows of its own whose logits are wanted
    double cache;    // bytes of a position of one head: key and value
    weft_cache_type cache_type;
    int room;         // rows of a pass that a rank has memory for
    double weight;    // bytes of an element of a weight
    double unchanged; // bytes of an element of what is never quantized
    double head;      // of the head and the embedding
} weft_step;

// Bytes and exchanges, to peers of this node and of others.
typedef struct {
    double bytes, exchanges;
} weft_sent;

// Exchanges of one kind, one by one.
typedef enum {
    WEFT_TRAFFIC_ALL,
    WEFT_TRAFFIC_TP,
    WEFT_TRAFFIC_CP,
    WEFT_TRAFFIC_DENSE,
    WEFT_TRAFFIC_LEAF
} weft_traffic_group;
typedef struct {
    weft_traffic_group group;
    int near, far; // peers on this node and on others
    bool each;     // other bytes for each peer (ALLTOALL), not the same for all
    double bytes;  // to each peer in one exchange
    double times;  // exchanges in a step
} weft_traffic;
enum { WEFT_TRAFFIC_MAX = 32 };

typedef struct {
    double operations, bytes;                     // of linear layers: multiplications and additions; weights read
    double attention_operations, attention_bytes; // likewise; keys and values read
    weft_sent near, far;                          // sent by this rank
    weft_traffic traffic[WEFT_TRAFFIC_MAX];       // the same, by kinds; what does not fit stands with the last
    int kinds;
} weft_step_price;

// Of the rank of `layout`, where each node has so many ranks of the mesh. Its groups are not looked at.
weft_step_price weft_price_step(const weft_model_config *config, const weft_layout *layout, const weft_step *step,
                                int node_ranks);

#ifdef __cplusplus
}
#endif
#endif
