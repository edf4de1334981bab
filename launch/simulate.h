// weft plan --simulate: steps of a mesh, exchange by exchange, on ranks of which now and then one is late. Inside
// launch/ only. Pure functions.
#ifndef WEFT_LAUNCH_SIMULATE_H
#define WEFT_LAUNCH_SIMULATE_H

#include "launch/plan.h"

typedef struct {
    int samples; // steps
    uint64_t seed;
} wi_simulation;

// Seconds of a step that gives each request its next token. The parts are means, their sum is the mean step.
typedef struct {
    double p50, p99;
    double compute, exchange, late; // of a rank that nobody disturbs; links; waiting for who was disturbed
} wi_simulated;

// NO_MEMORY is the only failure.
weft_status wi_simulate(const wi_plan_case *plan, const weft_mesh_shape *shape, const wi_simulation *how,
                        wi_simulated *out);

typedef struct {
    int ranks; // of a replica
    bool fits;
    weft_mesh_shape shape; // the planner's choice
    wi_simulated step;
    double speed, efficiency; // tokens a second of a replica; speed for each rank, beside the fewest ranks that fit
} wi_curve_point;
enum { WI_CURVE_POINTS = 16 };
// 1, 2, 4, ... ranks and those of the plan, on nodes of as many as it has.
weft_status wi_simulate_curve(const wi_plan_case *plan, const wi_simulation *how, wi_curve_point *out, int *count);

// The meshes, then the curve.
void wi_simulated_print(const wi_plan_case *plan, const char *model, const wi_simulation *how,
                        const wi_mesh_plan *meshes, const wi_simulated *steps, int count, const wi_curve_point *curve,
                        int points, FILE *out);
weft_status wi_simulated_write(const wi_plan_case *plan, const char *model, const wi_simulation *how,
                               const wi_mesh_plan *meshes, const wi_simulated *steps, int count,
                               const wi_curve_point *curve, int points, const char *path);

#endif
