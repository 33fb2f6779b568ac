"""implicit_als.py: the PyPI library "implicit" under the conditions of als_bench.

    implicit_als.py TRAIN TEST FACTORS ITERATIONS USERS ALPHA REGULARIZATION

TRAIN and TEST have lines "user TAB item", maybe a title first.  Prints a line
"iteration N seconds S" for each iteration, seconds of training so far, and, if
USERS is not 0, also "recall R": Recall@20 of the first USERS users, all items
ranked but those of TRAIN.  Conjugate gradient on all cores, the library's own.
"""
import os
import sys
import time

# as the library itself recommends: its threads are over users
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"

import numpy as np
import scipy.sparse as sp
from implicit.cpu.als import AlternatingLeastSquares

K = 20


def pairs(path):
    with open(path) as file:
        title = not file.read(1).isdigit()
    return np.loadtxt(path, dtype=np.int32, delimiter="\t", skiprows=int(title), usecols=(0, 1))


def matrix(rows, shape):
    return sp.csr_matrix((np.ones(len(rows), np.float32), (rows[:, 0], rows[:, 1])), shape=shape)


def recall(model, train, test, users):
    total, n = 0.0, 0
    for begin in range(0, users, 500):
        some = np.arange(begin, min(begin + 500, users))
        scores = model.user_factors[some] @ model.item_factors.T
        for row, user in enumerate(some):
            wanted = test.indices[test.indptr[user]:test.indptr[user + 1]]
            if len(wanted) == 0:
                continue
            scores[row, train.indices[train.indptr[user]:train.indptr[user + 1]]] = -np.inf
            best = np.argpartition(-scores[row], K)[:K]
            total += len(np.intersect1d(best, wanted)) / len(wanted)
            n += 1
    return total / n


def main():
    train, test = pairs(sys.argv[1]), pairs(sys.argv[2])
    factors, iterations, users = map(int, sys.argv[3:6])
    alpha, regularization = map(float, sys.argv[6:8])
    shape = tuple(np.maximum(train.max(axis=0), test.max(axis=0)) + 1)
    train, test = matrix(train, shape), matrix(test, shape)
    users = min(users, shape[0])
    model = AlternatingLeastSquares(factors=factors, alpha=alpha, regularization=regularization,
                                    iterations=iterations, num_threads=os.cpu_count(), random_state=1)
    seconds = 0.0

    def after(iteration, took, *_):
        nonlocal seconds
        seconds += took
        quality = " recall %.5f" % recall(model, train, test, users) if users else ""
        print("iteration %d seconds %.4f%s" % (iteration + 1, seconds, quality), flush=True)

    begin = time.time()
    model.fit(train, show_progress=False, callback=after)
    if not seconds:
        print("iteration %d seconds %.4f" % (iterations, time.time() - begin))


main()
