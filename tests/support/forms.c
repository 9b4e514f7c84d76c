#include "forms.h"

#include <criterion/criterion.h>

/* Each takes one trait more away than the one before. */
static const struct {
  const char *disable;
  const char *last;
} steps[] = {
    {NULL, NULL},
    {"cpu", "cpu"},
    {"cpu,intel_subgroups", "intel_subgroups"},
    {"cpu,intel_subgroups,khr_subgroups", "khr_subgroups"},
    {"cpu,intel_subgroups,khr_subgroups,nvidia_ptx", "nvidia_ptx"},
};
enum { STEPS = sizeof steps / sizeof steps[0] };

bool test_forms_next(test_forms *forms) {
  while (forms->next < STEPS && steps[forms->next].last != NULL &&
         !test_has_trait(forms->device.context, steps[forms->next].last)) {
    ++forms->next;
  }
  test_forms_end(forms);
  if (forms->next == STEPS) {
    return false;
  }
  forms->device = test_device_open(steps[forms->next++].disable);
  test_dispatch_start();
  return true;
}

void test_forms_end(test_forms *forms) {
  if (forms->device.context != NULL) {
    test_device_close(&forms->device);
    test_dispatch_stop();
    forms->device = (test_device){0};
  }
}

void test_forms_saw(const test_forms *forms, const char *op, const char *rows, const char *group) {
  const bool cpu = test_has_trait(forms->device.context, "cpu");
  cr_assert(test_dispatch_saw(op, cpu ? rows : group), "%s did not run as %s", op,
            cpu ? rows : group);
  cr_assert(!test_dispatch_saw(op, cpu ? group : rows), "%s ran as %s", op, cpu ? group : rows);
}
