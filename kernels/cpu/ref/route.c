#include "kernels/cpu/ref/lanes.inc"

#include "kernels/cpu/rows.inc"

#include "kernels/cpu/abreast.inc"

#include "kernels/cpu/reduce.inc"

#include "kernels/cpu/levels.h"
#include "kernels/cpu/route.inc"

void wi_route_ref(weft_kernels *table)
{
    table->pick.route = route;
    table->pick.combine = combine;
}
