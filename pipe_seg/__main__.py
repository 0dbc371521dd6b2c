"""``python -m pipe_seg``: the command line."""

from pipe_seg.cli import main

main()
