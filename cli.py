"""``python cli.py …`` is ``pipe-seg …``."""

from pipe_seg.cli import main

if __name__ == "__main__":
    main()
