"""A scenario: the whole study as one typed, frozen value, and how it is read."""
