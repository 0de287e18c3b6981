#!/usr/bin/env python3
"""Writes the golden cases: small inputs, and outputs that somebody else's code computed for them.

    python3 -m venv build/venv && build/venv/bin/pip install -r tests/golden/requirements.txt
    build/venv/bin/python tests/golden/generate.py            every mechanism
    build/venv/bin/python tests/golden/generate.py dense      one mechanism
    build/venv/bin/python tests/golden/generate.py --check    is what is committed what this program writes?

A mechanism is one file beside this one, say dense.py, with

    PACKAGES    whose versions case.json names, say ["numpy", "torch"]
    cases()     yields `Case`s (case.py); their folders are dense/<case name>/

The tests of this project read the folders only. They need neither Python nor this program.
"""
import argparse
import importlib
import importlib.metadata
import json
import pathlib
import shutil
import sys
import tempfile

import numpy as np

from case import seed_of

HERE = pathlib.Path(__file__).resolve().parent
MECHANISMS = sorted(path.stem for path in HERE.glob("*.py") if path.stem not in ("generate", "case"))


def write(mechanism, root):
    """Replaces root/<mechanism>/ and returns how many cases that is."""
    module = importlib.import_module(mechanism)
    # "2.15.0+cpu" and "2.15.0+cu130" are one version here.
    versions = ", ".join(f"{name} {importlib.metadata.version(name).split('+')[0]}" for name in module.PACKAGES)
    shutil.rmtree(root / mechanism, ignore_errors=True)
    count = 0
    for case in module.cases():
        folder = root / mechanism / case.name
        (folder / "expected").mkdir(parents=True)
        origin = f"{case.origin} Made with {versions}; inputs from PCG64, seed {seed_of(mechanism, case.name)}."
        text = json.dumps({"mechanism": mechanism, "params": case.params, "origin": origin}, indent=2)
        (folder / "case.json").write_text(text + "\n")
        for name, tensor in case.inputs.items():
            save(folder / f"{name}.npy", tensor)
        for name, tensor in case.expected.items():
            save(folder / "expected" / f"{name}.npy", tensor)
        count += 1
    return count


def save(path, tensor):
    """C order and little endian, whatever machine this is."""
    np.save(path, np.ascontiguousarray(tensor, dtype=tensor.dtype.newbyteorder("<")), allow_pickle=False)


def differences(mechanism, made, committed):
    """Inputs and case.json must agree to the byte. Outputs only to 1e-12 of the largest element: another processor
    may add in another order."""
    names = {path.relative_to(root) for root in (made, committed)
             for path in (root / mechanism).rglob("*") if path.is_file()}
    for name in sorted(names):
        if not (made / name).exists():
            yield f"{name}: committed, but not generated"
        elif not (committed / name).exists():
            yield f"{name}: generated, but not committed"
        elif name.parent.name != "expected":
            if (made / name).read_bytes() != (committed / name).read_bytes():
                yield f"{name}: differs"
        else:
            ours, theirs = np.load(made / name), np.load(committed / name)
            if ours.dtype != theirs.dtype or ours.shape != theirs.shape:
                yield f"{name}: {theirs.dtype} {theirs.shape} is committed, {ours.dtype} {ours.shape} generated"
                continue
            largest = np.max(np.abs(ours[np.isfinite(ours)]), initial=0)
            if not np.allclose(ours, theirs, rtol=0, atol=1e-12 * largest, equal_nan=True):
                yield f"{name}: differs by more than 1e-12 of its largest element, {largest:g}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mechanisms", nargs="*", metavar="mechanism",
                        help=f"any of: {', '.join(MECHANISMS)} (default: all)")
    parser.add_argument("--check", action="store_true",
                        help="compare with the committed cases, write nothing, exit with 1 if they differ")
    options = parser.parse_args()
    for mechanism in options.mechanisms:
        if mechanism not in MECHANISMS:
            parser.error(f"no mechanism {mechanism!r}; there are: {', '.join(MECHANISMS)}")

    found = 0
    for mechanism in options.mechanisms or MECHANISMS:
        if not options.check:
            print(f"{mechanism}: {write(mechanism, HERE)} cases written")
            continue
        with tempfile.TemporaryDirectory() as made:
            count = write(mechanism, pathlib.Path(made))
            wrong = list(differences(mechanism, pathlib.Path(made), HERE))
        print(f"{mechanism}: {count} cases generated, {len(wrong)} files differ", *wrong, sep="\n  ")
        found += len(wrong)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
