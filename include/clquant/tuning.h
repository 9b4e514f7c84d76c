/** @file tuning.h
 *  Values by which operators are fitted to a device: how much of K a work-item holds, how many rows
 *  it takes, from how many rows on another form is chosen.
 *
 *  They have built-in values. A tuned table, which `clq tune` measures and writes, overrides them;
 *  clq_context_create() reads the one of its device from the cache folder, or the file that
 *  clq_context_desc.tuning or CLQ_TUNING names. Each value is validated, every combination of the
 *  allowed ones is right, and none changes a bit of a result, but for those that say so
 *  (changes_bits): with them a result keeps the bound that its operator states (clq_gemm_args).
 *  Those are 0, and the bits everywhere the same, unless a table says otherwise, which `clq tune`
 *  writes when it is asked to. Plans keep the values that they were made with.
 *
 *      clq_tuning_value v;
 *      for (int32_t i = 0; clq_tuning_get(ctx, i, &v) == CLQ_OK; ++i)
 *        printf("%s %d\n", v.name, (int)v.value);
 */
#ifndef CLQUANT_TUNING_H
#define CLQUANT_TUNING_H

#include <clquant/context.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Calls of gemm with up to so many rows use the sets named ..._few, others ..._many. */
#define CLQ_TUNING_FEW_ROWS 16

/** One value of a context. */
typedef struct clq_tuning_value {
  const char *name; /**< "gemm_q8_many.chunk": the set, a dot, what it is */
  int32_t value;    /**< in use */
  int32_t standard; /**< without a table */
  const int32_t *allowed;
  int32_t allowed_count;
  int32_t small_count;  /**< of the allowed, from the first on: worth trying in every combination */
  int32_t used;         /**< nonzero: the forms of the context's device read it */
  int32_t changes_bits; /**< nonzero: results may have other bits unless it is 0 */
} clq_tuning_value;

/** The @p index-th value, from 0 on. CLQ_INVALID_ARGUMENT past the last. */
CLQ_API CLQ_NODISCARD clq_status clq_tuning_get(const clq_context *context, int32_t index,
                                                clq_tuning_value *value);
/** Changes it for calls and plans made from now on; not while another thread uses the context.
 *  CLQ_INVALID_ARGUMENT for one that is not allowed. */
CLQ_API CLQ_NODISCARD clq_status clq_tuning_set(clq_context *context, int32_t index, int32_t value);

/** Writes the context's values as the table of its device: to @p file, or with NULL to the cache
 *  folder, where later contexts find it. The file appears when it is whole. CLQ_IO_ERROR. */
CLQ_API CLQ_NODISCARD clq_status clq_tuning_save(clq_context *context, const char *file);

/** The file of the tuned table in use, or NULL with the reason in @p why: there is none, or what is
 *  wrong with the one that there is. */
CLQ_API const char *clq_context_tuning(const clq_context *context, const char **why);

#ifdef __cplusplus
}
#endif
#endif
