"""Many tasks, random operations; the long ones are marked `soak`."""
