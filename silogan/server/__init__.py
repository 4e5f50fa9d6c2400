"""The coordinator: strategy, checkpoints, evaluation, generation, release."""
