/* The lasso of one item for one instruction set. Whoever includes this defines NAME(x) and TARGET. */

typedef double NAME(doubles) __attribute__((vector_size(8 * LANES), aligned(8)));

/* y += a x, for whole vectors. */
TARGET static inline __attribute__((always_inline)) void NAME(add)(
    double *restrict y, double a, const double *restrict x, int64_t size) {
    for (int64_t j = 0; j < size; j += LANES)
        *(NAME(doubles) *)(y + j) += a * *(const NAME(doubles) *)(x + j);
}

/* What the atoms leave unexplained, seen from the atoms: c = b - G z. */
TARGET static void NAME(correlate)(const lasso *restrict p, const double *restrict b,
    const support *restrict at, double *restrict c) {
    const int64_t k = p->k;
    int64_t i = 0;
    for (int64_t j = 0; j < k; j++)
        c[j] = b[j];
    for (; i + 4 <= at->size; i += 4) {
        const double *restrict g0 = p->gram + at->atom[i] * k;
        const double *restrict g1 = p->gram + at->atom[i + 1] * k;
        const double *restrict g2 = p->gram + at->atom[i + 2] * k;
        const double *restrict g3 = p->gram + at->atom[i + 3] * k;
        const double z0 = at->z[i], z1 = at->z[i + 1], z2 = at->z[i + 2], z3 = at->z[i + 3];
        for (int64_t j = 0; j < k; j++)
            c[j] -= (z0 * g0[j] + z1 * g1[j]) + (z2 * g2[j] + z3 * g3[j]);
    }
    for (; i < at->size; i++) {
        const double *g = p->gram + at->atom[i] * k, z = at->z[i];
        for (int64_t j = 0; j < k; j++)
            c[j] -= z * g[j];
    }
}

/* The largest |c| of each run of RUN atoms that are not active. */
TARGET static void NAME(highest)(
    const double *restrict c, const double *restrict idle, int64_t k, double *restrict runs) {
    for (int64_t start = 0; start < k; start += RUN) {
        double most[LANES] = {0};
        int64_t j = start;
        const int64_t stop = start + RUN < k ? start + RUN : k;
        for (; j + LANES <= stop; j += LANES)
            for (int lane = 0; lane < LANES; lane++) {
                const double size = __builtin_fabs(c[j + lane]) * idle[j + lane];
                most[lane] = size > most[lane] ? size : most[lane];
            }
        for (; j < stop; j++) {
            const double size = __builtin_fabs(c[j]) * idle[j];
            most[0] = size > most[0] ? size : most[0];
        }
        double top = 0;
        for (int lane = 0; lane < LANES; lane++)
            top = most[lane] > top ? most[lane] : top;
        *runs++ = top;
    }
}

/* Adds the squares of some vectors of what is left of an item. */
TARGET static inline __attribute__((always_inline)) void NAME(add_left)(const lasso *restrict p,
    const double *restrict y, const support *restrict at, int64_t t, const int vectors,
    NAME(doubles) *restrict squares) {
    NAME(doubles) rest[STRIP];
    for (int v = 0; v < vectors; v++)
        rest[v] = *(const NAME(doubles) *)(y + t + v * LANES);
    for (int64_t i = 0; i < at->size; i++) {
        const double *atom = p->atoms + at->atom[i] * p->d + t;
        for (int v = 0; v < vectors; v++)
            rest[v] -= at->z[i] * *(const NAME(doubles) *)(atom + v * LANES);
    }
    for (int v = 0; v < vectors; v++)
        *squares += rest[v] * rest[v];
}

