"""A cluster of machines by Ray: which machine trains a fold, and how its files get there and back."""
