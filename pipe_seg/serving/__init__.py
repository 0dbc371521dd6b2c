"""The trained network as something that can be asked."""
