"""Shared parts of HTML pages: frame, charts, formatted numbers, style."""
