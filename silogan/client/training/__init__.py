"""Training at one site, behind the mechanism."""
