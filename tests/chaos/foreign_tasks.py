"""What somebody else runs with plain RQ on the same Redis; it writes down that it ran."""

from __future__ import annotations

import os
import time


def work(number: int) -> int:
    """Write a line and take a moment."""
    ledger = os.open(os.environ["FOREIGN_LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(ledger, f"{number}\n".encode())
    os.close(ledger)
    time.sleep(0.01)
    return number
