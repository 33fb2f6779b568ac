/*
 * test_nn.c
 *	  The layers of numeric/nn.h: the gradient of each against central differences,
 *	  the matrix product against three plain loops for each kind of CPU, optimisers
 *	  against their formulas.
 *
 * test_nn_double.c is the same with the layers in double.
 */
#include "numeric/nn_kernel.h"

#include "unit.h"

#ifdef NN_DOUBLE
#define STEP		1e-5
#define TOLERANCE	1e-6
#else
#define STEP		4e-3
#define TOLERANCE	1e-2
#endif

#define MAX_INPUTS	6

static Random rng = {20261};
static NnReal work[NN_GEMM_WORK] __attribute__((aligned(64)));

static NnReal
uniform(void)
{
	return (NnReal) (2 * random_real(&rng) - 1);
}

static NnReal *
reals(size_t n)
{
	NnReal	   *x = malloc(sizeof(NnReal) * (n + 1));

	for (size_t i = 0; i < n; i++)
		x[i] = uniform();
	return x;
}

static NnReal *
zeros(size_t n)
{
	return calloc(n + 1, sizeof(NnReal));
}

/* ------------------------------------------------------------- gradients */

/* A function of some inputs, of whose output "weigh" makes one number. */
typedef struct Layer
{
	const char *name;
	int			ninputs;
	size_t		size[MAX_INPUTS];
	NnReal	   *input[MAX_INPUTS];
	NnReal	   *gradient[MAX_INPUTS];
	size_t		outputs;
	NnReal	   *y;
	NnReal	   *dy;				/* weights of the outputs, and so their gradients */
	double		(*forward) (struct Layer *);	/* the number */
	void		(*backward) (struct Layer *);
} Layer;

static double
weigh(const Layer *l)
{
	double		sum = 0;

	for (size_t i = 0; i < l->outputs; i++)
		sum += (double) l->dy[i] * l->y[i];
	return sum;
}

static void
input(Layer *l, size_t size)
{
	l->size[l->ninputs] = size;
	l->input[l->ninputs] = reals(size);
	l->gradient[l->ninputs++] = zeros(size);
}

static void
outputs(Layer *l, size_t n)
{
	l->outputs = n;
	l->y = zeros(n);
	l->dy = reals(n);
}

/* The largest difference of the two gradients, relative to the largest element. */
static void
compare(Layer *l)
{
	double		worst = 0,
				largest = 0;

	(void) l->forward(l);
	l->backward(l);
	for (int a = 0; a < l->ninputs; a++)
		for (size_t i = 0; i < l->size[a]; i++)
		{
			NnReal		at = l->input[a][i];
			NnReal		up = at + (NnReal) STEP,
						down = at - (NnReal) STEP;
			double		rise;

			l->input[a][i] = up;
			rise = l->forward(l);
			l->input[a][i] = down;
			rise = (rise - l->forward(l)) / (double) (up - down);
			l->input[a][i] = at;
			worst = fmax(worst, fabs(rise - l->gradient[a][i]));
			largest = fmax(largest, fabs(rise));
		}
	ok(worst <= TOLERANCE * largest && largest > 0, "gradient of %s: error %.1e of %.3g",
	   l->name, worst, largest);
	for (int a = 0; a < l->ninputs; a++)
	{
		free(l->input[a]);
		free(l->gradient[a]);
	}
	free(l->y);
	free(l->dy);
}

/* ---------------------------------------------------------------- layers */

static const int32_t ids[] = {2, 0, 2, -1, 4};

static double
embedding_forward(Layer *l)
{
	nn_embedding_forward(5, 3, ids, l->input[0], l->y);
	return weigh(l);
}

static void
embedding_backward(Layer *l)
{
	nn_embedding_backward(5, 3, ids, l->dy, l->gradient[0]);
}

static double
dense_forward(Layer *l)
{
	nn_dense_forward(7, 5, 6, l->input[0], l->input[1], l->input[2], l->y, work);
	return weigh(l);
}

