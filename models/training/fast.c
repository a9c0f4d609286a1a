/* SiLU and the likeness of planes, each in one pass over memory a way; f32, channels innermost. Called by fast.py. */
#include <math.h>
#include <stdint.h>

/* 1 / (1 + e^-x); bounded, since fast division makes 1 / infinity not a number. */
static inline float sigmoid(float x)
{
    return 1.0f / (1.0f + expf(fminf(-x, 80.0f)));
}

void silu_forward(const float *x, float *y, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] * sigmoid(x[i]);
}

void silu_backward(const float *x, const float *dy, float *dx, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        float s = sigmoid(x[i]);
        dx[i] = dy[i] * s * (1.0f + x[i] * (1.0f - s));
    }
}

/* Mean of weight[channel] x (a - b)^2, and its gradient on a. */
double likeness(const float *a, const float *b, const float *weight, int64_t rows, int64_t c, float *grad)
{
    double sum = 0;
    float scale = 2.0f / ((float)rows * (float)c);
    for (int64_t r = 0; r < rows; r++) {
        float part = 0;
        for (int64_t k = 0; k < c; k++) {
            float d = a[r * c + k] - b[r * c + k], w = d * weight[k];
            part += d * w;
            grad[r * c + k] = w * scale;
        }
        sum += part;
    }
    return sum / ((double)rows * (double)c);
}
