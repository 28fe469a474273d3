"""Ground: height fields and the generators that make them."""
