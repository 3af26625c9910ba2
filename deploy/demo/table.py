#!/usr/bin/env python3
"""Draws a table of the newest value of each key while it reads them from standard input, one JSON object per line.

On a terminal the table is drawn in place, twice a second; otherwise it is printed every few seconds. Ends with its input.
The argument is a file whose last lines are shown above it.
"""
import json
import os
import select
import signal
import sys
import time

ROWS = 12
BAR = 32
NEWS = 6
WIDTH = 100


def read_news(path):
    """The last lines of the file."""
    try:
        with open(path, encoding="utf-8", errors="replace") as news:
            return [line.rstrip("\n")[:WIDTH] for line in news][-NEWS:]
    except OSError:
        return []


def parse(value):
    """Bids and the highest of them: the first version of the operator only counts."""
    value = json.loads(value)
    return (value, None) if isinstance(value, int) else (value["bids"], value["highest"])


def draw(auctions, records, rate, news):
    lines = [*news, *[""] * (NEWS - len(news)), ""]
    lines.append(f"{records:>12,} results so far   {rate:>9,.0f} per second   {len(auctions):>7,} auctions")
    lines.append("")
    top = sorted(auctions.items(), key=lambda item: (-item[1][0], item[0]))[:ROWS]
    most = top[0][1][0] if top else 1
    for key, (bids, highest) in top:
        bar = "█" * max(1, round(BAR * bids / most))
        price = "" if highest is None else f"highest {highest:>13,}  "
        lines.append(f"  auction {key:>8} {bids:>9,} bids  {price}{bar}")
    lines.extend([""] * (ROWS - len(top)))
    return lines


def lines_of(stream):
    """Lists of complete lines as they arrive; an empty list after a quarter of a second without any."""
    descriptor, rest = stream.fileno(), b""
    while True:
        ready, _, _ = select.select([descriptor], [], [], 0.25)
        if not ready:
            yield []
            continue
        piece = os.read(descriptor, 1 << 20)
        if not piece:
            return
        *complete, rest = (rest + piece).split(b"\n")
        yield complete


def main():
    news = sys.argv[1] if len(sys.argv) > 1 else os.devnull
    live = sys.stdout.isatty()
    pause = 0.5 if live else 4.0
    auctions, records, drawn, shown, before = {}, 0, 0, time.monotonic(), 0
    for lines in lines_of(sys.stdin.buffer):
        for line in lines:
            result = json.loads(line)
            auctions[result["key"]] = parse(result["value"])
            records += 1
        now = time.monotonic()
        if now - shown < pause or not records:
            continue
        table = draw(auctions, records, (records - before) / (now - shown), read_news(news))
        if live and drawn:
            sys.stdout.write(f"\x1b[{drawn}F\x1b[J")
        sys.stdout.write("\n".join(table) + "\n")
        sys.stdout.flush()
        drawn, shown, before = len(table), now, records
    print("\n".join([*read_news(news), "", f"{records:>12,} results, {len(auctions):,} auctions"]))
    return 0 if records else 1


if __name__ == "__main__":
    # Ctrl-C ends the pipeline, which drains; what it still writes is shown.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(main())
