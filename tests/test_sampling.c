/* The sampler against exact probabilities and a brute-force twin of its filters. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <clquant/model.h>

#include "counting.h"
#include "model/sampling.h"

enum { MAX_LOGITS = 64 };

/* What sample may draw and how likely, computed the slow way: every pair is
 * compared to find a token's place in the order. */
static void exact_probabilities(const float *logits, size_t count, const clq_sampling *s,
                                double *probability) {
  size_t order[MAX_LOGITS];
  for (size_t i = 0; i < count; ++i) {
    size_t place = 0;
    for (size_t j = 0; j < count; ++j) {
      place += logits[j] > logits[i] || (logits[j] == logits[i] && j < i) ? 1 : 0;
    }
    order[place] = i;
  }
  size_t kept = s->top_k > 0 && (size_t)s->top_k < count ? (size_t)s->top_k : count;
  const double top = (double)logits[order[0]];
  if (s->top_p > 0 && s->top_p < 1) {
    double total = 0;
    for (size_t i = 0; i < kept; ++i) {
      total += exp((double)logits[order[i]] - top);
    }
    size_t needed = 0;
    for (double sum = 0; needed < kept && sum < (double)s->top_p * total; ++needed) {
      sum += exp((double)logits[order[needed]] - top);
    }
    kept = needed;
  }
  if (s->min_p > 0) {
    size_t likely = 0;
    while (likely < kept && exp((double)logits[order[likely]] - top) >= (double)s->min_p) {
      ++likely;
    }
    kept = likely;
  }
  double total = 0;
  for (size_t i = 0; i < count; ++i) {
    probability[i] = 0;
  }
  for (size_t i = 0; i < kept; ++i) {
    probability[order[i]] = exp(((double)logits[order[i]] - top) / (double)s->temperature);
    total += probability[order[i]];
  }
  for (size_t i = 0; i < count; ++i) {
    probability[i] /= total;
  }
}

static clq_sampler *sampler_of(clq_sampling sampling, size_t vocabulary) {
  clq_sampler *sampler = NULL;
  cr_assert_eq(clq_sampler_create(&sampling, (int64_t)vocabulary, &sampler), CLQ_OK, "%s",
               clq_last_error());
  return sampler;
}

static int32_t sample(clq_sampler *sampler, const float *logits, size_t count) {
  int32_t token = -1;
  cr_assert_eq(clq_sampler_sample(sampler, logits, (int64_t)count, &token), CLQ_OK, "%s",
               clq_last_error());
  return token;
}

/* Draws and compares the counts with the exact probabilities by chi-squared.
 * Returns the statistic's distance from its mean in standard deviations. */
static double deviation(const float *logits, size_t count, clq_sampling s, size_t draws) {
  double probability[MAX_LOGITS];
  size_t drawn[MAX_LOGITS] = {0};
  exact_probabilities(logits, count, &s, probability);
  clq_sampler *sampler = sampler_of(s, count);
  for (size_t i = 0; i < draws; ++i) {
    const int32_t token = sample(sampler, logits, count);
    cr_assert(token >= 0 && (size_t)token < count);
    ++drawn[token];
  }
  clq_sampler_destroy(sampler);
  double chi = 0;
  double freedom = -1;
  double rare_expected = 0;
  double rare_drawn = 0;
  for (size_t i = 0; i < count; ++i) {
    const double expected = probability[i] * (double)draws;
    cr_assert(probability[i] > 0 || drawn[i] == 0, "token %zu was filtered out and drawn", i);
    if (expected < 8) { /* too rare for the approximation: counted together */
      rare_expected += expected;
      rare_drawn += (double)drawn[i];
      continue;
    }
    const double off = (double)drawn[i] - expected;
    chi += off * off / expected;
    freedom += 1;
  }
  if (rare_expected >= 8) {
    chi += (rare_drawn - rare_expected) * (rare_drawn - rare_expected) / rare_expected;
    freedom += 1;
  } else {
    cr_assert(rare_drawn <= rare_expected + 6 * sqrt(rare_expected + 1));
  }
  return freedom < 1 ? 0 : (chi - freedom) / sqrt(2 * freedom);
}

static uint32_t random_state = 1;
static float random_logit(void) {
  random_state = random_state * 1664525u + 1013904223u;
  return (float)(random_state >> 8) / (float)(1 << 24) * 8 - 4;
}

