"""`unified-exec advise`: where a function of the user's should run, from measurements of that very function."""
