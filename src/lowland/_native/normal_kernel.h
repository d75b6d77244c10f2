/* Normal numbers from uniform ones by the transform of Box and Muller, for one instruction set with
   fused multiply-add. Whoever includes this defines NAME(x), TARGET, WIDE and OF, an intrinsic.

   The logarithm, the sine and the cosine are the polynomials of the Cephes library for single
   precision (S. Moshier, https://www.netlib.org/cephes/), which torch takes as well. Its compiler
   fused some products and sums into one rounding; which ones is written out here, for the last bit
   depends on it. */

/* A product, rounded before anything is added to it. */
TARGET static inline NAME(singles) NAME(times)(NAME(singles) a, NAME(singles) b) {
    NAME(singles) product = a * b;
    __asm__("" : "+x"(product));
    return product;
}

/* a b + c, a b - c and c - a b, rounded once. */
#define FUSED(a, b, c) ((NAME(singles))OF(fmadd_ps)(a, b, c))
#define FUSED_LESS(a, b, c) ((NAME(singles))OF(fmsub_ps)(a, b, c))
#define FUSED_FROM(a, b, c) ((NAME(singles))OF(fnmadd_ps)(a, b, c))
#define ALL(x) ((NAME(singles))OF(set1_ps)(x))
/* a where a lane of the mask is set, else b. */
#define EITHER(mask, a, b) \
    ((NAME(singles))(((NAME(signs))(a) & (mask)) | ((NAME(signs))(b) & ~(mask))))

/* The natural logarithm of numbers in (0, 1]. */
TARGET static inline NAME(singles) NAME(logarithm)(NAME(singles) u) {
    /* As m 2^e, with m from sqrt(1/2) to sqrt(2). */
    const NAME(signs) bits = (NAME(signs))u;
    NAME(singles) m = (NAME(singles))((bits & 0x007fffff) | 0x3f000000);
    NAME(singles) e = __builtin_convertvector((bits >> 23) - 126, NAME(singles));
    const NAME(signs) low = m < 0.707106781186547524f;
    e = EITHER(low, e - 1.0f, e);
    m = EITHER(low, m - 1.0f + m, m - 1.0f);
    const NAME(singles) square = NAME(times)(m, m);
    NAME(singles) tail = ALL(7.0376836292e-2f);
    tail = FUSED(tail, m, ALL(-1.1514610310e-1f));
    tail = FUSED(tail, m, ALL(1.1676998740e-1f));
    tail = FUSED(tail, m, ALL(-1.2420140846e-1f));
    tail = FUSED(tail, m, ALL(1.4249322787e-1f));
    tail = FUSED(tail, m, ALL(-1.6668057665e-1f));
    tail = FUSED(tail, m, ALL(2.0000714765e-1f));
    tail = FUSED(tail, m, ALL(-2.4999993993e-1f));
    tail = FUSED(tail, m, ALL(3.3333331174e-1f));
    tail = FUSED(NAME(times)(tail, m), square, NAME(times)(e, ALL(-2.12194440e-4f)));
    tail = FUSED_FROM(square, ALL(0.5f), tail);
    return FUSED(e, ALL(0.693359375f), m + tail);
}

/* The sine and the cosine of angles in [0, 2 pi). */
TARGET static inline void NAME(turn)(
    NAME(singles) angle, NAME(singles) *sine, NAME(singles) *cosine) {
    /* As an even number of eighths of a turn and a rest between -1/8 and 1/8 of one. */
    const NAME(singles) eighths = NAME(times)(angle, ALL(1.27323954473516f));
    const NAME(signs) even = (__builtin_convertvector(eighths, NAME(signs)) + 1) & ~1;
    const NAME(singles) whole = __builtin_convertvector(even, NAME(singles));
    NAME(singles) rest = FUSED(whole, ALL(-0.78515625f), angle);
    rest = FUSED(whole, ALL(-2.4187564849853515625e-4f), rest);
    rest = FUSED(whole, ALL(-3.77489497744594108e-8f), rest);
    const NAME(singles) square = NAME(times)(rest, rest);
    NAME(singles) c = ALL(2.443315711809948e-5f);
    c = FUSED(c, square, ALL(-1.388731625493765e-3f));
    c = FUSED(c, square, ALL(4.166664568298827e-2f));
    c = FUSED_LESS(NAME(times)(c, square), square, NAME(times)(square, ALL(0.5f))) + 1.0f;
    NAME(singles) s = ALL(-1.9515295891e-4f);
    s = FUSED(s, square, ALL(8.3321608736e-3f));
    s = FUSED(s, square, ALL(-1.6666654611e-1f));
    s = FUSED(NAME(times)(s, square), rest, rest);
    const NAME(signs) straight = (even & 2) == 0;
    const NAME(signs) below = (even & 4) << 29, behind = (~(even - 2) & 4) << 29;
    *sine = (NAME(singles))((NAME(signs))EITHER(straight, s, c) ^ below);
    *cosine = (NAME(singles))((NAME(signs))EITHER(straight, c, s) ^ behind);
}

/* Normal numbers in place of vectors of uniform ones: lengths, and parts of a turn. */
TARGET static inline void NAME(scatter)(NAME(singles) *length, NAME(singles) *part) {
    const NAME(singles) logarithm = NAME(logarithm)(1.0f - *length);
    const NAME(singles) radius =
        (NAME(singles))OF(sqrt_ps)(NAME(times)(ALL(-2.0f), logarithm));
    NAME(singles) sine, cosine;
    NAME(turn)(NAME(times)(ALL(6.283185307179586f), *part), &sine, &cosine);
    /* To add 0 makes a negative zero positive. */
    *length = FUSED(radius, cosine, ALL(0.0f));
    *part = FUSED(radius, sine, ALL(0.0f));
}

/* Whole groups of normal numbers in place of uniform ones. */
TARGET static void NAME(normal)(float *numbers, int64_t n) {
    int64_t i = 0;
    for (; i + 2 * WIDE <= n; i += 2 * WIDE) {
        NAME(singles) *first = (NAME(singles) *)(numbers + i);
        NAME(singles) *second = (NAME(singles) *)(numbers + i + WIDE);
#if WIDE == HALF
        NAME(scatter)(first, second);
#else
        /* The halves of two groups side by side, and back. */
        NAME(singles) length = (NAME(singles))OF(shuffle_f32x4)(*first, *second, 0x44);
        NAME(singles) part = (NAME(singles))OF(shuffle_f32x4)(*first, *second, 0xee);
        NAME(scatter)(&length, &part);
        *first = (NAME(singles))OF(shuffle_f32x4)(length, part, 0x44);
        *second = (NAME(singles))OF(shuffle_f32x4)(length, part, 0xee);
#endif
    }
#if WIDE > HALF
    if (i < n) { /* one group is left, in the lower halves of two vectors */
        NAME(singles) length = ALL(0.0f), part = ALL(0.0f);
        __builtin_memcpy(&length, numbers + i, HALF * sizeof(float));
        __builtin_memcpy(&part, numbers + i + HALF, HALF * sizeof(float));
        NAME(scatter)(&length, &part);
        __builtin_memcpy(numbers + i, &length, HALF * sizeof(float));
        __builtin_memcpy(numbers + i + HALF, &part, HALF * sizeof(float));
    }
#endif
}

#undef FUSED
#undef FUSED_LESS
#undef FUSED_FROM
#undef ALL
#undef EITHER
