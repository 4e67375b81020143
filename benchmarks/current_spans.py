"""Instructions of sends whose receivers' spans are current for OpenTelemetry.

    python benchmarks/current_spans.py

With this interpreter, which needs opentelemetry-sdk. Ratios to stock Django, beside those of the
default settings.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import environments, measuring

MODES = ("stock", "default", "current-spans")
WORKLOADS = (
    (measuring.CACHING, ("caching-1", "caching-3", "caching-10")),
    (measuring.ASEND, measuring.ASEND.workloads),
)


def main() -> int:
    """Count and print; return the exit status."""
    if reason := measuring.can_count():
        print(f"Instructions cannot be counted: {reason}.")
        return 1
    here = environments.describe(Path(sys.executable))
    print(here)
    for family, workloads in WORKLOADS:
        counted = {
            mode: measuring.count(
                here, family, mode, progress=lambda _text: None, workloads=workloads
            )
            for mode in MODES
        }
        for workload in workloads:
            stock, *others = (counted[mode][workload] for mode in MODES)
            ratios = ", ".join(
                f"{mode} {number / stock:.2f}"
                for mode, number in zip(MODES[1:], others, strict=True)
            )
            print(f"{workload}: stock {stock:,.0f}, {ratios}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
