#!/usr/bin/env python3
"""Runs the Autobahn cases (those without compression) against the echo example, which answers with the
connection code of the server. Fails unless every case has exactly the verdict that is expected of it."""

import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

# Named as they are known: nothing may join them, and what leaves them is to be taken off this list.
# 6.4.3 and 6.4.4 ask that invalid UTF-8 be noticed in the middle of a frame; here it is noticed when
# the frame is whole, which RFC 6455 allows. The others have no right answer.
EXPECTED = {
    "6.4.3": "NON-STRICT",
    "6.4.4": "NON-STRICT",
    "7.1.6": "INFORMATIONAL",
    "7.13.1": "INFORMATIONAL",
    "7.13.2": "INFORMATIONAL",
}
CASES = 301
SECONDS_MAX = 240


def verdict(case):
    """One word for a case: how it behaved, or how it closed where that was wrong."""
    behavior, close = case["behavior"], case["behaviorClose"]
    return behavior if close in ("OK", "INFORMATIONAL") else close


def run(address, reports):
    """Runs the cases; kosoku's exit code says less than its report."""
    kosoku = Path(__file__).parent.parent / ".tools/venv/bin/kosoku"
    command = [kosoku, "-m", "fuzzingclient", "-x", "12.*", "-x", "13.*", "-p", "4", "-o", reports, address]
    subprocess.run(command, timeout=SECONDS_MAX, check=False)
    agents = json.loads((Path(reports) / "index.json").read_text())
    (cases,) = agents.values()
    return {name: verdict(case) for name, case in cases.items()}


def main(echo):
    server = subprocess.Popen([echo, "127.0.0.1:0"], stdout=subprocess.PIPE, text=True)
    try:
        address = server.stdout.readline().strip().rpartition("://")[2]
        with tempfile.TemporaryDirectory() as reports:
            verdicts = run(address, reports)
    finally:
        server.kill()
        server.wait()
    counts = Counter(verdicts.values())
    print(f"Autobahn: {len(verdicts)} cases:", ", ".join(f"{n} {word}" for word, n in counts.most_common()))
    for name, word in verdicts.items():
        if word != "OK":
            print(f"  {name} {word}")
    wrong = {n: w for n, w in verdicts.items() if w != EXPECTED.get(n, "OK")}
    if wrong or len(verdicts) != CASES:
        sys.exit(f"expected {CASES} cases; not as expected: {wrong}")


if __name__ == "__main__":
    main(sys.argv[1])
