/* Words of the twister for one instruction set. Whoever includes this defines NAME(x), TARGET and
   WIDE, the words of a vector. */

typedef uint32_t NAME(words) __attribute__((vector_size(4 * WIDE), aligned(4)));
typedef int32_t NAME(signs) __attribute__((vector_size(4 * WIDE), aligned(4)));
typedef float NAME(singles) __attribute__((vector_size(4 * WIDE), aligned(4)));

/* Makes the words from the `start`-th to the one before `stop` anew, each with the one that lies
   `ahead` of it (or behind, if that is negative). */
TARGET static inline __attribute__((always_inline)) void NAME(renew)(
    uint32_t *words, int start, int stop, int ahead) {
    int j = start;
    for (; j + WIDE <= stop; j += WIDE) {
        const NAME(words) u = *(const NAME(words) *)(words + j);
        const NAME(words) v = *(const NAME(words) *)(words + j + 1);
        *(NAME(words) *)(words + j) = *(const NAME(words) *)(words + j + ahead) ^ TWISTED(u, v);
    }
    for (; j < stop; j++)
        words[j] = words[j + ahead] ^ TWISTED(words[j], words[j + 1]);
}

/* The next n words. */
TARGET static void NAME(draw)(twister *restrict t, uint32_t *restrict out, int64_t n) {
    while (n > 0) {
        if (t->next == WORDS) {
            NAME(renew)(t->words, 0, WORDS - AHEAD, AHEAD);
            NAME(renew)(t->words, WORDS - AHEAD, WORDS - 1, AHEAD - WORDS);
            t->words[WORDS - 1] = t->words[AHEAD - 1] ^ TWISTED(t->words[WORDS - 1], t->words[0]);
            t->next = 0;
        }
        const uint32_t *words = t->words + t->next;
        const int64_t m = WORDS - t->next < n ? WORDS - t->next : n;
        int64_t i = 0;
        for (; i + WIDE <= m; i += WIDE) {
            NAME(words) w = *(const NAME(words) *)(words + i);
            TEMPER(w);
            *(NAME(words) *)(out + i) = w;
        }
        for (; i < m; i++) {
            uint32_t w = words[i];
            TEMPER(w);
            out[i] = w;
        }
        out += m;
        n -= m;
        t->next += m;
    }
}

/* Of two words drawn for a number of 64 bits the first is the upper half. */
TARGET static void NAME(swap)(uint32_t *words, int64_t n) {
    for (int64_t i = 0; i + 1 < n; i += 2) {
        const uint32_t upper = words[i];
        words[i] = words[i + 1];
        words[i + 1] = upper;
    }
}

/* Words as float32 numbers in [0, 1), by their lower 24 bits. */
TARGET static void NAME(uniform)(uint32_t *words, int64_t n) {
    int64_t i = 0;
    for (; i + WIDE <= n; i += WIDE) {
        const NAME(signs) lower = (NAME(signs))(*(const NAME(words) *)(words + i) & 0xffffffu);
        *(NAME(singles) *)(words + i) = __builtin_convertvector(lower, NAME(singles)) * 0x1p-24f;
    }
    for (; i < n; i++) {
        const float number = (float)(int32_t)(words[i] & 0xffffffu) * 0x1p-24f;
        __builtin_memcpy(words + i, &number, sizeof number);
    }
}

/* Whether the lower 23 bits of words, as numbers from 1 to 2, are below the chances: 1 or 0. */
TARGET static void NAME(coin)(
    uint32_t *restrict words, const float *restrict chances, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        const uint32_t bits = (words[i] & 0x7fffffu) | 0x3f800000u;
        float number;
        __builtin_memcpy(&number, &bits, sizeof number);
        words[i] = number < chances[i] ? 0x3f800000u : 0u;
    }
}
