"""`python -m foldline` is the command `foldline`."""

from foldline.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
