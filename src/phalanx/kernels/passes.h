/* The passes over columns, written once and compiled for each instruction set: native.c includes this file several times
 * with other values of
 *
 *   NAME(x)     x with the name of the instruction set behind it
 *   TARGET      the compiler attribute that allows its instructions
 *   LANES       float64 values in one vector register
 *   TILE            rows of a register tile of the Gram pass: TILE * TILE accumulators stay in registers
 *   FMA(a, b, c)    a * b + c, rounded once where the instruction set can; in the Gram pass only
 *   MIN(a, b), MAX(a, b)  of two registers of 2 * LANES float32 values
 *   WIDE(p)         LANES float32 values from any address, in float64
 *   NARROW(v)       LANES float64 values, rounded to float32
 *
 * Letters: n rows x_i of which columns [start, stop) are seen; m vectors after mixing; W columns of a tile.
 *
 * Everything but the Gram pass works column by column, in one fixed order of additions, without FMA (the build passes
 * -ffp-contract=off): it gives the same bytes on every instruction set, and those of the numpy twin. No address depends
 * on the values of a row.
 */

typedef double NAME(vector) __attribute__((vector_size(LANES * sizeof(double))));
typedef float NAME(floats) __attribute__((vector_size(LANES * sizeof(double))));
typedef float NAME(anywhere) __attribute__((vector_size(LANES * sizeof(double)), aligned(sizeof(float))));
typedef int32_t NAME(counts) __attribute__((vector_size(LANES * sizeof(double))));
typedef float NAME(half) __attribute__((vector_size(LANES * sizeof(float)), aligned(sizeof(float))));
typedef int64_t NAME(longs) __attribute__((vector_size(LANES * sizeof(double))));
#define VECTOR NAME(vector)
#define HALF NAME(half)
#define LONGS NAME(longs)
#define FLOATS NAME(floats)
#define ANYWHERE NAME(anywhere) /* the same, at any address */
#define COUNTS NAME(counts)
#define STEP (2 * LANES)

/* squares[i] += the squared l2 norm of row i, in float64. A value that is not finite makes it so. */
TARGET static void NAME(norms)(const Rows *rows, Py_ssize_t start, Py_ssize_t stop, double *squares)
{
    for (Py_ssize_t i = 0; i < rows->n; i++) {
        const float *x = row_of(rows, i);
        double parts[32] = {0};
        Py_ssize_t k = start;
        for (; k + 32 <= stop; k += 32)
            for (int lane = 0; lane < 32; lane++) {
                double value = x[k + lane];
                parts[lane] += value * value;
            }
        for (; k < stop; k++) {
            double value = x[k];
            parts[0] += value * value;
        }
        double total = 0.0;
        for (int lane = 0; lane < 32; lane++)
            total += parts[lane];
        squares[i] += total;
    }
}

/* total[k] += the weighted values of `count` rows, row after row; `total` is aligned. */
TARGET static inline void NAME(add_rows)(const float *const *x, const double *weights, int count, Py_ssize_t width,
                                         double *restrict total)
{
    Py_ssize_t k = 0;
    for (; k + LANES <= width; k += LANES) {
        VECTOR sum = *(VECTOR *)(total + k);
        for (int u = 0; u < count; u++) {
            __builtin_prefetch(x[u] + k + COMBINE_W, 0, 2);
            sum += weights[u] * WIDE(x[u] + k);
        }
        *(VECTOR *)(total + k) = sum;
    }
    for (; k < width; k++)
        for (int u = 0; u < count; u++)
            total[k] += weights[u] * (double)x[u][k];
}

