"""The address of a database: passes each connection on to the port that a file names, as a virtual address or a proxy does."""

import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / "clients/testing")]

from cut import Line  # noqa: E402


def main(file):
    line = Line([], cuts=0)
    print(line.url, flush=True)
    while True:
        line.ports = [int(Path(file).read_text())]
        time.sleep(0.05)


if __name__ == "__main__":
    main(sys.argv[1])
