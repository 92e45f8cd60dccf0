"""Settings of the documentation site."""

import importlib.metadata

project = "Penstock"
author = "The Penstock developers"
version = release = importlib.metadata.version("penstock")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "examples"]
html_theme = "furo"
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
nitpicky = False
