"""A display of a network that keeps what it is told."""

from mschedx.networks.progress import NetworkProgress


class Noting(NetworkProgress):
    def __init__(self):
        super().__init__()
        self.notes, self.updates = [], []

    def note(self, text):
        self.notes.append(text)

    def update(self, one, trials):
        super().update(one, trials)
        self.updates.append((one.task.name, len(trials)))
