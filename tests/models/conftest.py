"""Tensors of tests are small: a second thread would wait more than it works, and take the core of other tests."""

import torch

torch.set_num_threads(1)
