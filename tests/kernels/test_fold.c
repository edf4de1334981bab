// The fold against its rules written down a second time, the plain way: lists that double, sets that are walked.
#include "kernels/fold.h"

#include "tests/check.h"

enum { F = WEFT_FOLD_PLACES };

static void fold_order(int n, int *order)
{
    int previous[F] = {0}, count = 1;
    order[0] = 0;
    while (count < n) {
        memcpy(previous, order, (size_t)count * sizeof *order);
        for (int i = 0; i < count; i++) {
            order[2 * i] = previous[i];
            order[2 * i + 1] = 2 * count - 1 - previous[i];
        }
        count *= 2;
    }
}

static int walk_roots(uint32_t own, int low, int n, weft_fold_root *out)
{
    uint32_t here = 0;
    for (int p = low; p < low + n; p++) here |= UINT32_C(1) << p;
    if ((here & own) == here) {
        out[0] = (weft_fold_root){.first = low, .places = n};
        return 1;
    }
    if (!(here & own)) return 0;
    int left = walk_roots(own, low, n / 2, out);
    return left + walk_roots(own, low + n / 2, n / 2, out + left);
}

static int check_roots(uint32_t places)
{
    weft_fold_root expected[F], actual[WEFT_FOLD_ROOTS_MAX];
    int count = walk_roots(places, 0, F, expected);
    CHECK_INT(weft_fold_roots(places, actual), count);
    for (int i = 0; i < count; i++) {
        CHECK_INT(actual[i].first, expected[i].first);
        CHECK_INT(actual[i].places, expected[i].places);
    }
    return count;
}

static void check_classes(void)
{
    int eight[8], order[F];
    const int known[8] = {0, 7, 3, 4, 1, 6, 2, 5};
    fold_order(8, eight);
    CHECK_BYTES(eight, known, sizeof known);
    fold_order(F, order);
    for (int p = 0; p < F; p++) {
        CHECK_INT(weft_fold_class_at(p), order[p]);
        CHECK_INT(weft_fold_place(order[p]), p);
    }
    for (int64_t c = 0; c < 1000; c++) {
        int64_t m = c % (2 * F), other = 2 * F - 1 - m;
        CHECK_INT(weft_fold_class(c), m < other ? m : other);
    }
    CHECK_INT(weft_fold_class(INT64_C(64) << 40), 0);
}

// Every place has one owner, an owner's share keeps its shape under every key, and no rank has more than four roots.
static void check_ranks(int ranks)
{
    uint32_t seen = 0;
    int64_t work[F] = {0}, most = 0, all = 0;
    for (int r = 0; r < ranks; r++) {
        uint32_t mine = weft_fold_owned(r, ranks), expected = 0;
        for (int p = r * F / ranks; p < (r + 1) * F / ranks; p++) expected |= UINT32_C(1) << p;
        CHECK_INT(mine, expected);
        CHECK_INT(mine & seen, 0);
        seen |= mine;
        int roots = check_roots(mine);
        CHECK(roots <= 4);
        for (int key = 0; key < F; key++) {
            uint32_t rotated = weft_fold_rotate(mine, key);
            CHECK_INT(check_roots(rotated), roots);
            CHECK_INT(weft_fold_rotate(rotated, key), mine);
            for (int c = 0; c < 2 * F; c++) {
                int place = weft_fold_place(weft_fold_class(c));
                CHECK_INT(weft_fold_owner(c, ranks, key) == r, rotated >> place & 1);
            }
        }
    }
    CHECK(seen == WEFT_FOLD_ALL);
    for (int c = 0; c < 2 * F; c++) work[weft_fold_owner(c, ranks, 0)] += c + 1, all += c + 1;
    for (int r = 0; r < ranks; r++) most = work[r] > most ? work[r] : most;
    CHECK(all * 5 >= most * ranks * 2); // balanced to at least 0.4 for any number of ranks
    if ((ranks & (ranks - 1)) == 0) CHECK_INT(all, most * ranks);
}

int main(void)
{
    check_classes();
    for (int ranks = 1; ranks <= F; ranks++) check_ranks(ranks);
    uint32_t random = 1;
    for (int i = 0; i < 100000; i++) {
        random = random * 1664525 + 1013904223;
        check_roots(random ^ random >> 15);
    }
    CHECK_INT(check_roots(0), 0);
    CHECK_INT(check_roots(UINT32_C(0x55555555)), WEFT_FOLD_ROOTS_MAX);
    return 0;
}
