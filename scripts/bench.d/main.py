"""The bench: makes the inputs, measures, prints the table. scripts/bench says what it measures."""

import argparse
import signal
import sys
import traceback

PARTS = ["convert", "memory", "transformers", "hash", "manifests", "inspect", "verify", "deep", "pickles", "dcp", "zero", "gguf", "packed", "many"]


def arguments():
    about = "Speed and memory against cp, openssl and transformers."
    parser = argparse.ArgumentParser(prog="scripts/bench", description=about)
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="runs of each; the median counts (default: 5)")
    parser.add_argument("--only", action="append", choices=PARTS, help="measure that part only (repeatable)")
    parser.add_argument("--quick", action="store_true", help="small inputs, to try the bench; no target is judged")
    parser.add_argument("--readme", action="store_true", help="also write the table into README.md")
    parser.add_argument("--keep", action="store_true", help="leave the inputs for the next run")
    wanted = parser.parse_args()
    if wanted.runs < 1:
        parser.error("--runs must be at least 1")
    if wanted.readme and (wanted.quick or wanted.only):
        parser.error("--readme wants the whole table at full size: leave out --quick and --only")
    return wanted


def stop(number, _frame):
    sys.exit(128 + number)


def main():
    wanted = arguments()
    # Imported once the options are right: what follows wants the tools and the oracle.
    import parts
    import table
    import trainers
    import trust
    from inputs import Failure, Inputs

    # An orderly exit removes what was written.
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    try:
        inputs = Inputs(wanted.quick)
        try:
            chosen = [name for name in PARTS if name in (wanted.only or PARTS)]
            every = parts.PARTS | trust.PARTS | trainers.PARTS
            rows = [row for name in chosen for row in every[name](inputs, wanted.runs)]
        finally:
            inputs.clean(wanted.keep)
        if wanted.quick:
            for row in rows:
                row.met = None
        text = table.markdown(rows, wanted.runs, wanted.quick)
        if wanted.readme:
            table.fill_readme(text)
    except (Failure, OSError) as failure:
        print(f"bench: {failure}", file=sys.stderr)
        return 2
    except Exception:  # A mistake in the bench is no missed target: exit 1 is kept for those.
        traceback.print_exc()
        return 2
    print(text)
    return 1 if any(row.met is False for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