static void
dense_backward(Layer *l)
{
	nn_dense_backward(7, 5, 6, l->input[0], l->input[1], l->dy, l->gradient[0], l->gradient[1],
					  l->gradient[2], work);
}

static NnActivation activation;

static double
activation_forward(Layer *l)
{
	memcpy(l->y, l->input[0], sizeof(NnReal) * l->outputs);
	nn_activate(activation, l->outputs, l->y);
	return weigh(l);
}

static void
activation_backward(Layer *l)
{
	memcpy(l->gradient[0], l->dy, sizeof(NnReal) * l->outputs);
	nn_activate_backward(activation, l->outputs, l->y, l->gradient[0]);
}

static uint8_t kept[64];

static double
dropout_forward(Layer *l)
{
	NnRandom	random = {5};

	nn_dropout_forward(l->outputs, (NnReal) 0.4, &random, l->input[0], kept, l->y);
	return weigh(l);
}

static void
dropout_backward(Layer *l)
{
	nn_dropout_backward(l->outputs, (NnReal) 0.4, kept, l->dy, l->gradient[0]);
}

static NnReal scaled[64];
static NnReal inverse[8];

static double
norm_forward(Layer *l)
{
	nn_norm_forward(4, 9, l->input[0], l->input[1], l->input[2], scaled, inverse, l->y);
	return weigh(l);
}

static void
norm_backward(Layer *l)
{
	nn_norm_backward(4, 9, scaled, inverse, l->input[1], l->dy, l->gradient[0], l->gradient[1],
					 l->gradient[2]);
}

enum
{
	STEPS = 5, LANES = 4, IN = 3, DIM = 6
};
static const uint8_t begins[STEPS * LANES] = {1, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0};
static NnGruTrace trace;

static NnGru
gru_of(const Layer *l)
{
	return (NnGru) {IN, DIM, l->input[1], l->input[2], l->input[3]};
}

static double
gru_forward(Layer *l)
{
	NnGru		gru = gru_of(l);

	nn_gru_forward(&gru, STEPS, LANES, l->input[0], NULL, begins, l->y, &trace, work);
	return weigh(l);
}

static void
gru_backward(Layer *l)
{
	NnGru		gru = gru_of(l);

	nn_gru_backward(&gru, STEPS, LANES, l->input[0], begins, l->dy, &trace, l->gradient[0],
					l->gradient[1], l->gradient[2], l->gradient[3], work);
}

enum
{
	CONVS = 3, LENGTH = 7, WIDTH = 4, HEIGHT = 3, FILTERS = 5
};
static int32_t places[CONVS * FILTERS];
static NnReal windows[LENGTH * FILTERS];

static double
conv_forward(Layer *l)
{
	nn_conv_forward(CONVS, LENGTH, WIDTH, HEIGHT, FILTERS, l->input[0], l->input[1], l->input[2], l->y,
					places, windows, work);
	return weigh(l);
}

static void
conv_backward(Layer *l)
{
	nn_conv_backward(CONVS, LENGTH, WIDTH, HEIGHT, FILTERS, l->input[0], l->input[1], l->y, places, l->dy,
					 l->gradient[0], l->gradient[1], l->gradient[2]);
}

static double
conv_down_forward(Layer *l)
{
	nn_conv_down_forward(CONVS, LENGTH, WIDTH, FILTERS, l->input[0], l->input[1], l->y, work);
	return weigh(l);
}

static void
conv_down_backward(Layer *l)
{
	nn_conv_down_backward(CONVS, LENGTH, WIDTH, FILTERS, l->input[0], l->input[1], l->dy,
						  l->gradient[0], l->gradient[1], work);
}

/* Columns 0 and 5 show the same item, so 5 takes no part in the row of target 0. */
static const int32_t columns[] = {3, 1, 8, 9, 2, 3};
static const int32_t targets[] = {0, 1, 5, -1};
static bool bpr;

