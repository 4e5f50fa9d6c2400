"""The release: the generator and records drawn from it."""
