"""What happens in which order: components into datasets, trainings, recipes and comparisons."""