static double
loss_of(Layer *l)
{
	memcpy(l->y, l->input[0], sizeof(NnReal) * 24);
	nn_loss_prepare(4, 6, columns, targets, l->input[1], l->y);
	return bpr ? nn_loss_bpr_max(4, 6, targets, (NnReal) 0.7, 1, l->y) :
		nn_loss_cross_entropy(4, 6, targets, 1, l->y);
}

/* By logq: minus the sums of the columns. */
static void
loss_backward(Layer *l)
{
	memcpy(l->gradient[0], l->y, sizeof(NnReal) * 24);
	for (int i = 0; i < 24; i++)
		l->gradient[1][i % 6] -= l->y[i];
}

static void
test_gradients(void)
{
	Layer		embedding = {.name = "embedding",.forward = embedding_forward,.backward = embedding_backward};
	Layer		dense = {.name = "dense",.forward = dense_forward,.backward = dense_backward};
	Layer		dropout = {.name = "dropout",.forward = dropout_forward,.backward = dropout_backward};
	Layer		norm = {.name = "layer norm",.forward = norm_forward,.backward = norm_backward};
	Layer		gru = {.name = "GRU over time",.forward = gru_forward,.backward = gru_backward};
	Layer		conv = {.name = "horizontal convolution",.forward = conv_forward,.backward = conv_backward};
	Layer		down = {.name = "vertical convolution",.forward = conv_down_forward,.backward = conv_down_backward};
	static const char *const names[] = {"ReLU", "tanh", "sigmoid"};

	input(&embedding, 15);
	outputs(&embedding, 15);
	compare(&embedding);

	input(&dense, 35);
	input(&dense, 30);
	input(&dense, 6);
	outputs(&dense, 42);
	compare(&dense);

	for (activation = NN_RELU; activation <= NN_SIGMOID; activation++)
	{
		Layer		l = {.name = names[activation],.forward = activation_forward,.backward = activation_backward};

		input(&l, 40);
		outputs(&l, 40);
		compare(&l);
	}

	input(&dropout, 50);
	outputs(&dropout, 50);
	compare(&dropout);

	input(&norm, 36);
	input(&norm, 9);
	input(&norm, 9);
	outputs(&norm, 36);
	compare(&norm);

	if (!trace.before)
		trace = (NnGruTrace) {
			zeros(STEPS * LANES * DIM), zeros(STEPS * LANES * 3 * DIM), zeros(STEPS * LANES * DIM),
			zeros(STEPS * LANES * 3 * DIM), zeros(STEPS * LANES * 3 * DIM), zeros(LANES * DIM)
		};
	input(&gru, STEPS * LANES * IN);
	input(&gru, IN * 3 * DIM);
	input(&gru, DIM * 3 * DIM);
	input(&gru, 3 * DIM);
	outputs(&gru, STEPS * LANES * DIM);
	compare(&gru);

	input(&conv, CONVS * LENGTH * WIDTH);
	input(&conv, FILTERS * HEIGHT * WIDTH);
	input(&conv, FILTERS);
	outputs(&conv, CONVS * FILTERS);
	compare(&conv);

	input(&down, CONVS * LENGTH * WIDTH);
	input(&down, FILTERS * LENGTH);
	outputs(&down, CONVS * FILTERS * WIDTH);
	compare(&down);

	for (int which = 0; which < 2; which++)
	{
		Layer		l = {.name = which ? "BPR-max" : "cross-entropy with logQ",.forward = loss_of,.backward = loss_backward};

		bpr = which;
		input(&l, 24);
		input(&l, 6);
		outputs(&l, 24);
		compare(&l);
	}
}

/* ---------------------------------------------------------------- values */

