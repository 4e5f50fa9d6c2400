"""What hospitals and coordinator send each other."""
