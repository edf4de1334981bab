#include "kernels/fold.h"

enum { F = WEFT_FOLD_PLACES };

int weft_fold_class(int64_t chunk)
{
    int in_turn = (int)(chunk % (2 * F));
    return in_turn < F ? in_turn : 2 * F - 1 - in_turn;
}

// From n to 2n places each class k becomes the pair k, 2n-1-k. So the bits of a place, from the highest, say at each
// doubling which of the pair is meant.
int weft_fold_class_at(int place)
{
    int k = 0;
    for (int n = 2, bit = F / 2; n <= F; n *= 2, bit /= 2) {
        if (place & bit) k = n - 1 - k;
    }
    return k;
}

// The same walked back: of 2n classes the upper half came from their partners.
int weft_fold_place(int fold_class)
{
    int place = 0, k = fold_class;
    for (int n = F, bit = 1; n > 1; n /= 2, bit *= 2) {
        if (k < n / 2) continue;
        place |= bit;
        k = n - 1 - k;
    }
    return place;
}

uint32_t weft_fold_owned(int rank, int ranks)
{
    uint32_t places = 0;
    for (int p = rank * F / ranks; p < (rank + 1) * F / ranks; p++) places |= UINT32_C(1) << p;
    return places;
}

uint32_t weft_fold_rotate(uint32_t places, int key)
{
    uint32_t rotated = 0;
    for (int p = 0; p < F; p++) {
        if (places >> p & 1) rotated |= UINT32_C(1) << (p ^ key);
    }
    return rotated;
}

int weft_fold_owner(int64_t chunk, int ranks, int key)
{
    int p = weft_fold_place(weft_fold_class(chunk)) ^ key;
    int rank = p * ranks / F; // floor(32r/P) <= p holds for this r and perhaps for the next one
    while (rank + 1 < ranks && (rank + 1) * F / ranks <= p) rank++;
    return rank;
}

int weft_fold_roots(uint32_t places, weft_fold_root out[WEFT_FOLD_ROOTS_MAX])
{
    int count = 0;
    for (int p = 0; p < F;) {
        if (!(places >> p & 1)) {
            p++;
            continue;
        }
        int n = 1;
        while (n < F && p % (2 * n) == 0) {
            uint32_t upper = ((UINT32_C(1) << n) - 1) << (p + n);
            if ((places & upper) != upper) break;
            n *= 2;
        }
        out[count++] = (weft_fold_root){.first = p, .places = n};
        p += n;
    }
    return count;
}
