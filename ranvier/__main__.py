"""`python -m ranvier` and the command `ranvier`: the command line."""

from __future__ import annotations

import sys

INTERRUPTED = 130


def main() -> None:
    """Run the command line on the arguments of the process and leave with its exit status."""
    try:
        from ranvier.runtime.cli.application import application

        application(prog_name="ranvier")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
