"""Models for the Hugging Face Hub: a folder with weights, configuration, evidence and a model card."""

from pathlib import Path
from tempfile import TemporaryDirectory

from rgm.claims.record import EvidenceRecord, read_evidence
from rgm.errors import RGMError
from rgm.loading import Checkpoint, load_checkpoint
from rgm.model.generative import RGM
from rgm.model.stored import EXPORTED, own_export
from rgm.storage.checkpoint import hub_library
from rgm.storage.files import MARKER, write_bytes, write_text

EVIDENCE = "evidence.json"


def save_folder(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write `model.safetensors`, `config.json`, the card `README.md` and, where there is one, `evidence.json`.

    Raises RGMError for evidence that cannot be read, or a folder that cannot be written.
    """
    evidence = checkpoint.evidence
    text = card(checkpoint, read_evidence(evidence) if evidence else None)
    content = evidence.read_bytes() if evidence else None
    own_export(folder, EXPORTED)
    checkpoint.model.save_pretrained(folder)
    if content is None:
        (folder / EVIDENCE).unlink(missing_ok=True)  # an earlier model's
    else:
        write_bytes(folder / EVIDENCE, content)
    write_text(folder / "README.md", text)
    return folder


def push(folder: Path, repository: str, *, private: bool = False, token: str | None = None) -> str:
    """Upload a folder of `save_folder`, creating the repository where needed; return its address.

    Needs the extra `hub`; raises RGMError where it is absent or the Hub refuses.
    """
    hub = hub_library("uploading a model")
    api = hub.HfApi(token=token)
    try:
        address = api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=repository, folder_path=folder, ignore_patterns=[MARKER], commit_message="A model of rgm"
        )
    except (hub.errors.HfHubHTTPError, hub.errors.HFValidationError, OSError) as error:
        raise RGMError(f"{repository} could not be written on the Hub: {' '.join(str(error).split())}") from error
    return str(address)


def push_to_hub(model: RGM, repository: str, *, private: bool = False, token: str | None = None) -> str:
    """Upload a model as `owner/name` on the Hugging Face Hub with a card, and return its address.

    `rgm export MODEL --hub DIR` writes a folder whose card has the model's origin and evidence; `push` uploads it.
    """
    with TemporaryDirectory() as name:
        folder = model.save_pretrained(name)
        save_folder(folder, load_checkpoint(folder))
        (folder / MARKER).unlink()
        return push(folder, repository, private=private, token=token)


def card(checkpoint: Checkpoint, evidence: EvidenceRecord | None = None) -> str:
    """Return the model's card: what it is, how to load it, and its claims, measure by measure."""
    origin, config = checkpoint.origin.without_place(), checkpoint.model.config
    channels, height, width = config.image
    grids = ", ".join(f"{level.grid[0]} × {level.grid[1]} cells of {level.states}" for level in config.levels[:-1])
    size, kind = checkpoint.model.size, type(checkpoint.model).__name__
    lines = [
        "---",
        "library_name: rgm",
        "tags: [renormalizing-generative-model, discrete-latents, image-generation, image-classification]",
        "---",
        "",
        f"# A renormalizing generative model of {origin.data}",
        "",
        f"Images of {channels} × {height} × {width} pixels, encoded as {grids} states, and these as one of "
        f"{len(origin.classes)} concepts ({', '.join(origin.classes)}); the same model decodes a concept to images. "
        f"Preset {origin.preset}, seed {origin.seed}, {size:,} parameters.",
        "",
        "```python",
        f"from rgm import {kind}",
        "",
        f'model = {kind}.from_pretrained("…")  # this repository\'s name, or a folder',
        "codes = model.infer(images).z1           # images (n, channels, height, width) in [0, 1]",
        "samples = model.sample(concept=3, count=16)",
        "```",
        "",
        "## Evidence",
        "",
    ]
    if evidence is None:
        return "\n".join([*lines, "The claims were not tested for this model: run `rgm evaluate MODEL --claims`.", ""])
    lines += [
        f"Measured on {evidence.get('data', origin.data)} by `rgm evaluate MODEL --claims`; 95 % intervals over "
        "images.",
        "",
        "| claim | verdict | measure | estimate | 95 % interval |",
        "| --- | --- | --- | --- | --- |",
    ]
    for claim in evidence["claims"]:
        for measure in claim["measures"] if claim["subject"] == "model" else ():
            estimate, low, high = (
                "–" if measure.get(key) is None else f"{measure[key]:.3g}" for key in ("estimate", "low", "high")
            )
            lines.append(
                f"| {claim['claim']} | {claim.get('verdict', '')} | {measure['name']} | {estimate} "
                f"{measure.get('unit', '')} | {low} to {high} |"
            )
    return "\n".join([*lines, ""])
