/* The kernel of one instruction set. Whoever includes this defines NAME(x), TARGET, WIDE (the
   floats of a vector), and ROWS and COLS: the items, and the vectors of prototypes, whose scores
   are held in registers. */

typedef float NAME(floats) __attribute__((vector_size(4 * WIDE), aligned(4)));
typedef int32_t NAME(ints) __attribute__((vector_size(4 * WIDE), aligned(4)));

/* The best scores of an item so far and their codes, by lanes. */
typedef struct {
    NAME(floats) score;
    NAME(ints) code;
} NAME(best);

/* The scores of `rows` items with `cols` vectors of prototypes from the j-th on. They begin with
   the offset and add one dimension after the other, so that an item gets the same bits in every
   tile. */
TARGET static inline __attribute__((always_inline)) void NAME(tile)(const prototypes *restrict p,
    const float *restrict items, int64_t j, NAME(best) *restrict best, const int rows,
    const int cols) {
    NAME(floats) scores[ROWS][COLS];
    const float *packed = p->packed + j;
    for (int c = 0; c < cols; c++)
        for (int r = 0; r < rows; r++)
            scores[r][c] = *(const NAME(floats) *)(p->offset + j + c * WIDE);
    for (int64_t t = 0; t < p->d; t++, packed += p->stride) {
        NAME(floats) column[COLS];
        for (int c = 0; c < cols; c++)
            column[c] = *(const NAME(floats) *)(packed + c * WIDE);
        for (int r = 0; r < rows; r++) {
            const float item = items[r * p->d + t];
            for (int c = 0; c < cols; c++)
                scores[r][c] += item * column[c];
        }
    }
    for (int c = 0; c < cols; c++) {
        NAME(ints) code;
        for (int lane = 0; lane < WIDE; lane++)
            code[lane] = (int32_t)(j + c * WIDE + lane);
        for (int r = 0; r < rows; r++) {
            const NAME(ints) more = scores[r][c] > best[r].score;
            best[r].score = (NAME(floats))(
                ((NAME(ints))scores[r][c] & more) | ((NAME(ints))best[r].score & ~more));
            best[r].code = (code & more) | (best[r].code & ~more);
        }
    }
}

/* The best code of an item over its lanes, the first one on ties. */
TARGET static inline int64_t NAME(first)(const NAME(best) * best) {
    float score = best->score[0];
    int32_t code = best->code[0];
    for (int lane = 1; lane < WIDE; lane++) {
        const float s = best->score[lane];
        const int32_t c = best->code[lane];
        if (s > score || (s == score && c < code)) {
            score = s;
            code = c;
        }
    }
    return code;
}

/* The best codes of at most PANEL items. */
TARGET static void NAME(nearest)(
    const prototypes *p, const float *items, int64_t n, int64_t *codes) {
    NAME(best) best[PANEL];
    for (int64_t i = 0; i < n; i++)
        for (int lane = 0; lane < WIDE; lane++) {
            best[i].score[lane] = -INFINITY;
            best[i].code[lane] = lane;
        }
    for (int64_t j = 0; j < p->stride;) {
        const int whole = j + COLS * WIDE <= p->stride;
        int64_t i = 0;
        for (; i + ROWS <= n; i += ROWS)
            if (whole)
                NAME(tile)(p, items + i * p->d, j, best + i, ROWS, COLS);
            else
                NAME(tile)(p, items + i * p->d, j, best + i, ROWS, 1);
        for (; i < n; i++)
            if (whole)
                NAME(tile)(p, items + i * p->d, j, best + i, 1, COLS);
            else
                NAME(tile)(p, items + i * p->d, j, best + i, 1, 1);
        j += whole ? COLS * WIDE : WIDE;
    }
    for (int64_t i = 0; i < n; i++)
        codes[i] = NAME(first)(best + i);
}

/* Adds `sign` times an item to a sum. */
TARGET static void NAME(add)(
    double *restrict sum, const float *restrict item, int64_t d, double sign) {
    for (int64_t t = 0; t < d; t++)
        sum[t] += sign * (double)item[t];
}

/* Adds the squares of an item. */
TARGET static void NAME(add_squares)(
    double *restrict squares, const float *restrict item, int64_t d) {
    for (int64_t t = 0; t < d; t++)
        squares[t] += (double)item[t] * (double)item[t];
}

#undef NAME
#undef TARGET
#undef WIDE
#undef ROWS
#undef COLS
