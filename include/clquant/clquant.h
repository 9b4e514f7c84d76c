/** @file clquant.h  Everything. */
#ifndef CLQUANT_CLQUANT_H
#define CLQUANT_CLQUANT_H
#include <clquant/block.h>
#include <clquant/checkpoint.h>
#include <clquant/context.h>
#include <clquant/encoder.h>
#include <clquant/graph.h>
#include <clquant/model.h>
#include <clquant/ops.h>
#include <clquant/quantize.h>
#include <clquant/slanc.h>
#include <clquant/status.h>
#include <clquant/tensor.h>
#include <clquant/tuning.h>
#endif
