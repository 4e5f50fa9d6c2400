"""The rounds: instruct, check, aggregate, checkpoint."""
