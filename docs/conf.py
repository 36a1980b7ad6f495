"""How `make docs` builds the documentation. Pages load nothing from a network, at build time or at view time."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from mossa import __version__

project = "mossa"
author = "The mossa authors"
copyright = author
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "extension"]
exclude_patterns = ["_build", "extension"]
nitpicky = False

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}

html_theme = "furo"
html_title = "mossa"
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}
html_css_files = ["wide-tables.css"]
html_static_path = ["static"]
