"""What is analyzed: a network, its inputs, where it will run, and how it is deployed there."""

import argparse
import contextlib
import dataclasses
import io
import logging
from dataclasses import dataclass

from torch import Tensor, nn

from objectives.device import MACHINE, Turnstile
from objectives.measurement import Measurement
from objectives.runtimes import Deployment
from objectives.runtimes.deployment import repeated
from objectives.runtimes.eager import Eager
from objectives.runtimes.onnxruntime import OnnxRuntime
from objectives.runtimes.remote import PREFIX
from objectives.target import Target
from search.errors import InputError
from search.study import StudySpec
from spaces.candidate import Candidate


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A network with its inputs and its target; of a study's also the candidate it stands for."""

    title: str
    network: nn.Module
    calibration: Tensor
    """Inputs (N, ...), N >= 2, also where the batch is 1."""
    target: Target
    precision: str = "fp32"
    limit_ms: float | None = None
    study: StudySpec | None = None
    candidate: Candidate | None = None
    notes: tuple[str, ...] = ()

    def inputs(self) -> Tensor:
        """One batch."""
        return repeated(self.calibration, self.target.batch)[: self.target.batch]

    def deploy(self, network: nn.Module, precision: str) -> Deployment | str:
        """A network as the target's runtime deploys it, or the reason why it does not."""
        before = logging.root.manager.disable
        logging.disable(logging.CRITICAL)  # a failed torch.export logs and prints pages
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                return self.target.deploy(network, self.calibration, precision)
        except Exception as error:  # a user's network may fail in any way here
            return told(error)
        finally:
            logging.disable(before)

    def time(self, deployment: Deployment, batch: int) -> Measurement:
        """Milliseconds of one call of a deployed network with `batch` inputs."""
        plan = dataclasses.replace(self.target.timing(), batch=batch)
        return deployment.time(self.calibration, batch, plan, Turnstile(MACHINE))


def read_target(options: argparse.Namespace, known: Target | None = None) -> Target:
    """`known` (or what suits a module) with the device, batch and threads of the command line.

    Raises:
        InputError: this machine cannot measure there.
    """
    for key in ("batch", "threads"):
        if vars(options)[key] is not None and vars(options)[key] < 1:
            raise InputError(f"--{key}: {vars(options)[key]} is not a number above 0")
    asked = {k: v for k in ("device", "batch", "threads") if (v := vars(options)[k]) is not None}
    if known is None or (options.device and options.device != known.device):
        on_gpu = str(options.device).startswith("cuda")
        asked["runtime"] = Eager() if on_gpu else OnnxRuntime(exporter="dynamo")
    target = dataclasses.replace(known or Target(), **asked)
    if target.device.startswith(PREFIX):
        raise InputError(
            f"target {target.device}: layers are timed where PyTorch is; analyze with --device cpu"
        )
    if problem := target.check():
        raise InputError(f"device: {problem}")
    return target


def told(error: Exception) -> str:
    """One line that tells what went wrong."""
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return first[:300] if isinstance(error, RuntimeError) else f"{type(error).__name__}: {first}"
