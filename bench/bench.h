/* What the benches share. One file per operator, bench_<operator>.c, describes
 * its shape words, sets up one case (buffers, arguments, bytes and operations)
 * and checks the answer; frame.c measures, report.c prints.
 *
 * Beyond the reference library, benches use the library's public calls only.
 * Failures latch in the case: the first one is said on stderr, and what follows
 * does nothing, so that set-up code reads straight through. */
#ifndef CLQ_BENCH_BENCH_H
#define CLQ_BENCH_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <clquant/clquant.h>

#include "json.h"
#include "limits.h"
#include "ref/ref.h"

enum { BENCH_MAX_WORDS = 10, BENCH_MAX_BLOCKS = 48, BENCH_MAX_EXTRAS = 8, BENCH_NAME_BYTES = 256 };

/* --- shape words --- */

typedef enum bench_kind { BENCH_NUMBER, BENCH_WORD, BENCH_FLAG } bench_kind;

typedef struct bench_word {
  const char *name; /* of the option; '-' becomes '_' in JSON */
  bench_kind kind;
  const char *standard; /* what it is when not given: one value */
  const char *offered;  /* words: "f32|f16"; NULL: whatever `accepts` takes */
  bool (*accepts)(const char *word);
} bench_word;

typedef struct bench_value {
  int64_t number; /* flags: 0 or 1 */
  const char *word;
} bench_value;

/* --- one session, many cases --- */

typedef struct bench_report bench_report;
typedef struct bench_peer bench_peer;

typedef struct bench_session {
  clq_context *context;
  clq_stream *stream;
  const clq_device_info *device;
  bench_limits limits;
  bench_report *report;
  int64_t repetitions;
  double max_error; /* right where an operator's own bound is smaller */
  bool cold;
  bool no_limits;
  const bench_peer *peer; /* measured beside ours; NULL: none */
  bool sweeps;            /* there are several cases: one that is not offered is left out */
  bool begun;             /* the limits, if wanted, are measured and head the report */
  size_t left_out;
  /* Larger than the last cache, with the kernel that walks it. */
  cl_mem flush_buffer;
  cl_program flush_program;
  cl_kernel flush_kernel;
  size_t flush_items;
} bench_session;

/* Opens the device. Returns an exit code and has said its sentence; close is due in any case. */
int bench_open(bench_session *session, const char *device);
void bench_close(bench_session *session);
/* Pushes everything else out of the caches; waits. CLQ_OK or an error of the queue. */
int bench_flush_caches(bench_session *session);

/* --- one case: a shape, its memory, its result --- */

typedef struct bench_extra {
  const char *key;
  double value;
} bench_extra;

typedef struct bench_record {
  const char *peer; /* whose it is; NULL: ours */
  char variant[96]; /* "" : unknown */
  char tile[32];    /* "": none */
  int64_t repetitions;
  double real_ns, device_ns, min_ns; /* NaN: not measured */
  double bytes, ops;                 /* that must move, that must be done; for one call */
  bool checked;
  double max_error;
  double ratio;                  /* in ours: the peer's real time over ours; 0: no peer */
  double copy_limit, read_limit; /* bytes per second at this footprint and cache state; 0: not
                                    measured */
  bench_extra extras[BENCH_MAX_EXTRAS];
  int extra_count;
} bench_record;

typedef struct bench_op bench_op;
typedef struct bench_case bench_case;

/* Somebody else's way of doing the work of a case, on the same stream. */
struct bench_peer {
  const char *name;             /* as --peer has it */
  const char *(*open)(void);    /* NULL, or a sentence why it is not there */
  const char *(*version)(void); /* its name and version */
  void (*close)(void);
  /* Makes its buffers; bench_fail where it cannot do this case. */
  void (*prepare)(bench_case *c);
  /* Enqueues one call on the stream's queue. */
  void (*call)(bench_case *c);
  /* Compares its answer with ours: bench_error; sets bound, and the record's variant; bytes and ops
   * where they are not ours. */
  void (*check)(bench_case *c);
};

/* A call of the library. */
typedef struct bench_step {
  clq_op op;
  const char *name;
  const void *args;
} bench_step;

struct bench_case {
  bench_session *session;
  const bench_op *op;
  bench_value values[BENCH_MAX_WORDS];
  void *state;

  /* Set by prepare: `calls` argument structs behind one another. */
  const void *args;
  size_t args_bytes;
  int32_t calls;
  bench_step then; /* args not NULL: a call behind those, measured with them */
  char then_variant[48];

  clq_plan *plan; /* of all the calls */
  int code;       /* CLI_DONE, or what the first failure was */
  bool measuring; /* what fails from here on is no refusal of the case */
  bool left_out;
  bench_record record;
  double bound;    /* largest max_error that is right */
  bool other_bits; /* than the reference's: what the operator promises is within a bound */
  double peer_ns, peer_min_ns;
  clq_plan *peer_plan; /* of a peer that is calls of the library; NULL: it is none */
  double peer_device_ns;
  char peer_variant[96];
  bool planning_peer;

  void *blocks[BENCH_MAX_BLOCKS]; /* host memory of this case */
  cl_mem buffers[BENCH_MAX_BLOCKS];
  int block_count, buffer_count;
  uint64_t device_bytes, host_bytes; /* asked for so far */
  uint64_t device_room, host_room;   /* nine tenths of the machine; on a device that is the
                                        host, both take from host_room */
  clq_weights *weights;
};

