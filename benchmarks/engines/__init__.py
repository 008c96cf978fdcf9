"""How each library opens warm workers and calls functions in them."""
