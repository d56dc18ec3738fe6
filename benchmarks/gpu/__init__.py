"""The parts of `make gpu-check`: one file for a few of them, `parts.py` lists all."""
