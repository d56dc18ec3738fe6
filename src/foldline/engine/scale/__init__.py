"""Past one process: a GPU pool, torch's launcher, Slurm and Ray start the same commands, and nothing else."""
