"""Run every case in a process of its own and write, a JSON line each, what came of it.

``python -m tests.bad_inputs [--list] FOLDER``
"""

import hashlib
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from tests.bad_inputs import box_cases, image_cases, tool_cases
from tests.bad_inputs.case import Case


def cases() -> list[Case]:
    return [*image_cases.cases(), *box_cases.cases(), *tool_cases.cases()]


def tree(folder: Path) -> str:
    """Give one digest of names, kinds and bytes below a folder."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        data = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        total.update(os.fsencode(path.relative_to(folder)) + b"\0" + hashlib.sha256(data).digest())
    return total.hexdigest()


def main() -> None:
    place = Path(sys.argv[1])
    import pipe_seg.cli.data
    import pipe_seg.components.example_validator
    import pipe_seg.components.importer
    import pipe_seg.components.statistics_gen  # noqa: F401

    for number, case in enumerate(cases()):
        folder = place / f"{number:03d}"
        print(json.dumps(outcome(case, folder)), flush=True)
        shutil.rmtree(folder)


def outcome(case: Case, folder: Path) -> dict[str, Any]:
    source, out = folder / "src", folder / "out"
    source.mkdir(parents=True)
    case.lay(source)
    before = tree(source)
    argv = [word.format(src=source, out=out) for word in case.argv]
    told = folder / "told"
    child = os.fork()
    if not child:
        answer(argv, told)
    _, status, usage = os.wait4(child, 0)
    return {
        "name": case.name,
        "code": os.waitstatus_to_exitcode(status),
        "expected": case.code,
        "says": case.says,
        "told": told.read_text("utf-8", "replace")[-4000:],
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2),
        "mb": round(usage.ru_maxrss / 1024),
        "source_kept": tree(source) == before,
        "wrote": out.exists() and any(out.rglob("*")),
        "imports": "import" in case.argv,
    }


def answer(argv: list[str], told: Path) -> None:
    """Run the command line in this process and end it."""
    from pipe_seg.cli import run

    descriptor = os.open(told, os.O_WRONLY | os.O_CREAT)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    try:
        code = run(argv)
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        code = 99
    os._exit(code)


if __name__ == "__main__":
    main()
