"""One round after the other: ask, check, combine, remember."""
