// make_fp8 FROM TO ROWS COLUMNS [half] [mixed]: a checkpoint of e4m3 in the folder TO, which is there.
#include "tests/check.h"
#include "tests/model/fp8_checkpoint.h"

int main(int count, char **words)
{
    if (count < 5) {
        fprintf(stderr, "make_fp8 FROM TO ROWS COLUMNS [half] [mixed]\n");
        return 2;
    }
    fp8_options o = {words[1], words[2], atoi(words[3]), atoi(words[4]), false, false};
    for (int i = 5; i < count; i++) {
        o.half |= strcmp(words[i], "half") == 0;
        o.mixed |= strcmp(words[i], "mixed") == 0;
    }
    make_fp8(&o);
    return 0;
}
