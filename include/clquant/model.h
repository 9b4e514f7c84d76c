/** @file model.h
 *  Language models: load a GGUF file, feed tokens, read logits. */
#ifndef CLQUANT_MODEL_H
#define CLQUANT_MODEL_H

#include <clquant/graph.h>

#endif