/* The squared length of what is left of an item, which loses no digits. */
TARGET static double NAME(unexplained)(
    const lasso *restrict p, const double *restrict y, const support *restrict at) {
    NAME(doubles) squares = {0};
    int64_t t = 0;
    for (; t + STRIP * LANES <= p->d; t += STRIP * LANES)
        NAME(add_left)(p, y, at, t, STRIP, &squares);
    for (; t + LANES <= p->d; t += LANES)
        NAME(add_left)(p, y, at, t, 1, &squares);
    double squared = 0;
    for (; t < p->d; t++) {
        double rest = y[t];
        for (int64_t i = 0; i < at->size; i++)
            rest -= at->z[i] * p->atoms[at->atom[i] * p->d + t];
        squared += rest * rest;
    }
    for (int lane = 0; lane < LANES; lane++)
        squared += squares[lane];
    return squared;
}

/* Some vectors of M g, held in registers over all rows: in memory each row would wait for the last.
 */
TARGET static inline __attribute__((always_inline)) void NAME(part)(const support *restrict at,
    const double *restrict g, double *restrict way, int64_t j, const int vectors) {
    NAME(doubles) even[STRIP], odd[STRIP];
    for (int v = 0; v < vectors; v++)
        even[v] = odd[v] = (NAME(doubles)){0};
    const double *row = at->inverse + j;
    int64_t i = 0;
    for (; i + 2 <= at->size; i += 2, row += 2 * at->most)
        for (int v = 0; v < vectors; v++) {
            even[v] += g[i] * *(const NAME(doubles) *)(row + v * LANES);
            odd[v] += g[i + 1] * *(const NAME(doubles) *)(row + at->most + v * LANES);
        }
    for (int v = 0; v < vectors; v++) {
        if (i < at->size)
            even[v] += g[i] * *(const NAME(doubles) *)(row + v * LANES);
        *(NAME(doubles) *)(way + j + v * LANES) = even[v] + odd[v];
    }
}

/* way = M g, with M the inverse of the Gram matrix of the active atoms; whole vectors are written.
 */
TARGET static void NAME(solve)(
    const support *restrict at, const double *restrict g, double *restrict way) {
    const int64_t wide = WHOLE(at->size);
    int64_t j = 0;
    for (; j + STRIP * LANES <= wide; j += STRIP * LANES)
        NAME(part)(at, g, way, j, STRIP);
    for (; j < wide; j += LANES)
        NAME(part)(at, g, way, j, 1);
}

/* An atom becomes active; 0 if it depends on those that are, which with the factors u in `spare`
   sum to it. */
TARGET static int NAME(enter)(
    const lasso *restrict p, support *restrict at, int64_t atom, double z, double sign) {
    const int64_t s = at->size, most = at->most, wide = WHOLE(s + 1);
    const double *gram = p->gram + atom * p->k;
    double *u = at->spare, *column = at->spare + most;
    for (int64_t i = 0; i < s; i++)
        column[i] = gram[at->atom[i]];
    NAME(solve)(at, column, u);
    double left[4] = {gram[atom], 0, 0, 0};
    for (int64_t i = 0; i < s; i++)
        left[i & 3] -= u[i] * column[i];
    const double pivot = (left[0] + left[1]) + (left[2] + left[3]);
    if (s == at->limit || !(pivot > DEPENDENT * gram[atom]))
        return 0;
    /* Behind the active atoms the inverse holds zeros, up to whole vectors. */
    double *row = at->inverse + s * most;
    for (int64_t j = s; j < wide; j++)
        u[j] = 0;
    u[s] = -1;
    for (int64_t j = 0; j < wide; j++)
        row[j] = 0;
    if (s % LANES == 0)
        for (int64_t i = 0; i < s; i++)
            for (int64_t j = s; j < wide; j++)
                at->inverse[i * most + j] = 0;
    for (int64_t i = 0; i <= s; i++)
        NAME(add)(at->inverse + i * most, u[i] / pivot, u, wide);
    at->atom[s] = atom;
    at->z[s] = z;
    at->sign[s] = sign;
    at->size++;
    return 1;
}

