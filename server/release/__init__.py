"""What comes out: the generator and what is drawn from it."""
