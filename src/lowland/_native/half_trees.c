/* What follows each leapfrog step of a No-U-Turn trajectory, for all chains: the second half of the
   kick, the weight of the new point, whether it is drawn, whether a subtree that ends here has
   turned back, and the first half of the next step. In torch each of these is a pass of its own. */

#include <math.h>
#include <stdint.h>
#include <string.h>

/* Numbers that are added up side by side. */
enum { LANES = 16 };

/* The half that is added to each of n trajectories, in float32 or float64 ("real"). Rows of `on`
   that are 0 are left alone. */
typedef struct {
    int64_t n, d;
    double beta, worst;        /* inverse temperature; the highest loss of weight */
    const uint8_t *forward;    /* (n,): 1 forward in time, 0 backward */
    const void *drift, *kick;  /* (d,) real: of a whole step, forward */
    const void *at_start;      /* (n,) real: logarithm of what weights are relative to */
    const void *luck;          /* (leaves, n) real: logarithms of uniform numbers */
    void *y, *half, *p;        /* (n, d) real: point, momentum amid a step, and at its end */
    void *marks;               /* (levels, 2, n, d) real */
    void *tree_y, *tree_slope; /* (n, d) real: of the point that is drawn */
    void *tree_energy, *tree_weight; /* (n,) real; the latter is a logarithm */
    void *tree_momentum;             /* (n, d) real: the sum */
    void *likely;                    /* (n,) real: the sum of min(1, weight) */
    int64_t *leapfrogs;              /* (n,): how many steps */
    uint8_t *on, *divergent, *nonfinite; /* (n,) */
} half_trees;

#define NAME(x) x##_float_portable
#define TARGET
#define REAL float
#include "half_trees_kernel.h"
#undef NAME
#undef REAL
#define NAME(x) x##_double_portable
#define REAL double
#include "half_trees_kernel.h"
#undef NAME
#undef REAL
#undef TARGET

#if defined(__x86_64__)
#define TARGET __attribute__((target("avx2,fma")))
#define NAME(x) x##_float_avx2
#define REAL float
#include "half_trees_kernel.h"
#undef NAME
#undef REAL
#define NAME(x) x##_double_avx2
#define REAL double
#include "half_trees_kernel.h"
#undef NAME
#undef REAL
#undef TARGET

#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma")))
#define NAME(x) x##_float_avx512
#define REAL float
#include "half_trees_kernel.h"
#undef NAME
#undef REAL
#define NAME(x) x##_double_avx512
#define REAL double
#include "half_trees_kernel.h"
#undef NAME
#undef REAL
#undef TARGET
#endif

/* Adds the leaf-th point, whose energies, (n,), and slopes, (n, d), are given, and moves on to the
   next one unless it is the last. Returns for how many chains the trajectory may go on. */
int64_t lowland_leaf(int width, int real, const half_trees *h, const void *energy,
    const void *slope, int64_t leaf, int last) {
#if defined(__x86_64__)
    if (width == 2)
        return (real == 4 ? leaf_float_avx512 : leaf_double_avx512)(h, energy, slope, leaf, last);
    if (width == 1)
        return (real == 4 ? leaf_float_avx2 : leaf_double_avx2)(h, energy, slope, leaf, last);
#else
    (void)width;
#endif
    return (real == 4 ? leaf_float_portable : leaf_double_portable)(h, energy, slope, leaf, last);
}
