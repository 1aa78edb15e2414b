"""`python -m learnkit ...` does what `learnkit ...` does."""

import sys

from learnkit.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
