"""``export``: a run's weights as a SavedModel, again."""

import json
from pathlib import Path

import click

from pipe_seg import run_folder
from pipe_seg.cli import options, quiet
from pipe_seg.config import ExportSection

PRECISIONS = {"auto": "auto", "float32": "float32", "bf16": "bfloat16"}


@click.command()
@click.argument("run", metavar="RUN")
@click.option(
    "--precision",
    type=click.Choice(list(PRECISIONS)),
    default="auto",
    show_default=True,
    help="auto: bf16 where this machine computes in it; float32 runs everywhere.",
)
@click.option("--out", type=options.FOLDER, required=True, help="The folder to make.")
@options.runs
@options.as_json
def export(run: str, precision: str, out: Path, runs: Path, as_json: bool) -> None:
    """Export RUN's best weights into OUT/saved_model with the run's own threshold."""
    found = run_folder.find_run(run, runs)
    section = ExportSection.model_validate({"precision": PRECISIONS[precision]})
    facts = found.model.facts
    loaded = found.config
    evaluator = loaded.evaluator.model_copy(update={"threshold": facts["threshold"]})
    quiet.tensorflow()
    from pipe_seg.artifacts import Dataset
    from pipe_seg.components import export as exporter

    settings = loaded.model_copy(update={"export": section, "evaluator": evaluator})
    tuning = Dataset(Path(found.model.record["inputs"]["tuning"]))
    model = exporter.run(settings, trained=found.trained, tuning=tuning, out=out, chosen=facts["threshold_chosen"])
    click.echo(
        json.dumps({"model": str(model.path), **model.facts})
        if as_json
        else f"{model.saved_model}  {model.facts['precision']}"
    )
