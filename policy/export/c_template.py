"""The C text of an exported policy: ``NAME`` and ``$FIELD$`` are filled in by policy/export/c.py."""

from __future__ import annotations

LAYERS = """\
static inline float NAME_elu_(float v) { return v > 0.0f ? v : expm1f(v); }
"""
FUNCTIONS = {
    "dense": """\
/* out = elu(w in + b), for each of `times` rows of `in`; w is rows by columns; four rows share a load of `in` */
static inline void NAME_dense_(const float *in, float *out, const float *w, const float *b, int rows, int columns,
                               int times, int elu)
{
    int t, r, c, k;
    for (t = 0; t < times; ++t, in += columns)
        for (r = 0; r < rows; r += 4) {
            const int some = rows - r < 4 ? rows - r : 4;
            const float *w0 = w + (long)r * columns, *w1 = some > 1 ? w0 + columns : w0;
            const float *w2 = some > 2 ? w1 + columns : w1, *w3 = some > 3 ? w2 + columns : w2;
            float sum[4], s0 = 0.0f, s1 = 0.0f, s2 = 0.0f, s3 = 0.0f;
            for (c = 0; c < columns; ++c) {
                const float v = in[c];
                s0 += w0[c] * v, s1 += w1[c] * v, s2 += w2[c] * v, s3 += w3[c] * v;
            }
            sum[0] = s0, sum[1] = s1, sum[2] = s2, sum[3] = s3;
            for (k = 0; k < some; ++k) *out++ = elu ? NAME_elu_(sum[k] + b[r + k]) : sum[k] + b[r + k];
        }
}
""",
    "dense_int8": """\
/* the same in whole numbers: w has a scale for each row, `in` is rounded to as many steps as no sum overflows at */
static inline void NAME_dense_int8_(const float *in, float *out, const signed char *w, const float *scale,
                                    const float *b, int rows, int columns, int times, int elu)
{
    const int32_t most = columns > 516 ? 0x7fffffff / 127 / columns : 32767;
    int16_t v[WIDEST];
    int t, r, c, k;
    for (t = 0; t < times; ++t, in += columns) {
        float largest = 0.0f, steps;
        for (c = 0; c < columns; ++c) {
            const float size = fabsf(in[c]);
            if (!(size <= largest) && largest == largest) largest = size; /* what is no number stays, and is refused */
        }
        steps = largest > 0.0f ? (float)most / largest : 0.0f;
        for (c = 0; c < columns; ++c) {
            const float x = in[c] * steps;
            const float near = x < 0.0f ? x - 0.5f : x + 0.5f;
            v[c] = (int16_t)(near >= (float)most ? most : near > -(float)most ? (int32_t)near : -most);
        }
        for (r = 0; r < rows; r += 4) {
            const int some = rows - r < 4 ? rows - r : 4;
            const signed char *w0 = w + (long)r * columns, *w1 = some > 1 ? w0 + columns : w0;
            const signed char *w2 = some > 2 ? w1 + columns : w1, *w3 = some > 3 ? w2 + columns : w2;
            int32_t sum[4], s0 = 0, s1 = 0, s2 = 0, s3 = 0;
            for (c = 0; c < columns; ++c) {
                const int32_t x = v[c];
                s0 += w0[c] * x, s1 += w1[c] * x, s2 += w2[c] * x, s3 += w3[c] * x;
            }
            sum[0] = s0, sum[1] = s1, sum[2] = s2, sum[3] = s3;
            for (k = 0; k < some; ++k) {
                const float y = (float)sum[k] * (largest / (float)most * scale[r + k]) + b[r + k];
                *out++ = elu ? NAME_elu_(y) : y;
            }
        }
    }
}
""",
    "unit": """\
/* in over its Euclidean length */
static inline void NAME_unit_(const float *in, float *out, int count)
{
    float sum = 0.0f;
    int i;
    for (i = 0; i < count; ++i) sum += in[i] * in[i];
    sum = sqrtf(sum);
    for (i = 0; i < count; ++i) out[i] = in[i] / (sum < 1e-6f ? 1e-6f : sum);
}
""",
    "tokens": """\
/* of each joint, the mean over the bins of its range, of which `in` holds the logits */
static inline void NAME_tokens_(const float *in, float *out, const float *mid, const float *width, int bins, int joints)
{
    int j, k;
    for (j = 0; j < joints; ++j, in += bins) {
        float most = in[0], sum = 0.0f, mean = 0.0f;
        for (k = 1; k < bins; ++k) most = in[k] > most ? in[k] : most;
        for (k = 0; k < bins; ++k) {
            float p = expf(in[k] - most);
            sum += p;
            mean += p * ((float)k - 0.5f * (float)(bins - 1));
        }
        out[j] = mid[j] + mean / sum * width[j];
    }
}
""",
}

