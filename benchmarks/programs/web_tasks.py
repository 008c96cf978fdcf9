"""What the workers of web_server.py run."""


def compute(turns: int) -> int:
    total = 0
    for turn in range(turns):
        total += turn & 7
    return total
