"""Everything that hospitals and coordinator must agree on, and nothing else."""

__version__ = "0.1.0"