/* The active atom in place i leaves; the last one takes its place. */
TARGET static void NAME(leave)(support *restrict at, int64_t i, double *restrict g) {
    const int64_t last = at->size - 1, most = at->most, wide = WHOLE(at->size);
    double *inverse = at->inverse, *row = at->spare;
    for (int64_t j = 0; j < wide; j++)
        row[j] = inverse[i * most + j];
    const double pivot = row[i];
    for (int64_t a = 0; a <= last; a++)
        NAME(add)(inverse + a * most, -row[a] / pivot, row, wide);
    for (int64_t j = 0; j < wide; j++)
        inverse[i * most + j] = inverse[last * most + j];
    for (int64_t a = 0; a <= last; a++) {
        inverse[a * most + i] = inverse[a * most + last];
        inverse[a * most + last] = 0;
    }
    at->atom[i] = at->atom[last];
    at->z[i] = at->z[last];
    at->sign[i] = at->sign[last];
    g[i] = g[last];
    at->size = last;
}

/* An atom that depends on the active ones, and just failed to enter, takes the place of one of
   them: moved along what they have in common, which changes no residual, until one is 0. The codes
   get shorter by that, for the atom correlates more than they do. 0 if that is not possible. */
TARGET static int NAME(exchange)(const lasso *restrict p, support *restrict at, int64_t atom,
    double sign, double *restrict idle) {
    double *u = at->spare, *none = at->spare + 3 * at->most, when = INFINITY;
    int64_t place = -1;
    for (int64_t i = 0; i < at->size; i++) {
        const double here = at->z[i] / (sign * u[i]);
        if (at->z[i] * sign * u[i] > 0 && here < when) {
            when = here;
            place = i;
        }
    }
    if (place < 0)
        return 0;
    for (int64_t i = 0; i < at->size; i++)
        at->z[i] -= when * sign * u[i];
    idle[at->atom[place]] = 1;
    NAME(leave)(at, place, none);
    return NAME(enter)(p, at, atom, when * sign, sign);
}

/* To the minimum for the signs as they are; atoms leave where they would change theirs. Of those
   that have just entered and would go the wrong way the least one leaves first: the best of them,
   alone beside atoms at their minimum, goes the right way. */
TARGET static void NAME(descend)(const lasso *restrict p, support *restrict at,
    const double *restrict c, double *restrict idle) {
    double *g = at->spare + 2 * at->most, *way = at->spare + 3 * at->most;
    for (int64_t i = 0; i < at->size; i++)
        g[i] = c[at->atom[i]] - p->penalty * at->sign[i];
    while (at->size > 0) {
        NAME(solve)(at, g, way);
        double when = 1, least = INFINITY;
        int64_t place = -1;
        for (int64_t i = 0; i < at->size; i++)
            if ((at->z[i] + way[i]) * at->sign[i] < 0) {
                const double here = -at->z[i] / way[i], height = g[i] * at->sign[i];
                if (here < when || (here == when && height < least)) {
                    when = here;
                    least = height;
                    place = i;
                }
            }
        for (int64_t i = 0; i < at->size; i++)
            at->z[i] += when * way[i];
        if (place < 0)
            return;
        for (int64_t i = 0; i < at->size; i++)
            g[i] *= 1 - when;
        idle[at->atom[place]] = 1;
        NAME(leave)(at, place, g);
    }
}

/* The atoms that correlate about as much as the best, by `top`, become active; how many. */
TARGET static int NAME(grow)(
    const lasso *restrict p, support *restrict at, workspace *restrict w, double top) {
    const double least = fmax(p->penalty * SLACK, FRACTION * top);
    int entered = 0;
    for (int64_t i = 0; i * RUN < p->k; i++)
        for (int64_t j = i * RUN; w->runs[i] > least && j < p->k && j < (i + 1) * RUN; j++) {
            const double sign = w->c[j] > 0 ? 1 : -1;
            if (w->idle[j] == 0 || sign * w->c[j] <= least)
                continue;
            if (NAME(enter)(p, at, j, 0, sign)) {
                w->idle[j] = 0;
                if (++entered == ENTERING)
                    return entered;
            } else if (entered == 0 && NAME(exchange)(p, at, j, sign, w->idle)) {
                w->idle[j] = 0;
                return 1;
            }
        }
    return entered;
}

