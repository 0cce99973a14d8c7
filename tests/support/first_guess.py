"""An analytical stand-in: it wants every decision near 4, and notes how often it is asked."""

import numpy as np


class FirstGuess:
    def __init__(self, sign=1.0):
        self.sign, self.passes, self.learnt = sign, [], []

    def ready(self, task):
        return True

    def learn(self, task, measured):
        self.learnt.append(sum(len(part.configs) for part in measured))

    def score(self, task, asked):
        self.passes.append(sum(len(configs) for _, configs in asked))
        return np.concatenate([self.sign * guess(configs) for _, configs in asked])

    def save(self, path):
        """Nothing is learnt."""

    def load(self, path):
        """Nothing is learnt."""


def guess(configs):
    """Higher where decisions are nearer to 4: [n]."""
    return 1000.0 - ((np.log2(np.maximum(configs, 1)) - 2) ** 2).sum(axis=1)
