"""From TFDS examples to what the network eats."""