HEADER = """\
/* A policy, written by `lunar export --c`; do not edit.
 * $CARD$
 *
 * C99, no dependency but the standard library, no allocation. One $NAME$_state per robot:
 *     $NAME$_state s;  float targets[$JOINTS$];
 *     $NAME$_reset(&s);
 *     every 1/rate s: if ($NAME$_act(&s, ..., command, targets)) send targets (rad); else keep the last ones.
 */
#ifndef $GUARD$
#define $GUARD$

#include <math.h>
#include <stdint.h>
#include <string.h>

#ifdef __FAST_MATH__
#error "fast math removes the check for numbers that are none"
#endif

#define $MACRO$_WEIGHTS "$WEIGHTS$" /* digest, as in card.json */
#define $MACRO$_OBSERVATION $OBSERVATION$ /* floats of an observation */
#define $MACRO$_FRAME $FRAME$ /* floats of one frame of proprioception */
#define $MACRO$_AGES $AGES$ /* frames in an observation */
#define $MACRO$_HISTORY $HISTORY$ /* frames kept */
#define $MACRO$_ESTIMATES $ESTIMATES$

typedef struct {
    float history[$HISTORY$][$FRAME$]; /* a ring */
    float last_action[$JOINTS$];
    int newest; /* row of the newest frame */
    int started;
} $NAME$_state;

$CONSTANTS$

$LAYERS$
/* The network alone: a scaled observation, frames newest first and then the command, to an action and
 * $MACRO$_ESTIMATES estimates in SI units, unless `estimate` is NULL. */
static inline void $NAME$_infer(const float observation[$OBSERVATION$], float action[$JOINTS$], float *estimate)
{
    float x[$WORK$];
$LOOP$    memcpy(x, observation, $OBSERVATION$ * sizeof *x);
$BODY$
    memcpy(action, x + $ACTION_AT$, $JOINTS$ * sizeof *x);
    $ESTIMATE_COPY$
}

/* A new trial: no history, no last action. */
static inline void $NAME$_reset($NAME$_state *s)
{
    memset(s, 0, sizeof *s);
}

static inline int $NAME$_finite_(const float *v, int count)
{
    int i;
    for (i = 0; i < count; ++i)
        if (!isfinite(v[i])) return 0;
    return 1;
}

/* One control step. Sensors in SI units, trunk frame; projected gravity is (0, 0, -1) when upright. The command is
 * clipped to what the policy was trained for. Returns 1 and joint targets in rad; or 0, and nothing has changed, when a
 * sensor, the command or the action is not a number. `estimate` as for infer. */
static inline int $NAME$_act($NAME$_state *s, $ARGUMENTS$,
                           const float command[$COMMANDS$], float targets[$JOINTS$], float *estimate)
{
    static const int age[$AGES$] = {$AGE_LIST$};
    static const float low[$COMMANDS$] = {$LOW$}, high[$COMMANDS$] = {$HIGH$};
    static const float command_scale[$COMMANDS$] = {$COMMAND_SCALE$};
    static const float offset[$JOINTS$] = {$OFFSET$};
    static const float pose[$JOINTS$] = {$POSE$};
    float observation[$OBSERVATION$], action[$JOINTS$], kept[$ESTIMATES_OR_1$];
    float frame[$FRAME$];
    int i, row = (s->newest + 1) % $HISTORY$;

    if ($CHECKS$ ||
        !$NAME$_finite_(command, $COMMANDS$))
        return 0;
$FRAME_CODE$
    for (i = 0; i < $AGES$; ++i) {
        const float *past = s->history[(row - age[i] + $HISTORY$) % $HISTORY$];
        memcpy(observation + i * $FRAME$, age[i] == 0 || !s->started ? frame : past, sizeof frame);
    }
    for (i = 0; i < $COMMANDS$; ++i) {
        float c = command[i] < low[i] ? low[i] : command[i] > high[i] ? high[i] : command[i];
        observation[$AGES$ * $FRAME$ + i] = c * command_scale[i];
    }
    $NAME$_infer(observation, action, kept);
    if (!$NAME$_finite_(action, $JOINTS$)) return 0;
    for (i = 0; i < $HISTORY$; ++i) /* the first frame fills the whole history */
        if (i == row || !s->started) memcpy(s->history[i], frame, sizeof frame);
    s->newest = row;
    s->started = 1;
    memcpy(s->last_action, action, sizeof action);
    for (i = 0; i < $JOINTS$; ++i) targets[i] = pose[i] + $ACTION_SCALE$ * action[i];
    for (i = 0; estimate && i < $ESTIMATES$; ++i) estimate[i] = kept[i];
    return 1;
}

#endif
"""

LIBRARY = """\
#include <stddef.h>
#include "PATH"
size_t state_bytes(void) { return sizeof(NAME_state); }
void reset(NAME_state *s) { NAME_reset(s); }
void infer(const float *observation, float *action, float *estimate) { NAME_infer(observation, action, estimate); }
int act(NAME_state *s, const float *w, const float *g, const float *q, const float *v, const float *c,
        float *t, float *e)
{
    return NAME_act(s, w, g, q, v, c, t, e);
}
"""