/* out[k] = sum of weights[u] * x_(used[u])[k], added in that order in float64. */
TARGET static void NAME(combine)(const Rows *rows, const int32_t *used, const double *weights, Py_ssize_t count,
                                 Py_ssize_t start, Py_ssize_t stop, float *out)
{
    _Alignas(ALIGNMENT) double total[COMBINE_W];
    for (Py_ssize_t c = start; c < stop; c += COMBINE_W) {
        Py_ssize_t width = stop - c < COMBINE_W ? stop - c : COMBINE_W;
        memset(total, 0, sizeof total);
        for (Py_ssize_t u = 0; u < count; u += 4) {
            const float *x[4];
            int group = count - u < 4 ? (int)(count - u) : 4;
            for (int g = 0; g < group; g++)
                x[g] = row_of(rows, used[u + g]) + c;
            if (group == 4)
                NAME(add_rows)(x, weights + u, 4, width, total);
            else
                NAME(add_rows)(x, weights + u, group, width, total);
        }
        Py_ssize_t k = 0;
        for (; k + LANES <= width; k += LANES)
            *(HALF *)(out + c + k) = NARROW(*(VECTOR *)(total + k));
        for (; k < width; k++)
            out[c + k] = (float)total[k];
    }
}

/* One register tile: TILE * TILE inner products of packed rows, a vector of partial sums each; on the diagonal, where
 * left is right, those of the upper triangle only. */
TARGET static inline __attribute__((always_inline)) void NAME(tile)(const double *left, const double *right,
                                                                    int diagonal, VECTOR *sums)
{
    VECTOR acc[TILE][TILE];
    for (int p = 0; p < TILE; p++)
        for (int q = diagonal ? p : 0; q < TILE; q++)
            acc[p][q] = sums[p * TILE + q];
    for (int k = 0; k < GRAM_W; k += LANES) {
        VECTOR y[TILE];
        for (int q = 0; q < TILE; q++)
            y[q] = *(const VECTOR *)(right + q * GRAM_W + k);
        for (int p = 0; p < TILE; p++) {
            VECTOR x = diagonal ? y[p] : *(const VECTOR *)(left + p * GRAM_W + k);
            for (int q = diagonal ? p : 0; q < TILE; q++)
                acc[p][q] = FMA(x, y[q], acc[p][q]);
        }
    }
    for (int p = 0; p < TILE; p++)
        for (int q = diagonal ? p : 0; q < TILE; q++)
            sums[p * TILE + q] = acc[p][q];
}

/* z = x - middle in float64, GRAM_W values of which those from `width` on are zero. */
TARGET static void NAME(pack)(const float *x, const double *middle, Py_ssize_t width, double *z)
{
    Py_ssize_t k = 0;
    for (; k + LANES <= width; k += LANES) {
        __builtin_prefetch(x + k + GRAM_W, 0, 2);
        *(VECTOR *)(z + k) = WIDE(x + k) - *(const VECTOR *)(middle + k);
    }
    for (; k < width; k++)
        z[k] = (double)x[k] - middle[k];
    for (; k < GRAM_W; k++)
        z[k] = 0.0;
}

/* G (m, m) += inner products, in float64, of the rows seen from row `centre`; in the place of that row, which would be
 * zero, stands the row itself; with centre -1 they are seen from zero. `work` holds gram_work(m) bytes, aligned. Only the upper triangle is computed. */
