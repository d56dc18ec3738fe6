"""Picture files of every kind, read into arrays."""
