"""Checked by mypy --strict and pyright, never run: `assert_type` says what a signature promises."""
