"""Parts of the report page: escaped markup, numbers in words, charts, sections, style.

All of it is Python, so that it travels with the app bundle, which carries no HTML or CSS files.
"""
