"""The command line: Click only. A verb is imported when it is called, TensorFlow when it is needed."""

import importlib
import logging
import signal
import sys
import traceback
from collections.abc import Sequence
from types import FrameType

import click

import pipe_seg
from pipe_seg.errors import MachineError, PipeSegError

VERBS = {
    "doctor": ("pipe_seg.cli.doctor", "doctor", "Say what this machine can do, and what is missing."),
    "config": ("pipe_seg.cli.config", "config", "Show, write and check the configuration."),
    "data": ("pipe_seg.cli.data", "data", "Import, check, split, build and look at the data."),
    "train": ("pipe_seg.cli.train", "train", "Train a recipe, or one UNet on PBS or PS; score and export it."),
    "experiment": ("pipe_seg.cli.experiment", "experiment", "The guided run: name, settings, PBS, PS, save?"),
    "evaluate": ("pipe_seg.cli.evaluate", "evaluate", "Score an exported model on labelled frames."),
    "predict": ("pipe_seg.cli.predict", "predict", "Masks, overlays and a table for images and folders."),
    "tensorboard": ("pipe_seg.cli.tensorboard", "tensorboard", "Look at the runs in a browser."),
    "export": ("pipe_seg.cli.export", "export", "Write a run's model as a SavedModel."),
    "upload": ("pipe_seg.cli.upload", "upload", "Publish a run's model into a model store."),
    "models": ("pipe_seg.cli.models", "models", "What a store holds and what of it is in service."),
    "serve": ("pipe_seg.cli.serve", "serve", "Answer over HTTP and gRPC, with a page to look at."),
    "ablation": ("pipe_seg.cli.ablation", "ablation", "What each step of a recipe adds, over seeds and folds."),
    "runs": ("pipe_seg.cli.runs", "runs", "List, show and compare runs."),
}
HIDDEN = {"run-stage": ("pipe_seg.cli.train", "run_stage")}
RENAMED = {"ladder": "ablation"}


class LazyGroup(click.Group):
    """A group that imports a verb's module only to run it or to show its own help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Returns the verbs in the order of a day's work."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports and returns one verb."""
        if cmd_name in RENAMED:
            raise click.UsageError(f"'{cmd_name}' was renamed to '{RENAMED[cmd_name]}'.")
        known = {name: entry[:2] for name, entry in VERBS.items()} | HIDDEN
        if cmd_name not in known:
            return None
        module, attribute = known[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in VERBS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(pipe_seg.__version__, prog_name="pipe-seg")
def cli() -> None:
    """Turn boxes into contours of sewer-pipe defects; measure them; put the model into service."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with its exit code."""
    logging.basicConfig(format="warning: %(message)s", level=logging.WARNING)
    signal.signal(signal.SIGTERM, _terminated)
    sys.exit(run(arguments))


def _terminated(number: int, _: FrameType | None) -> None:
    """Ends as the shell expects, after clean-up; process 1 of a container has no default handler."""
    sys.exit(128 + number)


def run(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code; only our own bugs show a traceback."""
    try:
        code = cli.main(args=arguments, prog_name="pipe-seg", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except PipeSegError as error:
        for line in error.lines():
            click.echo(f"error: {line}", err=True)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return 2
    except (KeyboardInterrupt, click.Abort):
        click.echo("\nstopped", err=True)
        return 130
    except Exception as error:
        return _unforeseen(error)


def _unforeseen(error: Exception) -> int:
    """Returns the exit code that the error carries, that of a full machine, or that of our own bug."""
    code = getattr(error, "exit_code", None)
    if isinstance(code, int):
        return code
    if type(error).__name__ == "ResourceExhaustedError":
        what = str(error).splitlines()[0]
        click.echo(f"error: out of memory or disk: {what}; expected a smaller batch_size, or more space", err=True)
        return MachineError.exit_code
    traceback.print_exception(error)
    click.echo("error: this is a bug of pipe-seg; please report it with the lines above", err=True)
    return 1
