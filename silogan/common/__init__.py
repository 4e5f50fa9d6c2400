"""Everything that hospitals and coordinator must agree on, and nothing else."""
