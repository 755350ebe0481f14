/* The passes over the columns of the rows, for `phalanx.kernels.passes`. Each has a twin in twin.py, its specification.
 *
 * This file checks what Python hands in (types, shapes, ranges: a wrong call is an error, never a stray read or write),
 * lets go of the interpreter's lock and calls the pass compiled for the best instruction set that the processor has.
 */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum {
    LINE = 16,        /* float32 values of a cache line */
    COMBINE_W = 512,  /* columns of a tile: 4 KiB of float64 sums */
    GRAM_W = 256,     /* ten packed rows of a register tile: 20 KiB, within L1 */
    SELECT_W = 64,    /* four registers of float32 */
    SELECT_AHEAD = 192, /* columns by which the rows are fetched before they are needed */
    MIX_ROWS = 8,     /* mixed rows whose sums stay in registers */
    RING_W = 512,
    RING_P = 4,
    RING_Q = 2,
    ALIGNMENT = 64,
    MAX_TILE = 5,
    MAX_GROUP = 26, /* the largest sort in sorters.h */
    WINDOW_MIDDLE = 0,
    WINDOW_EXTREMES = 1,
    WINDOW_NEAREST = 2,
};

/* n rows of float32; values of one row lie side by side, rows `stride` values apart. */
typedef struct {
    const float *first;
    const float *other;    /* if not NULL, the last row, which lies elsewhere */
    const int32_t *chosen; /* if not NULL, the places of the n rows among those that lie there */
    Py_ssize_t stride, n, d;
} Rows;

/* A plan of networks.py over m rows, and which of the values, in ascending order, are averaged: see passes.h. */
typedef struct {
    const int32_t *group, *comparator, *order;
    Py_ssize_t groups, comparators, m, first, last;
    int window;
} Plan;

static inline const float *row_of(const Rows *rows, Py_ssize_t i)
{
    if (rows->other != NULL && i == rows->n - 1)
        return rows->other;
    return rows->first + (rows->chosen == NULL ? i : rows->chosen[i]) * rows->stride;
}

static Py_ssize_t gram_padded(Py_ssize_t m) { return m + 2 * MAX_TILE; }

static size_t gram_work(Py_ssize_t m)
{
    size_t padded = (size_t)gram_padded(m);
    return padded * GRAM_W * sizeof(double) + padded * padded * 8 * sizeof(double);
}

static size_t select_work(Py_ssize_t n, Py_ssize_t m)
{
    return (size_t)m * ALIGNMENT + (size_t)(2 * m + n) * SELECT_W * sizeof(float);
}

/* ------------------------------------------------------------------------------------- one inclusion for each machine */

#define JOIN_(a, b) a##_##b
#define JOIN(a, b) JOIN_(a, b)
#define NAME(x) JOIN(x, MACHINE)

#define MACHINE any
#define TARGET
#define LANES 2
#define TILE 2
#define FMA(a, b, c) ((a) * (b) + (c))
#define MIN(a, b) JOIN(choose, any)((a) < (b), a, b)
#define MAX(a, b) JOIN(choose, any)((a) < (b), b, a)
#define WIDE(p) __builtin_convertvector(*(const half_any *)(p), vector_any)
#define NARROW(v) __builtin_convertvector(v, half_any)
typedef float floats_16 __attribute__((vector_size(16)));
typedef int32_t counts_16 __attribute__((vector_size(16)));
/* Lane by lane, `yes` where the mask is all ones and `no` where it is zero. */
static inline floats_16 choose_any(counts_16 mask, floats_16 yes, floats_16 no)
{
    return (floats_16)(((counts_16)yes & mask) | ((counts_16)no & ~mask));
}
#include "passes.h"
#undef MACHINE
#undef TARGET
#undef LANES
#undef TILE
#undef FMA
#undef MIN
#undef MAX
#undef WIDE
#undef NARROW

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define MACHINE avx2
#define TARGET __attribute__((target("avx2,fma")))
#define LANES 4
#define TILE 3
#define FMA(a, b, c) _mm256_fmadd_pd(a, b, c)
#define MIN(a, b) _mm256_min_ps(a, b)
#define MAX(a, b) _mm256_max_ps(b, a)
#define WIDE(p) _mm256_cvtps_pd(_mm_loadu_ps(p))
#define NARROW(v) _mm256_cvtpd_ps(v)
#include "passes.h"
#undef MACHINE
#undef TARGET
#undef LANES
#undef TILE
#undef FMA
#undef MIN
#undef MAX
#undef WIDE
#undef NARROW

