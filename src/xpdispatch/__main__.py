"""``python -m xpdispatch``: the same as the command ``xpdispatch``."""

import sys

from xpdispatch.shell.cli import main

if __name__ == "__main__":
    sys.exit(main())
