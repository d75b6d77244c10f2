/* Sparse codes: min over z of |y - sum_j z_j a_j|²/2 + penalty |z|_1, item by item, by Newton steps
   on the active atoms with the inverse of their Gram matrix kept up to date. */

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/* Doubles that are compared side by side, and how many atoms share one look at the highest. */
enum { LANES = 8, RUN = 32 };
/* Vectors of doubles that are summed in registers at once. */
enum { STRIP = 4 };
#define WHOLE(size) (((size) + LANES - 1) / LANES * LANES)
/* Atoms enter if they correlate at least this part of the best, so many at once. */
#define FRACTION 0.8
enum { ENTERING = 8 };
/* What is left of the squared length of an atom beside those that are active, for it to enter. */
#define DEPENDENT 1e-9
/* An active atom correlates by the penalty up to rounding. */
#define SLACK (1 + 1e-12)

/* A gap this many times the tolerance is taken again from the residual. */
#define CLOSE 10

typedef struct {
    const double *gram;  /* (k, k) */
    const double *atoms; /* (k, d) */
    int64_t k, d, steps;
    double penalty, tolerance;
    int single; /* codes are to be certified as they are in single precision */
} lasso;

/* The active atoms of an item, in any order. */
typedef struct {
    int64_t size, limit; /* how many there are, and may be */
    int64_t most;        /* the limit in whole vectors, by which rows lie apart */
    int64_t *atom;       /* (most,) */
    double *z;           /* (most,): coefficients */
    double *sign;        /* (most,): theirs, also where they are still 0 */
    double *inverse;     /* (most, most): of the atoms' Gram matrix, zeros behind */
    double *spare;       /* (4, most) */
} support;

typedef struct {
    support at;
    double *c;    /* (k,): correlations with the residual */
    double *idle; /* (k,): 1 where an atom is not active, else 0 */
    double *runs; /* (k / RUN,) rounded up */
} workspace;

#define NAME(x) x##_portable
#define TARGET
#include "lasso_kernel.h"

#if defined(__x86_64__)
#define NAME(x) x##_avx2
#define TARGET __attribute__((target("avx2,fma")))
#include "lasso_kernel.h"

#define NAME(x) x##_avx512
#define TARGET                                                                                     \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma,prefer-vector-width=512")))
#include "lasso_kernel.h"
#endif

/* Codes z, (n, k), zeros before, of n items y, (n, d), whose inner products with the atoms are b,
   (n, k), from the codes `start`, (n, k), or from none if that is NULL. Of each item: the value,
   the relative duality gap, and how many steps were made, at most `steps`. Returns 0, or -1 without
   memory. `width` as `lowland_widest` has it. */
int lowland_lasso(int width, const double *gram, const double *atoms, int64_t k, int64_t d,
    double penalty, double tolerance, int64_t steps, int single, const double *y, const double *b,
    const double *start, int64_t n, double *z, double *value, double *gap, int64_t *made) {
    const lasso p = {gram, atoms, k, d, steps, penalty, tolerance, single};
    const int64_t limit = k < d ? k : d, most = WHOLE(limit), runs = (k + RUN - 1) / RUN;
    double *memory = malloc(sizeof(double) * (size_t)(most * (most + 6) + 2 * k + runs));
    int64_t *atom = malloc(sizeof(int64_t) * (size_t)most);
    if (memory == NULL || atom == NULL) {
        free(memory);
        free(atom);
        return -1;
    }
    double *inverse = memory, *rest = inverse + most * most;
    workspace w = {
        {0, limit, most, atom, rest, rest + most, inverse, rest + 2 * most},
        rest + 6 * most,
        rest + 6 * most + k,
        rest + 6 * most + 2 * k,
    };
    int64_t (*item)(const lasso *restrict, const double *restrict, const double *restrict,
        const double *restrict, double *restrict, workspace *restrict, double *, double *) =
        item_portable;
#if defined(__x86_64__)
    if (width == 1)
        item = item_avx2;
    else if (width == 2)
        item = item_avx512;
#else
    (void)width;
#endif
    for (int64_t i = 0; i < n; i++)
        made[i] = item(&p, y + i * d, b + i * k, start == NULL ? NULL : start + i * k, z + i * k,
            &w, value + i, gap + i);
    free(memory);
    free(atom);
    return 0;
}
