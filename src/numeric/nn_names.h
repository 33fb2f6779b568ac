/*
 * nn_names.h
 *	  The type that the layers of nn.h compute with: float, or, for the tests of
 *	  their gradients, double under NN_DOUBLE.  Both builds of the same files can
 *	  then be linked together, so the names of one of them differ.
 */
#ifndef RECSYS_NUMERIC_NN_NAMES_H
#define RECSYS_NUMERIC_NN_NAMES_H

#ifndef NN_DOUBLE
typedef float NnReal;
#else
typedef double NnReal;

#define nn_kernels nn_kernels_double
#define nn_kernels_choose nn_kernels_choose_double
#define nn_kernel_variant nn_kernel_variant_double
#define nn_gemm nn_gemm_double
#define nn_embedding_forward nn_embedding_forward_double
#define nn_embedding_backward nn_embedding_backward_double
#define nn_dense_forward nn_dense_forward_double
#define nn_dense_backward nn_dense_backward_double
#define nn_activate nn_activate_double
#define nn_activate_backward nn_activate_backward_double
#define nn_dropout_forward nn_dropout_forward_double
#define nn_dropout_backward nn_dropout_backward_double
#define nn_norm_forward nn_norm_forward_double
#define nn_norm_backward nn_norm_backward_double
#define nn_gru_forward nn_gru_forward_double
#define nn_gru_backward nn_gru_backward_double
#define nn_gru_last nn_gru_last_double
#define nn_conv_forward nn_conv_forward_double
#define nn_conv_backward nn_conv_backward_double
#define nn_conv_down_forward nn_conv_down_forward_double
#define nn_conv_down_backward nn_conv_down_backward_double
#define nn_loss_prepare nn_loss_prepare_double
#define nn_loss_cross_entropy nn_loss_cross_entropy_double
#define nn_loss_bpr_max nn_loss_bpr_max_double
#define nn_adam_rows nn_adam_rows_double
#define nn_adagrad_rows nn_adagrad_rows_double
#endif

#endif							/* RECSYS_NUMERIC_NN_NAMES_H */
