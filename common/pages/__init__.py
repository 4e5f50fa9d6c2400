"""Parts of pages: escaped markup, charts, numbers in words, style."""
