"""Pure parts: no event loop, no clock, no sleep."""