TARGET static void NAME(products)(const Rows *rows, Py_ssize_t centre, Py_ssize_t start, Py_ssize_t stop, double *G,
                                  void *work)
{
    const Py_ssize_t m = rows->n;
    double *packed = work;
    VECTOR *sums = (VECTOR *)(packed + gram_padded(m) * GRAM_W);
    memset(work, 0, gram_work(m));
    for (Py_ssize_t c = start; c < stop; c += GRAM_W) {
        Py_ssize_t width = stop - c < GRAM_W ? stop - c : GRAM_W;
        _Alignas(ALIGNMENT) double nothing[GRAM_W] = {0};
        double *middle = centre < 0 ? nothing : packed + centre * GRAM_W;
        if (centre >= 0)
            NAME(pack)(row_of(rows, centre) + c, nothing, width, middle);
        for (Py_ssize_t i = 0; i < m; i++)
            if (i != centre)
                NAME(pack)(row_of(rows, i) + c, middle, width, packed + i * GRAM_W);
        VECTOR *here = sums;
        for (Py_ssize_t j = 0; j < m; j += TILE) { /* the rows of j stay in L1 while those of all i pass */
            const double *right = packed + j * GRAM_W;
            for (Py_ssize_t i = 0; i < j; i += TILE, here += TILE * TILE)
                NAME(tile)(packed + i * GRAM_W, right, 0, here);
            NAME(tile)(right, right, 1, here);
            here += TILE * TILE;
        }
    }
    const VECTOR *here = sums;
    for (Py_ssize_t j = 0; j < m; j += TILE)
        for (Py_ssize_t i = 0; i <= j; i += TILE, here += TILE * TILE)
            for (Py_ssize_t p = 0; p < TILE && i + p < m; p++)
                for (Py_ssize_t q = 0; q < TILE && j + q < m; q++) {
                    if (j + q < i + p)
                        continue;
                    double total = 0.0;
                    for (int lane = 0; lane < LANES; lane++)
                        total += here[p * TILE + q][lane];
                    G[(i + p) * m + j + q] += total;
                    if (j + q > i + p)
                        G[(j + q) * m + i + p] += total;
                }
}

/* `count` mixed rows of the tile: weights (count, n) times the n rows of `source`, added in their order in float64. */
TARGET static inline void NAME(mix)(const float *source, const double *weights, int count, Py_ssize_t n, float *tile)
{
    for (int k = 0; k < SELECT_W; k += STEP) {
        VECTOR left[MIX_ROWS] = {{0}}, right[MIX_ROWS] = {{0}};
        for (Py_ssize_t j = 0; j < n; j++) {
            const float *x = source + j * SELECT_W + k;
            VECTOR first = WIDE(x), second = WIDE(x + LANES);
            for (int i = 0; i < count; i++) {
                double weight = weights[i * n + j];
                left[i] += weight * first;
                right[i] += weight * second;
            }
        }
        for (int i = 0; i < count; i++) {
            *(HALF *)(tile + i * SELECT_W + k) = NARROW(left[i]);
            *(HALF *)(tile + i * SELECT_W + k + LANES) = NARROW(right[i]);
        }
    }
}

/* The tile of the columns [c, c + SELECT_W): m rows, each row of the input, or the mixture of them that `mixing` (m, n)
 * says, added in the order of the rows in float64. Columns past `width` are zero. `check` becomes NaN at a column that
 * holds a value that is not finite: its product with zero is NaN. */
TARGET static void NAME(load)(const Rows *rows, const double *mixing, Py_ssize_t m, Py_ssize_t c, Py_ssize_t width,
                              float *restrict tile, float *restrict source, FLOATS *restrict check)
{
    float *plain = mixing == NULL ? tile : source;
    for (Py_ssize_t i = 0; i < rows->n; i++) {
        const float *x = row_of(rows, i) + c;
        float *restrict to = plain + i * SELECT_W;
        for (int k = 0; k < SELECT_W; k += LINE)
            __builtin_prefetch(x + k + SELECT_AHEAD, 0, 2);
        if (width < SELECT_W) {
            memset(to, 0, SELECT_W * sizeof(float));
            memcpy(to, x, width * sizeof(float));
            x = to;
        }
        for (int k = 0; k < SELECT_W; k += STEP) {
            FLOATS value = *(const ANYWHERE *)(x + k);
            *(FLOATS *)(to + k) = value;
            check[k / STEP] += value * 0.0f;
        }
    }
    for (Py_ssize_t i = 0; mixing != NULL && i < m; i += MIX_ROWS)
        if (m - i >= MIX_ROWS)
            NAME(mix)(source, mixing + i * rows->n, MIX_ROWS, rows->n, tile + i * SELECT_W);
        else
            NAME(mix)(source, mixing + i * rows->n, (int)(m - i), rows->n, tile + i * SELECT_W);
}

