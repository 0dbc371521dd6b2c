"""A fresh process loads the model and answers real frames → a blessing, or the reason there is none."""

import tempfile
from pathlib import Path

from pipe_seg import artifacts, devices
from pipe_seg.artifacts import Dataset, InfraBlessing, Model
from pipe_seg.config import InfraValidatorSection
from pipe_seg.data import examples
from pipe_seg.inference import probe

COMPONENT, VERSION = "infra_validator", 1


def run(section: InfraValidatorSection, *, model: Model, dataset: Dataset, out: Path) -> InfraBlessing:
    """Lets ``model`` predict ``section.frames`` frames of the validation split in a child process."""
    frames = examples.load(dataset.path, "validation").take(section.frames)
    with tempfile.TemporaryDirectory() as scratch:
        paths = []
        for index, example in enumerate(frames.as_numpy_iterator()):
            paths.append(Path(scratch) / f"{index}.jpg")
            paths[-1].write_bytes(example["image"])
        answer = probe.ask(model.saved_model, paths, section.timeout_s)
    blessed = not answer["faults"] and answer["frames"] == len(paths) > 0
    inputs = {"model": model.digest, "dataset": dataset.key or ""}
    with artifacts.writing(
        out,
        component=COMPONENT,
        section=section.model_dump(),
        inputs=inputs,
        key=artifacts.key_of(COMPONENT, VERSION, section.model_dump(), inputs),
        details={**answer, "blessed": blessed, "device": devices.description()},
    ):
        pass
    return InfraBlessing(out)
