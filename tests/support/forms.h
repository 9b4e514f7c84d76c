/* Walks the forms that an operator has on one device: first as the device is,
 * then as if it were no CPU, then without the sub-groups that it has, down to
 * local memory.
 *
 *   for (test_forms f = {0}; test_forms_next(&f);) {
 *     ... &f.device ...
 *     test_forms_saw(&f, "rmsnorm", "rmsnorm_rows", "rmsnorm_group");
 *   } */
#ifndef CLQ_TESTS_FORMS_H
#define CLQ_TESTS_FORMS_H

#include "device.h"

typedef struct test_forms {
  test_device device;
  int next;
} test_forms;

/* Opens the next form of the device, and closes the one before; false after the last. Forms that
 * lack nothing which the device has are passed over. Collects dispatch lines meanwhile. */
bool test_forms_next(test_forms *forms);

/* Closes the form at which a walk stops early. */
void test_forms_end(test_forms *forms);

/* Asserts that the operator ran in this form: as `rows` on a CPU, else as `group`. */
void test_forms_saw(const test_forms *forms, const char *op, const char *rows, const char *group);

#endif
