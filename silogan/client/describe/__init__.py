"""How a table is described: a draft from a file, and a description in words."""
