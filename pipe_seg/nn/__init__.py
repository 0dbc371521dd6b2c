"""Networks, losses and metrics in pure Keras 3: they run on every Keras backend."""
