"""What `mossa diff` takes: all 60 tasks of TinyFLAN, base `a` against `b`, in which every layer differs.

`python benchmarks/diff.py [--examples 100]` on one thread; processor seconds count, for other programs take wall time.
"""

from __future__ import annotations

import argparse
import tempfile
import time

import torch

import mossa


def main() -> None:
    """Measure the comparison and the writing of file and page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=100, help="of each task")
    examples = parser.parse_args().examples
    torch.set_num_threads(1)
    wall, spent = time.monotonic(), [time.process_time()]
    found = mossa.diff("tinyflan:a", "tinyflan:b", "tinyflan", examples=examples, template="{prompt}", device="cpu")
    spent.append(time.process_time())
    with tempfile.TemporaryDirectory() as folder:
        found.write(folder)
    spent.append(time.process_time())
    print(f"{len(found.final)} tasks x {examples} examples, one thread")
    print(f"compared {spent[1] - spent[0]:7.1f} s of the processor (imports included)")
    print(f"written  {spent[2] - spent[1]:7.1f} s")
    print(f"in all   {spent[2] - spent[0]:7.1f} s, {time.monotonic() - wall:.1f} s by the clock")


if __name__ == "__main__":
    main()
