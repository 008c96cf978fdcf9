"""An event loop by anyio, and nothing in it."""

import anyio


async def main() -> None:
    pass


if __name__ == "__main__":
    anyio.run(main)
