"""Training: another graph and a short loop, on NumPy or CuPy alike.

from minicam.ops import CrossEntropy
from minicam.training import AdamW, cosine, train

trained = train(network, batch, loss=CrossEntropy(), scores="fc", optimizer=AdamW(), schedule=cosine(1e-3, 2000),
                steps=2000)
"""

from minicam.ops import CrossEntropy, MeanSquaredError
from minicam.training.gradients import loss_and_gradients
from minicam.training.graph import TrainingGraph, trainable, training_graph
from minicam.training.loop import train
from minicam.training.optimizers import SGD, AdamW, Optimizer
from minicam.training.schedules import Schedule, constant, cosine, polynomial, warm_up, warm_up_constant_decay

__all__ = [
    "SGD",
    "AdamW",
    "CrossEntropy",
    "MeanSquaredError",
    "Optimizer",
    "Schedule",
    "TrainingGraph",
    "constant",
    "cosine",
    "loss_and_gradients",
    "polynomial",
    "train",
    "trainable",
    "training_graph",
    "warm_up",
    "warm_up_constant_decay",
]
