"""The ladder: what each rung of a recipe adds, with its interval, trained on frozen splits and several seeds."""
