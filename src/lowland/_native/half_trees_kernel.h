/* The kernel of one instruction set and precision. Whoever includes this defines NAME(x), TARGET
   and REAL, float or double. */

typedef REAL NAME(lanes) __attribute__((vector_size(sizeof(REAL) * LANES), aligned(sizeof(REAL))));

TARGET static inline double NAME(summed)(const NAME(lanes) * sums) {
    double sum = 0;
    for (int lane = 0; lane < LANES; lane++)
        sum += (double)(*sums)[lane];
    return sum;
}

/* p = half - kick slope / 2, with the sign of time; returns the square of its length. */
TARGET static inline double NAME(arrive)(REAL *restrict p, const REAL *restrict half,
    const REAL *restrict kick, const REAL *restrict slope, REAL sign, int64_t d) {
    const REAL by = (REAL)0.5 * sign;
    NAME(lanes) sums = {0};
    double rest = 0;
    int64_t t = 0;
    for (; t + LANES <= d; t += LANES) {
        const NAME(lanes) v = *(const NAME(lanes) *)(half + t) -
            by * *(const NAME(lanes) *)(kick + t) * *(const NAME(lanes) *)(slope + t);
        *(NAME(lanes) *)(p + t) = v;
        sums += v * v;
    }
    for (; t < d; t++) {
        p[t] = half[t] - by * kick[t] * slope[t];
        rest += (double)p[t] * (double)p[t];
    }
    return NAME(summed)(&sums) + rest;
}

/* The first half of the kick of the next step, and its drift. */
TARGET static inline void NAME(depart)(REAL *restrict half, REAL *restrict y,
    const REAL *restrict p, const REAL *restrict kick, const REAL *restrict drift,
    const REAL *restrict slope, REAL sign, int64_t d) {
    const REAL by = (REAL)0.5 * sign;
    for (int64_t t = 0; t < d; t++) {
        half[t] = p[t] - by * kick[t] * slope[t];
        y[t] += sign * drift[t] * half[t];
    }
}

/* sum += p, and a copy of p and of the sum without half of p. */
TARGET static inline void NAME(mark)(REAL *restrict sum, REAL *restrict first,
    REAL *restrict before, const REAL *restrict p, int64_t d) {
    for (int64_t t = 0; t < d; t++) {
        sum[t] += p[t];
        first[t] = p[t];
        before[t] = sum[t] - (REAL)0.5 * p[t];
    }
}

/* Whether a subtree has turned that began with a mark and ends with p. */
TARGET static inline int NAME(turned)(const REAL *restrict sum, const REAL *restrict first,
    const REAL *restrict before, const REAL *restrict p, int64_t d) {
    NAME(lanes) start = {0}, end = {0};
    double at_start = 0, at_end = 0;
    int64_t t = 0;
    for (; t + LANES <= d; t += LANES) {
        const NAME(lanes) v = *(const NAME(lanes) *)(p + t);
        const NAME(lanes) middle = *(const NAME(lanes) *)(sum + t) - (REAL)0.5 * v -
            *(const NAME(lanes) *)(before + t);
        start += *(const NAME(lanes) *)(first + t) * middle;
        end += v * middle;
    }
    for (; t < d; t++) {
        const REAL middle = sum[t] - (REAL)0.5 * p[t] - before[t];
        at_start += (double)first[t] * (double)middle;
        at_end += (double)p[t] * (double)middle;
    }
    return !(NAME(summed)(&start) + at_start > 0 && NAME(summed)(&end) + at_end > 0);
}

TARGET static int64_t NAME(leaf)(
    const half_trees *h, const void *energies, const void *slopes, int64_t leaf, int last) {
    const int64_t n = h->n, d = h->d;
    const REAL *kick = h->kick, *drift = h->drift;
    /* Subtrees begin at even leaves. The mark of one is kept under how many bits its index has,
       where a later one of the same level overwrites it once it is no longer needed. */
    const int level = __builtin_popcountll((unsigned long long)leaf >> 1);
    const int ends = __builtin_popcountll((unsigned long long)(leaf ^ (leaf + 1))) - 1;
    int64_t going = 0;
    for (int64_t i = 0; i < n; i++) {
        if (!h->on[i])
            continue;
        const int64_t row = i * d;
        const REAL sign = h->forward[i] ? 1 : -1;
        const REAL *slope = (const REAL *)slopes + row;
        REAL *y = (REAL *)h->y + row, *half = (REAL *)h->half + row, *p = (REAL *)h->p + row;
        REAL *sum = (REAL *)h->tree_momentum + row;
        const REAL energy = ((const REAL *)energies)[i];
        const double square = NAME(arrive)(p, half, kick, slope, sign, d);
        const double weight =
            (double)((const REAL *)h->at_start)[i] - 0.5 * square - h->beta * (double)energy;
        h->leapfrogs[i]++;
        const int finite = isfinite((REAL)weight);
        if (finite) {
            REAL *all = (REAL *)h->tree_weight + i;
            const double old = (double)*all;
            const double top = weight > old ? weight : old;
            const double total = top + log1p(exp((weight > old ? old : weight) - top));
            ((REAL *)h->likely)[i] += (REAL)(weight < 0 ? exp(weight) : 1);
            if ((double)((const REAL *)h->luck)[leaf * n + i] < weight - total) {
                memcpy((REAL *)h->tree_y + row, y, (size_t)d * sizeof(REAL));
                memcpy((REAL *)h->tree_slope + row, slope, (size_t)d * sizeof(REAL));
                ((REAL *)h->tree_energy)[i] = energy;
            }
            *all = (REAL)total;
        }
        int turned = 0;
        if (leaf % 2 == 0) {
            REAL *mark = (REAL *)h->marks + 2 * level * n * d + row;
            NAME(mark)(sum, mark, mark + n * d, p, d);
        } else {
            for (int64_t t = 0; t < d; t++)
                sum[t] += p[t];
            for (int m = level; m > level - ends && !turned; m--) {
                const REAL *mark = (const REAL *)h->marks + 2 * m * n * d + row;
                turned = NAME(turned)(sum, mark, mark + n * d, p, d);
            }
        }
        if (!finite || weight < -h->worst) {
            h->divergent[i] = 1;
            h->nonfinite[i] |= !finite;
            turned = 1;
        }
        if (turned) {
            h->on[i] = 0;
            /* It will be asked about the slope there once more, which must do no harm. */
            memcpy(y, (REAL *)h->tree_y + row, (size_t)d * sizeof(REAL));
            continue;
        }
        going++;
        if (!last)
            NAME(depart)(half, y, p, kick, drift, slope, sign, d);
    }
    return going;
}
