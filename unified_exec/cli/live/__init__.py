"""`unified-exec ps` and `tree`: looking at running programs."""
