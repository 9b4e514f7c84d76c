/* One tile of a product, as C source: included once for each width of vectors, with
 *   TILE_NAME    the function's name
 *   TILE_VECTOR  a name for its vector type
 *   TILE_BYTES   bytes of a vector
 *   TILE_TARGET  attributes of the function, may be empty
 *
 * sums[r][j] = sum over k < depth of rows[r][k] * panel[k][j] for 6 rows and 16 columns, k
 * ascending, each product and each sum rounded: the same bits whatever the width. */

typedef float TILE_VECTOR __attribute__((vector_size(TILE_BYTES)));

TILE_TARGET static void TILE_NAME(const float *const rows[TILE_ROWS], const float *panel,
                                  int64_t depth, float sums[TILE_ROWS][TILE_COLS]) {
  enum { LANES = TILE_BYTES / sizeof(float) };
  for (int first = 0; first < TILE_COLS; first += 2 * LANES) {
    TILE_VECTOR low[TILE_ROWS];
    TILE_VECTOR high[TILE_ROWS];
    UNROLLED
    for (int r = 0; r < TILE_ROWS; ++r) {
      low[r] = high[r] = (TILE_VECTOR){0};
    }
    const float *b = panel + first;
    for (int64_t k = 0; k < depth; ++k, b += TILE_COLS) {
      TILE_VECTOR b_low;
      TILE_VECTOR b_high;
      memcpy(&b_low, b, sizeof b_low);
      memcpy(&b_high, b + LANES, sizeof b_high);
      UNROLLED
      for (int r = 0; r < TILE_ROWS; ++r) {
        low[r] += rows[r][k] * b_low;
        high[r] += rows[r][k] * b_high;
      }
    }
    UNROLLED
    for (int r = 0; r < TILE_ROWS; ++r) {
      memcpy(&sums[r][first], &low[r], sizeof low[r]);
      memcpy(&sums[r][first + LANES], &high[r], sizeof high[r]);
    }
  }
}

#undef TILE_NAME
#undef TILE_VECTOR
#undef TILE_BYTES
#undef TILE_TARGET