/* Formulas written out, for one row. */
static void
test_losses(void)
{
	NnReal		s[] = {1, 2, (NnReal) 0.5, 7};
	const int32_t items[] = {4, 5, 6, 4};
	const int32_t target[] = {0};
	double		e = exp(1) + exp(2) + exp(0.5);
	double		n = exp(2) + exp(0.5);
	double		hits = exp(2) / n / (1 + exp(1)) + exp(0.5) / n / (1 + exp(-0.5));
	double		squares = exp(2) / n * 4 + exp(0.5) / n * 0.25;
	NnReal		t[4];
	double		loss;

	memcpy(t, s, sizeof(s));
	nn_loss_prepare(1, 4, items, target, NULL, t);
	loss = nn_loss_cross_entropy(1, 4, target, 1, t);
	ok(fabs(loss + log(exp(1) / e)) < 1e-5, "cross-entropy without the target's double is %g", loss);
	ok(fabs((double) t[3]) < 1e-30, "... which has no gradient");
	memcpy(t, s, sizeof(s));
	nn_loss_prepare(1, 4, items, target, NULL, t);
	loss = nn_loss_bpr_max(1, 4, target, (NnReal) 0.5, 1, t);
	ok(fabs(loss - (-log(hits) + 0.5 * squares)) < 1e-5, "BPR-max is %g", loss);
	t[0] = (NnReal) NAN;
	loss = nn_loss_cross_entropy(1, 4, target, 1, t);
	ok(isnan(loss), "the loss of what is not a number is none");
}

static void
test_dropout(void)
{
	enum {N = 100000};
	NnReal	   *x = zeros(N);
	uint8_t    *where = malloc(N);
	NnRandom	random = {1};
	double		sum = 0;

	for (int i = 0; i < N; i++)
		x[i] = 1;
	nn_dropout_forward(N, (NnReal) 0.25, &random, x, where, x);
	for (int i = 0; i < N; i++)
		sum += (double) x[i];
	ok(fabs(sum / N - 1) < 0.01, "dropout keeps the mean: %g", sum / N);
	free(x);
	free(where);
}

/* The last state alone is that of the whole pass. */
static void
test_last_state(void)
{
	NnReal	   *x = reals(STEPS * IN),
			   *wx = reals(IN * 3 * DIM),
			   *wh = reals(DIM * 3 * DIM),
			   *bias = reals(3 * DIM),
			   *h = zeros(STEPS * DIM),
			   *scratch = zeros((STEPS + 1) * 3 * DIM);
	NnGru		gru = {IN, DIM, wx, wh, bias};
	NnReal		last[DIM];
	double		worst = 0;

	nn_gru_forward(&gru, STEPS, 1, x, NULL, NULL, h, &trace, work);
	nn_gru_last(&gru, STEPS, x, last, scratch, work);
	for (int j = 0; j < DIM; j++)
		worst = fmax(worst, fabs((double) (last[j] - h[(STEPS - 1) * DIM + j])));
	ok(worst < 1e-6, "the encoder ends where training does: difference %.1e", worst);
	free(x);
	free(wx);
	free(wh);
	free(bias);
	free(h);
	free(scratch);
}

static void
test_optimizers(void)
{
	NnAdam		adam = {.rate = 0.1,.beta1 = 0.9,.beta2 = 0.999,.epsilon = 1e-8,.step = 1};
	NnReal		x[6] = {1, 1, 1, 1, 1, 1};
	NnReal		mean[6] = {0},
				square[6] = {0};
	NnReal		g[2] = {(NnReal) 0.3, -2};
	const int32_t row[] = {1};
	double		m,
				v;

	nn_adam_rows(&adam, 1, 2, row, g, x, mean, square);
	ok(x[0] == 1 && x[1] == 1 && x[4] == 1 && x[5] == 1, "Adam leaves other rows alone");
	ok(fabs((double) x[2] - 0.9) < 1e-5 && fabs((double) x[3] - 1.1) < 1e-5, "its first step is the rate");
	g[0] = -1;
	adam.step = 2;
	nn_adam_rows(&adam, 1, 2, row, g, x, mean, square);
	m = (0.9 * 0.1 * 0.3 - 0.1) / (1 - 0.81);
	v = (0.999 * 0.001 * 0.09 + 0.001) / (1 - 0.999 * 0.999);
	ok(fabs((double) x[2] - (0.9 - 0.1 * m / (sqrt(v) + 1e-8))) < 1e-5, "its second as the paper says");

	memset(square, 0, sizeof(square));
	x[2] = x[3] = 1;
	g[0] = 3;
	nn_adagrad_rows(0.1, 0, 1, 2, row, g, x, square);
	g[0] = 4;
	nn_adagrad_rows(0.1, 0, 1, 2, row, g, x, square);
	ok(fabs((double) x[2] - (1 - 0.1 - 0.1 * 4 / 5)) < 1e-6, "Adagrad");
}

