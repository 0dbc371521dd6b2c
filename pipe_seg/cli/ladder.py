"""``ladder``: what each rung of a recipe adds, on frozen splits and several seeds."""

import json
import time
from pathlib import Path

import click

from pipe_seg import disk
from pipe_seg.cli import options, quiet
from pipe_seg.pipeline import runs as run_folder


@click.command()
@click.option(
    "--config",
    "plan",
    type=options.FILE,
    default=Path("configs/ladder.yaml"),
    show_default=True,
    help="Seeds, folds and rungs.",
)
@options.manual_dir
@click.option("--out", type=options.FOLDER, default=Path("ladder"), show_default=True, help="Where to work and write.")
@options.as_json
def ladder(plan: Path, manual_dir: Path | None, out: Path, as_json: bool) -> None:
    """Train every rung of a plan with every seed, score all on held-out frames, and say what each adds.

    Interrupted, the same command goes on. OUT gets ladder.json, ladder.md and ladder.svg.
    """
    from pipe_seg.pipeline.plan import load

    wanted = load(plan)
    quiet.tensorflow()
    from pipe_seg.pipeline import table, table_page
    from pipe_seg.pipeline.ablation import AblationRunner

    with disk.environment(out):
        out.mkdir(parents=True, exist_ok=True)
        with disk.locked(out, lambda: options.say(f"another ladder holds {out}: waiting")):
            started = time.monotonic()
            climb = AblationRunner(wanted, out, manual_dir, options.say)
            results = climb.run()
            summary = table.summarise(wanted, results, climb.boxes())
            about = {**run_folder.machine(), "rendered": climb.rendered, "hours": climb.hours}
            about |= {"commits": climb.commits, "chosen_here": climb.chosen_here}
            disk.write_json(out / "ladder.json", {**summary, "about": about, "plan": wanted.model_dump()})
            text = table_page.markdown(summary, about)
            (out / "ladder.md").write_text(text, "utf-8")
            (out / "ladder.svg").write_text(table_page.picture(summary), "utf-8")
    click.echo(json.dumps(summary) if as_json else text)
    options.say(f"{out / 'ladder.md'}, ladder.svg and ladder.json; this call took {time.monotonic() - started:.0f} s")
