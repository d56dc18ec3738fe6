"""A bundle run here as Kaggle would run it: a hidden test set, a sandbox without network, and a grade.

Reads a bundle, the raw files and a run's OOF predictions; writes below a temporary folder alone.
"""
