"""An event loop by asyncio, and nothing in it."""

import asyncio


async def main() -> None:
    pass


if __name__ == "__main__":
    asyncio.run(main())