#define MACHINE avx512
#define TARGET __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,prefer-vector-width=512")))
#define LANES 8
#define TILE 5
#define FMA(a, b, c) _mm512_fmadd_pd(a, b, c)
#define MIN(a, b) _mm512_min_ps(a, b)
#define MAX(a, b) _mm512_max_ps(b, a)
#define WIDE(p) _mm512_cvtps_pd(_mm256_loadu_ps(p))
#define NARROW(v) _mm512_cvtpd_ps(v)
#include "passes.h"
#undef MACHINE
#undef TARGET
#undef LANES
#undef TILE
#undef FMA
#undef MIN
#undef MAX
#undef WIDE
#undef NARROW
#endif

typedef struct {
    const char *name;
    void (*norms)(const Rows *, Py_ssize_t, Py_ssize_t, double *);
    void (*combine)(const Rows *, const int32_t *, const double *, Py_ssize_t, Py_ssize_t, Py_ssize_t, float *);
    void (*products)(const Rows *, Py_ssize_t, Py_ssize_t, Py_ssize_t, double *, void *);
    int (*select)(const Rows *, const double *, const Plan *, Py_ssize_t, Py_ssize_t, float *, int64_t *, void *);
    void (*products_mod64)(const uint64_t *, Py_ssize_t, Py_ssize_t, const uint64_t *, Py_ssize_t, Py_ssize_t,
                           Py_ssize_t, Py_ssize_t, uint64_t *);
} Machine;

#define MACHINE_ROW(m) {#m, norms_##m, combine_##m, products_##m, select_##m, products_mod64_##m}
static const Machine MACHINES[] = {
    MACHINE_ROW(any),
#if defined(__x86_64__) && defined(__GNUC__)
    MACHINE_ROW(avx2),
    MACHINE_ROW(avx512),
#endif
};
static const int MACHINE_COUNT = sizeof MACHINES / sizeof MACHINES[0];

static int runs_here(int machine)
{
#if defined(__x86_64__) && defined(__GNUC__)
    if (machine == 1)
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (machine == 2)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
#endif
    return machine == 0;
}

/* The machine of that name, or NULL with an exception. */
static const Machine *machine_named(const char *name)
{
    for (int i = 0; i < MACHINE_COUNT; i++)
        if (strcmp(MACHINES[i].name, name) == 0 && runs_here(i))
            return &MACHINES[i];
    PyErr_Format(PyExc_ValueError, "this processor does not run '%s'", name);
    return NULL;
}

/* --------------------------------------------------------------------------------------------------- what is handed in */

/* A view of `object` with `ndim` dimensions of that item, values of the last dimension side by side. 0, or -1 and an
 * exception. The caller releases it. */
static int view_of(PyObject *object, Py_buffer *view, int ndim, char kind, Py_ssize_t itemsize, int writable,
                   const char *what)
{
    int flags = PyBUF_STRIDES | PyBUF_FORMAT | (writable ? PyBUF_WRITABLE : 0);
    if (PyObject_GetBuffer(object, view, flags) < 0)
        return -1;
    const char *format = view->format[0] == '<' || view->format[0] == '=' || view->format[0] == '@' ? view->format + 1
                                                                                                    : view->format;
    int same = format[0] == kind || (itemsize == 8 && ((kind == 'l' && format[0] == 'q') ||
                                                       (kind == 'L' && format[0] == 'Q')));
    if (view->ndim != ndim || view->itemsize != itemsize || !same || format[1] != '\0' ||
        (view->shape[ndim - 1] > 1 && view->strides[ndim - 1] != itemsize) ||
        (ndim == 2 && view->shape[0] > 1 && (view->strides[0] % itemsize != 0 || view->strides[0] < 0))) {
        PyErr_Format(PyExc_ValueError, "%s: not %d-dimensional, of type '%c', with neighbouring values side by side",
                     what, ndim, kind);
        PyBuffer_Release(view);
        return -1;
    }
    return 0;
}

/* The views of one call, and copies that belong to it, all released together. */
typedef struct {
    Py_buffer views[10];
    void *copies[4];
    int count, copied;
} Views;

static void release(Views *views)
{
    while (views->count > 0)
        PyBuffer_Release(&views->views[--views->count]);
    while (views->copied > 0)
        free(views->copies[--views->copied]);
}

static Py_buffer *take(Views *views, PyObject *object, int ndim, char kind, Py_ssize_t itemsize, int writable,
                       const char *what)
{
    Py_buffer *view = &views->views[views->count];
    if (view_of(object, view, ndim, kind, itemsize, writable, what) < 0)
        return NULL;
    views->count++;
    return view;
}

