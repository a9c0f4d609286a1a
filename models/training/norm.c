/* Batch norm and leaky ReLU of a training step in one pass over memory each way, for bf16 rows.
 *
 * x, y, dy, dx: [rows, c] bf16, channels innermost (channels-last pictures). Everything else: [c] f32.
 * PyTorch's own kernels take half of a step on a CPU; these take a tenth. Called by norm.py.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

enum { BLOCK = 256, MOST = 1024 }; /* rows summed in f32 before f64 takes over; widest row */

static inline float up(uint16_t v)
{
    uint32_t bits = (uint32_t)v << 16;
    float f;
    memcpy(&f, &bits, 4);
    return f;
}

static inline uint16_t down(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, 4);
    return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

/* Adds the block sums of two quantities to their totals and clears them. */
static void carry(int64_t c, float *one, float *two, double *first, double *second)
{
    for (int k = 0; k < c; k++) {
        first[k] += one[k];
        second[k] += two[k];
        one[k] = two[k] = 0;
    }
}

/* How many rows to take as one: short rows would wait for their own sums, and vectors stay half full. */
static int64_t together(int64_t rows, int64_t c)
{
    int64_t g = 1;
    while (2 * g * c <= MOST / 2 && rows % (2 * g) == 0)
        g *= 2;
    return g;
}

static void repeat(const float *from, int64_t c, int64_t g, float *to)
{
    for (int64_t k = 0; k < c * g; k++)
        to[k] = from[k % c];
}

static void fold(double *sums, int64_t c, int64_t g)
{
    for (int64_t k = c; k < c * g; k++)
        sums[k % c] += sums[k];
}

/* mean and 1 / spread of each channel */
static void moments(const uint16_t *x, int64_t rows, int64_t c, float eps, float *mean, float *inverse)
{
    int64_t g = together(rows, c), w = c * g;
    float one[MOST] = {0}, two[MOST] = {0}, shift[MOST];
    double first[MOST] = {0}, second[MOST] = {0};
    for (int k = 0; k < w; k++)
        shift[k] = up(x[k % c]); /* any value near the mean keeps the squares small */
    for (int64_t r = 0; r < rows / g; r++) {
        const uint16_t *row = x + r * w;
        for (int k = 0; k < w; k++) {
            float v = up(row[k]) - shift[k];
            one[k] += v;
            two[k] += v * v;
        }
        if (r % BLOCK == BLOCK - 1)
            carry(w, one, two, first, second);
    }
    carry(w, one, two, first, second);
    fold(first, c, g);
    fold(second, c, g);
    for (int k = 0; k < c; k++) {
        double m = first[k] / rows, v = second[k] / rows - m * m;
        mean[k] = (float)(m + shift[k]);
        inverse[k] = (float)(1.0 / sqrt((v > 0 ? v : 0) + eps));
    }
}

/* y = leaky(norm(x) * weight + bias); mean and inverse are written for the way back. */
int norm_forward(const uint16_t *x, uint16_t *y, int64_t rows, int64_t c, const float *weight, const float *bias,
                 float eps, float slope, float *mean, float *inverse)
{
    if (c > MOST || rows < 1)
        return -1;
    int64_t g = together(rows, c), w = c * g;
    float gain[MOST], add[MOST];
    moments(x, rows, c, eps, mean, inverse);
    for (int k = 0; k < w; k++) {
        gain[k] = weight[k % c] * inverse[k % c];
        add[k] = bias[k % c] - mean[k % c] * gain[k];
    }
    for (int64_t r = 0; r < rows / g; r++) {
        const uint16_t *in = x + r * w;
        uint16_t *out = y + r * w;
        for (int k = 0; k < w; k++) {
            float z = up(in[k]) * gain[k] + add[k];
            out[k] = down(z > 0 ? z : z * slope);
        }
    }
    return 0;
}

/* dx, dweight, dbias from dy. */
int norm_backward(const uint16_t *x, const uint16_t *dy, uint16_t *dx, int64_t rows, int64_t c, const float *weight,
                  const float *bias, const float *mean, const float *inverse, float slope, float *dweight, float *dbias)
{
    if (c > MOST || rows < 1)
        return -1;
    int64_t g = together(rows, c), w = c * g;
    float one[MOST] = {0}, two[MOST] = {0}, scale[MOST], away[MOST], gain[MOST], add[MOST];
    double first[MOST] = {0}, second[MOST] = {0};
    repeat(inverse, c, g, scale);
    repeat(weight, c, g, gain);
    repeat(bias, c, g, add);
    for (int k = 0; k < w; k++)
        away[k] = -mean[k % c] * scale[k];
    for (int64_t r = 0; r < rows / g; r++) {
        const uint16_t *in = x + r * w, *back = dy + r * w;
        for (int k = 0; k < w; k++) {
            float n = up(in[k]) * scale[k] + away[k], d = up(back[k]);
            d *= n * gain[k] + add[k] > 0 ? 1.0f : slope;
            one[k] += d;
            two[k] += d * n;
        }
        if (r % BLOCK == BLOCK - 1)
            carry(w, one, two, first, second);
    }
    carry(w, one, two, first, second);
    fold(first, c, g);
    fold(second, c, g);
    float all[MOST], along[MOST];
    for (int k = 0; k < w; k++) {
        all[k] = (float)(first[k % c] / rows);
        along[k] = (float)(second[k % c] / rows);
    }
    for (int k = 0; k < c; k++) {
        dbias[k] = (float)first[k];
        dweight[k] = (float)second[k];
    }
    for (int64_t r = 0; r < rows / g; r++) {
        const uint16_t *in = x + r * w, *back = dy + r * w;
        uint16_t *out = dx + r * w;
        for (int k = 0; k < w; k++) {
            float n = up(in[k]) * scale[k] + away[k], d = up(back[k]);
            d *= n * gain[k] + add[k] > 0 ? 1.0f : slope;
            out[k] = down(gain[k] * scale[k] * (d - all[k] - n * along[k]));
        }
    }
    return 0;
}