Test(sampling, philox_gives_the_published_numbers) {
  /* kat_vectors of Random123, philox4x32 10. */
  static const struct {
    uint32_t counter[4], key[2], out[4];
  } known[] = {
      {{0}, {0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
      {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
       {0xffffffff, 0xffffffff},
       {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
      {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
       {0xa4093822, 0x299f31d0},
       {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
  };
  for (size_t i = 0; i < sizeof known / sizeof known[0]; ++i) {
    uint32_t out[4];
    clqi_philox(known[i].counter, known[i].key, out);
    cr_assert_arr_eq(out, known[i].out, sizeof out, "vector %zu", i);
  }
}

Test(sampling, greedy_takes_the_largest_and_of_equal_ones_the_first) {
  clq_sampler *greedy = sampler_of((clq_sampling){0}, 8);
  cr_assert_eq(sample(greedy, (float[]){-1, 3, 2, 3, 3}, 5), 1);
  cr_assert_eq(sample(greedy, (float[]){0, -0.0f}, 2), 0);
  cr_assert_eq(sample(greedy, (float[]){-INFINITY, -1e38f}, 2), 1);
  cr_assert_eq(sample(greedy, (float[]){-7}, 1), 0);
  clq_sampler_destroy(greedy);

  clq_sampler *one = sampler_of((clq_sampling){.temperature = 5, .top_k = 1}, 8);
  for (int i = 0; i < 20; ++i) {
    cr_assert_eq(sample(one, (float[]){-1, 3, 2, 3, 3}, 5), 1);
  }
  clq_sampler_destroy(one);
}

Test(sampling, draws_follow_the_exact_probabilities) {
  static const clq_sampling settings[] = {
      {.temperature = 1},
      {.temperature = 0.5f},
      {.temperature = 3},
      {.temperature = 1, .top_k = 5},
      {.temperature = 1, .top_p = 0.8f},
      {.temperature = 1, .min_p = 0.1f},
      {.temperature = 0.7f, .top_k = 20, .top_p = 0.9f, .min_p = 0.05f},
      {.temperature = 2, .top_k = 3, .top_p = 0.5f},
      {.temperature = 1, .top_k = 1000, .top_p = 1},
  };
  for (size_t i = 0; i < sizeof settings / sizeof settings[0]; ++i) {
    for (size_t count = 1; count <= MAX_LOGITS; count += 21) {
      float logits[MAX_LOGITS];
      for (size_t j = 0; j < count; ++j) {
        logits[j] = random_logit();
      }
      clq_sampling s = settings[i];
      s.seed = 1000 * i + count;
      const double off = deviation(logits, count, s, 40000);
      cr_assert(fabs(off) < 5, "settings %zu, %zu logits: chi squared is %.1f deviations off", i,
                count, off);
    }
  }
}

/* The statistic must notice a wrong temperature, or the test above says nothing. */
Test(sampling, the_statistic_can_fail) {
  float logits[16];
  for (size_t j = 0; j < 16; ++j) {
    logits[j] = random_logit();
  }
  double probability[MAX_LOGITS];
  exact_probabilities(logits, 16, &(clq_sampling){.temperature = 1.1f}, probability);
  clq_sampler *sampler = sampler_of((clq_sampling){.temperature = 1}, 16);
  double drawn[16] = {0};
  for (int i = 0; i < 40000; ++i) {
    drawn[sample(sampler, logits, 16)] += 1;
  }
  clq_sampler_destroy(sampler);
  double chi = 0;
  for (size_t i = 0; i < 16; ++i) {
    const double expected = probability[i] * 40000;
    chi += (drawn[i] - expected) * (drawn[i] - expected) / expected;
  }
  cr_assert_gt((chi - 15) / sqrt(30), 5);
}

/* With coarse logits, ties at the edge of every filter are common: the set that
 * can be drawn must be the brute-force one exactly. A high temperature makes
 * each survivor likely. */
Test(sampling, filters_keep_exactly_what_brute_force_keeps) {
  for (int round = 0; round < 300; ++round) {
    const size_t count = 1 + (size_t)round % 12;
    float logits[12];
    for (size_t j = 0; j < count; ++j) {
      logits[j] = floorf(random_logit());
    }
    const clq_sampling s = {.temperature = 100,
                            .top_k = round % 5 == 0 ? 0 : round % 7,
                            .top_p = round % 3 == 0 ? 0 : 0.1f * (float)(round % 10),
                            .min_p = round % 2 == 0 ? 0 : 0.05f * (float)(round % 11),
                            .seed = (uint64_t)round};
    double probability[MAX_LOGITS];
    exact_probabilities(logits, count, &s, probability);
    bool seen[12] = {false};
    clq_sampler *sampler = sampler_of(s, count);
    for (int i = 0; i < 400; ++i) {
      seen[sample(sampler, logits, count)] = true;
    }
    clq_sampler_destroy(sampler);
    for (size_t j = 0; j < count; ++j) {
      cr_assert_eq(seen[j], probability[j] > 0, "round %d: token %zu %s", round, j,
                   seen[j] ? "was drawn" : "was never drawn");
    }
  }
}

Test(sampling, a_seed_fixes_the_sequence) {
  enum { VOCABULARY = 1000, DRAWS = 200 };
  static float logits[VOCABULARY];
  for (size_t j = 0; j < VOCABULARY; ++j) {
    logits[j] = random_logit();
  }
  int32_t tokens[3][DRAWS];
  const uint64_t seeds[3] = {7, 7, 8};
  for (int run = 0; run < 3; ++run) {
    clq_sampler *sampler = sampler_of(
        (clq_sampling){.temperature = 0.8f, .top_k = 40, .top_p = 0.95f, .seed = seeds[run]},
        VOCABULARY);
    for (int i = 0; i < DRAWS; ++i) {
      tokens[run][i] = sample(sampler, logits, VOCABULARY);
    }
    clq_sampler_destroy(sampler);
  }
  cr_assert_arr_eq(tokens[0], tokens[1], sizeof tokens[0]);
  cr_assert_neq(memcmp(tokens[0], tokens[2], sizeof tokens[0]), 0);
}

Test(sampling, masked_tokens_are_never_drawn) {
  clq_sampler *sampler = sampler_of((clq_sampling){.temperature = 1e30f, .seed = 3}, 4);
  const float logits[4] = {-INFINITY, 1, -INFINITY, 2};
  for (int i = 0; i < 1000; ++i) {
    const int32_t token = sample(sampler, logits, 4);
    cr_assert(token == 1 || token == 3);
  }
  clq_sampler_destroy(sampler);
  clq_sampler *cold = sampler_of((clq_sampling){.temperature = 1e-38f, .top_p = 0.99f}, 4);
  cr_assert_eq(sample(cold, logits, 4), 3);
  clq_sampler_destroy(cold);
}

Test(sampling, bad_logits_and_settings_are_refused) {
  static const float bad[4][3] = {
      {1, NAN, 2}, {NAN, NAN, NAN}, {1, 2, INFINITY}, {-INFINITY, -INFINITY, -INFINITY}};
  static const char *const sentence[4] = {"token 1 is NaN", "token 0 is NaN", "token 2 is infinite",
                                          "every logit is -Inf"};
  for (int i = 0; i < 8; ++i) {
    clq_sampler *sampler =
        sampler_of((clq_sampling){.temperature = i < 4 ? 0.0f : 1.0f, .top_k = 2}, 3);
    int32_t token = -5;
    cr_assert_eq(clq_sampler_sample(sampler, bad[i % 4], 3, &token), CLQ_INVALID_ARGUMENT);
    cr_assert_not_null(strstr(clq_last_error(), sentence[i % 4]), "%s", clq_last_error());
    cr_assert_not_null(strstr(clq_last_error(), i % 4 == 3 ? "mask" : "model file may be damaged"));
    cr_assert_eq(token, -5);
    cr_assert_eq(clq_sampler_sample(sampler, bad[0], 0, &token), CLQ_INVALID_ARGUMENT);
    cr_assert_eq(clq_sampler_sample(sampler, bad[0], 4, &token), CLQ_INVALID_ARGUMENT);
    clq_sampler_destroy(sampler);
  }
  static const clq_sampling wrong[] = {
      {.temperature = -1}, {.temperature = NAN}, {.temperature = INFINITY}, {.top_k = -1},
      {.top_p = -0.5f},    {.top_p = NAN},       {.min_p = 1.5f},           {.min_p = NAN}};
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; ++i) {
    clq_sampler *sampler = NULL;
    cr_assert_eq(clq_sampler_create(&wrong[i], 10, &sampler), CLQ_INVALID_ARGUMENT, "case %zu", i);
    cr_assert_null(sampler);
  }
}

Test(sampling, out_of_memory_is_an_error) {
  for (size_t allowed = 0; allowed < 2; ++allowed) {
    counting_start(allowed + 1, 1);
    clq_sampler *sampler = NULL;
    const clq_status status = clq_sampler_create(&(clq_sampling){.temperature = 1}, 100, &sampler);
    counting_stop();
    cr_assert_eq(counting_live(), 0);
    cr_assert_eq(status, CLQ_OUT_OF_HOST_MEMORY);
    cr_assert_null(sampler);
  }
}
