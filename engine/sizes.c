// How much memory an engine needs, by its numbers alone.
#include <string.h>

#include "engine/engine.h"
#include "engine/rows.h"

// Under any key, since which one a request gets depends on those beside it.
int64_t weft_engine_blocks_over(int ranks, int block, int64_t positions, int requests)
{
    const int64_t blocks = (positions + block - 1) / block;
    // After this many blocks every place has come twice, and each rank had twice its share.
    const int64_t period = (int64_t)2 * WEFT_FOLD_PLACES * WEFT_FOLD_CHUNK / block, whole = blocks / period * period;
    int64_t most = 0;
    int64_t always[WEFT_FOLD_PLACES] = {0};
    if (ranks == 1) return blocks * requests;
    for (int r = 0; r < ranks; r++)
        always[r] = whole / WEFT_FOLD_PLACES * __builtin_popcount(weft_fold_owned(r, ranks));
    for (int key = 0; key < WEFT_FOLD_PLACES; key++) {
        int64_t count[WEFT_FOLD_PLACES];
        memcpy(count, always, sizeof count);
        for (int64_t i = whole; i < blocks; i++) count[weft_fold_owner(i * block / WEFT_FOLD_CHUNK, ranks, key)]++;
        for (int r = 0; r < ranks; r++) most = count[r] > most ? count[r] : most;
    }
    return most * requests;
}

uint64_t weft_engine_bytes(const weft_model_config *config, const weft_mesh_shape *mesh,
                           const weft_engine_options *options, int logit_rows, int threads)
{
    const bool dealt = mesh->cp > 1 && mesh->dense == WEFT_DENSE_TP;
    return weft_pick_scratch((size_t)config->vocab, threads) +
           wi_rows_bytes(dealt ? mesh->cp : 1, options->chunk, logit_rows, (size_t)config->vocab);
}
