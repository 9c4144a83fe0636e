"""`python -m tunebench_operator`: the command line."""

from __future__ import annotations

from tunebench_operator.cli import main

if __name__ == "__main__":
    main()
