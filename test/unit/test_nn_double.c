/*
 * test_nn_double.c
 *	  The layers of numeric/nn.h computed in double, where central differences
 *	  show errors of gradients that float would hide.
 */
#define NN_DOUBLE

#include "numeric/nn_kernel.c"
#include "numeric/nn_gemm.c"
#include "numeric/nn_layers.c"
#include "numeric/nn_gru.c"
#include "numeric/nn_conv.c"
#include "numeric/nn_loss.c"
#include "numeric/nn_optimize.c"

#include "test_nn.c"
