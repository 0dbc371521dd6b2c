"""PipeSeg: sewer-pipe defects, from boxes to contours, honestly measured and served."""

__version__ = "0.1.0"
