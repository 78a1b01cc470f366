"""What a candidate's training leaves among the artifacts: its state, and the finished weights."""

import io

import torch
from torch import nn

from objectives.training import Progress
from search.artifacts import Artifacts, weights_name
from search.evaluation import Artifact, Train
from search.study import StudySpec
from spaces.candidate import Candidate


def weights_id(candidate: Candidate, study: StudySpec) -> str:
    """The artifact that holds the compressed network of a candidate of a study."""
    return weights_name(study.name, candidate.key(study.context()))


def save_checkpoint(progress: Progress, train_key: str, store: Artifacts) -> Artifact:
    """The state of a training, from which its next rung goes on."""
    artifact_id = f"checkpoint-{train_key}-{progress.epoch}.pt"
    size = _save(progress.state(), artifact_id, store)
    return Artifact(
        id=artifact_id,
        kind="checkpoint",
        train_key=train_key,
        epoch=progress.epoch,
        num_bytes=size,
    )


def save_weights(
    network: nn.Module, job: Train, study: StudySpec, train_key: str, store: Artifacts
) -> Artifact:
    """The weights of the compressed network of a training that is done."""
    artifact_id = weights_id(job.candidate, study)
    size = _save(network.state_dict(), artifact_id, store)
    return Artifact(
        id=artifact_id, kind="weights", train_key=train_key, epoch=job.until_epoch, num_bytes=size
    )


def _save(state: object, artifact_id: str, store: Artifacts) -> int:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    store.write(artifact_id, buffer)
    return buffer.getbuffer().nbytes
