"""The site: `make docs` builds it into build/docs, without a network."""

import shutil
import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS.parent), str(DOCS / "extensions")]

import inventories  # noqa: E402

import learnkit  # noqa: E402

project = "learnkit"
author = "The learnkit developers"
copyright = author
version = release = learnkit.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "docstrings",
    "hints",
    "reference",
    "twins",
]
exclude_patterns = ["README.md", "**sg_execution_times.rst"]

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3  # links to headings as on a page of the repository

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_default_options = {
    "members": True,
    # All but those of these:
    "inherited-members": "Callback,Module,Exception,BaseException,Warning,Enum,int,object,str,tuple",
}
autodoc_class_signature = "mixed"
autosummary_generate = False  # reference.py writes the pages
napoleon_numpy_docstring = False
napoleon_custom_sections = [("Columns", "params_style")]
napoleon_use_ivar = True
napoleon_use_rtype = False
python_maximum_signature_line_length = 100
default_role = "name_or_code"

# The places of what our signatures name, stored: a build needs no network. `make docs ARGS="-t online"` fetches all.
intersphinx_mapping = inventories.mapping(online=tags.has("online"))  # type: ignore[name-defined]  # noqa: F821

# The gallery: what is headed, with a title underlined in its docstring.
GALLERY = DOCS.parent / "build" / "gallery"
shutil.rmtree(GALLERY, ignore_errors=True)
GALLERY.mkdir(parents=True)
for file in [DOCS.parent / "examples" / "GALLERY_HEADER.rst", *(DOCS.parent / "examples").glob("*.py")]:
    if file.suffix == ".rst" or file.read_text(encoding="utf-8").partition("\n")[2].startswith("==="):
        shutil.copy2(file, GALLERY)

sphinx_gallery_conf = {
    "examples_dirs": str(GALLERY),
    "gallery_dirs": "gallery",
    "filename_pattern": "plot_",  # those are run here, and show their pictures; the slow tests run all
    "within_subsection_order": "FileNameSortKey",
    "remove_config_comments": True,
    "default_thumb_file": str(DOCS / "images" / "report.png"),
    "show_memory": False,
    "min_reported_time": 5,
    # Jupyter has arguments of its own, which argparse would refuse.
    "first_notebook_cell": 'import sys\n\nsys.argv[1:] = []  # the arguments of the script, such as ["--tiny"]',
}

html_theme = "furo"
html_title = "learnkit"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False
pygments_style = "friendly"
pygments_dark_style = "monokai"
copybutton_exclude = ".linenos, .gp, .go"

# External links, with a network: make docs ARGS="-b linkcheck"
linkcheck_ignore = [r"https://example\.org/.*", r"http://(localhost|127\.0\.0\.1).*"]
