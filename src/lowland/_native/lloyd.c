/* One pass of Lloyd's algorithm over items in float32: the best codes, and the sums of the items by
   code in double precision. The score of prototype c for item y is <c, y> - |c|²/2, highest for the
   nearest; scores live in registers and are never written. */

#include <math.h>
#include <stddef.h>
#include <stdint.h>

/* Items that share what was read of the prototypes; a multiple of every ROWS below. */
enum { PANEL = 48 };

typedef struct {
    const float *packed; /* (d, stride): one dimension of all prototypes after the other */
    const float *offset; /* (stride,): -|c|²/2, and -infinity behind the last prototype */
    int64_t d;
    int64_t stride; /* a multiple of 16 */
} prototypes;

#define NAME(x) x##_portable
#define TARGET
#define WIDE 4
#define ROWS 4
#define COLS 2
#include "lloyd_kernel.h"

#if defined(__x86_64__)
#define NAME(x) x##_avx2
#define TARGET __attribute__((target("avx2,fma")))
#define WIDE 8
#define ROWS 6
#define COLS 2
#include "lloyd_kernel.h"

#define NAME(x) x##_avx512
#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma")))
#define WIDE 16
#define ROWS 12
#define COLS 2
#include "lloyd_kernel.h"
#endif

/* The widest kernel that this processor runs: 0 portable, 1 AVX2, 2 AVX-512. */
int lowland_widest(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return 2;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return 1;
#endif
    return 0;
}

/* How many floats of scratch memory a pass with an origin needs, for each dimension. */
int64_t lowland_panel(void) {
    return PANEL;
}

/* Gives the items y, (n, d), their best codes and brings sums, (k, d), and counts, (k,), up to
   date; returns how many codes are new. A code of -1 says that an item is in no sum yet. With
   `afresh` the sums hold no item. Items are taken relative to `origin`, (d,), if it is not NULL,
   which needs `scratch`. The squares of all items are added to `squares`, (d,), if it is not NULL.
 */
int64_t lowland_lloyd(int width, const float *y, int64_t n, int64_t d, const float *origin,
    float *scratch, const float *packed, const float *offset, int64_t stride, int64_t *codes,
    double *sums, double *counts, double *squares, int afresh) {
    const prototypes p = {packed, offset, d, stride};
    void (*nearest)(const prototypes *, const float *, int64_t, int64_t *) = nearest_portable;
    void (*add)(double *restrict, const float *restrict, int64_t, double) = add_portable;
    void (*add_squares)(double *restrict, const float *restrict, int64_t) = add_squares_portable;
#if defined(__x86_64__)
    if (width == 1) {
        nearest = nearest_avx2;
        add = add_avx2;
        add_squares = add_squares_avx2;
    } else if (width == 2) {
        nearest = nearest_avx512;
        add = add_avx512;
        add_squares = add_squares_avx512;
    }
#else
    (void)width;
#endif
    int64_t best[PANEL], moved = 0;
    for (int64_t start = 0; start < n; start += PANEL) {
        const int64_t m = n - start < PANEL ? n - start : PANEL;
        const float *items = y + start * d;
        if (origin != NULL) {
            for (int64_t i = 0; i < m; i++)
                for (int64_t t = 0; t < d; t++)
                    scratch[i * d + t] = items[i * d + t] - origin[t];
            items = scratch;
        }
        nearest(&p, items, m, best);
        if (squares != NULL)
            for (int64_t i = 0; i < m; i++)
                add_squares(squares, items + i * d, d);
        for (int64_t i = 0; i < m; i++) {
            const int64_t old = codes[start + i], code = best[i];
            if (old != code || afresh) {
                add(sums + code * d, items + i * d, d, 1.0);
                counts[code] += 1;
                if (old >= 0 && !afresh) {
                    add(sums + old * d, items + i * d, d, -1.0);
                    counts[old] -= 1;
                }
            }
            moved += old != code;
            codes[start + i] = code;
        }
    }
    return moved;
}
