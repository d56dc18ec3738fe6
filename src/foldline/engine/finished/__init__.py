"""Finished networks: a run's or an ensemble's folder is read, and predicts rows or new pictures."""