struct bench_op {
  const char *name;
  const bench_word *words;
  int word_count;
  size_t state_bytes;
  clq_op op;
  /* Makes buffers, fills args, and record.bytes and record.ops where the library's own count of the
   * launches is not meant. */
  void (*prepare)(bench_case *c);
  /* Puts back what running changed in the inputs; NULL: nothing. The answer that `check` sees is
   * that of one run after it. */
  void (*reset)(bench_case *c);
  /* Compares with the reference: bench_error for every element. */
  void (*check)(bench_case *c);
  const bench_peer *peer; /* NULL: it has none */
  /* In place of all of the above: measures and emits records by itself. */
  void (*run)(bench_case *c);
};

/* The operators, by name; NULL past the last. */
const bench_op *bench_find(const char *name);
const bench_op *bench_at(size_t i);

/* Notes how much memory there is for a case. */
void bench_memory_begin(bench_case *c);

/* For who measures by himself: session, op, values and calls are set; makes what the case needs.
 * c->code says whether it is there; close is due in any case, with whatever plan is in it. */
void bench_case_open(bench_case *c);
void bench_case_close(bench_case *c);
/* Runs c->plan once and compares its answer with the reference. */
void bench_check(bench_case *c);

/* Measures one combination of words and emits its record. Returns an exit code: CLI_DONE also for
 * one that a sweep leaves out. */
int bench_run(bench_session *session, const bench_op *op, const bench_value *values);

/* The case is set up, and what fails from here on is no refusal of it. The first one measures the
 * machine's limits now, which takes seconds, and begins the report. */
void bench_measuring(bench_case *c);

/* For peers that are calls of the library themselves: plans the steps, whose variants peer_variant
 * names then, and runs that plan. */
void bench_plan_peer(bench_case *c, const bench_step *steps, int count);
void bench_run_peer(bench_case *c);
/* Runs the plan once; record.bytes and record.ops are what the library counts of its launches. */
void bench_count(bench_case *c, clq_plan *plan);

/* Emits c->record. */
void bench_emit(bench_case *c);

/* --- for set-up code --- */

int64_t bench_number(const bench_case *c, const char *word);
const char *bench_choice(const bench_case *c, const char *word);
bool bench_is(const bench_case *c, const char *word, const char *value);

void bench_fail(bench_case *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Latches a failed call's sentence; true if there was none. */
bool bench_ok(bench_case *c, clq_status status);

/* Host memory, zeroed, until the case ends; NULL after a failure. Overflow-checked. */
void *bench_host(bench_case *c, int64_t count, size_t element_bytes);
/* A device buffer until the case ends, with `data` or zeros; NULL after a failure. */
cl_mem bench_buffer(bench_case *c, const void *data, int64_t count, size_t element_bytes);
/* Device memory that somebody else takes for the case is counted; false if it does not fit. */
bool bench_count_device(bench_case *c, double bytes);
void bench_write(bench_case *c, cl_mem mem, const void *data, int64_t count, size_t element_bytes);
/* Host copy of a whole buffer; NULL after a failure. */
void *bench_read(bench_case *c, cl_mem mem, int64_t count, size_t element_bytes);

/* Uniform in [-1, 1), multiples of 2^-15: exact in f16 and f32 alike from there down. */
float *bench_random_floats(bench_case *c, int64_t count, uint64_t seed);
uint64_t bench_random(uint64_t *state);

/* Is there a failure, or was SIGINT seen? */
bool bench_over(const bench_case *c);

/* --- tensors by their words: f32 f16 bf16 u8, q8 (per token), q8g<n> --- */

bool bench_is_tensor_word(const char *word);
/* The same, and asymmetric codes, "q8a" and "q8ag32"; not u8. */
bool bench_is_acts_word(const char *word);
/* A tensor [rows, cols] with zeros in its buffers, sums included. */
clq_tensor bench_output(bench_case *c, const char *word, int64_t rows, int64_t cols);
/* The same holding `data`, which is rounded to what the tensor then holds. */
clq_tensor bench_input(bench_case *c, const char *word, int64_t rows, int64_t cols, float *data);
/* Bytes of the tensor and its planes. */
double bench_tensor_bytes(const clq_tensor *t);

/* Rows that a check looks at: all of a small tensor, else the first, the last and some between.
 * `cost`: of one row, in elements. */
int64_t bench_sample_count(int64_t rows, int64_t cost);
int64_t bench_sample_row(int64_t rows, int64_t samples, int64_t i);

/* Checks [rows, cols] against reference(c, row, out), the float row before it is rounded or
 * quantized to the tensor's type. */
void bench_check_rows(bench_case *c, const clq_tensor *t, int64_t cost,
                      void (*reference)(bench_case *c, int64_t row, float *out));
void bench_error(bench_case *c, double actual, double expected);

/* --- weights by their words --- */

bool bench_is_weights_word(const char *word);
/* Random weights [rows, cols] as a file would hold them, in the case's memory; packed into
 * c->weights. */
clqi_ref_weights bench_weights(bench_case *c, const char *word, int64_t rows, int64_t cols);
/* Bytes that `rows` rows hold with scales, minima and zero points, without padding. */
double bench_weights_bytes(const clqi_ref_weights *w, double rows);
/* Of one row of w2, w3, w4 or w8 codes. */
int64_t bench_plain_row_bytes(clq_format format, int64_t cols);

/* --- report --- */

typedef enum bench_format { BENCH_MD, BENCH_CSV, BENCH_JSON } bench_format;

bench_report *bench_report_new(bench_format format);
/* Once: what stands at its head. */
void bench_report_begin(bench_session *session);
/* "gemm/m:8/n:4096/k:4096/weights:w4g32/acts:q8/cold" */
void bench_run_name(const bench_case *c, char name[BENCH_NAME_BYTES]);
void bench_report_record(const bench_case *c);
/* Prints what is left to print and releases it; with a failure, a JSON object is not printed.
 * Returns an exit code. */
int bench_report_end(bench_report *report, int code);

#endif
