"""A hospital's node: its folder, its decisions, its programs."""
