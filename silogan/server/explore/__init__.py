"""A look into a finished run's generator: sheets of what it draws, and of where a critic or classifier looks."""
