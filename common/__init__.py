"""What the hospitals and the coordinator must agree on, and nothing else."""

__version__ = "0.1.0"
