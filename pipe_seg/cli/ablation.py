"""``ablation``: what each step of a recipe adds, on frozen splits and several seeds."""

import json
import time
from pathlib import Path

import click

from pipe_seg import config, disk
from pipe_seg.cli import options, quiet
from pipe_seg.pipeline import runs as run_folder

PLANS = ", ".join(config.shipped("ablations"))


@click.command()
@click.option(
    "--plan",
    "source",
    metavar="NAME|FILE",
    default="folds",
    show_default=True,
    help=f"One of {PLANS}, or a file.",
)
@options.manual_dir
@click.option(
    "--out", type=options.FOLDER, default=Path("ablation"), show_default=True, help="Where to work and write."
)
@options.as_json
def ablation(source: str, manual_dir: Path | None, out: Path, as_json: bool) -> None:
    """Train every variant of a plan with every seed, score on held-out frames, and show what each adds.

    Interrupted, the same command continues. OUT gets ablation.json, ablation.md and ablation.svg.
    """
    quiet.tensorflow()
    from pipe_seg.pipeline import ablation as engine
    from pipe_seg.pipeline import table, table_page

    plan = engine.load(source)
    with disk.environment(out):
        out.mkdir(parents=True, exist_ok=True)
        with disk.locked(out, lambda: options.log(f"another ablation uses {out}: waiting")):
            started = time.monotonic()
            runner = engine.AblationRunner(plan, out, manual_dir, options.log)
            results = runner.run()
            summary = table.summarise(plan, results, runner.boxes())
            about = {**run_folder.machine(), "rendered": runner.rendered}
            about |= {"commits": runner.commits, "chosen_here": runner.chosen_here}
            disk.write_json(out / "ablation.json", {**summary, "about": about, "plan": plan.model_dump()})
            text = table_page.markdown(summary, about)
            disk.write_text(out / "ablation.md", text)
            disk.write_text(out / "ablation.svg", table_page.picture(summary))
    click.echo(json.dumps(summary) if as_json else text)
    options.log(
        f"{out / 'ablation.md'}, ablation.svg and ablation.json; this call took {time.monotonic() - started:.0f} s"
    )
