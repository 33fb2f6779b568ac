/*
 * gru4rec.c
 *	  gru4rec: what comes next, by a recurrent network that reads the history in
 *	  the order of time; as declared.  See gru4rec.h.
 */
#include "postgres.h"

#include <limits.h>

#include "models/gru4rec.h"

static const char *const losses[] = {"cross-entropy", "bpr-max", NULL};
static const char *const optimizers[] = {"adam", "adagrad", NULL};

/* Named as in the original where it has them. */
const ParamSpec gru4rec_params[] = {
	/* length of the state and of the items' vectors */
	{.name = "layers", PARAM_INT, 1, 1024, 100},
	/* passes over all histories, at most */
	{.name = "n_epochs", PARAM_INT, 1, 10000, 60},
	/* histories read side by side */
	{.name = "batch_size", PARAM_INT, 1, 4096, 64},
	/* events over which gradients go back */
	{.name = "steps", PARAM_INT, 1, 200, 4},
	{.name = "learning_rate", PARAM_FLOAT, 1e-6, 1e30, 0.003},
	{.name = "optimizer", PARAM_ENUM, .boot = GRU4REC_ADAM, .words = optimizers},
	{.name = "loss", PARAM_ENUM, .boot = GRU4REC_CROSS_ENTROPY, .words = losses},
	/* negatives drawn for a batch, beside the items that came in it ... */
	{.name = "n_sample", PARAM_INT, 0, 100000, 2048},
	/* ... with this power of popularity */
	{.name = "sample_alpha", PARAM_FLOAT, 0, 2, 0.5},
	/* cross-entropy: how much of the sample's log probability is taken off */
	{.name = "logq", PARAM_FLOAT, 0, 1, 0},
	/* BPR-max: weight of the squared scores of negatives */
	{.name = "bpreg", PARAM_FLOAT, 0, 1000, 1},
	{.name = "dropout_p_embed", PARAM_FLOAT, 0, 0.95, 0.25},
	{.name = "dropout_p_hidden", PARAM_FLOAT, 0, 0.95, 0.25},
	/* share of the items of a history that an epoch leaves out */
	{.name = "item_dropout", PARAM_FLOAT, 0, 0.95, 0.3},
	/* share of the histories whose last item tells when to stop */
	{.name = "validation", PARAM_FLOAT, 0, 0.5, 0.1},
	/* epochs without a better one, after which it ends ... */
	{.name = "patience", PARAM_INT, 1, 10000, 6},
	/* ... or goes on from the best with a quarter of the rate, so many times */
	{.name = "rate_drops", PARAM_INT, 0, 100, 2},
	/* a training starts from the version that there is, if its parameters fit */
	{.name = "warm_start", PARAM_BOOL, 0, 1, 1},
	/* share of the way to its right score that a new event moves an item; 0 = never */
	{.name = "online_rate", PARAM_FLOAT, 0, 10, 0.5},
	/* of all that is drawn at random */
	{.name = "seed", PARAM_INT, 0, INT_MAX, 1},
	/* seconds after which it is trained again, if there are new events; 0 = never */
	{.name = "retrain_interval", PARAM_FLOAT, 0, 1e9, 86400},
	/* new events, as a share of those it was trained on, after which it is
	 * trained again; 0 = never */
	{.name = "retrain_share", PARAM_FLOAT, 0, 1e6, 0.2},
	{.name = NULL}
};

/* More is not worth its time. */
#define MAX_VALIDATION	2000

void
gru4rec_params_of(const Jsonb *params, Gru4recLearn *learn)
{
	Gru4recParams *p = &learn->params;

	memset(learn, 0, sizeof(Gru4recLearn));
	p->dim = (int) params_get(params, "layers");
	p->batch_size = (int) params_get(params, "batch_size");
	p->steps = (int) params_get(params, "steps");
	p->learning_rate = params_get(params, "learning_rate");
	p->optimizer = params_get_enum(params, "optimizer", optimizers);
	p->loss = params_get_enum(params, "loss", losses);
	p->n_sample = (int) params_get(params, "n_sample");
	p->sample_alpha = params_get(params, "sample_alpha");
	p->logq = params_get(params, "logq");
	p->bpreg = params_get(params, "bpreg");
	p->dropout_p_embed = params_get(params, "dropout_p_embed");
	p->dropout_p_hidden = params_get(params, "dropout_p_hidden");
	p->item_dropout = params_get(params, "item_dropout");
	p->seed = (uint64) params_get(params, "seed");
	learn->n_epochs = (int) params_get(params, "n_epochs");
	learn->validation = params_get(params, "validation");
	learn->max_validation = MAX_VALIDATION;
	learn->patience = (int) params_get(params, "patience");
	learn->rate_drops = (int) params_get(params, "rate_drops");
	learn->seen_excluded = true;
}

void
gru4rec_parts(int dim, float *weights, ModelWeights *parts)
{
	parts[0] = (ModelWeights) {"wx", 2, {dim, 3 * dim}, weights + gru4rec_wx(dim)};
	parts[1] = (ModelWeights) {"wh", 2, {dim, 3 * dim}, weights + gru4rec_wh(dim)};
	parts[2] = (ModelWeights) {"bias", 1, {3 * dim}, weights + gru4rec_bias(dim)};
}

extern const ModelAlgorithm gru4rec_algorithm;

const ModelAlgorithm gru4rec_algorithm = {
	.name = "gru4rec",
	.params = gru4rec_params,
	.create_sql = weights_create_sql,
	.drop_sql = weights_drop_sql,
	.factors_sql = embedding_factors_sql,
	.trained = true,
	.ranks_all = true,
	.open = gru4rec_open,
	.close = gru4rec_close,
	.build = gru4rec_build,
	.change = gru4rec_change,
	.publish = gru4rec_publish,
	.flush = gru4rec_flush,
	.forget_item = gru4rec_forget_item,
	.reset = gru4rec_reset,
	.memory = gru4rec_memory,
	.published = gru4rec_published,
	.retrained = gru4rec_retrained,
	.training_need = gru4rec_training_need,
	.has_version = gru4rec_has_version,
	.recommend = gru4rec_recommend,
	.similar_items = gru4rec_similar_items,
	.predict = gru4rec_predict,
	.explain = gru4rec_explain,
	.user_factors = gru4rec_user_factors,
};
