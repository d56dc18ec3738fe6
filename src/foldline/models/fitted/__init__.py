"""Heads that are fitted on columns of numbers, without gradients: a head is a function here and a line in HEADS."""
