"""`python -m learnkit ...` is the same as `learnkit ...`."""

import sys

from learnkit.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
