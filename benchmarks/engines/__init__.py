"""Each library behind one face: open warm workers, run batches of calls, time them."""
