// Suggestions for misspelled words.
#include <limits.h>
#include <string.h>

#include "core/flags_table.h"

static int min_int(int a, int b) { return a < b ? a : b; }

// Damerau-Levenshtein with adjacent transpositions: insert, delete, replace and swap count one each.
static int edit_distance(const char *a, const char *b)
{
    int rows = (int)strlen(a), columns = (int)strlen(b);
    if (rows >= WI_FLAG_NAME_MAX || columns >= WI_FLAG_NAME_MAX) return INT_MAX;
    int cost[3][WI_FLAG_NAME_MAX + 1]; // the last three rows, by row number modulo 3
    for (int j = 0; j <= columns; j++) cost[0][j] = j;
    for (int i = 1; i <= rows; i++) {
        int *row = cost[i % 3], *above = cost[(i + 2) % 3], *above2 = cost[(i + 1) % 3];
        row[0] = i;
        for (int j = 1; j <= columns; j++) {
            int replaced = above[j - 1] + (a[i - 1] != b[j - 1]);
            row[j] = min_int(replaced, min_int(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = min_int(row[j], above2[j - 2] + 1);
        }
    }
    return cost[rows % 3][columns];
}

void wi_closest_offer(wi_closest *closest, const char *candidate)
{
    int distance = edit_distance(closest->word, candidate);
    if (distance > 2 || 2 * distance >= (int)strlen(closest->word)) return;
    if (closest->best && distance >= closest->distance) return;
    closest->best = candidate;
    closest->distance = distance;
}

const char *weft_flags_suggest(const char *word, const char *const *candidates)
{
    wi_closest closest = {.word = word};
    for (; *candidates; candidates++) wi_closest_offer(&closest, *candidates);
    return closest.best;
}