/* The atoms of codes to start from become active; c gets their own correlations, and theirs alone.
 */
TARGET static void NAME(begin)(const lasso *restrict p, const double *restrict b,
    const double *restrict start, support *restrict at, double *restrict c, double *restrict idle) {
    const double *column = at->spare + at->most;
    for (int64_t j = 0; j < p->k; j++) {
        if (start[j] == 0 || !NAME(enter)(p, at, j, start[j], start[j] > 0 ? 1 : -1))
            continue;
        idle[j] = 0;
        double own = b[j] - p->gram[j * p->k + j] * start[j];
        for (int64_t i = 0; i < at->size - 1; i++) {
            own -= column[i] * at->z[i];
            c[at->atom[i]] -= column[i] * start[j];
        }
        c[j] = own;
    }
}

/* The value and the relative duality gap, as `certify` in lasso.py. */
TARGET static void NAME(certify)(const lasso *restrict p, double squared, double length,
    double explained, double largest, double *value, double *gap) {
    const double scale = largest > p->penalty ? p->penalty / largest : 1;
    const double over = squared / 2 * (1 - scale) * (1 - scale) + p->penalty * length;
    *value = squared / 2 + p->penalty * length;
    *gap = *value == 0 ? 0 : (over - scale * explained) / *value;
    if (*gap < 0) /* what is not a number stays so */
        *gap = 0;
}

/* One item, from the codes `start`, (k,), if that is not NULL; z, (k,), holds zeros. */
TARGET static int64_t NAME(item)(const lasso *restrict p, const double *restrict y,
    const double *restrict b, const double *restrict start, double *restrict z,
    workspace *restrict w, double *value, double *gap) {
    support *at = &w->at;
    const int64_t k = p->k, runs = (k + RUN - 1) / RUN;
    at->size = 0;
    for (int64_t j = 0; j < k; j++)
        w->idle[j] = 1;
    const support none = {0};
    const double square = NAME(unexplained)(p, y, &none);
    int stalled = 0;
    int64_t made = 0;
    /* Codes to start from are first brought to the minimum for their signs, which asks for nothing
       of other atoms. */
    if (start != NULL) {
        NAME(begin)(p, b, start, at, w->c, w->idle);
        NAME(descend)(p, at, w->c, w->idle);
        made = 1;
    }
    for (;; made++) {
        if (p->single)
            for (int64_t i = 0; i < at->size; i++)
                at->z[i] = (double)(float)at->z[i];
        NAME(correlate)(p, b, at, w->c);
        NAME(highest)(w->c, w->idle, k, w->runs);
        double top = 0, largest = 0, length = 0, explained = 0, both = 0;
        for (int64_t i = 0; i < runs; i++)
            top = w->runs[i] > top ? w->runs[i] : top;
        for (int64_t i = 0; i < at->size; i++) {
            const double own = w->c[at->atom[i]];
            largest = fmax(largest, __builtin_fabs(own));
            length += __builtin_fabs(at->z[i]);
            explained += at->z[i] * own;
            both += at->z[i] * (own + b[at->atom[i]]);
        }
        largest = fmax(largest, top);
        /* |y|² - <z, b + c> costs nothing, but loses digits where little is left. */
        NAME(certify)(p, square - both, length, explained, largest, value, gap);
        const int last = stalled || made >= p->steps;
        if (*gap <= CLOSE * p->tolerance || last) {
            const double squared = NAME(unexplained)(p, y, at);
            NAME(certify)(p, squared, length, explained, largest, value, gap);
            if (*gap <= p->tolerance || made >= p->steps)
                break;
        }
        /* Once more for the rounding of the inverse; then only another method can help. */
        stalled = NAME(grow)(p, at, w, top) ? 0 : stalled + 1;
        if (stalled > 2)
            break;
        NAME(descend)(p, at, w->c, w->idle);
    }
    for (int64_t i = 0; i < at->size; i++)
        z[at->atom[i]] = at->z[i];
    return made;
}

#undef NAME
#undef TARGET