/* sort_K(tile): sorts K neighbouring rows of the tile, which stay in registers meanwhile where there are enough. */
#define L(i) FLOATS r##i = *(const FLOATS *)(tile + (i) * SELECT_W + k);
#define C(i, j) { FLOATS low = MIN(r##i, r##j); r##j = MAX(r##i, r##j); r##i = low; }
#define S(i) *(FLOATS *)(tile + (i) * SELECT_W + k) = r##i;
#define SORTER(size, ...)                                                                                              \
    TARGET static void NAME(sort##size)(float *tile)                                                                   \
    {                                                                                                                  \
        for (int k = 0; k < SELECT_W; k += STEP) {                                                                     \
            __VA_ARGS__                                                                                                \
        }                                                                                                              \
    }
#include "sorters.h"
#undef L
#undef C
#undef S
#undef SORTER

/* Does what the plan says: afterwards each column of the tile is sorted, or parted. */
TARGET static void NAME(sort)(float *tile, const Plan *plan)
{
#define S(size) NAME(sort##size)
    static void (*const SORT[])(float *) = {NULL, S(1), S(2), S(3), S(4), S(5), S(6), S(7), S(8), S(9), S(10), S(11),
                                            S(12), S(13), S(14), S(15), S(16), S(17), S(18), S(19), S(20), S(21),
                                            S(22), S(23), S(24), S(25), S(26)};
#undef S
    _Static_assert(sizeof SORT / sizeof SORT[0] == MAX_GROUP + 1, "a sorter for each size");
    float *group = tile;
    for (Py_ssize_t g = 0; g < plan->groups; g++) {
        SORT[plan->group[g]](group);
        group += plan->group[g] * SELECT_W;
    }
    for (Py_ssize_t c = 0; c < plan->comparators; c++) {
        float *low = tile + (Py_ssize_t)plan->comparator[2 * c] * SELECT_W;
        float *high = tile + (Py_ssize_t)plan->comparator[2 * c + 1] * SELECT_W;
        FLOATS a[SELECT_W / STEP], b[SELECT_W / STEP];
        for (int v = 0; v < SELECT_W / STEP; v++) {
            a[v] = *(const FLOATS *)(low + v * STEP);
            b[v] = *(const FLOATS *)(high + v * STEP);
        }
        for (int v = 0; v < SELECT_W / STEP; v++) {
            *(FLOATS *)(low + v * STEP) = MIN(a[v], b[v]);
            *(FLOATS *)(high + v * STEP) = MAX(a[v], b[v]);
        }
    }
}

/* `yes` in the lanes where the mask is all ones, `no` where it is zero. */
TARGET static inline VECTOR NAME(either)(LONGS mask, VECTOR yes, VECTOR no)
{
    return (VECTOR)(((LONGS)yes & mask) | ((LONGS)no & ~mask));
}

/* WINDOW_MIDDLE: total[k] = the sum of the values [first, last), low and high their smallest and largest. */
TARGET static void NAME(middle)(const float *tile, const Plan *plan, double *total, float *low, float *high)
{
    for (int k = 0; k < SELECT_W; k += STEP) {
        const float *row = tile + plan->order[plan->first] * SELECT_W + k;
        FLOATS smallest = *(const FLOATS *)row, largest = smallest;
        VECTOR left = {0}, right = {0};
        for (Py_ssize_t i = plan->first; i < plan->last; i++) {
            row = tile + plan->order[i] * SELECT_W + k;
            smallest = MIN(smallest, *(const FLOATS *)row);
            largest = MAX(largest, *(const FLOATS *)row);
            left += WIDE(row);
            right += WIDE(row + LANES);
        }
        *(FLOATS *)(low + k) = smallest;
        *(FLOATS *)(high + k) = largest;
        *(VECTOR *)(total + k) = left;
        *(VECTOR *)(total + k + LANES) = right;
    }
}

/* WINDOW_EXTREMES, the median of values that are parted at `first`: of an even number the mean of the largest below and
 * the smallest above, of an odd number the smallest above, twice. The sum starts at zero: it is never minus zero. */
TARGET static void NAME(extremes)(const float *tile, const Plan *plan, double *total, float *low, float *high)
{
    for (int k = 0; k < SELECT_W; k += STEP) {
        FLOATS above = *(const FLOATS *)(tile + plan->order[plan->first] * SELECT_W + k);
        for (Py_ssize_t i = plan->first + 1; i < plan->m; i++)
            above = MIN(above, *(const FLOATS *)(tile + plan->order[i] * SELECT_W + k));
        FLOATS below = above;
        if (plan->m % 2 == 0) {
            below = *(const FLOATS *)(tile + plan->order[0] * SELECT_W + k);
            for (Py_ssize_t i = 1; i < plan->first; i++)
                below = MAX(below, *(const FLOATS *)(tile + plan->order[i] * SELECT_W + k));
        }
        *(FLOATS *)(low + k) = below;
        *(FLOATS *)(high + k) = above;
        for (int half = 0; half < STEP; half += LANES)
            *(VECTOR *)(total + k + half) = (VECTOR){0} + WIDE(low + k + half) + WIDE(high + k + half);
    }
}

/* WINDOW_NEAREST: of the values, sorted, the last - first nearest to their median. From the lowest on, the window moves up
 * while the value that it would take in is nearer than the one that it would lose; once it stays it would stay for ever,
 * since both come nearer to the other side. */
TARGET static void NAME(nearest)(const float *tile, const Plan *plan, double *total, float *low, float *high)
{
    const Py_ssize_t m = plan->m, size = plan->last - plan->first;
#define VALUE(i) WIDE(tile + plan->order[i] * SELECT_W + k)
    for (int k = 0; k < SELECT_W; k += LANES) {
        VECTOR twice = VALUE((m - 1) / 2) + VALUE(m / 2);
        LONGS begin = {0};
        for (Py_ssize_t i = 0; i + size < m; i++)
            begin -= VALUE(i) + VALUE(i + size) < twice;
        VECTOR sum = {0}, lowest = {0}, highest = {0};
        for (Py_ssize_t i = 0; i < m; i++) {
            VECTOR value = VALUE(i);
            LONGS at = i - begin;
            sum += NAME(either)((at >= 0) & (at < size), value, (VECTOR){0});
            lowest = NAME(either)(at == 0, value, lowest);
            highest = NAME(either)(at == size - 1, value, highest);
        }
        *(VECTOR *)(total + k) = sum;
        *(HALF *)(low + k) = NARROW(lowest);
        *(HALF *)(high + k) = NARROW(highest);
    }
#undef VALUE
}

/* counts += for each lane, the columns at which the row lies within [low, high]. */
TARGET static inline void NAME(count)(const float *row, const float *low, const float *high, COUNTS *counts)
{
    COUNTS here = *counts;
    for (int k = 0; k < SELECT_W; k += STEP) {
        FLOATS value = *(const ANYWHERE *)(row + k);
        here -= (value >= *(const FLOATS *)(low + k)) & (value <= *(const FLOATS *)(high + k));
    }
    *counts = here;
}

/* out[k] = the mean of what the plan's window holds of column k; kept[i] += the number of columns at which row i lies
 * within the window, equal values included. Returns whether every value of the input is finite. `work` holds
 * select_work(n, m) bytes, aligned. */
TARGET static int NAME(select)(const Rows *rows, const double *mixing, const Plan *plan, Py_ssize_t start,
                               Py_ssize_t stop, float *out, int64_t *kept, void *work)
{
    static void (*const WINDOW[])(const float *, const Plan *, double *, float *, float *) = {
        NAME(middle), NAME(extremes), NAME(nearest)};
    const Py_ssize_t m = plan->m;
    COUNTS *counts = work;
    float *tile = (float *)(counts + m), *before = tile + m * SELECT_W, *source = before + m * SELECT_W;
    FLOATS check[SELECT_W / STEP] = {{0}};
    const double size = plan->window == WINDOW_EXTREMES ? 2.0 : (double)(plan->last - plan->first);
    memset(counts, 0, m * sizeof *counts);
    for (Py_ssize_t c = start; c < stop; c += SELECT_W) {
        Py_ssize_t width = stop - c < SELECT_W ? stop - c : SELECT_W;
        _Alignas(ALIGNMENT) float low[SELECT_W], high[SELECT_W];
        _Alignas(ALIGNMENT) double total[SELECT_W];
        int as_they_are = mixing == NULL && width == SELECT_W; /* then the rows themselves are still in the cache */
        NAME(load)(rows, mixing, m, c, width, tile, source, check);
        if (!as_they_are)
            memcpy(before, tile, m * SELECT_W * sizeof(float));
        NAME(sort)(tile, plan);
        WINDOW[plan->window](tile, plan, total, low, high);
        for (Py_ssize_t k = 0; k < width; k++)
            out[c + k] = (float)(total[k] / size);
        for (Py_ssize_t k = width; k < SELECT_W; k++)
            low[k] = 1.0f; /* columns that do not exist are zero, and so outside */
        for (Py_ssize_t i = 0; i < m; i++)
            NAME(count)(as_they_are ? row_of(rows, i) + c : before + i * SELECT_W, low, high, counts + i);
    }
    for (Py_ssize_t i = 0; i < m; i++)
        for (int lane = 0; lane < STEP; lane++)
            kept[i] += counts[i][lane];
    float sum = 0.0f;
    for (int k = 0; k < SELECT_W; k++)
        sum += check[k / STEP][k % STEP];
    return sum == 0.0f;
}

/* G (n, m) += left rightᵀ over the columns, modulo 2^64. */
TARGET static void NAME(products_mod64)(const uint64_t *left, Py_ssize_t left_stride, Py_ssize_t n,
                                        const uint64_t *right, Py_ssize_t right_stride, Py_ssize_t m, Py_ssize_t start,
                                        Py_ssize_t stop, uint64_t *G)
{
    for (Py_ssize_t c = start; c < stop; c += RING_W) {
        Py_ssize_t width = stop - c < RING_W ? stop - c : RING_W;
        for (Py_ssize_t i = 0; i < n; i += RING_P)
            for (Py_ssize_t j = 0; j < m; j += RING_Q) {
                uint64_t acc[RING_P][RING_Q][8] = {{{0}}};
                const uint64_t *x[RING_P], *y[RING_Q];
                for (int p = 0; p < RING_P; p++)
                    x[p] = left + (i + p < n ? i + p : n - 1) * left_stride + c;
                for (int q = 0; q < RING_Q; q++)
                    y[q] = right + (j + q < m ? j + q : m - 1) * right_stride + c;
                Py_ssize_t k = 0;
                for (; k + 8 <= width; k += 8)
                    for (int p = 0; p < RING_P; p++)
                        for (int q = 0; q < RING_Q; q++)
                            for (int lane = 0; lane < 8; lane++)
                                acc[p][q][lane] += x[p][k + lane] * y[q][k + lane];
                for (int p = 0; p < RING_P && i + p < n; p++)
                    for (int q = 0; q < RING_Q && j + q < m; q++) {
                        uint64_t total = 0;
                        for (int lane = 0; lane < 8; lane++)
                            total += acc[p][q][lane];
                        for (Py_ssize_t rest = k; rest < width; rest++)
                            total += x[p][rest] * y[q][rest];
                        G[(i + p) * m + j + q] += total;
                    }
            }
    }
}

#undef VECTOR
#undef HALF
#undef LONGS
#undef FLOATS
#undef ANYWHERE
#undef COUNTS
#undef STEP
