"""Training at the server, from what hospitals have released."""