/* --------------------------------------------------------------- kernels */

static void
product(bool ta, bool tb, int m, int n, int k, bool add)
{
	NnReal	   *a = reals((size_t) m * k),
			   *b = reals((size_t) n * k),
			   *c = reals((size_t) m * n);
	NnReal	   *before = zeros((size_t) m * n);
	double		worst = 0;

	memcpy(before, c, sizeof(NnReal) * (size_t) m * n);
	nn_gemm(ta, tb, m, n, k, (NnReal) 0.5, a, ta ? m : k, b, tb ? k : n, add, c, n, work);
	for (int i = 0; i < m; i++)
		for (int j = 0; j < n; j++)
		{
			double		sum = 0;

			for (int p = 0; p < k; p++)
				sum += (double) a[ta ? p * m + i : i * k + p] * b[tb ? j * k + p : p * n + j];
			sum = sum / 2 + (add ? (double) before[i * n + j] : 0);
			worst = fmax(worst, fabs(sum - c[i * n + j]));
		}
	ok(worst < 1e-5 * (k + 1), "%s: product %d x %d x %d%s%s%s: error %.1e", nn_kernels()->name, m, n, k,
	   ta ? ", a across" : "", tb ? ", b across" : "", add ? ", added" : "", worst);
	free(a);
	free(b);
	free(c);
	free(before);
}

static void
test_functions(void)
{
	const NnKernels *kernels = nn_kernels();
	NnReal		x[101],
				y[101],
				sum;
	double		worst = 0;

	for (int i = 0; i < 101; i++)
		x[i] = y[i] = (NnReal) (i - 50) * (NnReal) 1.7;
	sum = kernels->exps(101, 80, y);
	for (int i = 0; i < 101; i++)
	{
		worst = fmax(worst, fabs((double) y[i] / exp(fmax((double) x[i] - 80, -87)) - 1) *
					 (x[i] - 80 < -87 ? 0 : 1));
		sum -= y[i];
	}
	ok(worst < 1e-5 && fabs((double) sum) < 1, "%s: exp: error %.1e", kernels->name, worst);
	memcpy(y, x, sizeof(x));
	kernels->sigmoid(101, y);
	worst = 0;
	for (int i = 0; i < 101; i++)
		worst = fmax(worst, fabs((double) y[i] - 1 / (1 + exp(-(double) x[i]))));
	memcpy(y, x, sizeof(x));
	kernels->tanh(101, y);
	for (int i = 0; i < 101; i++)
		worst = fmax(worst, fabs((double) y[i] - tanh((double) x[i])));
	ok(worst < 1e-6, "%s: sigmoid and tanh: error %.1e", kernels->name, worst);
}

static void
test_kernels(void)
{
	static const int sizes[][3] = {
		{1, 1, 1}, {2, 40, 9}, {4, 8, 3}, {13, 33, 5}, {12, 32, 64}, {97, 259, 300}, {5, 7, 0}, {40, 3, 700}
	};
	bool		runs;
	const NnKernels *kernels;

	for (int number = 0; (kernels = nn_kernel_variant(number, &runs)); number++)
	{
		if (!runs)
			continue;
		nn_kernels_choose(kernels);
		for (int i = 0; i < (int) (sizeof(sizes) / sizeof(sizes[0])); i++)
			for (int how = 0; how < 8; how += i < 4 ? 1 : 3)
				product(how & 1, how & 2, sizes[i][0], sizes[i][1], sizes[i][2], how & 4);
		test_functions();
		test_gradients();
	}
	nn_kernels_choose(NULL);
}

int
main(void)
{
	test_kernels();
	test_losses();
	test_dropout();
	test_last_state();
	test_optimizers();
	return unit_end();
}