/* The numbers of rows in `object`, all within [low, high), or NULL and an exception. They are a copy: what was checked is
 * what is used, whoever writes to the array meanwhile, the result of this very call included. */
static const int32_t *take_numbers(Views *views, PyObject *object, int ndim, int32_t low, Py_ssize_t high,
                                   Py_ssize_t *count, const char *what)
{
    const Py_buffer *view = take(views, object, ndim, 'i', 4, 0, what);
    if (view == NULL)
        return NULL;
    *count = view->shape[0];
    if (ndim == 2 && (view->shape[1] != 2 || (view->shape[0] > 1 && view->strides[0] != 8))) {
        PyErr_Format(PyExc_ValueError, "%s: not pairs that lie side by side", what);
        return NULL;
    }
    Py_ssize_t values = *count * ndim; /* pairs have two */
    int32_t *copy = malloc((values > 0 ? (size_t)values : 1) * sizeof *copy);
    if (copy == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    views->copies[views->copied++] = copy;
    memcpy(copy, view->buf, (size_t)values * sizeof *copy);
    for (Py_ssize_t i = 0; i < values; i++)
        if (copy[i] < low || copy[i] >= high) {
            PyErr_Format(PyExc_ValueError, "%s: a number out of range", what);
            return NULL;
        }
    return copy;
}

static PyObject *refuse(Views *views, const char *why)
{
    release(views);
    if (why != NULL)
        PyErr_SetString(PyExc_ValueError, why);
    return NULL;
}

/* Rows (n, d), and one more row (d,) unless `other` is None. */
static int take_rows(Views *views, PyObject *object, PyObject *other, Rows *rows)
{
    const Py_buffer *view = take(views, object, 2, 'f', 4, 0, "rows");
    if (view == NULL)
        return -1;
    *rows = (Rows){view->buf, NULL, NULL, view->shape[0] > 1 ? view->strides[0] / 4 : view->shape[1], view->shape[0],
                   view->shape[1]};
    if (other != Py_None) {
        const Py_buffer *row = take(views, other, 1, 'f', 4, 0, "the row beside the rows");
        if (row == NULL)
            return -1;
        if (row->shape[0] != rows->d) {
            PyErr_SetString(PyExc_ValueError, "the row beside the rows is not as long as they are");
            return -1;
        }
        rows->other = row->buf;
        rows->n++;
    }
    return 0;
}

static int columns_fit(const Rows *rows, Py_ssize_t start, Py_ssize_t stop)
{
    return 0 <= start && start <= stop && stop <= rows->d;
}

static void *aligned(size_t bytes) { return aligned_alloc(ALIGNMENT, (bytes / ALIGNMENT + 1) * ALIGNMENT); }

/* ------------------------------------------------------------------------------------------------------ called by Python */

static PyObject *py_norms(PyObject *self, PyObject *args)
{
    const char *name;
    PyObject *rows_object, *out_object;
    Py_ssize_t start, stop;
    Views views = {.count = 0, .copied = 0};
    Rows rows;
    if (!PyArg_ParseTuple(args, "sOnnO", &name, &rows_object, &start, &stop, &out_object))
        return NULL;
    const Machine *machine = machine_named(name);
    if (machine == NULL || take_rows(&views, rows_object, Py_None, &rows) < 0)
        return refuse(&views, NULL);
    const Py_buffer *out = take(&views, out_object, 1, 'd', 8, 1, "squares");
    if (out == NULL)
        return refuse(&views, NULL);
    if (!columns_fit(&rows, start, stop) || out->shape[0] != rows.n)
        return refuse(&views, "norms: columns or result do not fit the rows");
    Py_BEGIN_ALLOW_THREADS
    machine->norms(&rows, start, stop, out->buf);
    Py_END_ALLOW_THREADS
    release(&views);
    Py_RETURN_NONE;
}

static PyObject *py_combine(PyObject *self, PyObject *args)
{
    const char *name;
    PyObject *rows_object, *other_object, *used_object, *weights_object, *out_object;
    Py_ssize_t start, stop;
    Views views = {.count = 0, .copied = 0};
    Rows rows;
    if (!PyArg_ParseTuple(args, "sOOOOnnO", &name, &rows_object, &other_object, &used_object, &weights_object, &start,
                          &stop, &out_object))
        return NULL;
    const Machine *machine = machine_named(name);
    if (machine == NULL || take_rows(&views, rows_object, other_object, &rows) < 0)
        return refuse(&views, NULL);
    Py_ssize_t count;
    const int32_t *used = take_numbers(&views, used_object, 1, 0, rows.n, &count, "used");
    const Py_buffer *weights = used == NULL ? NULL : take(&views, weights_object, 1, 'd', 8, 0, "weights");
    const Py_buffer *out = weights == NULL ? NULL : take(&views, out_object, 1, 'f', 4, 1, "vector");
    if (out == NULL)
        return refuse(&views, NULL);
    if (!columns_fit(&rows, start, stop) || out->shape[0] != rows.d || count != weights->shape[0])
        return refuse(&views, "combine: columns, weights or result do not fit the rows");
    Py_BEGIN_ALLOW_THREADS
    machine->combine(&rows, used, weights->buf, count, start, stop, out->buf);
    Py_END_ALLOW_THREADS
    release(&views);
    Py_RETURN_NONE;
}

static PyObject *py_products(PyObject *self, PyObject *args)
{
    const char *name;
    PyObject *rows_object, *other_object, *out_object;
    Py_ssize_t centre, start, stop;
    Views views = {.count = 0, .copied = 0};
    Rows rows;
    if (!PyArg_ParseTuple(args, "sOOnnnO", &name, &rows_object, &other_object, &centre, &start, &stop, &out_object))
        return NULL;
    const Machine *machine = machine_named(name);
    if (machine == NULL || take_rows(&views, rows_object, other_object, &rows) < 0)
        return refuse(&views, NULL);
    const Py_buffer *out = take(&views, out_object, 2, 'd', 8, 1, "products");
    if (out == NULL)
        return refuse(&views, NULL);
    if (!columns_fit(&rows, start, stop) || centre < -1 || centre >= rows.n || out->shape[0] != rows.n ||
        out->shape[1] != rows.n || (rows.n > 1 && out->strides[0] != rows.n * 8))
        return refuse(&views, "products: columns, centre or result do not fit the rows");
    void *work = aligned(gram_work(rows.n));
    if (work == NULL) {
        release(&views);
        return PyErr_NoMemory();
    }
    Py_BEGIN_ALLOW_THREADS
    machine->products(&rows, centre, start, stop, out->buf, work);
    Py_END_ALLOW_THREADS
    free(work);
    release(&views);
    Py_RETURN_NONE;
}

/* The plan over plan->m rows, and 0; or -1 with an exception. Every row that it names exists. */
static int take_plan(Views *views, PyObject *groups, PyObject *comparators, PyObject *order, Plan *plan)
{
    Py_ssize_t m = plan->m, ordered = 0, covered = 0;
    plan->group = take_numbers(views, groups, 1, 1, MAX_GROUP + 1, &plan->groups, "groups");
    if (plan->group == NULL)
        return -1;
    plan->comparator = take_numbers(views, comparators, 2, 0, m, &plan->comparators, "comparators");
    if (plan->comparator == NULL)
        return -1;
    plan->order = take_numbers(views, order, 1, 0, m, &ordered, "order");
    if (plan->order == NULL)
        return -1;
    for (Py_ssize_t g = 0; g < plan->groups; g++)
        covered += plan->group[g];
    if (ordered != m || covered != m || plan->first < 0 || plan->first >= plan->last || plan->last > m ||
        plan->window < WINDOW_MIDDLE || plan->window > WINDOW_NEAREST) {
        PyErr_SetString(PyExc_ValueError, "select: the plan does not fit the rows");
        return -1;
    }
    return 0;
}

static PyObject *py_select(PyObject *self, PyObject *args)
{
    const char *name;
    PyObject *rows_object, *chosen_object, *mixing_object, *groups, *comparators, *order, *out_object, *kept_object;
    Py_ssize_t start, stop;
    Plan plan;
    Views views = {.count = 0, .copied = 0};
    Rows rows;
    if (!PyArg_ParseTuple(args, "sOOOOOOinnnnOO", &name, &rows_object, &chosen_object, &mixing_object, &groups, &comparators, &order,
                          &plan.window, &plan.first, &plan.last, &start, &stop, &out_object, &kept_object))
        return NULL;
    const Machine *machine = machine_named(name);
    if (machine == NULL || take_rows(&views, rows_object, Py_None, &rows) < 0)
        return refuse(&views, NULL);
    if (chosen_object != Py_None) {
        rows.chosen = take_numbers(&views, chosen_object, 1, 0, rows.n, &rows.n, "chosen");
        if (rows.chosen == NULL)
            return refuse(&views, NULL);
    }
    const double *mixing = NULL;
    plan.m = rows.n;
    if (mixing_object != Py_None) {
        const Py_buffer *view = take(&views, mixing_object, 2, 'd', 8, 0, "mixing");
        if (view == NULL)
            return refuse(&views, NULL);
        if (view->shape[1] != rows.n || (view->shape[0] > 1 && view->strides[0] != rows.n * 8))
            return refuse(&views, "select: the mixing matrix does not fit the rows");
        mixing = view->buf;
        plan.m = view->shape[0];
    }
    if (take_plan(&views, groups, comparators, order, &plan) < 0)
        return refuse(&views, NULL);
    const Py_buffer *out = take(&views, out_object, 1, 'f', 4, 1, "vector");
    const Py_buffer *kept = out == NULL ? NULL : take(&views, kept_object, 1, 'l', 8, 1, "kept");
    if (kept == NULL)
        return refuse(&views, NULL);
    if (!columns_fit(&rows, start, stop) || out->shape[0] != rows.d || kept->shape[0] != plan.m)
        return refuse(&views, "select: columns or results do not fit the rows");
    void *work = aligned(select_work(rows.n, plan.m));
    if (work == NULL) {
        release(&views);
        return PyErr_NoMemory();
    }
    int finite;
    Py_BEGIN_ALLOW_THREADS
    finite = machine->select(&rows, mixing, &plan, start, stop, out->buf, kept->buf, work);
    Py_END_ALLOW_THREADS
    free(work);
    release(&views);
    return PyBool_FromLong(finite);
}

static PyObject *py_products_mod64(PyObject *self, PyObject *args)
{
    const char *name;
    PyObject *left_object, *right_object, *out_object;
    Py_ssize_t start, stop;
    Views views = {.count = 0, .copied = 0};
    if (!PyArg_ParseTuple(args, "sOOnnO", &name, &left_object, &right_object, &start, &stop, &out_object))
        return NULL;
    const Machine *machine = machine_named(name);
    if (machine == NULL)
        return NULL;
    const Py_buffer *left = take(&views, left_object, 2, 'L', 8, 0, "left");
    const Py_buffer *right = left == NULL ? NULL : take(&views, right_object, 2, 'L', 8, 0, "right");
    const Py_buffer *out = right == NULL ? NULL : take(&views, out_object, 2, 'L', 8, 1, "products");
    if (out == NULL)
        return refuse(&views, NULL);
    Py_ssize_t n = left->shape[0], m = right->shape[0], d = left->shape[1];
    if (n < 1 || m < 1 || right->shape[1] != d || start < 0 || start > stop || stop > d || out->shape[0] != n ||
        out->shape[1] != m || (n > 1 && out->strides[0] != m * 8))
        return refuse(&views, "products_mod64: the two matrices, the columns or the result do not fit");
    Py_ssize_t left_stride = n > 1 ? left->strides[0] / 8 : d, right_stride = m > 1 ? right->strides[0] / 8 : d;
    Py_BEGIN_ALLOW_THREADS
    machine->products_mod64(left->buf, left_stride, n, right->buf, right_stride, m, start, stop, out->buf);
    Py_END_ALLOW_THREADS
    release(&views);
    Py_RETURN_NONE;
}

static PyObject *py_machines(PyObject *self, PyObject *args)
{
    PyObject *names = PyList_New(0);
    for (int i = MACHINE_COUNT - 1; names != NULL && i >= 0; i--) {
        if (!runs_here(i))
            continue;
        PyObject *name = PyUnicode_FromString(MACHINES[i].name);
        if (name == NULL || PyList_Append(names, name) < 0)
            Py_CLEAR(names);
        Py_XDECREF(name);
    }
    return names;
}

static PyMethodDef METHODS[] = {
    {"machines", py_machines, METH_NOARGS, "The instruction sets that this processor runs, the best first."},
    {"norms", py_norms, METH_VARARGS, "(machine, rows, start, stop, squares)"},
    {"combine", py_combine, METH_VARARGS, "(machine, rows, other, used, weights, start, stop, vector)"},
    {"products", py_products, METH_VARARGS, "(machine, rows, other, centre, start, stop, products)"},
    {"select", py_select, METH_VARARGS,
     "(machine, rows, chosen, mixing, groups, comparators, order, window, first, last, start, stop, vector, kept) -> finite"},
    {"products_mod64", py_products_mod64, METH_VARARGS, "(machine, left, right, start, stop, products)"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef MODULE = {PyModuleDef_HEAD_INIT, "phalanx.kernels._native", NULL, 0, METHODS,
                                    NULL,                  NULL,                      NULL, NULL};

PyMODINIT_FUNC PyInit__native(void) { return PyModuleDef_Init(&MODULE); }
