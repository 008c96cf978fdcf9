"""The same file from three mirrors at once: the first complete answer wins, the other downloads are cancelled.

python examples/mirrors.py
"""

from functools import partial

import anyio
from anyio.abc import SocketAttribute

from unified_exec import Race, TaskScope

FILE = b"the file, byte for byte"


async def mirror(stream, behaviour, hung_up):
    async with stream:
        if behaviour == "broken":
            return  # closes the connection without an answer
        if behaviour == "slow":
            await stream.send(FILE[:3])  # starts, and then stalls
            try:
                await stream.receive()
            except anyio.EndOfStream:
                hung_up.append(behaviour)
            return
        await stream.send(FILE)


async def download(port):
    got = b""
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        while len(got) < len(FILE):
            try:
                got += await stream.receive()
            except anyio.EndOfStream:
                raise ConnectionError(f"only {len(got)} of {len(FILE)} bytes") from None
    return got


async def serve(behaviour, hung_up, *, task_status):
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        task_status.started(listener.extra(SocketAttribute.local_port))
        await listener.serve(partial(mirror, behaviour=behaviour, hung_up=hung_up))


async def main():
    hung_up = []
    async with TaskScope("servers", timeout=30) as servers:
        # anyio's own verb, start, works too.
        ports = {
            behaviour: await servers.start(partial(serve, behaviour, hung_up))
            for behaviour in ("broken", "slow", "good")
        }

        async with TaskScope("race", policy=Race(1)) as race:
            tries = {
                name: race.spawn(download, port, name=name)
                for name, port in ports.items()
            }

        for name, handle in tries.items():
            if handle.cancelled():
                print(name, "was cancelled")
            elif handle.exception() is not None:
                print(name, "failed:", handle.exception())
            else:
                print(name, "won:", handle.result().decode())

        while not hung_up:  # noqa: ASYNC110 - the server notices a moment later
            await anyio.sleep(0.01)
        print("hung up on:", *hung_up)
        servers.cancel("the race is over")


anyio.run(main)
