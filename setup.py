"""The project page of a release: with LEARNKIT_URL, the address of the repository, its links are absolute.

A package index shows the README away from the files that it links to. Everything else is in setup.cfg.
"""

import os
import re
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).parent


def absolute(text: str, url: str, tag: str) -> str:
    """Markdown whose pictures and links into the repository are those of a tag of it, wherever it is shown."""
    text = re.sub(r"""(!\[[^]]*\]\(|<img src=")(?![a-z]+:|#)""", rf"\1{url}/raw/{tag}/", text)
    return re.sub(r"((?<!!)\[(?:[^][]|!\[[^]]*\]\([^)]*\))*\]\()(?![a-z]+:|#)", rf"\1{url}/blob/{tag}/", text)


def page(url: str) -> dict[str, object]:
    """What a release's page shows, beside what is in setup.cfg."""
    init = (HERE / "learnkit" / "__init__.py").read_text(encoding="utf-8")
    version = re.search(r'^__version__ = "(.+)"$', init, re.MULTILINE)
    assert version is not None
    tag = f"v{version[1]}"
    return {
        "long_description": absolute((HERE / "README.md").read_text(encoding="utf-8"), url, tag),
        "long_description_content_type": "text/markdown",
        "project_urls": {
            "Source": url,
            "Documentation": f"{url}/blob/{tag}/docs/index.md",
            "Changelog": f"{url}/blob/{tag}/CHANGELOG.md",
            "Issues": f"{url}/issues",
        },
    }


if __name__ == "__main__":
    setup(**page(os.environ["LEARNKIT_URL"].rstrip("/")) if os.environ.get("LEARNKIT_URL") else {})
