"""Training at the server, from released statistics and networks."""
