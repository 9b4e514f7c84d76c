/* One call of clq_layernorm or clq_rmsnorm on random data, compared bit for bit
 * with the reference: outputs, planes, statistics, the written residual, and what
 * lies around them. */
#ifndef CLQ_TESTS_NORM_CASE_H
#define CLQ_TESTS_NORM_CASE_H

#include "forms.h"

/* Zero is absent, or the default. */
typedef struct norm_case {
  bool centered; /* layernorm */
  int64_t rows, cols;
  clq_dtype x;           /* 0: f32 */
  clq_granularity x_per; /* of an integer x */
  bool x_zero, exponent, column_scale;
  clq_dtype residual, bias, gamma, beta;
  clq_norm_cast cast;
  clq_dtype out; /* 0: f32 */
  clq_granularity per;
  int32_t group;
  bool zero, sum, mean, rstd;
  float alpha, x_scale, eps; /* as in the arguments */
  int64_t pad;               /* rows are cols + pad apart */
  int64_t lead;              /* elements before the first row */
  bool in_place;             /* out is x, of its type */
  bool keep_residual;        /* as in the arguments */
  float offset;              /* added to every element of x */
} norm_case;

void norm_case_check(const test_device *device, const norm_case *c);

/* The cases in the first `forms` forms of the device: as it is, then as if it were no CPU. They are
 * of base's operator; rows and cols that a case does not give are base's. */
void norm_case_run(int forms, const norm_case *base, const norm_case *cases, size_t count);

/* The same in two forms where the device has no more. Where work-items exchange values in several
 * ways, cases take turns in all forms but the last, which exchanges none: each build takes seconds
 * there, the cases in all of their combinations are another implementation's. */
void norm_case_spread(const norm_case *base, const norm_case *cases, size_t count);

/* The case at every width, with a count of rows, a distance between them and an offset of its own,
 * in every form of the device. Widths on both sides of 1024, since the forms for either are
 * asserted to have run. */
void norm_case_sweep(norm_case c, const int64_t *cols, size_t count);

/* Of the names below, the one that the form has: "_rows", `form` or "_stream". */
const char *norm_case_form(const test_forms *forms, const char *form);

/* Asserts that since the form was opened the operator ran as such a form does: by rows on a CPU,
 * as `form` ("_warp", "_group") where work-items exchange values, else as "_stream". */
void norm_case_saw(const test_forms *forms, const char *op, const char *form);

#endif
