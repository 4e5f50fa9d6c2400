"""A federation on one machine, as hospitals would run it."""
