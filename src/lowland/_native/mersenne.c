/* Numbers of a Mersenne Twister, MT19937, many at once: the bits that torch draws one by one on a
   CPU from a generator in the same state, which is left as torch leaves it.

   M. Matsumoto and T. Nishimura, "Mersenne Twister: a 623-dimensionally equidistributed uniform
   pseudo-random number generator", https://doi.org/10.1145/272991.272995 */

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* The words of a state, and how far the word lies that is mixed into one. */
enum { WORDS = 624, AHEAD = 397 };
/* Numbers that are drawn before they are made into others, while they are near the core. */
enum { CHUNK = 1024 };
/* Normal numbers are drawn in groups, half of them by the cosine and half by the sine. */
#define HALF 8
#define GROUP (2 * HALF)

/* How torch lays out the state of a generator of a CPU; what stands behind it stays as it is. */
typedef struct {
    uint64_t seed;
    int32_t left; /* 1 before the words have to be made anew */
    int32_t seeded;
    uint64_t next;
    uint64_t words[WORDS];
} state;

typedef struct {
    uint32_t words[WORDS];
    int64_t next;
} twister;

#define UPPER 0x80000000u
#define LOWER 0x7fffffffu
#define MATRIX 0x9908b0dfu
/* A word mixed with the next one, and a word as it is given out; of numbers and of vectors. */
#define TWISTED(u, v) ((((u) & UPPER) | ((v) & LOWER)) >> 1 ^ (-((v) & 1u) & MATRIX))
#define TEMPER(w)                     \
    ((w) ^= (w) >> 11,                \
        (w) ^= (w) << 7 & 0x9d2c5680u, \
        (w) ^= (w) << 15 & 0xefc60000u, (w) ^= (w) >> 18)

#define NAME(x) x##_portable
#define TARGET
#define WIDE 4
#include "mersenne_kernel.h"
#undef NAME
#undef TARGET
#undef WIDE

#if defined(__x86_64__)
#define NAME(x) x##_avx2
#define TARGET __attribute__((target("avx2,fma")))
#define WIDE 8
#define OF(operation) _mm256_##operation
#include "mersenne_kernel.h"
#include "normal_kernel.h"
#undef NAME
#undef TARGET
#undef WIDE
#undef OF

#define NAME(x) x##_avx512
#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma")))
#define WIDE 16
#define OF(operation) _mm512_##operation
#include "mersenne_kernel.h"
#include "normal_kernel.h"
#undef NAME
#undef TARGET
#undef WIDE
#undef OF
#endif

/* The bytes of a state that is known: it, and a normal number to come with a flag, twice. */
int64_t lowland_state(void) {
    return sizeof(state) + 3 * sizeof(double) + sizeof(int64_t) + 2 * sizeof(int32_t);
}

/* Whether two states are the same, all of them. */
int lowland_same(const void *one, const void *other) {
    return memcmp(one, other, (size_t)lowland_state()) == 0;
}

/* What words are made into. */
enum { WHOLE, UNIFORM, NORMAL, COIN };

/* Fills out, n numbers of 32 bits, from one state, and writes down the state after it. Whole numbers
   come in pairs as torch draws numbers of 64 bits, so that n must be even; uniform and normal ones
   are float32, and so are coins, 0 or 1, of which `chances` holds the chances of a 1, plus 1.
   Returns 0, or 1 if there is no such kernel. */
int lowland_mersenne(int width, int kind, const state *from, state *to, const float *chances,
    uint32_t *out, int64_t n) {
    void (*draw)(twister *restrict, uint32_t *restrict, int64_t) = draw_portable;
    void (*swap)(uint32_t *, int64_t) = swap_portable;
    void (*uniform)(uint32_t *, int64_t) = uniform_portable;
    void (*coin)(uint32_t *restrict, const float *restrict, int64_t) = coin_portable;
    void (*normal)(float *, int64_t) = NULL;
#if defined(__x86_64__)
    if (width == 1) {
        draw = draw_avx2;
        swap = swap_avx2;
        uniform = uniform_avx2;
        coin = coin_avx2;
        normal = normal_avx2;
    } else if (width == 2) {
        draw = draw_avx512;
        swap = swap_avx512;
        uniform = uniform_avx512;
        coin = coin_avx512;
        normal = normal_avx512;
    }
#else
    (void)width;
#endif
    if (n <= 0 || (kind == NORMAL && (normal == NULL || n < GROUP)))
        return 1;
    twister t;
    for (int i = 0; i < WORDS; i++)
        t.words[i] = (uint32_t)from->words[i];
    t.next = from->left == 1 ? WORDS : (int64_t)from->next;
    for (int64_t i = 0; i < n; i += CHUNK) {
        const int64_t m = n - i < CHUNK ? n - i : CHUNK;
        uint32_t *numbers = out + i;
        draw(&t, numbers, m);
        if (kind == WHOLE || kind == COIN) {
            if (m % 2 != 0) { /* a pair has two coins also where the second is not asked for */
                uint32_t second;
                draw(&t, &second, 1);
                swap(numbers, m - 1);
                numbers[m - 1] = second;
            } else {
                swap(numbers, m);
            }
            if (kind == COIN)
                coin(numbers, chances + i, m);
        } else {
            uniform(numbers, m);
            if (kind == NORMAL)
                normal((float *)numbers, m / GROUP * GROUP);
        }
    }
    /* Where the last ones are no group, the last group is drawn again. */
    if (kind == NORMAL && n % GROUP != 0) {
        draw(&t, out + n - GROUP, GROUP);
        uniform(out + n - GROUP, GROUP);
        normal((float *)(out + n - GROUP), GROUP);
    }
    for (int i = 0; i < WORDS; i++)
        to->words[i] = t.words[i];
    to->next = (uint64_t)t.next;
    to->left = (int32_t)(WORDS + 1 - t.next);
    return 0;
}
