#!/usr/bin/env python3
"""Draws a table of the newest value of each key while it reads them from standard input, one JSON object per line.

On a terminal the table is drawn in place, twice a second; otherwise it is printed every few seconds. Ends with its input.
"""
import json
import os
import select
import signal
import sys
import time

ROWS = 12
BAR = 40


def draw(counts, records, rate, title):
    lines = [title, ""]
    lines.append(f"{records:>12,} results so far   {rate:>9,.0f} per second   {len(counts):>7,} auctions")
    lines.append("")
    top = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:ROWS]
    most = top[0][1] if top else 1
    for key, count in top:
        bar = "█" * max(1, round(BAR * count / most))
        lines.append(f"  auction {key:>8} {count:>9,} bids  {bar}")
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
    title = sys.argv[1] if len(sys.argv) > 1 else ""
    live = sys.stdout.isatty()
    pause = 0.5 if live else 4.0
    counts, records, drawn, shown, before = {}, 0, 0, time.monotonic(), 0
    for lines in lines_of(sys.stdin.buffer):
        for line in lines:
            result = json.loads(line)
            counts[result["key"]] = int(result["value"])
            records += 1
        now = time.monotonic()
        if now - shown < pause or not records:
            continue
        table = draw(counts, records, (records - before) / (now - shown), title)
        if live and drawn:
            sys.stdout.write(f"\x1b[{drawn}F\x1b[J")
        sys.stdout.write("\n".join(table) + "\n")
        sys.stdout.flush()
        drawn, shown, before = len(table), now, records
    print("\n".join(draw(counts, records, 0, title)[2:3]))
    return 0 if records else 1


if __name__ == "__main__":
    # Ctrl-C ends the pipeline, which drains; what it still writes is shown.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(main())
